//! Turns what `RUN --mount` asks for into mounts of an exec op, with the defaults of §11.5.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{
    BindMount, CacheMount, CacheSharing, ClientMount, FileAction, MakeDirAction, Mount, MountKind, Output,
    Owner, SecretEnv,
};
use kiln_sdk::wit::instruction_types::FlagValue;

use crate::findings::Findings;
use crate::mount_fields::{Kind, Request};
use crate::path::{absolute, base_name, clean};

/// The mounts of one RUN.
#[derive(Default)]
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) secret_env: Vec<SecretEnv>,
    /// Where the first key holder's socket is.
    pub(crate) ssh_socket: Option<String>,
    ssh_count: u32,
}

impl Request<'_> {
    fn client(&self, id: &str, mode: u32) -> ClientMount {
        ClientMount {
            id: id.into(),
            required: self.required,
            mode: self.mode.unwrap_or(mode),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        }
    }

    /// The directory from which a new cache is copied, and what to mount of it.
    fn cache(&self, graph: &mut GraphBuilder) -> CacheMount {
        let selector = self.selector();
        let said = self.mode.is_some() || self.uid.is_some() || self.gid.is_some();
        let (mode, uid, gid) = match selector.is_empty() {
            true => (self.mode.unwrap_or(0o755), self.uid.unwrap_or(0), self.gid.unwrap_or(0)),
            false => (0o755, 0, 0),
        };
        let id = if self.id.is_empty() { clean(self.target) } else { self.id.into() };
        let sharing = self.sharing.unwrap_or(CacheSharing::Shared);
        let mut cache = CacheMount { id, sharing, seed: None, selector, mode, uid, gid };
        if let Some(from) = self.from {
            let seed = graph.named(&from.value, false, &from.at);
            // An owner or mode asks for an empty directory, and still the cache begins anew when `from` changes.
            cache.seed = Some(match said && cache.selector.is_empty() {
                true => {
                    cache.selector = "/cache".into();
                    let owner = Owner { user: uid.to_string(), group: gid.to_string() };
                    let dir =
                        MakeDirAction { path: "/cache".into(), mode, parents: false, owner: Some(owner) };
                    graph.file(Some(seed), vec![FileAction::MakeDir(dir)])
                }
                false => seed,
            });
            (cache.mode, cache.uid, cache.gid) = (0o755, 0, 0);
        }
        cache
    }
}

impl Mounts {
    /// Reads one more `--mount`; `dir` is the working directory.
    pub(crate) fn add(
        &mut self,
        flag: &FlagValue,
        dir: &str,
        graph: &mut GraphBuilder,
        findings: &mut Findings,
    ) {
        let Some(request) = Request::read(flag, findings) else { return };
        let mut target = absolute(dir, request.target);
        let readonly = request.readonly;
        let (kind, readonly) = match request.kind {
            Kind::Bind => {
                let input: Output = match request.from {
                    Some(from) => graph.named(&from.value, false, &from.at),
                    None => graph.context(),
                };
                let bind = BindMount { input: Some(input), selector: request.selector() };
                (MountKind::Bind(bind), readonly.unwrap_or(true))
            }
            Kind::Cache => (MountKind::Cache(request.cache(graph)), readonly.unwrap_or(false)),
            Kind::Tmpfs => (MountKind::Tmpfs(request.size_kib), readonly.unwrap_or(false)),
            Kind::Secret => {
                let id = match (request.source, request.id) {
                    ("", "") => base_name(request.target),
                    ("", id) => id,
                    (source, _) => source,
                };
                if let Some(name) = request.env {
                    let required = request.required;
                    self.secret_env.push(SecretEnv { name: name.into(), id: id.into(), required });
                }
                match (request.target, request.env) {
                    ("", Some(_)) => return,
                    ("", None) => target = format!("/run/secrets/{}", base_name(id)),
                    _ => {}
                }
                (MountKind::Secret(request.client(id, 0o400)), true)
            }
            Kind::Ssh => {
                if request.target.is_empty() {
                    target = format!("/run/buildkit/ssh_agent.{}", self.ssh_count);
                }
                self.ssh_count += 1;
                self.ssh_socket.get_or_insert_with(|| target.clone());
                let id = if request.id.is_empty() { "default" } else { request.id };
                (MountKind::Ssh(request.client(id, 0o600)), true)
            }
        };
        if target == "/" {
            let message = match request.target {
                "" => format!("a {} mount needs a `target`", request.kind.name()),
                _ => "nothing can be mounted at `/`".into(),
            };
            findings.push(Diagnostic::error("invalid-mount", message).at(request.at));
            return;
        }
        self.mounts.push(Mount { target, readonly, kind });
    }
}

#[cfg(test)]
#[path = "mount_tests.rs"]
mod tests;
