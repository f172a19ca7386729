//! The plugins of this process: which there are, loaded when somebody wants them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, OnceLock};

use kiln_core::{Cancel, Digest, Platform};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::bindings::hooks::describe::OptionSpec;
use crate::bindings::wit::instruction_types::Descriptor;
use crate::bridge::serve;
use crate::cache::{Cache, Compiling};
use crate::call::Instance;
use crate::component::Plugin;
use crate::contract;
use crate::dispatch::{Definer, Registry};
use crate::error::{CallError, Failure, LoadError, PlanError, PluginError, PluginId, Refusal};
use crate::grants::{Capability, Grant, Granted};
use crate::limits::{self, Limits};
use crate::options;
use crate::record::Recorder;
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
    pub presence: Presence,
    /// What [`crate::compile`] made of `wasm`, or nothing. It is run as it is: put nothing else here. Loads fastest when
    /// it begins on a page.
    pub aot: &'static [u8],
}

/// When a component that is part of the program takes part in a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In every build.
    Always,
    /// A frontend for projects without a build file: loaded when a directory has none, or when somebody names it.
    Preset,
    /// Not there until somebody asks for it by name, and then a plugin like any other.
    OnRequest,
}

/// Knows the plugins of a build, and asks them. A value: a clone with one more plugin is another host, and no lock is held
/// while components run.
#[derive(Clone)]
pub struct Host {
    pub(crate) limits: Limits,
    cache: Cache,
    builtins: Vec<Shipped>,
    /// Came with the program and are there on request.
    shelf: Vec<Builtin>,
    added: Vec<Arc<Added>>,
    /// What was said about plugins by name.
    grants: Vec<(String, Grant)>,
    options: Vec<(String, (String, String))>,
    /// Keyword and name of the plugin that is to have it.
    preferred: Vec<(String, String)>,
    registry: OnceLock<Arc<Registry>>,
    /// Takes down the calls of plugins that are added later.
    recorder: Option<Arc<Recorder>>,
}

#[derive(Clone)]
struct Shipped {
    builtin: Builtin,
    /// The same for all clones.
    loaded: Arc<OnceLock<Arc<Plugin>>>,
}

/// A plugin that somebody wants to have besides those that ship with kiln.
#[derive(Clone, Debug, Default)]
pub struct Addition {
    /// In place of what it calls itself.
    pub name: Option<String>,
    /// Where it comes from, for messages until it has said what it is called.
    pub place: String,
    pub wasm: Cow<'static, [u8]>,
    /// What the SHA-256 of `wasm` has to be.
    pub digest: Option<Digest>,
    pub grants: Vec<Grant>,
    pub options: Vec<(String, String)>,
    /// Nobody but the build file names it.
    pub by_build_file: bool,
}

/// A plugin that was taken in.
#[derive(Clone)]
pub(crate) struct Added {
    pub(crate) plugin: Arc<Plugin>,
    descriptors: Vec<Descriptor>,
    pub(crate) summary: PluginSummary,
    specs: Vec<OptionSpec>,
    /// Options that somebody set, before defaults are filled in.
    set: Vec<(String, String)>,
}

/// A component that was asked about itself, with nothing granted.
struct Candidate {
    id: PluginId,
    shape: Shape,
    component: Component,
    about: About,
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
                .filter(|builtin| builtin.presence != Presence::OnRequest)
                .map(|builtin| Shipped { builtin: *builtin, loaded: Arc::default() })
                .collect(),
            shelf: builtins
                .iter()
                .filter(|builtin| builtin.presence == Presence::OnRequest)
                .copied()
                .collect(),
            added: Vec::new(),
            grants: Vec::new(),
            options: Vec::new(),
            preferred: Vec::new(),
            registry: OnceLock::new(),
            recorder: None,
        }
    }

    /// Takes down the calls of plugins that are added later. What ships with kiln is never recorded.
    pub fn record(&mut self, recorder: Arc<Recorder>) {
        self.recorder = Some(recorder);
    }

    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// `hear` gets the name of a plugin that takes long to compile, from another thread.
    pub fn on_compiling(&mut self, hear: Arc<Compiling>) {
        self.cache.on_compiling(hear);
    }

    /// Lets a plugin that is added later have something, or bounds what a preset has.
    pub fn grant(&mut self, plugin: &str, grant: Grant) {
        self.grants.push((plugin.to_owned(), grant));
        // One that was loaded before was linked to what it had then.
        for shipped in self.builtins.iter_mut().filter(|shipped| shipped.builtin.name == plugin) {
            shipped.loaded = Arc::default();
        }
    }

    /// Sets an option of a preset, or of a plugin that is added later, in place of what its addition says.
    pub fn set_option(&mut self, plugin: &str, name: &str, value: &str) {
        self.options.push((plugin.to_owned(), (name.to_owned(), value.to_owned())));
    }

    /// Gives a keyword to one of the plugins that define it. Without this, two that do are an error.
    pub fn prefer(&mut self, keyword: &str, plugin: &str) {
        self.preferred.push((keyword.to_owned(), plugin.to_owned()));
    }

    /// The component of a plugin that came with the program and is not in every build anyway.
    ///
    /// # Errors
    ///
    /// The names of those that there are.
    pub fn on_request(&self, name: &str) -> Result<&'static [u8], Vec<&'static str>> {
        match self.requestable().find(|builtin| builtin.name == name) {
            Some(builtin) => Ok(builtin.wasm),
            None => Err(self.requestable().map(|builtin| builtin.name).collect()),
        }
    }

    fn requestable(&self) -> impl Iterator<Item = &Builtin> {
        let presets = self.builtins.iter().map(|shipped| &shipped.builtin);
        presets.filter(|builtin| builtin.presence == Presence::Preset).chain(&self.shelf)
    }

    fn is_preset(&self, digest: &Digest) -> bool {
        self.requestable()
            .any(|builtin| builtin.presence == Presence::Preset && builtin.digest == *digest.as_bytes())
    }

    /// The code of a component that came with the program, if it is for this processor.
    fn precompiled(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let builtin = self.requestable().find(|builtin| builtin.digest == *digest.as_bytes())?;
        if builtin.aot.is_empty() { None } else { aot::embedded(engine, builtin.aot).ok() }
    }

    /// SHA-256 of `wasm`, which was found out when kiln was built if it is what ships with it.
    fn digest_of(&self, wasm: &[u8]) -> Digest {
        let shipped = self.shelf.iter().find(|builtin| ptr::eq(builtin.wasm, wasm));
        shipped.map_or_else(|| Digest::of(wasm), |builtin| Digest::from_bytes(builtin.digest))
    }

    /// Takes a plugin from a file that the user named. `name` replaces what it calls itself.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is no plugin, or asks for more than it may have.
    pub fn add(&mut self, name: Option<&str>, file: &Path) -> Result<(), LoadError> {
        let wasm = read_component(file)?;
        let place = file.display().to_string();
        self.load(Addition { name: name.map(str::to_owned), place, wasm: wasm.into(), ..Addition::default() })
            .map(drop)
    }

    /// Takes a plugin in. One that is there under its name already, and is the same, stays as it is.
    ///
    /// # Errors
    ///
    /// When it is no plugin, another one than was asked for, asks for more than it may have, or is given options that it
    /// does not have.
    pub fn load(&mut self, addition: Addition) -> Result<PluginSummary, LoadError> {
        let engine = engine(addition.name.as_deref().unwrap_or("plugin"))?;
        let candidate = self.candidate(
            engine,
            addition.name.as_deref(),
            &addition.place,
            &addition.wasm,
            addition.digest,
        )?;
        let refuse = |refusal| LoadError::Refused { plugin: Box::new(candidate.id.clone()), refusal };
        let called = candidate.id.name.as_str();
        if let Some(known) = self.added(called)
            && known.plugin.id.digest == candidate.id.digest
        {
            return Ok(known.summary.clone());
        }
        // What somebody asks for under the name of a preset takes its place.
        let stays = |shipped: &Shipped| shipped.builtin.presence == Presence::Always;
        let mut standard = self.builtins.iter().filter(|shipped| stays(shipped));
        if self.added(called).is_some() || standard.any(|shipped| shipped.builtin.name == called) {
            return Err(refuse(Refusal::NameTaken(called.to_owned())));
        }
        let is_preset = self.is_preset(&candidate.id.digest);
        let is_frontend = candidate.summary.kinds.contains(&"frontend");
        let usual = match is_preset {
            true => &Capability::PRESET,
            false => Capability::usual(is_frontend, !addition.by_build_file),
        };
        let granted = Granted::of(usual, addition.grants.iter().chain(self.grants_of(called)));
        for capability in contract::capabilities(&candidate.shape) {
            if !granted.has(capability) {
                return Err(refuse(Refusal::NotGranted { capability, name: called.to_owned() }));
            }
        }
        let specs = candidate.about.info.options.clone();
        let set = self.options_of(called, addition.options);
        let options = options::check(&specs, &set).map_err(|error| refuse(error.into()))?;
        // A frontend can be there for other builds than this one; what it lacks is said when it is asked.
        if !is_frontend {
            options::complete(&specs, &options).map_err(|error| refuse(error.into()))?;
        }
        let mut plugin = Plugin::link(candidate.id.clone(), engine, candidate.component.clone(), granted)
            .map_err(refuse)?;
        plugin.options = options;
        let secret = specs.iter().filter(|spec| spec.sensitive);
        plugin.sensitive = secret.map(|spec| spec.name.clone()).collect();
        plugin.recorder.clone_from(&self.recorder);
        self.added.push(Arc::new(Added {
            plugin: Arc::new(plugin),
            descriptors: candidate.about.descriptors,
            summary: candidate.summary.clone(),
            specs,
            set,
        }));
        self.registry = OnceLock::new();
        Ok(candidate.summary)
    }

    /// What was said by name about one plugin.
    fn grants_of<'h>(&'h self, plugin: &str) -> impl Iterator<Item = &'h Grant> {
        self.grants.iter().filter(move |(named, _)| named == plugin).map(|(_, grant)| grant)
    }

    /// What was said about plugins that are not there, or that cannot be said of those that ship with kiln.
    ///
    /// # Errors
    ///
    /// [`LoadError::NoSuchPlugin`], or that a plugin does not have an option.
    pub fn check_names(&self) -> Result<(), LoadError> {
        let grants = self.grants.iter().map(|(plugin, grant)| (plugin, format!("`{grant}`")));
        let options = self.options.iter().map(|(plugin, (name, _))| (plugin, format!("the option `{name}`")));
        let known = self.known_names();
        let preferred =
            self.preferred.iter().map(|(word, plugin)| (plugin, format!("the instruction `{word}`")));
        match grants.chain(options).chain(preferred).find(|(plugin, _)| !known.contains(plugin.as_str())) {
            None => {}
            Some((plugin, what)) => return Err(self.no_such_plugin(plugin, what)),
        }
        for shipped in self.shipped_in_use() {
            let set = self.options_of(shipped.builtin.name, Vec::new());
            if !set.is_empty() {
                let plugin = self.shipped(shipped)?;
                self.checked(plugin, &set)?;
            }
        }
        Ok(())
    }

    /// Refuses options that a plugin which ships with kiln does not have.
    fn checked(&self, shipped: &Arc<Plugin>, set: &[(String, String)]) -> Result<(), LoadError> {
        options::check(&self.about(shipped)?.info.options, set).map(drop).map_err(|error| {
            LoadError::Refused { plugin: Box::new(shipped.id.clone()), refusal: error.into() }
        })
    }

    /// Sets options of a frontend that is there already, where nobody has set them.
    ///
    /// # Errors
    ///
    /// When there is no such plugin, it does not have the options, or somebody has set one to something else.
    pub fn suggest_options(&mut self, plugin: &str, options: &[(String, String)]) -> Result<(), LoadError> {
        let Some(index) = self.added.iter().position(|added| added.plugin.id.name == plugin) else {
            return match (self.by_name(plugin)?, options.first()) {
                (_, None) => Ok(()),
                (Some(shipped), _) => {
                    let set = merged(&shipped.id, &self.options_of(plugin, Vec::new()), options)?;
                    self.checked(&shipped, &set)?;
                    self.options.retain(|(named, _)| named != plugin);
                    self.options.extend(set.into_iter().map(|option| (plugin.to_owned(), option)));
                    Ok(())
                }
                (None, Some((name, _))) => Err(self.no_such_plugin(plugin, format!("the option `{name}`"))),
            };
        };
        let added = &self.added[index];
        let set = merged(&added.plugin.id, &added.set, options)?;
        options::check(&added.specs, &set).map_err(|error| LoadError::Refused {
            plugin: Box::new(added.plugin.id.clone()),
            refusal: error.into(),
        })?;
        self.added[index] = Arc::new(Added { set, ..Added::clone(added) });
        Ok(())
    }

    fn no_such_plugin(&self, plugin: &str, what: String) -> LoadError {
        let known = self.known_names().into_iter().map(str::to_owned).collect();
        LoadError::NoSuchPlugin { plugin: plugin.to_owned(), what, known }
    }

    /// The options that a plugin is given: what is said of one by name counts instead of what came with the plugin.
    fn options_of(&self, plugin: &str, given: Vec<(String, String)>) -> Vec<(String, String)> {
        let by_name = self.options.iter().filter(|(named, _)| named == plugin).map(|(_, option)| option);
        let said: Vec<_> = by_name.cloned().collect();
        let mut options = given;
        options.retain(|(name, _)| !said.iter().any(|(known, _)| known == name));
        options.extend(said);
        options
    }

    /// The options with which a frontend is asked: its own, and those that are said for whichever frontend it is.
    ///
    /// # Errors
    ///
    /// One that it does not have, that is malformed, or that it has to have.
    pub(crate) fn frontend_options(
        &self,
        plugin: &Arc<Plugin>,
        said: &[(String, String)],
    ) -> Result<Vec<(String, String)>, PlanError> {
        let added = self.added.iter().find(|added| Arc::ptr_eq(&added.plugin, plugin));
        let mut options = match added {
            Some(added) => added.set.clone(),
            None => self.options_of(&plugin.id.name, Vec::new()),
        };
        let specs = match added {
            Some(added) => added.specs.clone(),
            // What is in every build is asked about itself only when somebody thinks that it has options.
            None if said.is_empty() && options.is_empty() && !self.is_preset(&plugin.id.digest) => {
                return Ok(Vec::new());
            }
            None => self.about(plugin)?.info.options,
        };
        options.retain(|(name, _)| !said.iter().any(|(known, _)| known == name));
        options.extend_from_slice(said);
        let wrong = |error| PlanError::Options { plugin: Box::new(plugin.id.clone()), error };
        let options = options::check(&specs, &options).map_err(wrong)?;
        options::complete(&specs, &options).map_err(wrong)?;
        Ok(options)
    }

    /// Those that do not ship with kiln.
    pub(crate) fn additions(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.all_added().map(|added| &added.plugin)
    }

    /// Those that ship with kiln, but for presets in whose place there is an addition.
    fn shipped_in_use(&self) -> impl Iterator<Item = &Shipped> {
        self.builtins.iter().filter(|shipped| self.added(shipped.builtin.name).is_none())
    }

    /// Every component there is, and whether it is in every build.
    ///
    /// # Errors
    ///
    /// When a built-in component does not work here.
    pub(crate) fn everybody(&self) -> Result<Vec<(&Arc<Plugin>, bool)>, LoadError> {
        let shipped = self
            .shipped_in_use()
            .map(|shipped| Ok((self.shipped(shipped)?, shipped.builtin.presence == Presence::Always)));
        let added = self.additions().map(|plugin| Ok((plugin, false)));
        shipped.chain(added).collect()
    }

    /// Whether the plugin of this name is a frontend; `None` where there is none of this name.
    pub fn is_frontend(&self, name: &str) -> Option<bool> {
        match self.added(name) {
            Some(added) => Some(added.plugin.hooks.frontend.is_some()),
            None => {
                self.builtins.iter().any(|shipped| shipped.builtin.name == name).then(
                    || matches!(self.by_name(name), Ok(Some(plugin)) if plugin.hooks.frontend.is_some()),
                )
            }
        }
    }

    /// Those that were added, in the order in which they were.
    pub(crate) fn all_added(&self) -> impl Iterator<Item = &Added> {
        self.added.iter().map(|added| &**added)
    }

    pub(crate) fn added(&self, name: &str) -> Option<&Arc<Added>> {
        self.added.iter().find(|added| added.plugin.id.name == name)
    }

    /// What a file says about itself, with nothing granted to it.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is no plugin.
    pub fn inspect(&self, file: &Path) -> Result<PluginSummary, LoadError> {
        let engine = engine("plugin")?;
        Ok(self.candidate(engine, None, &file.display().to_string(), &read_component(file)?, None)?.summary)
    }

    /// What a component says about itself, with nothing granted to it. `place` is where it is from, for messages.
    ///
    /// # Errors
    ///
    /// When it is no plugin.
    pub fn inspect_bytes(&self, place: &str, wasm: &[u8]) -> Result<PluginSummary, LoadError> {
        let engine = engine("plugin")?;
        Ok(self.candidate(engine, None, place, wasm, None)?.summary)
    }

    /// A plugin from a file that is to take part in no build, and may have whatever it wants.
    ///
    /// # Errors
    ///
    /// As [`Self::inspect`].
    pub(crate) fn apart(&self, file: &Path) -> Result<(Plugin, PluginSummary), LoadError> {
        let engine = engine("plugin")?;
        let candidate =
            self.candidate(engine, None, &file.display().to_string(), &read_component(file)?, None)?;
        let id = candidate.id;
        let plugin = Plugin::link(id.clone(), engine, candidate.component, Granted::everything())
            .map_err(|refusal| LoadError::Refused { plugin: Box::new(id), refusal })?;
        Ok((plugin, candidate.summary))
    }

    /// Everything loaded and built in, in that order of precedence: built-in first.
    ///
    /// # Errors
    ///
    /// When a built-in component does not work here.
    pub fn plugins(&self) -> Result<Vec<PluginSummary>, LoadError> {
        let mut all = Vec::new();
        for shipped in self.shipped_in_use() {
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

    /// What ships with kiln and is in no build until somebody asks for it.
    ///
    /// # Errors
    ///
    /// When a built-in component does not work here.
    pub fn shelved(&self) -> Result<Vec<PluginSummary>, LoadError> {
        let engine = engine("plugin")?;
        let candidate = |builtin: &Builtin| {
            let found = self.candidate(engine, Some(builtin.name), builtin.name, builtin.wasm, None)?;
            Ok(PluginSummary { builtin: true, ..found.summary })
        };
        self.shelf.iter().map(candidate).collect()
    }

    fn known_names(&self) -> BTreeSet<&str> {
        let shipped = self.builtins.iter().map(|shipped| shipped.builtin.name);
        let added = self.added.iter().map(|added| added.plugin.id.name.as_str());
        shipped.chain(added).collect()
    }

    fn candidate(
        &self,
        engine: &Engine,
        name: Option<&str>,
        place: &str,
        wasm: &[u8],
        wanted: Option<Digest>,
    ) -> Result<Candidate, LoadError> {
        // Until it has said what it is called, a plugin is called as what it comes from.
        let mut id = PluginId {
            name: name.unwrap_or(place).to_owned(),
            version: String::new(),
            digest: self.digest_of(wasm),
        };
        let read = || {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != id.digest) {
                return Err(Refusal::Digest { wanted: wanted.hex(), found: id.digest.hex() });
            }
            let shape = shape::read(wasm)?;
            contract::check_imports(&shape)?;
            contract::check_exports(&shape)?;
            let component = match self.precompiled(engine, &id.digest) {
                Some(component) => component,
                None => self.cache.component(engine, &id.name, &id.digest, wasm)?,
            };
            let open = Plugin::link(id.clone(), engine, component.clone(), Granted::everything())?;
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
        Ok(Candidate { id, shape, component, about, summary })
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
            let granted = match builtin.presence {
                Presence::Preset => Granted::of(&Capability::PRESET, self.grants_of(builtin.name)),
                Presence::Always | Presence::OnRequest => Granted::everything(),
            };
            Plugin::link(id.clone(), engine, component, granted)
        };
        let plugin =
            load().map_err(|refusal| LoadError::Refused { plugin: Box::new(id.clone()), refusal })?;
        Ok(shipped.loaded.get_or_init(|| Arc::new(plugin)))
    }

    /// A component by the name that messages and the user give it.
    pub(crate) fn by_name(&self, name: &str) -> Result<Option<Arc<Plugin>>, LoadError> {
        if let Some(added) = self.added(name) {
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
        let all = self.everybody()?;
        let frontends = all.iter().filter(|(plugin, _)| plugin.hooks.frontend.is_some());
        Ok(frontends.map(|(plugin, _)| plugin.id.name.clone()).collect())
    }

    /// Components with instructions; those from files have said already what they define.
    pub(crate) fn definers(&self) -> Result<Vec<Definer>, LoadError> {
        let mut all = Vec::new();
        // A preset has none, and is not loaded to find that out.
        let in_all = self.builtins.iter().filter(|shipped| shipped.builtin.presence == Presence::Always);
        for shipped in in_all {
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

/// The options that somebody set, and those of `more` about which nobody has said anything.
///
/// # Errors
///
/// One of `more` that is set to something else.
fn merged(
    plugin: &PluginId,
    set: &[(String, String)],
    more: &[(String, String)],
) -> Result<Vec<(String, String)>, LoadError> {
    let values = |list: &[(String, String)], name: &str| -> Vec<String> {
        list.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    };
    let mut all = set.to_vec();
    for (name, value) in more {
        let known = values(set, name);
        if known.is_empty() {
            all.push((name.clone(), value.clone()));
        } else if known != values(more, name) {
            let refusal = Refusal::OptionSet(name.clone());
            return Err(LoadError::Refused { plugin: Box::new(plugin.clone()), refusal });
        }
    }
    Ok(all)
}

/// A file with a component. It may be a pipe, and has an end in any case.
///
/// # Errors
///
/// [`LoadError::Read`], [`LoadError::TooLarge`].
pub fn read_component(file: &Path) -> Result<Vec<u8>, LoadError> {
    let mut wasm = Vec::new();
    let read = fs::File::open(file)
        .and_then(|opened| opened.take(limits::COMPONENT_BYTES + 1).read_to_end(&mut wasm));
    read.map_err(|source| LoadError::Read { file: file.to_owned(), source })?;
    if wasm.len() as u64 > limits::COMPONENT_BYTES {
        return Err(LoadError::TooLarge { file: file.to_owned(), limit: limits::COMPONENT_BYTES });
    }
    Ok(wasm)
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
