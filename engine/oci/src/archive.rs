//! Reads archives that are no tar as entries: ar, zip, and a single compressed file.

mod ar;
mod zip;

use std::io::{self, Read};

use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Entry, File, Kind, Place, Time, TreePath};

use crate::layer::{ArchiveStats, Limits};

pub use ar::{is_ar, read_ar};
pub use zip::{is_zip, read_zip};

/// The name of what [`read_compressed`] finds.
pub const SINGLE: &str = "content";

/// What is wrong with an archive. Paths are the entries' own names, as the archive spells them.
#[derive(Debug, thiserror::Error)]
pub enum ReadArchiveError {
    #[error("the archive could not be read")]
    Read { source: io::Error },
    #[error("the archive is broken: {why}")]
    Archive { why: &'static str },
    #[error("entry `{path}` is broken: {why}")]
    Broken { path: String, why: &'static str },
    #[error("entry `{path}` leaves the root of the file system")]
    LeavesRoot { path: String },
    #[error("{what} is more than {limit}, the limit for one archive (at entry `{path}`)")]
    Limit { path: String, what: &'static str, limit: u64 },
    #[error("could not take in entry `{path}`")]
    Sink { path: String, source: io::Error },
}

/// Hands entries on, and counts them.
struct Taker<'a> {
    sink: &'a mut dyn EntrySink,
    limits: &'a Limits,
    stats: ArchiveStats,
    name_bytes: u64,
}

impl<'a> Taker<'a> {
    fn new(sink: &'a mut dyn EntrySink, limits: &'a Limits) -> Self {
        Self { sink, limits, stats: ArchiveStats { entries: 0, bytes: 0 }, name_bytes: 0 }
    }

    /// Judges an entry before anything of it is read: its path, and whether it is too much.
    fn admit(&mut self, name: &[u8], size: u64) -> Result<(String, TreePath), ReadArchiveError> {
        let shown = String::from_utf8_lossy(name).into_owned();
        let limit = |what, limit| ReadArchiveError::Limit { path: shown.clone(), what, limit };
        self.stats.entries += 1;
        self.name_bytes += name.len() as u64;
        if self.stats.entries > self.limits.entries {
            return Err(limit("the number of entries", self.limits.entries));
        }
        if name.len() > self.limits.path_bytes {
            return Err(limit("the length of a name", self.limits.path_bytes as u64));
        }
        if self.name_bytes > self.limits.name_bytes {
            return Err(limit("the length of all names", self.limits.name_bytes));
        }
        self.stats.bytes = self.stats.bytes.saturating_add(size);
        if self.stats.bytes > self.limits.content_bytes {
            return Err(limit("the content of all files", self.limits.content_bytes));
        }
        match TreePath::parse(name) {
            Ok(path) => Ok((shown, path)),
            Err(_) => Err(ReadArchiveError::LeavesRoot { path: shown }),
        }
    }

    fn take(
        &mut self,
        shown: &str,
        path: TreePath,
        entry: Entry,
        content: &mut dyn Read,
    ) -> Result<(), ReadArchiveError> {
        let sunk = self.sink.entry(path, entry, content);
        sunk.map_err(|source| ReadArchiveError::Sink { path: shown.to_owned(), source })
    }
}

/// A regular file of root's whose bytes are still to come.
fn file(size: u64, mode: u32, seconds: i64) -> Entry {
    let content = Content { digest: None, place: Place::Here };
    Entry {
        kind: Kind::File(File { size, content }),
        mode: mode & 0o7777,
        mtime: Time { seconds, nanoseconds: 0 },
        ..Entry::directory()
    }
}

/// Reads what a compressed file holds as one file, [`SINGLE`]. `open` is called twice and gives the decompressed bytes:
/// a file's size is known before its content.
pub fn read_compressed<R: Read>(
    mut open: impl FnMut() -> io::Result<R>,
    sink: &mut dyn EntrySink,
    limits: &Limits,
) -> Result<ArchiveStats, ReadArchiveError> {
    let unreadable = |source| ReadArchiveError::Read { source };
    let mut counted = open().map_err(unreadable)?.take(limits.content_bytes.saturating_add(1));
    let size = io::copy(&mut counted, &mut io::sink()).map_err(unreadable)?;
    let mut taker = Taker::new(sink, limits);
    let (shown, path) = taker.admit(SINGLE.as_bytes(), size)?;
    let mut content = open().map_err(unreadable)?.take(size);
    taker.take(&shown, path, file(size, 0o644, 0), &mut content)?;
    Ok(taker.stats)
}

#[cfg(test)]
mod tests;
