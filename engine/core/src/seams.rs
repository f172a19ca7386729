//! Traits that the other rooms implement for each other's sake.

use std::sync::Arc;

use crate::config::ImageConfig;
use crate::diagnostic::Diagnostic;
use crate::digest::{BlobDigest, Digest, LayerId};
use crate::graph::{ContextSource, GitSource, Graph, HttpSource, ImageSource, Output};
use crate::platform::Platform;
use crate::tree::{Entry, Tree, TreePath};

/// Knows what layers hold. File ops, selections and name look-ups stand on these two.
pub trait Contents: Sync {
    fn tree(&self, layer: &LayerId) -> Result<Arc<Tree>, ContentsError>;
    /// Up to `limit` bytes of a file that the layer's own tree has under `path`.
    fn read(&self, layer: &LayerId, path: &TreePath, limit: u64) -> Result<Vec<u8>, ContentsError>;
}

/// A layer's content could not be had.
#[derive(Debug, thiserror::Error)]
#[error("could not read layer {layer}: {why}")]
pub struct ContentsError {
    pub layer: LayerId,
    pub why: String,
}

/// Receives the entries of a changeset in the order in which they come.
pub trait EntrySink {
    /// `content` holds the bytes of a regular file (exactly its size), and nothing for other kinds. The entry's own
    /// [`crate::tree::Content`] has neither digest nor place yet: the receiver fills them in.
    fn entry(&mut self, path: TreePath, entry: Entry, content: &mut dyn std::io::Read)
    -> std::io::Result<()>;
}

/// What went wrong in a call that a plugin made (wit/types.wit, `host-error`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// `not-found`, `not-a-file`, `not-a-directory`, `invalid-argument`, `denied`, `unauthorized`, `no-platform`,
    /// `unavailable`, `limit`, `build-failed`, `cancelled` or `other`.
    pub code: &'static str,
    pub message: String,
}

impl HostError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A read-only tree as plugins see it (wit/host.wit, `tree`). Paths are relative to the root, as a guest wrote them;
/// an implementation confines them.
pub trait TreeView: Send + Sync {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError>;
    /// Does not follow a final symbolic link.
    fn stat(&self, path: &str) -> Result<FileInfo, HostError>;
    fn real_path(&self, path: &str) -> Result<String, HostError>;
    /// Direct children, sorted.
    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError>;
    /// Entries below the root that match a pattern of `.dockerignore`'s language, sorted.
    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError>;
    /// `<algorithm>:<hex>` of a file's bytes, or of everything below a directory.
    fn hash(&self, path: &str) -> Result<String, HostError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Relative, no leading slash.
    pub path: String,
    pub kind: FileKind,
    pub size: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Symlink target; empty for other kinds.
    pub target: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRequest {
    pub source: ImageSource,
    /// Absent: the platform of the machine, unless the image exists for another one only.
    pub platform: Option<Platform>,
}

/// What an image reference means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Canonical, with the digest.
    pub reference: String,
    /// Of the manifest for the platform.
    pub manifest: BlobDigest,
    pub index: Option<BlobDigest>,
    pub platform: Platform,
    pub config: ImageConfig,
    pub layers: u32,
    pub compressed_size: u64,
    /// Seconds since 1970.
    pub created: Option<u64>,
    pub annotations: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitInfo {
    pub reference: String,
    pub commit: String,
    /// Committer date, seconds since 1970.
    pub modified: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpInfo {
    /// `sha256:<hex>`.
    pub checksum: String,
    pub filename: String,
    pub size: u64,
    /// `Last-Modified`, seconds since 1970.
    pub modified: Option<u64>,
}

/// A build context that the user gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextInfo {
    pub name: String,
    /// `local`, `git`, `http`, `stream`, `image`, `empty`.
    pub kind: String,
    pub location: String,
    pub image: Option<ImageInfo>,
    pub modified: Option<u64>,
}

/// What plugins may ask of the engine while a build is planned (wit/host.wit). Calls come from one thread at a time.
pub trait Services: Sync {
    fn lookup_contexts(&self, names: &[String], platform: &Platform) -> Vec<Option<ContextInfo>>;
    fn context_names(&self) -> Vec<String>;
    fn open_context(&self, source: &ContextSource) -> Result<Arc<dyn TreeView>, HostError>;
    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError>;
    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>>;
    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>>;
    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>>;
    fn solve(&self, graph: Graph, outputs: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError>;
    /// A line of a plugin's log: level `debug`, `info` or `warn`, plugin name, text.
    fn log(&self, level: &str, plugin: &str, message: &str);
    fn report(&self, diagnostic: Diagnostic);
    /// A plugin with this name, version and digest was started.
    fn used(&self, _plugin: &str, _version: &str, _digest: &Digest) {}
    /// All of a text that an instruction brought into the build file and that places call `name`, for messages that
    /// show lines of it. What was read under that name before stays.
    fn keep_text(&self, name: &str, text: &str);
}
