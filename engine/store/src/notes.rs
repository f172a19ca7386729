//! Remembers what the last builds of a context looked at, for explaining the next one. What the bytes say is not known
//! here.

use std::fs;
use std::io;
use std::path::PathBuf;

use kiln_core::Digest;

use crate::fault::{At, FsError};
use crate::sealed;
use crate::store::Store;
use crate::temp::Existing;

const KIND: &str = "build notes";

impl Store {
    fn notes_path(&self, id: &Digest) -> PathBuf {
        self.0.root.join("builds").join(id.hex())
    }

    /// `None` if there are none, or none that survived.
    pub fn build_notes(&self, id: &Digest) -> Result<Option<Vec<u8>>, FsError> {
        let path = self.notes_path(id);
        match fs::read(&path) {
            Ok(bytes) => Ok(sealed::open(KIND, &bytes).map(<[u8]>::to_vec)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).at("read", path),
        }
    }

    /// The last ones stay.
    pub fn put_build_notes(&self, id: &Digest, notes: &[u8]) -> Result<(), FsError> {
        self.write_file(&self.notes_path(id), &sealed::seal(KIND, notes), Existing::Replace)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OwnerMapping;

    #[test]
    fn the_last_notes_stay_and_torn_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let id = Digest::of(b"context");
        assert_eq!(store.build_notes(&id).unwrap(), None);
        store.put_build_notes(&id, b"one").unwrap();
        store.put_build_notes(&id, b"two").unwrap();
        assert_eq!(store.build_notes(&id).unwrap().unwrap(), b"two");
        fs::write(store.notes_path(&id), "x").unwrap();
        assert_eq!(store.build_notes(&id).unwrap(), None);
    }
}
