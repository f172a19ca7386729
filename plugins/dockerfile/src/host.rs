//! The one door through which the frontend sees the world: build contexts, the build file, images, instructions.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{GitSource, HttpSource};
use kiln_sdk::wit::instruction_types::{Descriptor, InstructionError, Invocation, Outcome, Statement};
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, Platform};

/// What the engine offers. Every method that takes a list answers in the same order.
pub trait Host {
    /// A file beside the build file, as bytes. `None` when there is none of that name.
    fn build_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError>;

    /// A file of the main build context, nothing ignored. `None` when there is none of that name.
    fn context_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError>;

    /// Names of the contexts that the user gave.
    fn context_names(&self) -> Vec<String>;

    fn contexts(&self, names: &[String], platform: &Platform) -> Vec<Option<ContextInfo>>;

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>>;

    /// When a remote source was made, in seconds since 1970; `None` when it does not say.
    fn remote_time(&self, source: &Remote) -> Result<Option<u64>, HostError>;

    fn known(&self) -> Vec<Descriptor>;

    fn validate(&self, statements: &[Statement]) -> Vec<Diagnostic>;

    /// One answer for each statement, in order.
    fn apply(&self, invocation: &Invocation) -> Vec<Result<Outcome, InstructionError>>;
}

/// What a stage that stands for a time may add (§23.1).
#[derive(Clone, Debug)]
pub enum Remote {
    Git(GitSource),
    Http(HttpSource),
}
