//! What can go wrong with a component: it is refused, it fails in a call, or it says that the build is wrong.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_core::{Diagnostic, Digest};

use crate::engine::CompileError;
use crate::grants::Capability;
use crate::options::OptionError;

/// A component as messages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginId {
    pub name: String,
    /// Empty while it has not said so yet.
    pub version: String,
    pub digest: Digest,
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.version.is_empty() {
            write!(f, "@{}", self.version)?;
        }
        write!(f, " (sha256:{})", self.digest.short())
    }
}

/// A component did not survive a call, or answered what makes no sense. The component is wrong, not the build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} failed in {hook}: {failure}")]
pub struct PluginError {
    pub plugin: Box<PluginId>,
    /// What was called, such as `apply("APT git")`.
    pub hook: String,
    pub failure: Failure,
}

/// How a call of a component failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("it ran out of memory (limit {} MiB)", .limit_bytes >> 20)]
    Memory { limit_bytes: usize },
    #[error("it did not end in time (limit {} million units of work)", .limit / 1_000_000)]
    Fuel { limit: u64 },
    #[error("it did not end in time (limit {} s)", .limit.as_secs())]
    Time { limit: Duration },
    #[error("it ran out of stack, probably in a recursion without an end")]
    Stack,
    #[error("it answered more than {} MiB at once", .limit_bytes >> 20)]
    TooMuch { limit_bytes: usize },
    /// With its last words.
    #[error("it crashed: {0}")]
    Crash(String),
    #[error("it trapped: {0}")]
    Trap(String),
    #[error("its answer is no good: {0}")]
    Answer(String),
    #[error("it called the host more than {0} times")]
    Calls(u32),
    #[error("it called the host, which it may not do here")]
    Uncalled,
    #[error("plugins call each other more than {0} deep")]
    Depth(u32),
    #[error("it could not be started: {0}")]
    Start(String),
    #[error("it has no {0}")]
    Missing(&'static str),
    /// While its host's answers are played back.
    #[error("it asked for {0}")]
    Unrecorded(String),
}

/// A file is no plugin that this host takes.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("could not read plugin `{}`", .file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("the plugin `{}` is larger than {limit} bytes, which is the most that a component has", .file.display())]
    TooLarge { file: PathBuf, limit: u64 },
    #[error("plugin {plugin} was refused: {refusal}")]
    Refused { plugin: Box<PluginId>, refusal: Refusal },
    #[error(transparent)]
    Failed(#[from] PluginError),
    #[error("no plugin called `{plugin}` defines `{keyword}`")]
    Preference { keyword: String, plugin: String },
    #[error("there is no plugin `{plugin}` to be given {what}; there is {}", list(.known))]
    NoSuchPlugin { plugin: String, what: String, known: Vec<String> },
    #[error("could not start a thread for plugins")]
    Thread { source: io::Error },
}

/// Why a file is not taken as a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the file is not WebAssembly")]
    NotWasm,
    #[error(
        "the file is WebAssembly in text form; turn it into a component first, for example with `wasm-tools parse`"
    )]
    Text,
    #[error(
        "the file is a core WebAssembly module, not a component; {}",
        "in Rust, link it with `wasm-component-ld`; otherwise turn it into one with `wasm-tools component new`"
    )]
    CoreModule,
    #[error(
        "the file is machine code that was compiled ahead of time; give the `.wasm` file it was made from"
    )]
    Precompiled,
    #[error(
        "the file is WebAssembly of a kind that this kiln does not know (layer {layer}, version {version})"
    )]
    UnknownKind { version: u16, layer: u16 },
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("it wants {}, and kiln offers no WASI; {fix}", list(.imports))]
    Wasi { imports: Vec<String>, fix: &'static str },
    #[error("it wants `{import}`, which is no interface of kiln")]
    UnknownImport { import: String },
    #[error(
        "it was written for kiln:plugin {theirs} and this kiln speaks {ours}; {}",
        if *.newer { "use a newer kiln" } else { "build the plugin again for the current contract" }
    )]
    Contract { theirs: String, ours: &'static str, newer: bool },
    #[error("it wants `{wanted}`, which kiln:plugin {ours} does not have yet; use a newer kiln")]
    Newer { wanted: String, ours: &'static str },
    #[error("{interface} is not as the contract has it: {why}")]
    Shape { interface: String, why: String },
    #[error(
        "it wants `{}`, which was not granted to it; if it is to have that, say `--allow plugin.{}={name}`",
        .capability.word(),
        .capability.word()
    )]
    NotGranted { capability: Capability, name: String },
    #[error("it is sha256:{found}, and sha256:{wanted} was asked for")]
    Digest { wanted: String, found: String },
    #[error(transparent)]
    Options(#[from] OptionError),
    #[error("its option `{0}` is set already, and to something else")]
    OptionSet(String),
    #[error("it does not export `describe`, as every plugin does")]
    NoDescribe,
    #[error("it exports nothing that kiln asks for (found {})", list(.exports))]
    NoHook { exports: Vec<String> },
    #[error("its name is `{0}`; names are lower-case letters, digits and `-`, beginning with a letter")]
    Name(String),
    #[error("another plugin is called `{0}` already; give one of them another name, `NAME=FILE`")]
    NameTaken(String),
    #[error("it defines `{0}`; keywords are upper-case letters, digits and `_`, beginning with a letter")]
    Keyword(String),
    #[error("it defines `{0}`, which belongs to the frontend")]
    Reserved(String),
    #[error(
        "it defines `{keyword}`, which is an instruction of `{owner}` already; `--instruction {keyword}=NAME` says whose it is"
    )]
    KeywordTaken { keyword: String, owner: String },
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A frontend made no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// At least one error among them.
    #[error("the build file is wrong")]
    Wrong(Vec<Diagnostic>),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the frontend {plugin} cannot be asked: {error}")]
    Options { plugin: Box<PluginId>, error: OptionError },
    #[error("no frontend is called `{name}`; there is {}", list(.known))]
    UnknownFrontend { name: String, known: Vec<String> },
    #[error("cancelled")]
    Cancelled,
}

/// The second half of a `derive` op failed.
#[derive(Debug, thiserror::Error)]
pub enum DeriveError {
    /// At least one error among them.
    #[error("the plugin could not derive it")]
    Wrong(Vec<Diagnostic>),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the plugin {0} that made this operation is not loaded")]
    UnknownPlugin(Digest),
    #[error("cancelled")]
    Cancelled,
}

/// A transform said nothing that could be done.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// At least one error among them.
    #[error("the plugin does not take the image")]
    Wrong(Vec<Diagnostic>),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cancelled")]
    Cancelled,
}

/// A policy gave no verdict.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cancelled")]
    Cancelled,
}

/// How a call ended that did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Failed(PluginError),
}

macro_rules! from_call {
    ($($error:ident)*) => {$(
        impl From<CallError> for $error {
            fn from(error: CallError) -> Self {
                match error {
                    CallError::Cancelled => Self::Cancelled,
                    CallError::Failed(error) => Self::Plugin(error),
                }
            }
        }
    )*};
}

from_call! { PlanError DeriveError TransformError PolicyError }
