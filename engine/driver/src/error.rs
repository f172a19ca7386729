//! How a build ends when it does not end well.

use std::error::Error;

use kiln_core::Diagnostic;

/// Three kinds and a wish: the build is wrong, the world said no (with a place in the build file or without), and the
/// person said stop.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What is written in the build file or on the command line cannot be built; all that is known about it.
    #[error("the build is wrong")]
    Wrong(Vec<Diagnostic>),
    /// A step's command failed. The log went to the events.
    #[error("a step failed")]
    Step(Box<StepFailure>),
    /// A disk, a registry, the kernel or a plugin did not do what was needed.
    #[error("{what}")]
    World {
        what: String,
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
        /// What to do about it; empty when nothing is known.
        help: String,
    },
    /// A host call of a plugin would not succeed; on its way to that plugin.
    #[error(transparent)]
    Host(#[from] kiln_core::seams::HostError),
    /// Something outside, such as a registry, would not do what the build file asks for; with the places that ask.
    #[error("something outside of the build said no")]
    Refused(Vec<Diagnostic>),
    #[error("interrupted")]
    Cancelled,
}

/// A command that ended with a code that is no success.
#[derive(Debug)]
pub struct StepFailure {
    pub vertex: kiln_core::VertexId,
    /// Name of the step, as shown.
    pub name: String,
    pub diagnostic: Diagnostic,
    /// What a plugin says about it that wanted the step while it planned.
    pub findings: Vec<Diagnostic>,
}

impl BuildError {
    pub fn world(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::World { what: what.into(), source: Some(source.into()), help: String::new() }
    }

    pub fn plain(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::World { what: what.into(), source: None, help: help.into() }
    }

    pub fn wrong(diagnostic: Diagnostic) -> Self {
        Self::Wrong(vec![diagnostic])
    }
}
