//! Conducts the passes, wiring rooms to core's traits.
//!
//! [`Driver::build`] is plan, resolve, solve, export; each makes the type that the next one takes.
#![forbid(unsafe_code)]

mod agent;
mod archive;
mod artifact;
mod authoring;
mod call;
mod client;
mod context;
mod derive;
mod diff;
mod early;
mod error;
mod exec;
mod explain;
mod export;
mod forms;
mod frontend;
mod hosts;
mod images;
mod lazy;
mod lowers;
mod outcome;
mod plan;
mod plugins;
mod policy;
mod proposal;
mod registries;
mod request;
mod resolve;
mod run;
mod secrets;
mod services;
mod session;
mod solve;
mod source;
mod syntax;
mod timed;
mod transform;
mod views;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use kiln_core::{Cancel, EventSink};
pub use kiln_oci::document::parse_time;
pub use kiln_oci::registry::HostConfig as RegistryHost;
pub use kiln_plugin::{
    ArgumentInfo, Builtin, CheckReport, Compiling, EjectedFile, FrontendChoice, Grant, GrantError, LoadError,
    Need, Outline, Pattern, PluginOption, PluginSummary, Rule, TargetInfo, componentize, record,
};
use kiln_sandbox::Sandbox;
pub use kiln_sandbox::enter_if_helper;
use kiln_store::{OwnerMapping, Store};
pub use kiln_store::{PruneOptions, Pruned};

pub use agent::SshSource;
pub use artifact::{
    Fetching, InspectedPlugin, LockUse, PublishedPlugin, PulledPlugin, SCHEME as PLUGIN_SCHEME, Trust,
    UpdatedPlugin, plugin_reference,
};
pub use call::{Check, Finding};
pub use context::local_context;
pub use error::{BuildError, StepFailure};
pub use images::{FileRow, HistoryRow, ImageRow, ImportRequest, SaveFormat};
pub use outcome::{BuiltImage, Counts, Outcome, SourceTexts, Top, UsedPlugin, Written};
pub use plugins::{Origin, PluginSetup, PluginSource, PluginUse, PolicyMode};
pub use policy::{
    ActivePolicy, Date, Exemption, ExemptionError, PolicyFinding, PolicyOutcome, PolicyReport, UsedExemption,
};
pub use proposal::{Proposal, ProposedStep};
pub use request::{
    BuildFile, BuildRequest, Compression, ContextLocation, Destination, NetworkMode, OutputKind, OutputSpec,
    Secret,
};
pub use run::{BindVolume, ProgramExit, RunRequest};
pub use views::MAX_BUILD_FILE_BYTES;

use forms::lock;
use session::Session;

/// Where a driver works and what it may reach.
#[derive(Debug)]
pub struct Settings {
    /// The store's directory.
    pub root: PathBuf,
    pub registries: BTreeMap<String, RegistryHost>,
    pub builtins: &'static [Builtin],
    pub trust: Trust,
    /// Ends what waits for a registry.
    pub cancel: Arc<Cancel>,
}

/// Everything that builds share: the store, the plugins, the sandbox. Holds no globals; one per process is usual.
pub struct Driver {
    store: Store,
    registries: registries::Registries,
    trust: Trust,
    /// Of the build that is to come.
    lock_use: Mutex<LockUse>,
    fetching: Mutex<Option<Arc<Fetching>>>,
    web: kiln_oci::web::Web,
    /// Replaced as a whole when one is added: a build asks those there were when it began.
    plugins: Mutex<Arc<kiln_plugin::Host>>,
    /// Of those that do not ship with kiln, how they came to be there.
    loaded: Mutex<Vec<plugins::Loaded>>,
    exemptions: Mutex<Vec<policy::Scoped>>,
    /// What policies said of other plugins when those were loaded.
    noticed: Mutex<policy::Noticed>,
    /// Names that build files may ask for.
    syntax_allow: Mutex<Vec<Pattern>>,
    sandbox: OnceLock<Sandbox>,
    starting: Mutex<()>,
    /// Why steps cannot have other users.
    one_user: Option<String>,
}

/// To be called before the first thread is started: an unprivileged kiln enters a user namespace, in which it may make
/// mounts and have several user ids.
pub fn prepare_process() -> Result<Privileges, BuildError> {
    match kiln_sandbox::enter_user_namespace() {
        Ok(kiln_sandbox::Identity::Privileged) => {
            Ok(Privileges { owners: OwnerMapping::Root, one_user: None })
        }
        Ok(kiln_sandbox::Identity::Mapped { .. }) => {
            Ok(Privileges { owners: OwnerMapping::User, one_user: None })
        }
        Ok(kiln_sandbox::Identity::Single { reason }) => {
            Ok(Privileges { owners: OwnerMapping::User, one_user: Some(reason) })
        }
        Err(error) => Err(BuildError::world("kiln cannot make namespaces here", error)),
    }
}

/// Which users there are for kiln.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// Whose ids the files of the store carry.
    owners: OwnerMapping,
    /// Why there is no user inside but root, if so.
    one_user: Option<String>,
}

impl Driver {
    /// Opens the store, and nothing else yet.
    pub fn open(settings: Settings, privileges: Privileges) -> Result<Self, BuildError> {
        let store = Store::open(&settings.root, privileges.owners).map_err(|error| {
            BuildError::world(format!("could not open the store `{}`", settings.root.display()), error)
        })?;
        let plugins = kiln_plugin::Host::new(settings.builtins, &store.root().join("plugins"));
        Ok(Self {
            store,
            web: kiln_oci::web::Web::new(kiln_oci::Patience::DEFAULT, settings.cancel.clone()),
            registries: registries::Registries::new(settings.registries, settings.cancel),
            trust: settings.trust,
            lock_use: Mutex::default(),
            fetching: Mutex::default(),
            plugins: Mutex::new(Arc::new(plugins)),
            loaded: Mutex::default(),
            exemptions: Mutex::default(),
            noticed: Mutex::default(),
            syntax_allow: Mutex::default(),
            sandbox: OnceLock::new(),
            starting: Mutex::new(()),
            one_user: privileges.one_user,
        })
    }

    /// Help for what may have failed because there are no other users here; empty where there are.
    fn one_user(&self) -> String {
        match &self.one_user {
            None => String::new(),
            Some(reason) => format!(
                "kiln has one user here ({reason}), so steps cannot become another one or give files to one; \
                 add ranges for this user to /etc/subuid and /etc/subgid, or run kiln as root"
            ),
        }
    }

    /// Those that there are now.
    fn host(&self) -> Arc<kiln_plugin::Host> {
        lock(&self.plugins).clone()
    }

    pub fn plugins(&self) -> Result<Vec<PluginSummary>, BuildError> {
        self.host().plugins().map_err(|error| BuildError::world("could not look into a plugin", error))
    }

    /// What ships with kiln and takes part in no build until somebody asks for it.
    pub fn shelved_plugins(&self) -> Result<Vec<PluginSummary>, BuildError> {
        self.host().shelved().map_err(|error| BuildError::world("could not look into a plugin", error))
    }

    /// What the plugin of this name, or in this file, says about itself. `builtin:NAME` is one that ships with kiln.
    pub fn inspect_plugin(&self, plugin: &str) -> Result<PluginSummary, BuildError> {
        let shipped = plugin.strip_prefix("builtin:");
        let known = self.plugins()?.into_iter().chain(self.shelved_plugins()?);
        let mut known = known.filter(|known| shipped.is_none() || known.builtin);
        if let Some(found) = known.find(|known| known.name == shipped.unwrap_or(plugin)) {
            return Ok(found);
        }
        if let Some(name) = shipped {
            let message = format!("no plugin called `{name}` ships with kiln");
            return Err(BuildError::wrong(
                kiln_core::Diagnostic::error("plugin", message).help("`kiln plugin ls` shows those that do"),
            ));
        }
        self.host().inspect(Path::new(plugin)).map_err(|error| plugin_refused(Path::new(plugin), error))
    }

    /// Builds what is asked for.
    ///
    /// `sources` gets the texts of build files as they are read, for whoever shows messages.
    ///
    /// # Errors
    ///
    /// See [`BuildError`]. Whatever was complete by then stays in the store; nothing half-written has a final name.
    pub fn build(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Outcome, BuildError> {
        let (outcome, worked) = self.passes(request, sources, events, cancel);
        // What steps leave behind takes room. After a failure, which may have been for want of it, all of it goes now;
        // else what is not gone in a moment can wait for the next build.
        match (&outcome, worked) {
            (Ok(_), true) => drop(self.store.sweep().wait_at_most(SWEEP)),
            (Err(_), _) => drop(self.store.sweep().wait()),
            (Ok(_), false) => {}
        }
        outcome.map_err(|error| self.about_users(error))
    }

    /// What policies say of a build as far as that can be known before anything runs: its sources, its graph, its commands.
    ///
    /// # Errors
    ///
    /// As [`Self::build`]; a denial is [`BuildError::Wrong`].
    pub fn judge(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<PolicyReport, BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.show_noticed();
        session.choose_frontend()?;
        let plan = session.plan()?;
        session.resolve(plan)?;
        session.remember_contexts();
        Ok(session.policies.report())
    }

    /// Says of a file that could not be given to its owner what that may have to do with.
    fn about_users(&self, mut error: BuildError) -> BuildError {
        if let BuildError::World { source: Some(source), help, .. } = &mut error
            && help.is_empty()
        {
            let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&**source);
            while let Some(error) = cause {
                let number = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
                if number == Some(rustix::io::Errno::INVAL.raw_os_error()) {
                    *help = self.one_user();
                }
                cause = error.source();
            }
        }
        error
    }

    /// The passes, and whether anything was solved or went wrong.
    fn passes(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> (Result<Outcome, BuildError>, bool) {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.show_noticed();
        let chosen = session.choose_frontend();
        let pinned = chosen.and_then(|()| session.plan()).and_then(|plan| session.resolve(plan));
        let mut pinned = match pinned {
            Ok(pinned) => pinned,
            Err(error) => return (Err(error), false),
        };
        session.remember_contexts();
        session.announce(&pinned);
        let reported = |outcome| {
            let outcome = session.with_plugins(session.with_early_steps(outcome));
            Outcome { policy: session.policies.report(), ..outcome }
        };
        match session.known_outcome(&pinned) {
            Ok(Some(outcome)) => return (Ok(reported(outcome)), false),
            Ok(None) => {}
            Err(error) => return (Err(error), true),
        }
        pinned.before = session.last_notes();
        // What earlier builds wrote is brought to the disk meanwhile, and need not be checked after a power loss.
        let _flush = self.store.flush();
        let solved = session.solve(&pinned, kiln_core::solve::Need::Blob);
        let outcome = solved.and_then(|solved| {
            session.keep_notes(&pinned);
            let solved = session.transform(solved)?;
            session.export(&solved).map(reported)
        });
        (outcome, true)
    }

    /// The helper that runs steps, started when the first one comes.
    fn sandbox(&self) -> Result<&Sandbox, BuildError> {
        self.started(&self.sandbox, None)
    }

    /// What is in `place`, put there first if need be.
    fn started<'s>(
        &self,
        place: &'s OnceLock<Sandbox>,
        cgroup: Option<&str>,
    ) -> Result<&'s Sandbox, BuildError> {
        if let Some(sandbox) = place.get() {
            return Ok(sandbox);
        }
        let _starting = lock(&self.starting);
        match place.get() {
            Some(sandbox) => Ok(sandbox),
            None => {
                let sandbox = Sandbox::start_in(cgroup)
                    .map_err(|error| BuildError::world("could not start the sandbox", error))?;
                Ok(place.get_or_init(|| sandbox))
            }
        }
    }
}

/// How long a build that went well waits for what it leaves behind to be deleted.
const SWEEP: Duration = Duration::from_millis(50);

/// A file given as a plugin is part of what was asked for: if it is none, the build is wrong.
fn plugin_refused(file: &Path, error: LoadError) -> BuildError {
    let why = match &error {
        LoadError::Refused { refusal, .. } => forms::one_line(refusal),
        error => forms::one_line(error),
    };
    BuildError::wrong(kiln_core::Diagnostic::error(
        "plugin",
        format!("the plugin `{}` cannot be used: {why}", file.display()),
    ))
}

/// Whether `bytes` are an archive that can be a build context: a tar, plain or compressed.
pub fn is_archive(bytes: &[u8]) -> bool {
    kiln_oci::sniff(bytes) != kiln_oci::Compression::None || kiln_oci::is_tar(bytes)
}

/// Whether a context is an address and not a path.
pub fn is_remote_context(context: &str) -> bool {
    source::address::is_remote(context)
}

/// Raises `cancel` and wakes all who wait for it.
fn stop(cancel: &Cancel) {
    cancel.raise(1);
    if let Some(bell) = cancel.wake_fd() {
        // An eventfd takes what it gives; when its counter is full somebody has rung already.
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    }
}
