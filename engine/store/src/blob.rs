//! The content store: bytes under their SHA-256, whatever they mean.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kiln_core::{BlobDigest, Digest};
use sha2::Digest as _;

use crate::fault::{At, FsError};
use crate::lock::offset_of;
use crate::stamp::Stamp;
use crate::store::{Checked, Store};
use crate::temp::{Existing, Temp};

const BUFFER: usize = 256 << 10;
/// A use is written down no more often than this, so that reading stays reading.
pub(crate) const USE_GRAIN: Duration = Duration::from_secs(3600);

/// An open blob; it cannot be collected while the store that gave it lives.
#[derive(Debug)]
pub struct BlobFile {
    /// At its start.
    pub file: File,
    pub size: u64,
    _store: Store,
}

impl BlobFile {
    /// The blob stays for as long as the store it was opened in, which the caller keeps.
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Bytes on their way into the content store. Dropped without a commit nothing remains of them.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    temp: Temp,
    file: BufWriter<File>,
    hasher: sha2::Sha256,
    size: u64,
}

/// Why bytes did not become a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the content does not match its digest: expected {expected}, found {actual}")]
    WrongDigest { expected: BlobDigest, actual: BlobDigest },
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Store {
    pub(crate) fn blob_path(&self, digest: &BlobDigest) -> PathBuf {
        self.0.root.join("blobs/sha256").join(digest.hex())
    }

    /// `true` only for what can be trusted; from then on it stays while this store lives.
    pub fn has_blob(&self, digest: &BlobDigest) -> bool {
        matches!(self.open_blob(digest), Ok(Some(_)))
    }

    /// `None` if it is not there, or is not what its name says.
    pub fn open_blob(&self, digest: &BlobDigest) -> Result<Option<BlobFile>, FsError> {
        self.0.uses.hold(offset_of(&digest.0))?;
        let path = self.blob_path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("open", path),
        };
        if !self.trust_blob(digest, &file, &path)? {
            return Ok(None);
        }
        let about = file.metadata().at("look at", &path)?;
        let unused_for = about.modified().ok().and_then(|at| at.elapsed().ok());
        if unused_for.is_some_and(|age| age > USE_GRAIN) {
            // Only the collector's order depends on it.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(BlobFile { size: about.len(), file, _store: self.clone() }))
    }

    fn trust_blob(
        &self,
        digest: &BlobDigest,
        mut file: &File,
        path: &std::path::Path,
    ) -> Result<bool, FsError> {
        if Stamp::of(file).is_some_and(|stamp| self.durable().covers(stamp))
            || self.was_checked(Checked::Blob, &digest.0)
        {
            return Ok(true);
        }
        let now = Stamp::now();
        if compute_digest(file).at("read", path)? != digest.0 {
            self.discard(path)?;
            return Ok(false);
        }
        io::Seek::rewind(&mut file).at("read", path)?;
        now.put(file).at("stamp", path)?;
        self.note_checked(Checked::Blob, &digest.0);
        Ok(true)
    }

    /// All of a blob that is known to be small.
    pub fn read_blob(&self, digest: &BlobDigest, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let Some(blob) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let path = self.blob_path(digest);
        if blob.size > limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge)).at("read all of", path);
        }
        let mut bytes = Vec::with_capacity(blob.size as usize);
        (&blob.file).take(limit).read_to_end(&mut bytes).at("read", path)?;
        Ok(Some(bytes))
    }

    pub fn blob_writer(&self) -> Result<BlobWriter, FsError> {
        let (temp, file) = Temp::file(&self.0)?;
        Ok(BlobWriter {
            store: self.clone(),
            temp,
            file: BufWriter::with_capacity(BUFFER, file),
            hasher: sha2::Sha256::new(),
            size: 0,
        })
    }

    pub fn put_blob(&self, bytes: &[u8]) -> Result<BlobDigest, FsError> {
        let digest = BlobDigest(Digest::of(bytes));
        if self.open_blob(&digest)?.is_some() {
            return Ok(digest);
        }
        let (temp, mut file) = Temp::file(&self.0)?;
        file.write_all(bytes).at("write the file", temp.path())?;
        self.publish_blob(temp, &file, &digest)?;
        Ok(digest)
    }

    fn publish_blob(&self, temp: Temp, file: &File, digest: &BlobDigest) -> Result<(), FsError> {
        Stamp::now().put(file).at("stamp", temp.path())?;
        self.0.uses.hold(offset_of(&digest.0))?;
        self.note_checked(Checked::Blob, &digest.0);
        // Equal bytes take the place of equal bytes; if those there were torn, that mends them.
        temp.publish(&self.blob_path(digest), Existing::Replace)?;
        Ok(())
    }

    pub(crate) fn was_checked(&self, what: Checked, digest: &Digest) -> bool {
        self.checked().contains(&(what, *digest))
    }

    pub(crate) fn note_checked(&self, what: Checked, digest: &Digest) {
        self.checked().insert((what, *digest));
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<(Checked, Digest)>> {
        self.0.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Every blob's digest and size in bytes, in no order.
    pub fn blobs(&self) -> Result<Vec<(BlobDigest, u64)>, FsError> {
        let directory = self.0.root.join("blobs/sha256");
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&directory).at("list the directory", &directory)? {
            let entry = entry.at("list the directory", &directory)?;
            let digest = entry.file_name().to_str().and_then(Digest::from_hex);
            if let (Some(digest), Ok(about)) = (digest, entry.metadata()) {
                blobs.push((BlobDigest(digest), about.len()));
            }
        }
        Ok(blobs)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes).map_err(|e| self.failed(e))?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|e| self.failed(e))
    }
}

impl BlobWriter {
    fn failed(&self, source: io::Error) -> io::Error {
        let path = self.temp.path().to_owned();
        io::Error::new(source.kind(), FsError { action: "write the file", path, source })
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the bytes their name, which is returned with their number.
    ///
    /// # Errors
    ///
    /// [`BlobError::WrongDigest`] if they are not what was `expected`. After any error nothing remains.
    pub fn commit(self, expected: Option<BlobDigest>) -> Result<(BlobDigest, u64), BlobError> {
        let actual = BlobDigest(Digest::from_bytes(self.hasher.finalize().into()));
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(BlobError::WrongDigest { expected, actual });
        }
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .at("write the file", self.temp.path())?;
        self.store.publish_blob(self.temp, &file, &actual)?;
        Ok((actual, self.size))
    }
}

fn compute_digest(mut file: &File) -> io::Result<Digest> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OwnerMapping;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s"), OwnerMapping::Root).unwrap();
        (dir, store)
    }

    #[test]
    fn a_blob_is_found_under_the_digest_of_its_bytes() {
        let (_dir, store) = store();
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"abc").unwrap();
        let (digest, size) = writer.commit(None).unwrap();
        assert_eq!((digest, size), (BlobDigest(Digest::of(b"abc")), 3));
        assert_eq!(store.read_blob(&digest, 10).unwrap().unwrap(), b"abc");
        assert_eq!(store.put_blob(b"abc").unwrap(), digest);
        assert!(store.read_blob(&digest, 2).is_err());
    }

    #[test]
    fn a_wrong_digest_leaves_nothing() {
        let (_dir, store) = store();
        let expected = BlobDigest(Digest::of(b"other"));
        let mut writer = store.blob_writer().unwrap();
        writer.write_all(b"abc").unwrap();
        let error = writer.commit(Some(expected)).unwrap_err();
        assert!(matches!(error, BlobError::WrongDigest { .. }));
        assert!(!store.has_blob(&expected));
        assert!(!store.has_blob(&BlobDigest(Digest::of(b"abc"))));
        assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_blob_torn_before_this_boot_is_a_miss_and_a_whole_one_is_stamped_anew() {
        let (dir, store) = store();
        let whole = store.put_blob(b"whole").unwrap();
        let torn = store.put_blob(b"torn").unwrap();
        let old = Stamp { boot: [1; 16], since: 1 };
        fs::write(store.blob_path(&torn), b"t").unwrap();
        for digest in [&whole, &torn] {
            old.put(File::open(store.blob_path(digest)).unwrap()).unwrap();
        }
        drop(store);
        let store = Store::open(&dir.path().join("s"), OwnerMapping::Root).unwrap();
        assert!(store.has_blob(&whole));
        assert!(!store.has_blob(&torn));
        let stamp = Stamp::of(File::open(store.blob_path(&whole)).unwrap()).unwrap();
        assert_ne!(stamp, old);
        store.put_blob(b"torn").unwrap();
        assert!(store.has_blob(&torn));
    }
}
