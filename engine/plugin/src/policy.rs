//! Asks policies at the six points where a build can be refused or narrowed, and says in the host's words what they see.
//!
//! A policy answers with findings; what a finding leads to is decided by whoever asks.

mod ask;
mod facts;

pub use ask::{Asking, Policy};
pub use facts::{
    BuildFacts, Change, ChangeKind, ExecLimits, ExecVerdict, ExportFacts, FoundSource, HistoryLine,
    ImageFacts, LayerInfo, PolicySource, SourceCheck, SourceVerdict,
};

use std::fmt;

/// Where in a build a policy can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// Before something from elsewhere is used.
    Source,
    /// Before anything runs.
    Graph,
    /// The commands of the graph.
    Exec,
    /// Every layer of what was built.
    Layer,
    /// Every image that was built.
    Image,
    /// Before anything is written anywhere.
    Export,
}

impl Point {
    pub const ALL: [Self; 6] =
        [Self::Source, Self::Graph, Self::Exec, Self::Layer, Self::Image, Self::Export];

    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Graph => "graph",
            Self::Exec => "exec",
            Self::Layer => "layer",
            Self::Image => "image",
            Self::Export => "export",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
