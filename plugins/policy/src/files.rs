//! Files of an image as the rules look at them; the host's trees, and in tests a table.

use kiln_sdk::wit::trees::{Change, ChangeList, Tree};
use kiln_sdk::wit::types::{FileInfo, HostError};

/// A filesystem that is read and never written.
pub(crate) trait Files {
    /// Up to `max` bytes from `offset`; nothing at the end.
    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError>;

    /// Direct children, sorted by path.
    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError>;

    /// Does not follow a link at the end of the path.
    fn stat(&self, path: &str) -> Result<FileInfo, HostError>;
}

impl Files for Tree {
    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        Tree::read(self, path, offset, max)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        Tree::children(self, path)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        Tree::stat(self, path)
    }
}

/// What a layer changes.
pub(crate) trait Changes {
    /// Up to `limit` from `start`; nothing past the end.
    fn page(&self, start: u32, limit: u32) -> Vec<Change>;
}

impl Changes for ChangeList {
    fn page(&self, start: u32, limit: u32) -> Vec<Change> {
        ChangeList::page(self, start, limit)
    }
}

/// The whole of a file, or its first `limit` bytes.
pub(crate) fn read_up_to(files: &dyn Files, path: &str, limit: usize) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let piece = files.read(path, bytes.len() as u32, (limit - bytes.len()) as u32)?;
        if piece.is_empty() {
            break;
        }
        // A short answer may be all there is, or the host's own limit: only an empty one is the end.
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// As [`read_up_to`]; `None` when there is no such file.
pub(crate) fn read_if_there(
    files: &dyn Files,
    path: &str,
    limit: usize,
) -> Result<Option<Vec<u8>>, HostError> {
    match read_up_to(files, path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}
