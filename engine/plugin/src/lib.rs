//! Asks WebAssembly components and checks their answers.
//!
//! A component is a function: what it is given and what it looks at go in, a value and findings come out. This crate
//! loads components, bounds what they use, turns every way of failing into a sentence that names the component, and
//! believes no answer that it has not checked. The contract is in `wit/`; nobody else knows that there is wasmtime.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod aot;
mod ask;
#[allow(clippy::all, unreachable_pub)]
mod bindings;
mod bridge;
mod cache;
mod call;
mod check;
mod component;
mod componentize;
mod contract;
mod convert;
mod detect;
mod dispatch;
mod eject;
mod engine;
mod error;
mod grants;
mod guard;
mod host;
mod keywords;
mod limits;
mod options;
mod outline;
mod plugins;
mod policy;
pub mod record;
mod shape;
mod state;
mod summary;
mod transform;
mod trees;

pub use ask::{Derivation, FrontendChoice};
pub use cache::Compiling;
pub use check::CheckReport;
pub use componentize::{ComponentizeError, componentize};
pub use detect::{Confidence, Detection};
pub use eject::EjectedFile;
pub use engine::{CompileError, compile};
pub use error::{
    DeriveError, Failure, LoadError, PlanError, PluginError, PluginId, PolicyError, Refusal, TransformError,
};
pub use grants::{Capability, Grant, GrantError, Pattern};
pub use kiln_core::Digest;
pub use limits::Limits;
pub use options::OptionError;
pub use outline::{ArgumentInfo, Need, Outline, TargetInfo};
pub use plugins::{Addition, Builtin, Host, Presence, read_component};
pub use policy::{
    Asking, BuildFacts, Change, ChangeKind, ExecLimits, ExecVerdict, ExportFacts, FoundSource, HistoryLine,
    ImageFacts, LayerInfo, Point, Policy, PolicySource, SourceCheck, SourceVerdict,
};
pub use summary::{Keyword, PluginOption, PluginSummary, Rule};
pub use transform::{Fragment, Squash, Transform, Transformation};
