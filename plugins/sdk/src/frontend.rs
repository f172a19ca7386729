//! What a frontend is asked and answers, in few words.

use crate::wit::diagnostics::Diagnostic;
use crate::wit::frontend_types::{BuildFailure, BuildRequest, Confidence, Detection};
use crate::wit::types::Platform;

impl BuildRequest {
    /// What images are wanted for: what the user asked for, or the machine that builds.
    pub fn wanted_platforms(&self) -> Vec<Platform> {
        match &self.platforms[..] {
            [] => vec![self.build_platform.clone()],
            wanted => wanted.to_vec(),
        }
    }

    /// The value of an option, if it is set or has a default.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|option| option.key == name).map(|option| option.value.as_str())
    }

    /// Every value of an option that may be given several times, in order.
    pub fn option_values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.options.iter().filter(move |option| option.key == name).map(|option| option.value.as_str())
    }

    /// Whether a boolean option is `true`.
    pub fn is_set(&self, name: &str) -> bool {
        self.option(name) == Some("true")
    }

    /// Whether the cache is to be ignored for a stage of this name.
    pub fn is_afresh(&self, stage: &str) -> bool {
        self.no_cache.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(stage))
    }

    /// The value of a build argument, if the user gave one.
    pub fn build_arg(&self, name: &str) -> Option<&str> {
        self.build_args.iter().find(|arg| arg.key == name).map(|arg| arg.value.as_str())
    }
}

impl From<Vec<Diagnostic>> for BuildFailure {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self { diagnostics }
    }
}

impl From<Diagnostic> for BuildFailure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }
}

impl Detection {
    /// Not for this frontend.
    pub fn no() -> Self {
        Self { confidence: Confidence::No, reason: String::new() }
    }

    /// Says how sure this frontend is, and what it saw: `go.mod found, module example.com/x`.
    pub fn because(confidence: Confidence, reason: impl Into<String>) -> Self {
        Self { confidence, reason: reason.into() }
    }
}
