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
}
