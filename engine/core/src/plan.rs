//! What the person asked for, and what a frontend made of it.

use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, Output, VertexId};
use crate::platform::Platform;

/// What a frontend is asked (wit/frontend.wit, `build-request`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Path of the build file in the build-file tree; empty when the frontend should look for itself.
    pub file: String,
    /// Stage or target; empty for the default.
    pub target: String,
    /// Empty when the person asked for none.
    pub platforms: Vec<Platform>,
    pub build_platform: Platform,
    pub build_args: Vec<(String, String)>,
    pub labels: Vec<(String, String)>,
    /// Options of the frontend.
    pub options: Vec<(String, String)>,
    /// Stage names for which the cache is to be ignored; `*` for all.
    pub no_cache: Vec<String>,
    pub secret_ids: Vec<String>,
    pub ssh_ids: Vec<String>,
}

/// One line of an image's history. Not part of any cache key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    pub created_by: String,
    pub comment: String,
    /// The vertex whose layer this is; absent for a line that made none.
    pub layer: Option<VertexId>,
}

/// A document about the image, to be attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// In-toto predicate type URI.
    pub predicate_type: String,
    /// JSON text.
    pub predicate: String,
}

/// A filesystem that scanners should look at beside the image, a build stage for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// For people.
    pub name: String,
    pub root: Output,
}

/// One image that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub platform: Platform,
    /// Absent for an image without layers.
    pub root: Option<Output>,
    pub config: ImageConfig,
    /// What this build adds to the history of the base image.
    pub history: Vec<HistoryEntry>,
    pub annotations: Vec<(String, String)>,
    pub attestations: Vec<Attestation>,
    /// Other filesystems that whoever looks into the image should look into.
    pub scans: Vec<Scan>,
    /// Empty for scratch.
    pub base_name: String,
    pub base_digest: String,
}

impl Target {
    /// What has to be solved for it: its own root and those of its scans.
    pub fn roots(&self) -> impl Iterator<Item = Output> + '_ {
        self.root.into_iter().chain(self.scans.iter().map(|scan| scan.root))
    }
}

/// All a frontend has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub graph: Graph,
    pub targets: Vec<Target>,
    /// Seconds since 1970 for everything this build makes; absent: times stay as they were made.
    pub epoch: Option<i64>,
    /// `index`, `inline-cache`, `build-name` (wit/frontend.wit).
    pub export_options: Vec<(String, String)>,
    /// Warnings and below.
    pub diagnostics: Vec<Diagnostic>,
}
