//! What a tar stream may ask for, and why one is refused.

use std::io;

/// What a stream may ask for before it is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    pub entries: u64,
    /// Sum of the lengths of all names.
    pub name_bytes: u64,
    /// One name or link target.
    pub path_bytes: usize,
    /// One extended header: the attributes of one file.
    pub header_bytes: u64,
    /// Content of all files, holes included, and of the stream itself.
    pub content_bytes: u64,
}

impl Limits {
    pub const DEFAULT: Self = Self {
        entries: 2_000_000,
        name_bytes: 256 << 20,
        path_bytes: 4096,
        header_bytes: 1 << 20,
        content_bytes: 4 << 40,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What is wrong with a layer or archive. Paths are the entries' own names, as the stream spells them.
#[derive(Debug, thiserror::Error)]
pub enum ReadLayerError {
    #[error("the tar stream could not be read")]
    Read { source: io::Error },
    #[error("the tar stream ends in the middle of {}", place(.entry))]
    Truncated { entry: Option<String> },
    #[error("this is no tar stream: byte {at} does not begin a valid header ({why})")]
    Header { at: u64, why: &'static str },
    #[error("entry `{path}` is broken: {why}")]
    Broken { path: String, why: &'static str },
    #[error("entry `{path}` leaves the root of the file system")]
    LeavesRoot { path: String },
    #[error("entry `{path}` is a hard link to `{target}`, which is no file that came before it")]
    LinkTarget { path: String, target: String },
    #[error("entry `{path}` lies under `{parent}`, which is no directory")]
    UnderFile { path: String, parent: String },
    #[error("entry `{path}` comes again and would replace what other entries need")]
    Replaces { path: String },
    #[error("entry `{path}` has the type `{kind}`, which is no file that can be unpacked")]
    Type { path: String, kind: char },
    #[error("{what} is more than {limit}, the limit for one archive (at entry `{path}`)")]
    Limit { path: String, what: &'static str, limit: u64 },
    #[error("could not take in entry `{path}`")]
    Sink { path: String, source: io::Error },
}

fn place(entry: &Option<String>) -> String {
    match entry {
        Some(entry) => format!("entry `{entry}`"),
        None => "a header".to_owned(),
    }
}
