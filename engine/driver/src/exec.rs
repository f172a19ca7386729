//! Runs one step: makes its root and mounts from layers, runs the command in the sandbox, commits what it changed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use kiln_core::event::Stream;
use kiln_core::fileop;
use kiln_core::graph::{CacheMount, ExecOp, MountKind, Network, Security, Sharing};
use kiln_core::merged::{Follow, Merged};
use kiln_core::tree::Tree;
use kiln_core::users::{self, Credentials};
use kiln_core::{Diagnostic, Event, Severity, Stack, TreePath, Vertex, VertexId};
use kiln_sandbox as sandbox;
use kiln_store::{CacheDir, LayerDir, StepDir};

use crate::agent::Forward;
use crate::error::{BuildError, StepFailure};
use crate::export::whole_tree;
use crate::forms::one_line;
use crate::hosts;
use crate::resolve::Pinned;
use crate::secrets::{Leak, Masked, Watched};
use crate::session::{Session, World};
use crate::timed;

/// What keeps the directories of a running step where they are.
#[derive(Default)]
struct Held {
    layers: Vec<LayerDir>,
    caches: Vec<CacheDir>,
    forwards: Vec<Forward>,
    /// Step directories of writable binds, by mount.
    steps: Vec<(usize, Stack, Vec<std::sync::Arc<Tree>>, StepDir)>,
}

impl Session<'_> {
    /// Runs the step and commits one layer for each of `slots`, in order.
    pub(crate) fn execute(
        &self,
        pinned: &Pinned,
        id: VertexId,
        op: &ExecOp,
        inputs: &[Stack],
        slots: &[usize],
    ) -> Result<Vec<Stack>, BuildError> {
        let (vertex, shown) = (&pinned.graph[id], pinned.shown(id));
        let root_stack = match &op.mounts[0].kind {
            MountKind::Bind { input: Some(input), .. } => {
                self.stack_of(&pinned.graph, vertex, *input, inputs)?
            }
            _ => Stack::default(),
        };
        let root = self.merged(&root_stack)?;
        let network = match op.network {
            Network::Unset | Network::Default => sandbox::Network::Private,
            Network::None => sandbox::Network::None,
            Network::Host => sandbox::Network::Host,
        };
        self.check_rights(vertex, op)?;
        let user = self.run_user(vertex, op, &root)?;

        let mut held = Held::default();
        let mut lowers = self.forms.lowers(&root_stack, &mut held.layers)?;
        let step = self.forms.begin_build_step(&root, self.now())?;
        let mut spec = sandbox::Spec::new(
            sandbox::Root {
                lowers: Vec::new(),
                upper: Some(step.upper().to_owned()),
                work: Some(step.work().to_owned()),
            },
            op.args.iter().map(OsString::from).collect(),
        );
        spec.env = self.environment(op, &user);
        spec.cwd = PathBuf::from(if op.cwd.is_empty() { "/" } else { &op.cwd });
        spec.user = sandbox::User { uid: user.uid, gid: user.gid, groups: user.groups.clone() };
        spec.hostname =
            if op.hostname.is_empty() { "buildkitsandbox".to_owned() } else { op.hostname.clone() };
        spec.network = network;
        spec.security = match op.security {
            Security::Sandbox => sandbox::Security::Default,
            Security::Insecure => sandbox::Security::Insecure,
        };
        spec.shm_size = match op.shm_size_kib {
            0 => 64 << 20,
            kib => u64::from(kib) << 10,
        };
        spec.ulimits = self.ulimits(vertex, op)?;
        let limits = pinned.limits.get(&id);
        if let Some((memory_mib, policy)) = limits.and_then(|limits| limits.memory_mib.as_ref()) {
            limit_memory(vertex, op, &mut spec.ulimits, *memory_mib, policy)?;
        }
        let aliases = op.host_aliases.iter();
        spec.hosts =
            hosts::hosts_file(&spec.hostname, aliases.map(|(name, address)| (&name[..], &address[..])));
        let shared = match network {
            sandbox::Network::Host => true,
            sandbox::Network::None => false,
            sandbox::Network::Private => self.shares_network()?,
        };
        if !shared && let Some((name, _)) = op.host_aliases.iter().find(|(_, to)| to == hosts::GATEWAY) {
            self.report_gateway(vertex, name);
        }
        spec.resolv_conf = hosts::resolv_conf(shared);
        spec.mounts.extend(self.mounts(pinned, vertex, op, inputs, slots, &mut held)?);
        self.secret_environment(vertex, op, &mut spec)?;
        lowers.extend(self.forms.stubs(&root, &spec, &mut held.layers)?);
        if lowers.is_empty() {
            lowers.push(self.forms.empty_directory()?);
        }
        spec.root.lowers = lowers;

        let sandbox = self.sandbox()?;
        let secrets = self.secrets_of(op);
        let (mut stdout, mut stderr) = (Masked::new(&secrets), Masked::new(&secrets));
        let show = |stream, data: Vec<u8>| {
            if !data.is_empty() {
                self.events.emit(Event::Log { vertex: shown, stream, data });
            }
        };
        let seconds = limits.and_then(|limits| limits.seconds.as_ref());
        let exit = timed::within(seconds.map(|(seconds, _)| *seconds), self.cancel_of(pinned), |cancel| {
            sandbox.run(
                &spec,
                &mut |stream, data| match stream {
                    sandbox::Stream::Stdout => show(Stream::Stdout, stdout.push(data)),
                    sandbox::Stream::Stderr => show(Stream::Stderr, stderr.push(data)),
                },
                cancel,
            )
        })
        .map_err(|error| BuildError::world("could not limit the time of a step", error))?;
        show(Stream::Stdout, stdout.finish());
        show(Stream::Stderr, stderr.finish());
        held.forwards.clear();
        match exit {
            Ok(sandbox::Exit::Code(code)) if succeeded(op, code) => {}
            Ok(sandbox::Exit::Code(code)) => {
                let help = self.driver.one_user();
                return Err(failed(shown, vertex, op, &format!("ended with exit code {code}"), &help));
            }
            Ok(sandbox::Exit::Signal(signal)) => {
                let help = if signal == 9 { "signal 9 often means that memory ran out" } else { "" };
                return Err(failed(shown, vertex, op, &format!("was killed by signal {signal}"), help));
            }
            Ok(sandbox::Exit::Cancelled) => {
                return Err(match seconds {
                    Some((seconds, policy)) if !self.cancel_of(pinned).is_cancelled() => {
                        let how = format!(
                            "was stopped after {seconds} s, the longest that the policy `{policy}` lets it run"
                        );
                        failed(shown, vertex, op, &how, "")
                    }
                    _ => BuildError::Cancelled,
                });
            }
            Err(error) => return Err(self.not_run(pinned, id, op, error)),
        }

        let below = self.trees(&root_stack)?;
        let mut steps = std::mem::take(&mut held.steps);
        steps.push((0, root_stack, below, step));
        steps.sort_by_key(|(slot, ..)| *slot);
        let mut outputs = Vec::new();
        for (slot, stack, below, step) in steps {
            if slots.contains(&slot) {
                self.keep_secrets_out(vertex, &secrets, step.upper())?;
                outputs.push(self.commit(vertex, &stack, &below, step)?);
            }
        }
        Ok(outputs)
    }

    /// Looks through what the step changed before anybody else can see it.
    fn keep_secrets_out(&self, vertex: &Vertex, secrets: &Watched, changed: &Path) -> Result<(), BuildError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let found = secrets.find_below(changed).map_err(|error| {
            BuildError::world("could not look for secrets in what the step changed", error)
        })?;
        match found {
            None => Ok(()),
            Some(Leak { id, path }) => Err(BuildError::wrong(
                Diagnostic::error(
                    "secret-in-layer",
                    format!(
                        "the step wrote the secret `{id}` to `/{path}`, which would be part of the image"
                    ),
                )
                .at_origin(&vertex.origin)
                .help("read the secret where it is mounted, and remove what holds it in the same step"),
            )),
        }
    }

    fn commit(
        &self,
        vertex: &Vertex,
        stack: &Stack,
        below: &[std::sync::Arc<Tree>],
        step: StepDir,
    ) -> Result<Stack, BuildError> {
        let (layer, tree) = step
            .commit(below)
            .map_err(|error| BuildError::world("could not commit what the step changed", error))?;
        if let Some(path) = fileop::reserved_name(&tree) {
            return Err(self.file_error(vertex, fileop::FileOpError::Reserved { path: path.clone() }));
        }
        Ok(stack.with(&[layer]))
    }

    fn mounts(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        op: &ExecOp,
        inputs: &[Stack],
        slots: &[usize],
        held: &mut Held,
    ) -> Result<Vec<sandbox::Mount>, BuildError> {
        // Locks on cache mounts are taken in one order everywhere, so that no two builds wait for each other.
        let mut order: Vec<usize> = (1..op.mounts.len()).collect();
        order.sort_by_key(|&index| match &op.mounts[index].kind {
            MountKind::Cache(cache) => Some((&cache.id, index)),
            _ => None,
        });
        let mut made = Vec::new();
        for index in order {
            let mount = &op.mounts[index];
            let kind = match &mount.kind {
                MountKind::Bind { input: None, .. } if slots.contains(&index) => {
                    self.kept_bind(index, Stack::default(), vec![self.forms.empty_directory()?], held)?
                }
                MountKind::Bind { input: None, .. } => {
                    let source = self.forms.empty_directory()?;
                    sandbox::MountKind::Bind { source, readonly: mount.readonly }
                }
                MountKind::Bind { input: Some(input), selector } => {
                    let keep = slots.contains(&index);
                    self.bind(
                        pinned,
                        vertex,
                        (index, *input, selector),
                        mount.readonly && !keep,
                        inputs,
                        held,
                    )?
                }
                MountKind::Cache(cache) => sandbox::MountKind::Bind {
                    source: self.cache_directory(pinned, vertex, cache, inputs, held)?,
                    readonly: mount.readonly,
                },
                MountKind::Tmpfs { size_kib } => {
                    sandbox::MountKind::Tmpfs { size: u64::from(*size_kib) << 10, mode: 0o1777 }
                }
                MountKind::Secret(client) => match self.secret(vertex, client)? {
                    Some(content) => sandbox::MountKind::File {
                        content,
                        mode: client.mode,
                        uid: client.uid,
                        gid: client.gid,
                    },
                    None => continue,
                },
                MountKind::Ssh(client) => match self.agent(vertex, client, &mut held.forwards)? {
                    Some(source) => sandbox::MountKind::Bind { source, readonly: false },
                    None => continue,
                },
            };
            made.push((index, sandbox::Mount { target: PathBuf::from(&mount.target), kind }));
        }
        made.sort_by_key(|(index, _)| *index);
        Ok(made.into_iter().map(|(_, mount)| mount).collect())
    }

    /// A directory or file of another stack. What is selected out of it is laid out as a layer of its own.
    fn bind(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        (index, input, selector): (usize, usize, &str),
        readonly: bool,
        inputs: &[Stack],
        held: &mut Held,
    ) -> Result<sandbox::MountKind, BuildError> {
        let whole = TreePath::clean(selector).is_root();
        let (stack, name) = if whole {
            (self.stack_of(&pinned.graph, vertex, input, inputs)?, None)
        } else {
            let merged = self.input_merged(&pinned.graph, vertex, input, inputs)?;
            let wanted = TreePath::clean(selector);
            let found = merged.resolve(&wanted, Follow::Last).ok().and_then(|resolved| {
                resolved.found.map(|found| (resolved.path.clone(), found.is_directory()))
            });
            let Some((path, directory)) = found else {
                return Err(BuildError::wrong(
                    Diagnostic::error(
                        "mount-source-not-found",
                        format!("`{}` is not there to be mounted", wanted.display()),
                    )
                    .at_origin(&vertex.origin)
                    .help("check `source=`; files of the context may be left out by .dockerignore"),
                ));
            };
            let layer = self.selected_layer(&merged, &path, directory)?;
            let name = (!directory).then(|| path.name().to_vec());
            (Stack(vec![layer]), name)
        };
        let mut lowers = self.forms.lowers(&stack, &mut held.layers)?;
        if lowers.is_empty() {
            lowers.push(self.forms.empty_directory()?);
        }
        if let Some(name) = name {
            let file = lowers[0].join(os_path(&name));
            if readonly {
                return Ok(sandbox::MountKind::Bind { source: file, readonly: true });
            }
            // A writable file: its changes are thrown away with the copy.
            let directory = self.forms.empty_directory()?;
            let copy = directory.join(os_path(&name));
            std::fs::copy(&file, &copy)
                .map_err(|error| BuildError::world(format!("could not copy `{}`", copy.display()), error))?;
            return Ok(sandbox::MountKind::Bind { source: copy, readonly: false });
        }
        if readonly && lowers.len() == 1 {
            return Ok(sandbox::MountKind::Bind { source: lowers.remove(0), readonly: true });
        }
        self.kept_bind(index, stack, lowers, held)
    }

    /// A writable bind whose changes can become a layer.
    fn kept_bind(
        &self,
        index: usize,
        stack: Stack,
        lowers: Vec<PathBuf>,
        held: &mut Held,
    ) -> Result<sandbox::MountKind, BuildError> {
        let merged = self.merged(&stack)?;
        let step = self.forms.begin_step(&merged)?;
        let kind = sandbox::MountKind::Overlay {
            lowers,
            upper: step.upper().to_owned(),
            work: step.work().to_owned(),
        };
        let below = self.trees(&stack)?;
        held.steps.push((index, stack, below, step));
        Ok(kind)
    }

    /// The directory of a cache mount, made from its seed the first time.
    fn cache_directory(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        cache: &CacheMount,
        inputs: &[Stack],
        held: &mut Held,
    ) -> Result<PathBuf, BuildError> {
        let seed = match cache.seed {
            Some(input) => Some(self.stack_of(&pinned.graph, vertex, input, inputs)?),
            None => None,
        };
        let start = match &seed {
            Some(stack) => stack.id().to_string(),
            None => format!("{:o} {} {}", cache.mode, cache.uid, cache.gid),
        };
        let identity = kiln_core::Digest::of(format!("kiln cache mount 1\n{start}\n{}", cache.id).as_bytes());
        let sharing = match cache.sharing {
            Sharing::Shared => kiln_store::CacheSharing::Shared,
            Sharing::Private => kiln_store::CacheSharing::Private,
            Sharing::Locked => kiln_store::CacheSharing::Locked,
        };
        let directory = self
            .driver
            .store
            .cache_mount(&identity, &cache.id, sharing, self.cancel_of(pinned), &mut |new| match &seed {
                Some(stack) => self.seed(stack, new).map_err(|error| std::io::Error::other(one_line(&error))),
                None => kiln_store::own(new, cache.mode, cache.uid, cache.gid),
            })
            .map_err(|error| {
                BuildError::world(format!("could not open the cache mount `{}`", cache.id), error)
            })?;
        if self.cancel_of(pinned).is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let path = directory.below(&TreePath::clean(&cache.selector)).map_err(|error| {
            BuildError::world(format!("could not open the cache mount `{}`", cache.id), error)
        })?;
        held.caches.push(directory);
        Ok(path)
    }

    /// Fills a new cache mount with what it starts from.
    fn seed(&self, stack: &Stack, to: &Path) -> Result<(), BuildError> {
        let tree = whole_tree(&self.merged(stack)?);
        self.forms.directories_for(&tree)?;
        self.driver
            .store
            .write_into(to, &tree, &|place, path| self.forms.open_outside(place, path))
            .map_err(|error| BuildError::world("could not copy what the cache mount starts from", error))
    }

    fn check_rights(&self, vertex: &Vertex, op: &ExecOp) -> Result<(), BuildError> {
        if op.security == Security::Insecure {
            self.demand(vertex, "security.insecure", "a step without protections")?;
        }
        match op.devices.iter().find(|device| device.required) {
            None => Ok(()),
            Some(device) => Err(BuildError::wrong(
                Diagnostic::error("device-missing", format!("there is no device `{}`", device.name))
                    .at_origin(&vertex.origin)
                    .help("kiln has no CDI devices; leave out `required` if the step can do without"),
            )),
        }
    }

    pub(crate) fn demand(&self, vertex: &Vertex, right: &str, what: &str) -> Result<(), BuildError> {
        if self.request.allow.iter().any(|allowed| allowed == right) {
            return Ok(());
        }
        Err(BuildError::wrong(
            Diagnostic::error("not-allowed", format!("the step wants {what}, which was not granted"))
                .at_origin(&vertex.origin)
                .help(format!("if you trust this build file, add `--allow {right}`")),
        ))
    }

    fn run_user(&self, vertex: &Vertex, op: &ExecOp, root: &Merged) -> Result<Credentials, BuildError> {
        let mut world = World::alone(&self.forms);
        users::credentials(&op.user, &mut |file| fileop::account_file(root, &mut world, file)).map_err(
            |error| {
                BuildError::wrong(
                    Diagnostic::error("unknown-user", error.to_string())
                        .at_origin(&vertex.origin)
                        .help("make the user in an earlier RUN, or use a numeric id"),
                )
            },
        )
    }

    /// Variables in the order in which later ones win, with the ones that are no part of the step's key.
    fn environment(&self, op: &ExecOp, user: &Credentials) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(String, String)> = Vec::new();
        let mut set = |name: &str, value: &str| match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => env.push((name.to_owned(), value.to_owned())),
        };
        for (name, value) in &op.env {
            set(name, value);
        }
        for (name, value) in &self.request.proxies {
            for name in [name.to_uppercase(), name.to_lowercase()] {
                if !op.env.iter().any(|(known, _)| *known == name) {
                    set(&name, value);
                }
            }
        }
        if !op.env.iter().any(|(name, _)| name == "PATH") {
            set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        if !op.env.iter().any(|(name, _)| name == "HOME") {
            set("HOME", &String::from_utf8_lossy(&user.home));
        }
        env.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn ulimits(&self, vertex: &Vertex, op: &ExecOp) -> Result<Vec<sandbox::Ulimit>, BuildError> {
        let unlimited = |value: u64| (value != u64::MAX).then_some(value);
        let mut limits: Vec<sandbox::Ulimit> = Vec::new();
        for limit in &op.ulimits {
            let resource = sandbox::Resource::parse(&limit.name).ok_or_else(|| {
                BuildError::wrong(
                    Diagnostic::error("unknown-ulimit", format!("there is no limit called `{}`", limit.name))
                        .at_origin(&vertex.origin),
                )
            })?;
            limits.retain(|known| known.resource != resource);
            limits.push(sandbox::Ulimit {
                resource,
                soft: unlimited(limit.soft),
                hard: unlimited(limit.hard),
            });
        }
        Ok(limits)
    }

    /// The sandbox could not start the command: mostly the command is to blame, otherwise the machine.
    fn not_run(
        &self,
        pinned: &Pinned,
        id: VertexId,
        op: &ExecOp,
        error: sandbox::SandboxError,
    ) -> BuildError {
        if self.cancel_of(pinned).is_cancelled() {
            return BuildError::Cancelled;
        }
        let vertex = &pinned.graph[id];
        match is_about_the_program(&error) {
            true => {
                let how = format!("could not be started: {}", one_line(&error));
                failed(pinned.shown(id), vertex, op, &how, start_help(&error))
            }
            false => BuildError::World {
                what: format!("could not run `{}`", vertex.name),
                source: Some(error.into()),
                help: self.driver.one_user(),
            },
        }
    }

    /// Whether a step that wants the default network gets the machine's, which is said once.
    fn shares_network(&self) -> Result<bool, BuildError> {
        let sandbox::Availability::Host { reason } = self.sandbox()?.private_network() else {
            return Ok(false);
        };
        if !self.told_network.swap(true, Ordering::Relaxed) {
            let note = format!("steps share the machine's network: {reason}");
            self.events.emit(Event::Diagnostic(Diagnostic::new(Severity::Info, "shared-network", note)));
        }
        Ok(true)
    }

    fn report_gateway(&self, vertex: &Vertex, name: &str) {
        let message =
            format!("`{name}` leads nowhere: this step's network does not reach the machine's own addresses");
        self.events.emit(Event::Diagnostic(
            Diagnostic::warning("no-gateway", message)
                .at_origin(&vertex.origin)
                .help("run the step with `--network=host` to reach what listens on this machine"),
        ));
    }
}

/// Gives each process of a step so much memory of its own. A step without protections can lift such a limit, so it is not
/// run under one.
fn limit_memory(
    vertex: &Vertex,
    op: &ExecOp,
    limits: &mut Vec<sandbox::Ulimit>,
    memory_mib: u32,
    policy: &str,
) -> Result<(), BuildError> {
    if op.security == Security::Insecure {
        let what =
            format!("the policy `{policy}` limits the memory of this step, which runs without protections");
        return Err(BuildError::wrong(
            Diagnostic::error("memory-limit", what)
                .at_origin(&vertex.origin)
                .help("such a step could lift its limits; leave out `--security=insecure`"),
        ));
    }
    let most = u64::from(memory_mib) << 20;
    let lower = |known: Option<u64>| Some(known.map_or(most, |known| known.min(most)));
    let resource = sandbox::Resource::Data;
    match limits.iter_mut().find(|limit| limit.resource == resource) {
        Some(limit) => (limit.soft, limit.hard) = (lower(limit.soft), lower(limit.hard)),
        None => limits.push(sandbox::Ulimit { resource, soft: Some(most), hard: Some(most) }),
    }
    Ok(())
}

/// The command is to blame and not the machine.
pub(crate) fn is_about_the_program(error: &sandbox::SandboxError) -> bool {
    use sandbox::SandboxError as E;
    matches!(
        error,
        E::ProgramNotFound { .. }
            | E::NoInterpreter { .. }
            | E::NotExecutable { .. }
            | E::ExecFormat { .. }
            | E::Spec(_)
    )
}

fn start_help(error: &sandbox::SandboxError) -> &'static str {
    match error {
        sandbox::SandboxError::ProgramNotFound { program, .. } if program == "/bin/sh" => {
            "this stage has no shell; use the JSON form, or start from an image that has one"
        }
        sandbox::SandboxError::ExecFormat { .. } => {
            "the program is for another processor; build it for this one, or register an emulator with binfmt_misc"
        }
        _ => "",
    }
}

fn succeeded(op: &ExecOp, code: i32) -> bool {
    match op.ok_exit_codes[..] {
        [] => code == 0,
        ref codes => u32::try_from(code).is_ok_and(|code| codes.contains(&code)),
    }
}

/// How much of a command an error has.
const SHOWN_CHARACTERS: usize = 120;

fn failed(shown: VertexId, vertex: &Vertex, op: &ExecOp, how: &str, help: &str) -> BuildError {
    let command = match &op.args[..] {
        [shell, flag, text] if flag == "-c" && shell.ends_with("sh") => text.clone(),
        args => args.join(" "),
    };
    let is_long = command.contains('\n') || command.chars().nth(SHOWN_CHARACTERS).is_some();
    let command = match command.char_indices().nth(SHOWN_CHARACTERS) {
        // Of a script that stands in no build file, its plugin's name for the step says more than its beginning.
        _ if is_long && vertex.origin.is_empty() && !vertex.name.is_empty() => vertex.name.clone(),
        Some((cut, _)) => format!("{}…", &command[..cut]),
        None => command,
    };
    let diagnostic = Diagnostic::error("step-failed", format!("`{}` {how}", command.replace('\n', "⏎")))
        .at_origin(&vertex.origin)
        .help(help);
    let findings = Vec::new();
    BuildError::Step(Box::new(StepFailure { vertex: shown, name: vertex.name.clone(), diagnostic, findings }))
}

fn os_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}
