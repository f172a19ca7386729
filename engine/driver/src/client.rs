//! What the person lends to steps: secrets and SSH keys.

use std::ffi::OsString;
use std::path::PathBuf;

use kiln_core::graph::{ClientMount, ExecOp, MountKind};
use kiln_core::{Diagnostic, Vertex};
use kiln_sandbox as sandbox;

use crate::agent::{AgentError, Forward, KeyAgent, SshSource};
use crate::error::BuildError;
use crate::forms::lock;
use crate::request::Secret;
use crate::secrets::Watched;
use crate::session::Session;

impl Session<'_> {
    /// The secrets that a step is given.
    pub(crate) fn secrets_of(&self, op: &ExecOp) -> Watched {
        let mounted = op.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Secret(client) => Some(&client.id),
            _ => None,
        });
        let mut watched = Watched::default();
        for id in mounted.chain(op.secret_env.iter().map(|secret| &secret.id)) {
            if let Some(secret) = self.known_secret(id) {
                watched.add(secret);
            }
        }
        watched
    }

    fn known_secret(&self, id: &str) -> Option<&Secret> {
        self.request.secrets.iter().find(|secret| secret.id == id)
    }

    pub(crate) fn secret(
        &self,
        vertex: &Vertex,
        client: &ClientMount,
    ) -> Result<Option<Vec<u8>>, BuildError> {
        match self.known_secret(&client.id) {
            Some(secret) => Ok(Some(secret.value.to_vec())),
            None if !client.required => Ok(None),
            None => Err(BuildError::wrong(
                Diagnostic::error("secret-missing", format!("the step needs the secret `{}`", client.id))
                    .at_origin(&vertex.origin)
                    .help(format!("give it with `--secret id={},src=FILE`", client.id)),
            )),
        }
    }

    /// Secrets that the command gets as variables.
    pub(crate) fn secret_environment(
        &self,
        vertex: &Vertex,
        op: &ExecOp,
        spec: &mut sandbox::Spec,
    ) -> Result<(), BuildError> {
        for secret in &op.secret_env {
            let client =
                ClientMount { id: secret.id.clone(), required: secret.required, mode: 0, uid: 0, gid: 0 };
            if let Some(value) = self.secret(vertex, &client)? {
                let value = std::os::unix::ffi::OsStringExt::from_vec(value);
                spec.env.retain(|(name, _)| *name != *secret.name);
                spec.env.push((OsString::from(&secret.name), value));
            }
        }
        Ok(())
    }

    /// A socket on which the keys of an `--ssh` answer; `forwards` keeps whoever answers.
    pub(crate) fn agent(
        &self,
        vertex: &Vertex,
        client: &ClientMount,
        forwards: &mut Vec<Forward>,
    ) -> Result<Option<PathBuf>, BuildError> {
        let not_lent = |error: AgentError| {
            BuildError::world(format!("could not lend the SSH keys `{}`", client.id), error)
        };
        let agent = match self.request.ssh.iter().find(|(id, _)| *id == client.id) {
            Some((_, SshSource::Raw(socket))) => {
                return std::fs::canonicalize(socket).map(Some).map_err(|error| {
                    BuildError::world(format!("could not find the socket `{}`", socket.display()), error)
                });
            }
            Some((_, SshSource::Agent(socket))) => socket.clone(),
            Some((id, SshSource::Keys(keys))) => {
                let mut agents = lock(&self.agents);
                match agents.get(id) {
                    Some(agent) => agent.socket(),
                    None => {
                        let agent = KeyAgent::start(keys).map_err(not_lent)?;
                        agents.entry(id.clone()).or_insert(agent).socket()
                    }
                }
            }
            None if !client.required => return Ok(None),
            None => {
                return Err(BuildError::wrong(
                    Diagnostic::error("ssh-missing", format!("the step needs the SSH agent `{}`", client.id))
                        .at_origin(&vertex.origin)
                        .help(format!("give it with `--ssh {}`", client.id)),
                ));
            }
        };
        let forward = Forward::start(&self.forms.empty_directory()?, agent, client).map_err(not_lent)?;
        let socket = forward.socket().to_owned();
        forwards.push(forward);
        Ok(Some(socket))
    }
}
