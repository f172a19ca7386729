//! Remembers which manifest or index an image reference names.

use std::fs;
use std::io;
use std::path::PathBuf;

use kiln_core::{BlobDigest, Digest};

use crate::fault::{At, FsError};
use crate::sealed;
use crate::store::Store;
use crate::temp::Existing;

const KIND: &str = "image";

impl Store {
    fn image_path(&self, reference: &str) -> PathBuf {
        // Hashed, for references are longer than file names and have slashes in them.
        let name = Digest::of(reference.as_bytes()).hex();
        self.0.root.join("images").join(name)
    }

    /// What a full reference names.
    pub fn image(&self, reference: &str) -> Result<Option<BlobDigest>, FsError> {
        let path = self.image_path(reference);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("read", path),
        };
        Ok(parse(&bytes).filter(|(name, _)| name == reference).map(|(_, digest)| digest))
    }

    /// Lets `reference` name `digest`, whatever it named before. Nothing is written if it does already.
    pub fn set_image(&self, reference: &str, digest: &BlobDigest) -> Result<(), FsError> {
        if self.image(reference)? == Some(*digest) {
            return Ok(());
        }
        let file = sealed::seal(KIND, format!("{digest}\n{reference}").as_bytes());
        self.write_file(&self.image_path(reference), &file, Existing::Replace)?;
        Ok(())
    }

    /// `false` if there was none. What it named is left to the collector.
    pub fn remove_image(&self, reference: &str) -> Result<bool, FsError> {
        let path = self.image_path(reference);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).at("delete", path),
        }
    }

    /// All references with what they name, sorted.
    pub fn images(&self) -> Result<Vec<(String, BlobDigest)>, FsError> {
        let directory = self.0.root.join("images");
        let mut images = Vec::new();
        for entry in fs::read_dir(&directory).at("list the directory", &directory)? {
            let path = entry.at("list the directory", &directory)?.path();
            match fs::read(&path) {
                Ok(bytes) => images.extend(parse(&bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e).at("read", path),
            }
        }
        images.sort();
        Ok(images)
    }
}

fn parse(bytes: &[u8]) -> Option<(String, BlobDigest)> {
    let text = std::str::from_utf8(sealed::open(KIND, bytes)?).ok()?;
    let (digest, reference) = text.split_once('\n')?;
    Some((reference.to_owned(), BlobDigest(digest.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OwnerMapping;

    #[test]
    fn references_are_set_moved_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let (one, two) = (BlobDigest(Digest::of(b"1")), BlobDigest(Digest::of(b"2")));
        store.set_image("example.org/b:1", &one).unwrap();
        store.set_image("example.org/a:1", &one).unwrap();
        store.set_image("example.org/b:1", &two).unwrap();
        assert_eq!(store.image("example.org/b:1").unwrap(), Some(two));
        let all = store.images().unwrap();
        assert_eq!(all, [("example.org/a:1".into(), one), ("example.org/b:1".into(), two)]);
        assert!(store.remove_image("example.org/a:1").unwrap());
        assert!(!store.remove_image("example.org/a:1").unwrap());
        assert_eq!(store.image("example.org/a:1").unwrap(), None);
    }
}
