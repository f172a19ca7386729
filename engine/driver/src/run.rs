//! Runs an image in the sandbox, with kiln's own terminal, in a root of its own that is thrown away afterwards.

use std::ffi::OsString;
use std::path::PathBuf;

use kiln_core::event::Silent;
use kiln_core::fileop;
use kiln_core::{Cancel, TreePath, users};
use kiln_sandbox as sandbox;

use crate::error::BuildError;
use crate::forms::{Forms, one_line};
use crate::request::NetworkMode;
use crate::session::World;
use crate::{Driver, hosts};

/// What `kiln run` is asked.
#[derive(Debug)]
pub struct RunRequest {
    /// A name, or a digest or the beginning of one.
    pub image: String,
    /// In place of the image's command.
    pub args: Vec<String>,
    /// In place of the image's entrypoint.
    pub entrypoint: Option<String>,
    pub env: Vec<(String, String)>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub network: NetworkMode,
    pub volumes: Vec<BindVolume>,
}

/// Something of the host to be seen inside.
#[derive(Debug)]
pub struct BindVolume {
    pub source: PathBuf,
    /// Absolute.
    pub target: String,
    pub readonly: bool,
}

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramExit {
    Code(i32),
    Signal(i32),
    Cancelled,
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Driver {
    /// Runs an image that the store has.
    pub fn run(&self, request: &RunRequest, cancel: &Cancel) -> Result<ProgramExit, BuildError> {
        let image = self.find_image(&request.image)?;
        let document = image.document(self)?;
        let config = &document.config;
        let mut argv: Vec<String> = match &request.entrypoint {
            Some(entrypoint) => vec![entrypoint.clone()],
            None => config.entrypoint.clone().unwrap_or_default(),
        };
        match (&request.args[..], &request.entrypoint) {
            ([], None) => argv.extend(config.cmd.clone().unwrap_or_default()),
            (args, _) => argv.extend_from_slice(args),
        }
        if argv.is_empty() {
            return Err(BuildError::wrong(
                kiln_core::Diagnostic::error(
                    "no-command",
                    format!("the image `{}` says no command to run", request.image),
                )
                .help(format!("say one: `kiln run {} PROGRAM`", request.image)),
            ));
        }

        let silent = Silent;
        let forms = Forms::new(&self.store, &self.registries, &silent, cancel);
        let stack = image.stack(&document, &forms)?;
        let root = forms.merged(&stack)?;
        let user = request.user.as_deref().unwrap_or(&config.user);
        let mut world = World::alone(&forms);
        let user = users::credentials(user, &mut |file| fileop::account_file(&root, &mut world, file))
            .map_err(|error| BuildError::plain(error.to_string(), "use a numeric id"))?;

        let mut held = Vec::new();
        let mut lowers = forms.lowers(&stack, &mut held)?;
        let step = forms.begin_step(&root)?;
        let mut spec = sandbox::Spec::new(
            sandbox::Root {
                lowers: Vec::new(),
                upper: Some(step.upper().to_owned()),
                work: Some(step.work().to_owned()),
            },
            argv.iter().map(OsString::from).collect(),
        );
        spec.env = environment(config, request, &user);
        spec.cwd = match request.working_dir.as_deref().unwrap_or(&config.working_dir) {
            "" => "/".into(),
            directory => directory.into(),
        };
        spec.user = sandbox::User { uid: user.uid, gid: user.gid, groups: user.groups.clone() };
        spec.hostname = "kiln".to_owned();
        spec.network = match request.network {
            NetworkMode::Default => sandbox::Network::Private,
            NetworkMode::None => sandbox::Network::None,
            NetworkMode::Host => sandbox::Network::Host,
        };
        spec.hosts = hosts::hosts_file(&spec.hostname, std::iter::empty());
        spec.resolv_conf = hosts::resolv_conf(request.network == NetworkMode::Host);
        spec.stdio = sandbox::Stdio::Inherit;
        for volume in &request.volumes {
            let source = std::fs::canonicalize(&volume.source).map_err(|error| {
                BuildError::world(
                    format!("could not find `{}` to show it inside", volume.source.display()),
                    error,
                )
            })?;
            spec.mounts.push(sandbox::Mount {
                target: PathBuf::from(&volume.target),
                kind: sandbox::MountKind::Bind { source, readonly: volume.readonly },
            });
        }
        lowers.extend(forms.stubs(&root, &spec, &mut held)?);
        if lowers.is_empty() {
            lowers.push(forms.empty_directory()?);
        }
        spec.root.lowers = lowers;
        match self.sandbox()?.run(&spec, &mut |_, _| {}, cancel) {
            Ok(sandbox::Exit::Code(code)) => Ok(ProgramExit::Code(code)),
            Ok(sandbox::Exit::Signal(signal)) => Ok(ProgramExit::Signal(signal)),
            Ok(sandbox::Exit::Cancelled) => Ok(ProgramExit::Cancelled),
            Err(error) if crate::exec::is_about_the_program(&error) => Err(BuildError::wrong(
                kiln_core::Diagnostic::error("not-started", one_line(&error))
                    .help(missing_shell(&argv, &error)),
            )),
            Err(error) => Err(BuildError::world(format!("could not run `{}`", request.image), error)),
        }
    }
}

/// An image without a shell often has a command that wants one.
fn missing_shell(argv: &[String], error: &sandbox::SandboxError) -> String {
    match (error, argv) {
        (sandbox::SandboxError::ProgramNotFound { .. }, [shell, flag, ..]) if shell == "/bin/sh" && flag == "-c" => {
            "the image has no shell; write its CMD or ENTRYPOINT as a JSON array, such as CMD [\"/hello\"]".to_owned()
        }
        (sandbox::SandboxError::ProgramNotFound { .. }, _) => {
            "`kiln image files` lists what there is in the image".to_owned()
        }
        (sandbox::SandboxError::NoInterpreter { .. }, _) => {
            "the program needs shared libraries that the image does not have; link it statically, or copy them too"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn environment(
    config: &kiln_core::ImageConfig,
    request: &RunRequest,
    user: &users::Credentials,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    let mut set =
        |name: &str, value: OsString, replace: bool| match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) if replace => *old = value,
            Some(_) => {}
            None => env.push((name.into(), value)),
        };
    for (name, value) in config.env.iter().chain(&request.env) {
        set(name, value.into(), true);
    }
    set("PATH", PATH.into(), false);
    set("HOME", std::os::unix::ffi::OsStringExt::from_vec(user.home.clone()), false);
    if let Some(term) = std::env::var_os("TERM") {
        set("TERM", term, false);
    }
    env
}

/// Where a mount point lies in a tree.
pub(crate) fn tree_path(point: &sandbox::MountPoint) -> TreePath {
    TreePath::clean(point.path.as_os_str().as_encoded_bytes())
}
