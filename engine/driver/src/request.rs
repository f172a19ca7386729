//! What a build is asked to do, beyond what the frontend is told.

use std::path::PathBuf;
use std::sync::Arc;

use crate::agent::SshSource;
use kiln_core::ImageRef;
use kiln_core::Request;

/// Where the files of a build come from.
#[derive(Clone, Debug)]
pub enum ContextLocation {
    Directory(PathBuf),
    /// No files at all (a Dockerfile on standard input).
    Empty,
    /// A tar archive, plain or compressed, already read (a context on standard input).
    Archive(Arc<[u8]>),
    /// A git repository or an http(s) address, as the person wrote it.
    Remote(String),
}

/// Where the build file comes from.
#[derive(Clone, Debug)]
pub enum BuildFile {
    /// Looked for in the main context, under [`Request::file`] or the frontend's own names.
    InContext,
    /// A file anywhere; its neighbours are looked at for `<name>.dockerignore`.
    Path(PathBuf),
    /// To be fetched over HTTP.
    Remote(String),
    /// Read already, from standard input for example.
    Text { name: String, text: Arc<[u8]> },
}

/// A value that reaches a step and nothing else.
#[derive(Clone)]
pub struct Secret {
    pub id: String,
    pub value: Arc<[u8]>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({}, {} bytes)", self.id, self.value.len())
    }
}

/// How layers are compressed in what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip(u32),
    Zstd(i32),
}

/// One `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    pub kind: OutputKind,
    /// Absent for the store; `-` is standard output.
    pub destination: Option<Destination>,
    /// Absent: what is usual for the kind.
    pub compression: Option<Compression>,
    /// Names to be written into the output, besides the build's tags.
    pub names: Vec<ImageRef>,
    /// Times inside what is written are set to the epoch of the build, when there is one; else they stay.
    pub rewrite_timestamp: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Path(PathBuf),
    Stdout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// kiln's own image store.
    Store,
    /// An OCI layout, as a tar archive.
    OciArchive,
    /// An OCI layout, as a directory.
    OciLayout,
    /// What `docker load` reads.
    DockerArchive,
    /// The files of the image as one tar archive.
    Tar,
    /// The files of the image in a directory.
    Local,
    /// A registry, under the names of the build.
    Registry,
}

/// How steps reach the network unless they say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    #[default]
    Default,
    None,
    Host,
}

/// A whole command.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// What the frontend is asked.
    pub frontend: Request,
    /// The frontend that the person names; absent: as the build file says, or what is in the context.
    pub frontend_name: Option<String>,
    /// The frontend that the repository names.
    pub project_frontend: Option<String>,
    pub context: ContextLocation,
    pub build_file: BuildFile,
    /// A main context that is a git repository comes with its `.git`.
    pub keep_git_dir: bool,
    /// `--build-context`: name and value as given.
    pub named_contexts: Vec<(String, String)>,
    pub tags: Vec<ImageRef>,
    pub outputs: Vec<OutputSpec>,
    /// Ask registries again what names mean.
    pub pull: bool,
    pub network: NetworkMode,
    /// Host name and address.
    pub add_hosts: Vec<(String, String)>,
    pub secrets: Vec<Secret>,
    /// SSH keys by id.
    pub ssh: Vec<(String, SshSource)>,
    pub ulimits: Vec<kiln_core::graph::Ulimit>,
    /// Bytes of /dev/shm; absent: 64 MiB.
    pub shm_size: Option<u64>,
    /// A cgroup below which the steps run.
    pub cgroup_parent: Option<String>,
    /// Rights given with `--allow`.
    pub allow: Vec<String>,
    /// Proxy variables for steps, outside keys.
    pub proxies: Vec<(String, String)>,
    /// Annotations for every manifest.
    pub annotations: Vec<(String, String)>,
}

impl BuildRequest {
    /// No context, no outputs, and no network for steps.
    pub(crate) fn nothing() -> Self {
        Self {
            frontend: Request { build_platform: kiln_core::Platform::host(), ..Request::default() },
            frontend_name: None,
            project_frontend: None,
            context: ContextLocation::Empty,
            build_file: BuildFile::InContext,
            keep_git_dir: false,
            named_contexts: Vec::new(),
            tags: Vec::new(),
            outputs: Vec::new(),
            pull: false,
            network: NetworkMode::None,
            add_hosts: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
            ulimits: Vec::new(),
            shm_size: None,
            cgroup_parent: None,
            allow: Vec::new(),
            proxies: Vec::new(),
            annotations: Vec::new(),
        }
    }
}
