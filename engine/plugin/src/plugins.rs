//! The plugins of this process: which there are, loaded when somebody wants them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_core::{Cancel, Digest, Platform};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::bindings::wit::instruction_types::Descriptor;
use crate::bridge::serve;
use crate::cache::{Cache, Compiling};
use crate::call::Instance;
use crate::component::Plugin;
use crate::contract;
use crate::dispatch::{Definer, Registry};
use crate::error::{CallError, Failure, LoadError, PluginError, PluginId, Refusal};
use crate::limits::Limits;
use crate::shape::{self, Shape};
use crate::state::Session;
use crate::summary::{About, PluginSummary};
use crate::{aot, engine};

/// A component that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// As the component calls itself.
    pub name: &'static str,
    pub wasm: &'static [u8],
    /// SHA-256 of `wasm`.
    pub digest: [u8; 32],
    /// What [`crate::compile`] made of `wasm`, or nothing. It is run as it is: put nothing else here. Loads fastest when
    /// it begins on a page.
    pub aot: &'static [u8],
}

/// All that may be granted, and all that is to what ships with kiln.
const EVERYTHING: [&str; 4] = ["context", "resolve", "solve", "instructions"];

/// Knows the plugins of a build, and asks them. A value: a clone with one more plugin is another host, and no lock is held
/// while components run.
#[derive(Clone)]
pub struct Host {
    pub(crate) limits: Limits,
    cache: Cache,
    builtins: Vec<Shipped>,
    added: Vec<Arc<Added>>,
    /// Capability and name of a plugin.
    grants: Vec<(String, String)>,
    /// Keyword and name of the plugin that is to have it.
    preferred: Vec<(String, String)>,
    registry: OnceLock<Arc<Registry>>,
}

#[derive(Clone)]
struct Shipped {
    builtin: Builtin,
    /// The same for all clones.
    loaded: Arc<OnceLock<Arc<Plugin>>>,
}

/// A plugin from a file.
struct Added {
    plugin: Arc<Plugin>,
    descriptors: Vec<Descriptor>,
    summary: PluginSummary,
}

/// A file that was read and asked about itself, with nothing granted.
struct Candidate {
    id: PluginId,
    shape: Shape,
    component: Component,
    descriptors: Vec<Descriptor>,
    summary: PluginSummary,
}

impl Host {
    /// Loads nothing yet. `cache` is a directory of this user's alone for compiled components; made when needed.
    pub fn new(builtins: &[Builtin], cache: &Path) -> Self {
        Self {
            limits: Limits::default(),
            cache: Cache::new(cache),
            builtins: builtins
                .iter()
                .map(|builtin| Shipped { builtin: *builtin, loaded: Arc::default() })
                .collect(),
            added: Vec::new(),
            grants: Vec::new(),
            preferred: Vec::new(),
            registry: OnceLock::new(),
        }
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// `hear` gets the name of a plugin that takes long to compile, from another thread.
    pub fn on_compiling(&mut self, hear: Arc<Compiling>) {
        self.cache.on_compiling(hear);
    }

    /// Lets a plugin that is added later have a capability that is not given to everyone who is named: `context`,
    /// `resolve`, `solve` or `instructions`.
    pub fn grant(&mut self, capability: &str, plugin: &str) {
        self.grants.push((capability.to_owned(), plugin.to_owned()));
    }

    /// Gives a keyword to one of the plugins that define it. Without this, two that do are an error.
    pub fn prefer(&mut self, keyword: &str, plugin: &str) {
        self.preferred.push((keyword.to_owned(), plugin.to_owned()));
    }

    /// Takes a plugin from a file that the user named. `name` replaces what it calls itself.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no plugin, or asks for more than it may have.
    pub fn add(&mut self, name: Option<&str>, file: &Path) -> Result<(), LoadError> {
        let engine = engine(name.unwrap_or("plugin"))?;
        let candidate = self.candidate(engine, name, file)?;
        let refuse = |refusal| LoadError::Refused { plugin: Box::new(candidate.id.clone()), refusal };
        let called = &candidate.id.name;
        if self
            .added
            .iter()
            .any(|added| added.plugin.id.name == *called && added.plugin.id.digest == candidate.id.digest)
        {
            return Ok(());
        }
        if self.known_names().contains(called.as_str()) {
            return Err(refuse(Refusal::NameTaken(called.clone())));
        }
        if let Some(kind) = candidate.summary.kinds.iter().find(|kind| !contract::ASKED.contains(kind)) {
            return Err(refuse(Refusal::NotAsked { kind }));
        }
        let granted = self.granted(&candidate.shape, called);
        for capability in contract::capabilities(&candidate.shape) {
            if !granted.contains(&capability) {
                return Err(refuse(Refusal::NotGranted { capability, name: called.clone() }));
            }
        }
        let plugin = Plugin::link(candidate.id.clone(), engine, candidate.component.clone(), &granted)
            .map_err(refuse)?;
        self.added.push(Arc::new(Added {
            plugin: Arc::new(plugin),
            descriptors: candidate.descriptors,
            summary: candidate.summary,
        }));
        self.registry = OnceLock::new();
        Ok(())
    }

    /// What a file says about itself, with nothing granted to it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no plugin.
    pub fn inspect(&self, file: &Path) -> Result<PluginSummary, LoadError> {
        let engine = engine("plugin")?;
        Ok(self.candidate(engine, None, file)?.summary)
    }

    /// Everything loaded and built in, in that order of precedence: built-in first.
    ///
    /// # Errors
    ///
    /// When a built-in component does not work here.
    pub fn plugins(&self) -> Result<Vec<PluginSummary>, LoadError> {
        let mut all = Vec::new();
        for shipped in &self.builtins {
            let plugin = self.shipped(shipped)?;
            let about = self.about(plugin)?;
            let shape = shape::read(shipped.builtin.wasm)
                .map_err(|refusal| LoadError::Refused { plugin: Box::new(plugin.id.clone()), refusal })?;
            let size = shipped.builtin.wasm.len() as u64;
            all.push(PluginSummary::new(&plugin.id, &shape, &about, size, true));
        }
        all.extend(self.added.iter().map(|added| added.summary.clone()));
        Ok(all)
    }

    fn known_names(&self) -> BTreeSet<&str> {
        let shipped = self.builtins.iter().map(|shipped| shipped.builtin.name);
        let added = self.added.iter().map(|added| added.plugin.id.name.as_str());
        shipped.chain(added).collect()
    }

    /// What a plugin named by the user may have: contexts in any case, the rest by its kind or by name.
    fn granted(&self, shape: &Shape, name: &str) -> Vec<&'static str> {
        let is_frontend = contract::kinds(shape).contains(&"frontend");
        EVERYTHING
            .into_iter()
            .filter(|capability| {
                let by_kind = match *capability {
                    "context" => true,
                    "resolve" | "instructions" => is_frontend,
                    _ => false,
                };
                by_kind || self.grants.iter().any(|(what, who)| what == capability && who == name)
            })
            .collect()
    }

    fn candidate(&self, engine: &Engine, name: Option<&str>, file: &Path) -> Result<Candidate, LoadError> {
        let wasm = fs::read(file).map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
        // Until it has said what it is called, a plugin is called as its file is.
        let mut id = PluginId {
            name: name.map_or_else(|| file.display().to_string(), str::to_owned),
            version: String::new(),
            digest: Digest::of(&wasm),
        };
        let read = || {
            let shape = shape::read(&wasm)?;
            contract::check_imports(&shape)?;
            contract::check_exports(&shape)?;
            let component = self.cache.component(engine, &id.name, &id.digest, &wasm)?;
            let open = Plugin::link(id.clone(), engine, component.clone(), &EVERYTHING)?;
            Ok((shape, component, open))
        };
        let (shape, component, open) =
            read().map_err(|refusal| LoadError::Refused { plugin: Box::new(id.clone()), refusal })?;
        let about = self.about(&Arc::new(open))?;
        if name.is_none() {
            id.name.clone_from(&about.name);
        }
        id.version.clone_from(&about.version);
        if !is_name(&id.name) {
            return Err(LoadError::Refused { refusal: Refusal::Name(id.name.clone()), plugin: Box::new(id) });
        }
        let summary = PluginSummary::new(&id, &shape, &about, wasm.len() as u64, false);
        Ok(Candidate { id, shape, component, descriptors: about.descriptors, summary })
    }

    /// Asks a component about itself. Nobody answers what it asks.
    fn about(&self, plugin: &Arc<Plugin>) -> Result<About, LoadError> {
        let engine = plugin.component.engine();
        let limits = self.limits;
        let asked = serve(engine, None, &Cancel::default(), |line| {
            let session = Session::open(line, limits, Platform::default());
            let mut instance = Instance::start(plugin, &session, 0)?;
            let guest = instance.describe()?;
            let info = instance.call("describe", |store| guest.call_describe(store))?;
            let descriptors = if plugin.hooks.instruction.is_some() {
                let guest = instance.instruction()?;
                instance.call("instructions", |store| guest.call_instructions(store))?
            } else {
                Vec::new()
            };
            Ok(About::new(info, descriptors))
        })
        .map_err(|source| LoadError::Thread { source })?;
        asked.map_err(|error| match error {
            CallError::Failed(error) => LoadError::Failed(error),
            CallError::Cancelled => unreachable!("nobody can cancel this call"),
        })
    }

    fn shipped<'a>(&self, shipped: &'a Shipped) -> Result<&'a Arc<Plugin>, LoadError> {
        if let Some(plugin) = shipped.loaded.get() {
            return Ok(plugin);
        }
        let builtin = &shipped.builtin;
        let id = PluginId {
            name: builtin.name.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: Digest::from_bytes(builtin.digest),
        };
        let engine = engine(builtin.name)?;
        let embedded = if builtin.aot.is_empty() {
            None
        } else {
            // Made for another kind of processor; the cache has room for what fits here.
            aot::embedded(engine, builtin.aot).ok()
        };
        let load = || {
            let component = match embedded {
                Some(component) => component,
                None => self.cache.component(engine, builtin.name, &id.digest, builtin.wasm)?,
            };
            Plugin::link(id.clone(), engine, component, &EVERYTHING)
        };
        let plugin =
            load().map_err(|refusal| LoadError::Refused { plugin: Box::new(id.clone()), refusal })?;
        Ok(shipped.loaded.get_or_init(|| Arc::new(plugin)))
    }

    /// A component by the name that messages and the user give it.
    pub(crate) fn by_name(&self, name: &str) -> Result<Option<Arc<Plugin>>, LoadError> {
        if let Some(added) = self.added.iter().find(|added| added.plugin.id.name == name) {
            return Ok(Some(Arc::clone(&added.plugin)));
        }
        match self.builtins.iter().find(|shipped| shipped.builtin.name == name) {
            Some(shipped) => Ok(Some(Arc::clone(self.shipped(shipped)?))),
            None => Ok(None),
        }
    }

    pub(crate) fn by_digest(&self, digest: &Digest) -> Result<Option<Arc<Plugin>>, LoadError> {
        if let Some(added) = self.added.iter().find(|added| added.plugin.id.digest == *digest) {
            return Ok(Some(Arc::clone(&added.plugin)));
        }
        match self.builtins.iter().find(|shipped| shipped.builtin.digest == *digest.as_bytes()) {
            Some(shipped) => Ok(Some(Arc::clone(self.shipped(shipped)?))),
            None => Ok(None),
        }
    }

    /// Every component that exports a frontend, by name.
    pub(crate) fn frontends(&self) -> Result<Vec<String>, LoadError> {
        let mut names = Vec::new();
        for shipped in &self.builtins {
            let plugin = self.shipped(shipped)?;
            if plugin.hooks.frontend.is_some() {
                names.push(plugin.id.name.clone());
            }
        }
        for added in &self.added {
            if added.plugin.hooks.frontend.is_some() {
                names.push(added.plugin.id.name.clone());
            }
        }
        Ok(names)
    }

    /// Components with instructions; those from files have said already what they define.
    pub(crate) fn definers(&self) -> Result<Vec<Definer>, LoadError> {
        let mut all = Vec::new();
        for shipped in &self.builtins {
            let plugin = self.shipped(shipped)?;
            if plugin.hooks.instruction.is_some() {
                all.push(Definer { plugin: Arc::clone(plugin), descriptors: None });
            }
        }
        for added in &self.added {
            if added.plugin.hooks.instruction.is_some() {
                all.push(Definer {
                    plugin: Arc::clone(&added.plugin),
                    descriptors: Some(added.descriptors.clone()),
                });
            }
        }
        Ok(all)
    }

    pub(crate) fn preferred(&self) -> &[(String, String)] {
        &self.preferred
    }

    /// Filled by the first call that needs it.
    pub(crate) fn registry(&self) -> &OnceLock<Arc<Registry>> {
        &self.registry
    }
}

/// `[a-z][a-z0-9-]*`, as the contract has it for `plugin-info.name`.
fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The engine of this process, or why there is none, said about the plugin that was to run.
pub(crate) fn engine(plugin: &str) -> Result<&'static Engine, PluginError> {
    engine::engine().map_err(|error| PluginError {
        plugin: Box::new(PluginId {
            name: plugin.to_owned(),
            version: String::new(),
            digest: Digest::of(b""),
        }),
        hook: "start".to_owned(),
        failure: Failure::Start(format!("{error:#}")),
    })
}

/// Threads that build ask one host, at the same time.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Host>();
};
