//! Writes an image layout into a directory: blobs under their final names once they are whole, the index last.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_core::digest::BlobDigest;

use super::verify::Verified;
use super::{BLOBS, INDEX_JSON, OCI_LAYOUT, OCI_LAYOUT_JSON, WriteLayoutError, blob_path};
use crate::document::{Descriptor, Index};

/// A directory that becomes, or already is, an image layout. Until [`LayoutWriter::finish`] a reader sees what was
/// there before.
#[derive(Debug)]
pub struct LayoutWriter {
    directory: PathBuf,
}

impl LayoutWriter {
    /// Makes the directory and its parents, or goes on with the layout that it holds.
    ///
    /// # Errors
    ///
    /// [`WriteLayoutError::NotALayout`] when there are other things in it.
    pub fn create(directory: &Path) -> Result<Self, WriteLayoutError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            |source| WriteLayoutError::Write { path, source }
        };
        std::fs::create_dir_all(directory).map_err(error(directory))?;
        let marker = directory.join(OCI_LAYOUT);
        let is_layout = marker.try_exists().map_err(error(&marker))?;
        if !is_layout {
            let mut others = std::fs::read_dir(directory).map_err(error(directory))?;
            if others.next().is_some() {
                return Err(WriteLayoutError::NotALayout { path: directory.to_owned() });
            }
        }
        let blobs = directory.join(BLOBS);
        std::fs::create_dir_all(&blobs).map_err(error(&blobs))?;
        let writer = Self { directory: directory.to_owned() };
        if !is_layout {
            writer.replace(OCI_LAYOUT, OCI_LAYOUT_JSON)?;
        }
        Ok(writer)
    }

    /// The index as it is now; `None` in a new layout.
    pub fn index(&self) -> Result<Option<Index>, super::OpenLayoutError> {
        if !self.directory.join(INDEX_JSON).exists() {
            return Ok(None);
        }
        super::LayoutReader::open_directory(&self.directory).map(|layout| Some(layout.index().clone()))
    }

    /// Whether the blob is there, by name and length.
    pub fn has(&self, blob: &Descriptor) -> bool {
        let found = std::fs::metadata(self.directory.join(blob_path(&blob.digest)));
        found.is_ok_and(|found| found.is_file() && found.len() == blob.size)
    }

    /// Copies a blob in, unless it is there.
    pub fn add_blob(&self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), WriteLayoutError> {
        if self.has(blob) {
            return Ok(());
        }
        let mut pending = self.begin_blob()?;
        let mut content = Verified::new(content, blob.digest, blob.size);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteLayoutError::Read { digest: blob.digest, source }),
            };
            let written = pending.write_all(&buffer[..count]);
            written.map_err(|source| self.write_error(&blob_path(&blob.digest), source))?;
        }
        self.commit(pending, blob.digest)
    }

    /// Writes a document as a blob.
    pub fn add_bytes(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, WriteLayoutError> {
        let blob = Descriptor::of(media_type, bytes);
        self.add_blob(&blob, &mut &bytes[..])?;
        Ok(blob)
    }

    /// A place for a blob whose digest is known when it is written.
    pub fn begin_blob(&self) -> Result<PendingBlob, WriteLayoutError> {
        Ok(PendingBlob { file: self.temporary()? })
    }

    /// Gives a blob its name. That its content has this digest is the caller's to know.
    pub fn commit(&self, pending: PendingBlob, digest: BlobDigest) -> Result<(), WriteLayoutError> {
        let name = blob_path(&digest);
        let persisted = pending.file.persist(self.directory.join(&name));
        persisted.map(drop).map_err(|error| self.write_error(&name, error.error))
    }

    /// Replaces the index; from now on readers see the new images.
    pub fn finish(self, index: &Index) -> Result<(), WriteLayoutError> {
        self.replace(INDEX_JSON, &index.to_json())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), WriteLayoutError> {
        let mut file = self.temporary()?;
        file.write_all(bytes).map_err(|source| self.write_error(name, source))?;
        let persisted = file.persist(self.directory.join(name));
        persisted.map(drop).map_err(|error| self.write_error(name, error.error))
    }

    fn temporary(&self) -> Result<tempfile::NamedTempFile<File>, WriteLayoutError> {
        // As any program would make a file, not for the owner alone; the umask applies.
        tempfile::Builder::new()
            .prefix(".kiln-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&self.directory)
            .map_err(|source| self.write_error("", source))
    }

    fn write_error(&self, name: &str, source: io::Error) -> WriteLayoutError {
        WriteLayoutError::Write { path: self.directory.join(name), source }
    }
}

/// A blob that is being written; gone unless it is committed.
#[derive(Debug)]
pub struct PendingBlob {
    file: tempfile::NamedTempFile<File>,
}

impl Write for PendingBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
