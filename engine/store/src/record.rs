//! Remembers what a key led to, and lets one process at a time work on a key.
//!
//! Records are bytes with a checksum: a torn one is a miss. What they mean is not known here.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use kiln_core::{CacheKey, Cancel};

use crate::fault::{At, FsError};
use crate::lock::{Claim, LockError, Mode, offset_of, wait_for};
use crate::sealed;
use crate::store::Store;
use crate::temp::Existing;

const KIND: &str = "record";

impl Store {
    fn record_path(&self, key: &CacheKey) -> PathBuf {
        let hex = key.hex();
        self.0.root.join("records").join(&hex[..2]).join(hex)
    }

    /// What was put under `key`; `None` if nothing was, or if it did not survive.
    pub fn record(&self, key: &CacheKey) -> Result<Option<Vec<u8>>, FsError> {
        let path = self.record_path(key);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("read", path),
        };
        let Some(body) = sealed::open(KIND, &bytes).map(<[u8]>::len) else {
            return Ok(None);
        };
        self.note_use(&path);
        Ok(Some(bytes.split_off(bytes.len() - body)))
    }

    /// Under [`Existing::Keep`] the first record of a key stays.
    pub fn put_record(&self, key: &CacheKey, record: &[u8], existing: Existing) -> Result<(), FsError> {
        let path = self.record_path(key);
        if existing == Existing::Keep && self.record(key)?.is_some() {
            return Ok(());
        }
        let directory = path.parent().unwrap_or(&path);
        match fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).at("create the directory", directory);
            }
            _ => {}
        }
        let file = sealed::seal(KIND, record);
        if !self.write_file(&path, &file, existing)? && self.record(key)?.is_none() {
            // What has the name is torn.
            self.write_file(&path, &file, Existing::Replace)?;
        }
        Ok(())
    }

    /// Waits until nobody else works on `key`. It ends with the value, or with the process however that ends.
    pub fn claim(&self, key: &CacheKey, cancel: &Cancel) -> Result<Claim, LockError> {
        let locks = self.0.root.join("locks");
        let offset = offset_of(&key.0);
        wait_for(cancel, || Claim::attempt(&locks, offset, Mode::Exclusive))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OwnerMapping;
    use kiln_core::Digest;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        (dir, store)
    }

    #[test]
    fn the_first_record_of_a_key_stays_unless_replaced() {
        let (_dir, store) = store();
        let key = CacheKey(Digest::of(b"key"));
        assert_eq!(store.record(&key).unwrap(), None);
        store.put_record(&key, b"one", Existing::Keep).unwrap();
        store.put_record(&key, b"two", Existing::Keep).unwrap();
        assert_eq!(store.record(&key).unwrap().unwrap(), b"one");
        store.put_record(&key, b"two", Existing::Replace).unwrap();
        assert_eq!(store.record(&key).unwrap().unwrap(), b"two");
    }

    #[test]
    fn a_torn_record_is_a_miss_and_makes_room() {
        let (_dir, store) = store();
        let key = CacheKey(Digest::of(b"key"));
        store.put_record(&key, b"one", Existing::Keep).unwrap();
        fs::write(store.record_path(&key), b"kiln record 1\nxyz").unwrap();
        assert_eq!(store.record(&key).unwrap(), None);
        store.put_record(&key, b"two", Existing::Keep).unwrap();
        assert_eq!(store.record(&key).unwrap().unwrap(), b"two");
    }

    #[test]
    fn a_claim_waits_for_the_one_before() {
        let (_dir, store) = store();
        let key = CacheKey(Digest::of(b"key"));
        let claim = store.claim(&key, &Cancel::new(None)).unwrap();
        let start = std::time::Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| store.claim(&key, &Cancel::new(None)).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(30));
            drop(claim);
        });
        assert!(start.elapsed().as_millis() >= 30);
    }
}
