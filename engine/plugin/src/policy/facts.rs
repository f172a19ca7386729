//! What policies are told and what they answer, as plain values (wit/policy.wit says what each field means).

use kiln_core::graph::{ContextSource, GitSource, HttpSource, ImageSource, Network, Security};
use kiln_core::seams::{FileInfo, ImageInfo};
use kiln_core::{Diagnostic, Digest, FileDigest, ImageConfig, Platform, Span};

/// What a build is, the same at every point of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildFacts {
    pub frontend: String,
    /// `sha256:<hex>`.
    pub frontend_digest: String,
    pub target: String,
    pub platforms: Vec<Platform>,
    pub build_args: Vec<(String, String)>,
    pub allowed: Vec<String>,
    pub push_to: Vec<String>,
    /// Beginning of today (UTC), seconds since 1970.
    pub today: u64,
}

/// Something from elsewhere that a build wants to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicySource {
    Image(ImageSource),
    Context(ContextSource),
    Git(GitSource),
    Http(HttpSource),
    /// A plugin that is about to be fetched.
    Plugin(ImageSource),
}

/// What a source turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundSource {
    /// Manifest digest, commit or checksum.
    pub pin: String,
    pub image: Option<ImageInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCheck {
    pub source: PolicySource,
    pub platform: Option<Platform>,
    pub spans: Vec<Span>,
    /// How often the source was rewritten already.
    pub round: u32,
    /// `None` before anything was contacted.
    pub found: Option<FoundSource>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceVerdict {
    /// Of the same kind as the source that was asked about.
    pub rewrite: Option<PolicySource>,
    pub diagnostics: Vec<Diagnostic>,
}

/// What a command may have at most; nothing for what stays as it was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecLimits {
    /// [`Network::None`] or [`Network::Default`].
    pub network: Option<Network>,
    /// [`Security::Sandbox`].
    pub security: Option<Security>,
    pub seconds: Option<u32>,
    pub memory_mib: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecVerdict {
    pub limits: ExecLimits,
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Of the blob; of a layer that is written as plain files, its name in the store.
    pub digest: Digest,
    /// Empty for a layer that is written as plain files.
    pub media_type: String,
    /// Of the blob, in bytes; of plain files, the sum of their sizes.
    pub size: u64,
    pub created_by: String,
    pub from_base: bool,
    pub spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Removed,
}

/// One path that a layer changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: ChangeKind,
    /// Of a removed path only the path means anything.
    pub file: FileInfo,
    /// Of a regular file's bytes.
    pub content: Option<FileDigest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    pub created_by: String,
    pub comment: String,
    /// Index of its layer.
    pub layer: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    pub platform: Platform,
    pub config: ImageConfig,
    pub annotations: Vec<(String, String)>,
    pub layers: Vec<LayerInfo>,
    pub history: Vec<HistoryLine>,
    pub base: Option<ImageInfo>,
    /// Of all layers, in bytes.
    pub total_size: u64,
    pub attestation_types: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// `store`, `registry`, `oci`, `docker`, `tar` or `local`.
    pub kind: String,
    /// File, directory or registry; empty for the store.
    pub destination: String,
    pub names: Vec<String>,
    /// Of the index, when there is one, then of each manifest.
    pub digests: Vec<Digest>,
    pub images: Vec<ImageFacts>,
    pub options: Vec<(String, String)>,
}
