//! Writes images as one tar stream that both OCI tools and `docker load` read.

use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom, Write};

use kiln_core::digest::{BlobDigest, Digest};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    BLOBS, DOCKER_MANIFEST_JSON, INDEX_JSON, OCI_LAYOUT, OCI_LAYOUT_JSON, WriteLayoutError, blob_path,
};
use crate::document::{Descriptor, Index};
use crate::layer::header::BLOCK;

/// An image layout as a tar stream: `oci-layout`, the blobs in the order in which they are given, and `index.json`
/// last. Every byte follows from what is given; all times are 0.
#[derive(Debug)]
pub struct ArchiveWriter<W> {
    out: W,
    written: HashSet<BlobDigest>,
}

/// What `docker load` is told about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerImage {
    pub config: BlobDigest,
    /// Base first.
    pub layers: Vec<BlobDigest>,
    /// `busybox:latest`, as Docker shows it.
    pub repo_tags: Vec<String>,
}

impl<W: Write> ArchiveWriter<W> {
    pub fn new(out: W) -> Result<Self, WriteLayoutError> {
        let mut writer = Self { out, written: HashSet::new() };
        writer.file(OCI_LAYOUT, OCI_LAYOUT_JSON)?;
        for directory in ["blobs/", "blobs/sha256/"] {
            let header = header(directory, 0, tar::EntryType::Directory);
            writer.write(directory, header.as_bytes())?;
        }
        Ok(writer)
    }

    /// Writes a blob, unless it was written before.
    ///
    /// # Errors
    ///
    /// After any error the archive is broken and to be thrown away.
    pub fn add_blob(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), WriteLayoutError> {
        if !self.written.insert(blob.digest) {
            return Ok(());
        }
        let name = blob_path(&blob.digest);
        self.write(&name, header(&name, blob.size, tar::EntryType::Regular).as_bytes())?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut done = 0u64;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteLayoutError::Read { digest: blob.digest, source }),
            };
            done += count as u64;
            if done > blob.size {
                break;
            }
            hasher.update(&buffer[..count]);
            self.write(&name, &buffer[..count])?;
        }
        if done != blob.size {
            let (digest, expected) = (blob.digest, blob.size);
            return Err(WriteLayoutError::Size { digest, expected, found: done });
        }
        let found = BlobDigest(Digest::from_bytes(hasher.finalize().into()));
        if found != blob.digest {
            return Err(WriteLayoutError::DigestMismatch { expected: blob.digest, found });
        }
        self.pad(&name, blob.size)
    }

    /// Writes a document as a blob.
    pub fn add_bytes(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, WriteLayoutError> {
        let blob = Descriptor::of(media_type, bytes);
        self.add_blob(&blob, &mut &bytes[..])?;
        Ok(blob)
    }

    /// Writes the index and ends the archive. The writer is given back, flushed.
    pub fn finish(self, index: &Index) -> Result<W, WriteLayoutError> {
        self.end(index, None)
    }

    /// As [`ArchiveWriter::finish`], and tells `docker load` (and all who read `docker-archive:`) of these images.
    pub fn finish_for_docker(self, index: &Index, images: &[DockerImage]) -> Result<W, WriteLayoutError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image<'a> {
            config: String,
            repo_tags: &'a [String],
            layers: Vec<String>,
        }
        let images: Vec<Image<'_>> = images
            .iter()
            .map(|image| Image {
                config: blob_path(&image.config),
                repo_tags: &image.repo_tags,
                layers: image.layers.iter().map(blob_path).collect(),
            })
            .collect();
        let list = serde_json::to_vec(&images).expect("lists of texts are always JSON");
        self.end(index, Some(list))
    }

    fn end(mut self, index: &Index, docker: Option<Vec<u8>>) -> Result<W, WriteLayoutError> {
        if let Some(list) = docker {
            self.file(DOCKER_MANIFEST_JSON, &list)?;
        }
        self.file(INDEX_JSON, &index.to_json())?;
        self.write(INDEX_JSON, &[0; 2 * BLOCK])?;
        self.out.flush().map_err(error(INDEX_JSON))?;
        Ok(self.out)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteLayoutError> {
        let header = header(name, bytes.len() as u64, tar::EntryType::Regular);
        self.write(name, header.as_bytes())?;
        self.write(name, bytes)?;
        self.pad(name, bytes.len() as u64)
    }

    fn pad(&mut self, name: &str, size: u64) -> Result<(), WriteLayoutError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(name, &[0; BLOCK][..padding as usize])
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriteLayoutError> {
        self.out.write_all(bytes).map_err(error(name))
    }
}

impl<W: Write + Seek> ArchiveWriter<W> {
    /// A place for a blob whose length and digest are known when it is written: its bytes go straight into the
    /// archive, and the header before them is written afterwards. This is for one pass over a large layer; where the
    /// output cannot seek, write the blob somewhere else first.
    pub fn begin_blob(&mut self) -> Result<BlobSlot<'_, W>, WriteLayoutError> {
        let start = self.out.stream_position().map_err(error(BLOBS))?;
        self.write(BLOBS, &[0; BLOCK])?;
        Ok(BlobSlot { archive: self, start, size: 0 })
    }
}

/// See [`ArchiveWriter::begin_blob`]. Dropped unfinished, it leaves a broken archive.
#[derive(Debug)]
pub struct BlobSlot<'a, W> {
    archive: &'a mut ArchiveWriter<W>,
    start: u64,
    size: u64,
}

impl<W: Write + Seek> BlobSlot<'_, W> {
    /// Gives the blob its name. That its content has this digest is the caller's to know.
    pub fn finish(self, digest: BlobDigest) -> Result<(), WriteLayoutError> {
        let name = blob_path(&digest);
        self.archive.pad(&name, self.size)?;
        let out = &mut self.archive.out;
        let end = out.stream_position().map_err(error(&name))?;
        out.seek(SeekFrom::Start(self.start)).map_err(error(&name))?;
        let header = header(&name, self.size, tar::EntryType::Regular);
        out.write_all(header.as_bytes()).map_err(error(&name))?;
        out.seek(SeekFrom::Start(end)).map_err(error(&name))?;
        // If it was there before, whoever unpacks finds the same bytes twice under one name.
        self.archive.written.insert(digest);
        Ok(())
    }
}

impl<W: Write> Write for BlobSlot<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.archive.out.write(bytes)?;
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.archive.out.flush()
    }
}

fn error(name: &str) -> impl FnOnce(io::Error) -> WriteLayoutError {
    let name = name.to_owned();
    |source| WriteLayoutError::Archive { name, source }
}

fn header(name: &str, size: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    let ustar = header.as_ustar_mut().expect("it was made as one");
    ustar.name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}
