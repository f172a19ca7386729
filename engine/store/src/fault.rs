//! The one shape in which the system's refusals are reported: what was tried, on which path, and why not.

use std::io;
use std::path::{Path, PathBuf};

/// A file operation of the store that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} `{}`", path.display())]
pub struct FsError {
    /// A verb and what it is done to, as in "could not *create the file* `x`".
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FsError {
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Says where an error happened.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, FsError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, FsError> {
        self.map_err(|source| FsError { action, path: path.as_ref().to_owned(), source: source.into() })
    }
}
