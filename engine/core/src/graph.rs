//! The build as an acyclic graph of ops, in which inputs come before their readers.
//!
//! The ops are those of the plugin contract (wit/graph.wit) with one difference: an op names what it reads by position
//! in [`Vertex::inputs`], so keys, solver and executors see every input in one list.

use crate::diagnostic::Span;
use crate::digest::{BlobDigest, Digest};
use crate::platform::Platform;

/// Index into a [`Graph`].
pub type VertexId = usize;

/// Position in [`Vertex::inputs`].
pub type InputId = usize;

/// One file system that a vertex makes. Slot 0 is the result; slot N of an [`Op::Exec`] is what mount N holds after
/// the command ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    pub vertex: VertexId,
    pub slot: usize,
}

/// One step of work. Equal ops over equal inputs are the same work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Source(SourceOp),
    Exec(ExecOp),
    File(FileOp),
    /// The layers of all inputs, in order, each as if made on nothing.
    Merge,
    /// What the second input has beyond the first; with one input, all of it.
    Diff,
    Derive(DeriveOp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceOp {
    /// The empty file system.
    Scratch,
    Image(ImageSource),
    Context(ContextSource),
    Git(GitSource),
    Http(HttpSource),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSource {
    /// As written.
    pub reference: String,
    /// Manifest digest (for the vertex's platform) that planning resolved.
    pub pinned: Option<BlobDigest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSource {
    /// Empty for the main one.
    pub name: String,
    /// Patterns of `.dockerignore`; `None`: the context's own file applies.
    pub ignore: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    pub url: String,
    pub reference: String,
    pub commit: String,
    pub fetch_by_commit: bool,
    pub subdir: String,
    pub submodules: bool,
    pub keep_git_dir: bool,
    pub commit_times: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    pub url: String,
    /// `sha256:…`, `sha384:…` or `sha512:…`.
    pub checksum: Option<String>,
    /// Empty: last segment of the URL's path, or `__unnamed__`.
    pub filename: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMount {
    pub id: String,
    pub sharing: Sharing,
    /// What it starts from; absent: an empty directory of this mode and owner.
    pub seed: Option<InputId>,
    pub selector: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientMount {
    pub id: String,
    pub required: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind {
        /// Absent: an empty scratch directory.
        input: Option<InputId>,
        /// Sub-path of the input; empty for its root.
        selector: String,
    },
    Cache(CacheMount),
    /// Limit in KiB, 0 for the default.
    Tmpfs {
        size_kib: u32,
    },
    Secret(ClientMount),
    Ssh(ClientMount),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute. Mount 0 is the bind at `/`.
    pub target: String,
    pub readonly: bool,
    pub kind: MountKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretEnv {
    pub name: String,
    pub id: String,
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    pub name: String,
    /// `u64::MAX` is unlimited.
    pub soft: u64,
    pub hard: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// As the request says.
    #[default]
    Unset,
    Default,
    None,
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    #[default]
    Sandbox,
    Insecure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOp {
    pub args: Vec<String>,
    /// Complete and ordered.
    pub env: Vec<(String, String)>,
    pub secret_env: Vec<SecretEnv>,
    /// Empty: `/`.
    pub cwd: String,
    /// `user[:group]`, looked up in mount 0 when it runs.
    pub user: String,
    pub mounts: Vec<Mount>,
    pub network: Network,
    pub security: Security,
    /// Empty: the engine's default.
    pub hostname: String,
    /// Name and address.
    pub host_aliases: Vec<(String, String)>,
    pub ulimits: Vec<Ulimit>,
    /// KiB, 0 for the default.
    pub shm_size_kib: u32,
    pub devices: Vec<Device>,
    /// Exit codes taken as success; empty means just 0.
    pub ok_exit_codes: Vec<u32>,
}

/// Names or numbers as written; names are looked up in the tree written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Empty: 0.
    pub user: String,
    /// Empty: the named user's primary group, or the user's number again.
    pub group: String,
}

/// What to open instead of copying as a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unpack {
    #[default]
    Nothing,
    Tar,
    Ar,
    Zip,
    Compressed,
}

/// See `copy-action` in wit/graph.wit for the meaning of each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyAction {
    pub input: InputId,
    pub paths: Vec<String>,
    pub dest: String,
    pub owner: Option<Owner>,
    pub mode: String,
    pub include_patterns: Vec<String>,
    pub exclude_patterns: Vec<String>,
    pub follow_symlinks: bool,
    pub contents_only: bool,
    pub create_dest: bool,
    pub allow_wildcard: bool,
    pub allow_empty_wildcard: bool,
    pub unpack: Unpack,
    pub keep_parents: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAction {
    Copy(CopyAction),
    MakeDir { path: String, mode: u32, parents: bool, owner: Option<Owner> },
    MakeFile { path: String, data: Vec<u8>, mode: u32, owner: Option<Owner> },
    MakeSymlink { path: String, target: String, owner: Option<Owner> },
    Remove { path: String, allow_missing: bool, allow_wildcard: bool },
    Change { path: String, owner: Option<Owner>, mode: String, recursive: bool, allow_wildcard: bool },
}

/// Actions run in order on top of `base` (absent: nothing) and make one layer, even if nothing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileOp {
    pub base: Option<InputId>,
    pub actions: Vec<FileAction>,
}

/// Asks a component, once the inputs are solved, which of their files go where. Its inputs are all of the vertex's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeriveOp {
    /// Digest of the component.
    pub plugin: Digest,
    pub task: String,
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    pub op: Op,
    /// What it reads, in the op's own order.
    pub inputs: Vec<Output>,
    pub platform: Platform,
    /// For people; never part of a key.
    pub name: String,
    /// Vertices of one group are shown together; the stage's name. Never part of a key.
    pub group: String,
    /// Not looked up in the cache; its result is stored.
    pub no_lookup: bool,
    /// Where it was written; for messages, never part of a key.
    pub origin: Vec<Span>,
}

/// An acyclic graph. Invariant: the inputs of a vertex have smaller ids than the vertex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    vertices: Vec<Vertex>,
}

impl Graph {
    /// Adds a vertex after its inputs.
    ///
    /// # Panics
    ///
    /// When an input is not there yet: whoever builds a graph checks foreign indexes before.
    pub fn push(&mut self, vertex: Vertex) -> VertexId {
        let id = self.vertices.len();
        for input in &vertex.inputs {
            assert!(
                input.vertex < id,
                "vertex {id} reads vertex {}, which does not precede it",
                input.vertex
            );
        }
        self.vertices.push(vertex);
        id
    }

    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }

    /// The op of a vertex, to be completed by the pass that pins sources.
    pub fn op_mut(&mut self, id: VertexId) -> &mut Op {
        &mut self.vertices[id].op
    }
}

impl std::ops::Index<VertexId> for Graph {
    type Output = Vertex;

    fn index(&self, id: VertexId) -> &Vertex {
        &self.vertices[id]
    }
}
