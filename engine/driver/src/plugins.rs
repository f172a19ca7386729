//! Which plugins a build has: who named each, where it is from, and what it may do.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_core::{Diagnostic, Digest, ImageRef};
use kiln_plugin::{Addition, Compiling, Grant, LoadError, Pattern, PluginSummary};

use crate::Driver;
use crate::artifact::{Fetching, plugin_reference};
use crate::error::BuildError;
use crate::forms::{lock, one_line};
use crate::outcome::UsedPlugin;
use crate::policy::{ActivePolicy, Date, Exemption, Rules, Scoped, Standing};

/// A plugin that a build is to have, as somebody asked for it.
#[derive(Clone, Debug)]
pub struct PluginUse {
    /// Absent: as the plugin calls itself.
    pub name: Option<String>,
    pub source: PluginSource,
    /// SHA-256 of the component; of an artifact in a registry, it may as well be the digest of its manifest.
    pub digest: Option<Digest>,
    pub allow: Vec<Grant>,
    pub options: Vec<(String, String)>,
    /// Of a policy: what becomes of its findings.
    pub mode: PolicyMode,
    /// Of a policy, by the code of the finding: where that differs from `mode`.
    pub codes: BTreeMap<String, PolicyMode>,
    pub origin: Origin,
    /// It has to be a policy.
    pub as_policy: bool,
}

impl PluginUse {
    /// With nothing but a source.
    pub fn new(source: PluginSource, origin: Origin) -> Self {
        Self {
            name: None,
            source,
            digest: None,
            allow: Vec::new(),
            options: Vec::new(),
            mode: PolicyMode::default(),
            codes: BTreeMap::new(),
            origin,
            as_policy: false,
        }
    }
}

/// Where the bytes of a plugin are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    File(PathBuf),
    /// A reference, `registry.example.com/team/apt:1` for example.
    Registry(String),
    /// One that ships with kiln and is there on request, by name.
    Builtin(String),
}

impl fmt::Display for PluginSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Registry(reference) => write!(f, "oci://{reference}"),
            Self::Builtin(name) => write!(f, "builtin:{name}"),
        }
    }
}

/// What a finding of a policy means for a build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    /// An error denies.
    #[default]
    Enforce,
    /// An error is shown as a warning.
    Warn,
    Off,
}

/// Who named a plugin. What the person said comes before what the repository says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    CommandLine,
    /// Configuration of the machine or of the person.
    Site,
    /// `kiln.toml` of the repository that is built.
    Project,
    /// The build file, by the frontend that it asks for.
    BuildFile,
}

impl Origin {
    /// As metadata has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::CommandLine => "command-line",
            Self::Site => "site",
            Self::Project => "project",
            Self::BuildFile => "build-file",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "the command line",
            Self::Site => "the configuration",
            Self::Project => "kiln.toml",
            Self::BuildFile => "the build file",
        })
    }
}

/// All that decides which plugins a build has.
#[derive(Clone, Debug, Default)]
pub struct PluginSetup {
    /// Those of the person before those of the repository.
    pub uses: Vec<PluginUse>,
    /// By the plugin's name, for whatever plugin has it.
    pub grants: Vec<(String, Grant)>,
    /// Plugin, option, value.
    pub options: Vec<(String, String, String)>,
    /// Keyword, and the plugin that is to have it although another one defines it as well.
    pub instructions: Vec<(String, String)>,
    /// Names of frontends that a build file may ask for although nobody else says which they are.
    pub syntax_allow: Vec<Pattern>,
    /// A frontend, and options that are set where nobody else says anything about them.
    pub project_options: Option<(String, Vec<(String, String)>)>,
    pub exemptions: Vec<Exemption>,
}

/// A plugin that was taken in, and how it came to be.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) summary: PluginSummary,
    pub(crate) wanted: PluginUse,
}

impl Driver {
    /// `hear` gets the name of a plugin that takes long to compile, from another thread.
    pub fn on_compiling(&self, hear: Arc<Compiling>) {
        self.change_plugins(|host| host.on_compiling(hear));
    }

    /// `hear` gets the name and the size of a plugin that has to be fetched from a registry.
    pub fn on_fetching(&self, hear: Arc<Fetching>) {
        *lock(&self.fetching) = Some(hear);
    }

    /// Loads what a build is to have.
    ///
    /// # Errors
    ///
    /// The first plugin that cannot be had, or that is not there although something is said of it.
    pub fn set_up_plugins(&self, setup: &PluginSetup) -> Result<(), BuildError> {
        lock(&self.syntax_allow).extend(setup.syntax_allow.iter().cloned());
        self.change_plugins(|host| {
            for (plugin, grant) in &setup.grants {
                host.grant(plugin, grant.clone());
            }
            for (plugin, name, value) in &setup.options {
                host.set_option(plugin, name, value);
            }
            for (keyword, plugin) in &setup.instructions {
                host.prefer(keyword, plugin);
            }
        });
        *lock(&self.exemptions) = setup
            .exemptions
            .iter()
            .map(|exemption| {
                Scoped::new(exemption.clone()).map_err(|error| {
                    wrong(format!("the exemption from `{}` cannot be: {error}", exemption.rule))
                })
            })
            .collect::<Result<_, _>>()?;
        // What is here already comes first: policies among it are asked about what has to be fetched.
        let mut uses: Vec<&PluginUse> = setup.uses.iter().collect();
        let is_fetched = |wanted: &PluginUse| matches!(wanted.source, PluginSource::Registry(_));
        uses.sort_by_key(|wanted| (wanted.origin == Origin::Project, is_fetched(wanted)));
        for wanted in uses {
            self.add_plugin(wanted)?;
        }
        self.host().check_names().map_err(|error| wrong(error.to_string()))?;
        match &setup.project_options {
            None => Ok(()),
            Some((plugin, options)) => {
                self.change_plugins(|host| host.suggest_options(plugin, options)).map_err(|error| {
                    wrong(format!("{} says what cannot be: {}", Origin::Project, one_line(&error)))
                })
            }
        }
    }

    /// Takes one plugin in, and returns its name. The same under the same name is taken once; of what the repository
    /// says, only what does not differ from what the person said.
    ///
    /// # Errors
    ///
    /// When it cannot be had, is no plugin, or may not be what it is to be.
    pub fn add_plugin(&self, wanted: &PluginUse) -> Result<String, BuildError> {
        let (wasm, digest) = match &wanted.source {
            PluginSource::File(file) => {
                let wasm = kiln_plugin::read_component(file).map_err(|error| refused(wanted, error))?;
                (Cow::Owned(wasm), wanted.digest)
            }
            PluginSource::Registry(reference) => {
                let found = self.judged_plugin(reference, wanted.digest)?;
                (Cow::Owned(self.take_plugin(&found)?), None)
            }
            PluginSource::Builtin(name) => match self.host().on_request(name) {
                Ok(wasm) => (Cow::Borrowed(wasm), wanted.digest),
                Err(known) => {
                    return Err(wrong(format!(
                        "the plugin `{}` of {} does not ship with kiln; on request there is {}",
                        wanted.source,
                        wanted.origin,
                        known.join(", ")
                    )));
                }
            },
        };
        let addition = Addition {
            name: wanted.name.clone(),
            place: wanted.source.to_string(),
            wasm,
            digest,
            grants: wanted.allow.clone(),
            options: wanted.options.clone(),
            by_build_file: wanted.origin == Origin::BuildFile,
        };
        let summary =
            self.change_plugins(|host| host.load(addition)).map_err(|error| refused(wanted, error))?;
        let is_policy = summary.kinds.contains(&"policy");
        if !is_policy && wanted.as_policy {
            return Err(wrong(format!(
                "the plugin `{}` is no policy: it is asked at none of the six points",
                summary.name
            )));
        }
        if !is_policy && (wanted.mode != PolicyMode::Enforce || !wanted.codes.is_empty()) {
            return Err(wrong(format!(
                "the plugin `{}` of {} is no policy, so it has neither `mode` nor `codes`",
                summary.name, wanted.origin
            )));
        }
        let is_rule = |code: &str| {
            code == crate::policy::UNDECIDED || summary.rules.iter().any(|rule| rule.code == code)
        };
        if let Some(code) = wanted.codes.keys().find(|code| !summary.rules.is_empty() && !is_rule(code)) {
            // The mode that somebody meant for a rule would else hold for none.
            let known: Vec<&str> = summary.rules.iter().map(|rule| rule.code.as_str()).collect();
            return Err(wrong(format!(
                "the plugin `{}` of {} has no rule `{code}`, which its `codes` name; there is {}",
                summary.name,
                wanted.origin,
                known.join(", ")
            )));
        }
        let mut loaded = lock(&self.loaded);
        let name = summary.name.clone();
        match loaded.iter().find(|known| known.summary.name == name) {
            None => loaded.push(Loaded { summary, wanted: wanted.clone() }),
            Some(known) => known.stands_against(wanted)?,
        }
        Ok(name)
    }

    /// The name of the plugin that was loaded from this place of a registry.
    pub(crate) fn plugin_from(&self, reference: &ImageRef) -> Option<String> {
        let is_from = |loaded: &&Loaded| match &loaded.wanted.source {
            PluginSource::Registry(text) => {
                ImageRef::parse(text).is_ok_and(|known| known.or_latest() == *reference)
            }
            _ => false,
        };
        lock(&self.loaded).iter().find(is_from).map(|loaded| loaded.summary.name.clone())
    }

    /// Whether a build file may name this frontend and have it: what it is has been decided, or the site allows it.
    pub(crate) fn may_be_named(&self, reference: &ImageRef) -> Result<bool, BuildError> {
        let name = reference.repository();
        let allowed = lock(&self.syntax_allow).iter().any(|pattern| pattern.matches(&name));
        Ok(allowed || reference.is_pinned() || self.is_locked(&reference.clone().or_latest())?)
    }

    /// What is told of a plugin that a build used.
    pub(crate) fn used_plugin(&self, name: &str, version: &str, digest: &Digest) -> UsedPlugin {
        let loaded = lock(&self.loaded);
        let known = loaded.iter().find(|known| known.summary.digest == *digest && known.summary.name == name);
        UsedPlugin {
            name: name.to_owned(),
            version: version.to_owned(),
            digest: *digest,
            source: known.map(|known| (known.wanted.origin, known.wanted.source.clone())),
        }
    }

    /// Those of the plugins that were taken in which are from registries: how each is called, and its name there.
    pub fn plugins_of_registries(&self) -> Vec<(String, ImageRef)> {
        let named = |loaded: &Loaded| match &loaded.wanted.source {
            PluginSource::File(_) | PluginSource::Builtin(_) => None,
            PluginSource::Registry(text) => Some((loaded.summary.name.clone(), plugin_reference(text).ok()?)),
        };
        lock(&self.loaded).iter().filter_map(named).collect()
    }

    /// The policies that builds have, as they stand.
    pub fn policies(&self) -> Vec<ActivePolicy> {
        self.rules().standing.iter().map(ActivePolicy::of).collect()
    }

    /// Exemptions, and whether each is over.
    pub fn exemptions(&self) -> Vec<(Exemption, bool)> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let today = Date::of(u64::try_from(now.tv_sec).unwrap_or(0));
        let all = lock(&self.exemptions);
        all.iter().map(|scoped| (scoped.exemption.clone(), scoped.is_over(today))).collect()
    }

    /// What builds that begin from now on are judged by.
    pub(crate) fn rules(&self) -> Rules {
        let host = self.host();
        let standing = lock(&self.loaded)
            .iter()
            .filter_map(|loaded| {
                let wanted = &loaded.wanted;
                Some(Standing {
                    policy: host.policy(&loaded.summary.name)?,
                    mode: wanted.mode,
                    codes: wanted.codes.clone(),
                    origin: wanted.origin,
                })
            })
            .collect();
        Rules { standing, exemptions: lock(&self.exemptions).clone() }
    }

    /// Changes the host that builds which begin from now on will have.
    pub(crate) fn change_plugins<R>(&self, change: impl FnOnce(&mut kiln_plugin::Host) -> R) -> R {
        // Only a host that nobody asks at this moment is changed in place.
        change(Arc::make_mut(&mut lock(&self.plugins)))
    }
}

impl Loaded {
    /// Whether the same plugin, asked for once more, may be what it is.
    fn stands_against(&self, wanted: &PluginUse) -> Result<(), BuildError> {
        let silent =
            wanted.options.is_empty() && wanted.mode == PolicyMode::Enforce && wanted.codes.is_empty();
        let same = wanted.options == self.wanted.options
            && wanted.mode == self.wanted.mode
            && wanted.codes == self.wanted.codes;
        match silent || same {
            true => Ok(()),
            false => Err(wrong(format!(
                "the plugin `{}` of {} is there already by {}, and cannot be set up twice",
                self.summary.name, wanted.origin, self.wanted.origin
            ))),
        }
    }
}

fn wrong(message: String) -> BuildError {
    BuildError::wrong(Diagnostic::error("plugin", message))
}

/// A plugin is part of what was asked for: if it is none, the build is wrong. One that fails is another matter.
fn refused(wanted: &PluginUse, error: LoadError) -> BuildError {
    let whose = match wanted.origin {
        Origin::CommandLine => String::new(),
        origin => format!(" of {origin}"),
    };
    let name = wanted.name.as_ref().map(|name| format!("{name}={}", wanted.source));
    let shown = name.unwrap_or_else(|| wanted.source.to_string());
    match error {
        LoadError::Failed(error) => {
            BuildError::world(format!("the plugin `{shown}`{whose} cannot be used"), error)
        }
        LoadError::Thread { .. } => BuildError::world("plugins cannot be asked", error),
        LoadError::Refused { plugin, refusal } => wrong(format!(
            "the plugin `{shown}`{whose} (sha256:{}) cannot be used: {}",
            plugin.digest.short(),
            one_line(&refusal)
        )),
        error => wrong(format!("the plugin `{shown}`{whose} cannot be used: {}", one_line(&error))),
    }
}
