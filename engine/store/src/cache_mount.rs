//! Directories that outlive a build and are no layers: cache mounts, with who may use one at a time.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kiln_core::{Cancel, Digest, TreePath};

use crate::fault::{At, FsError};
use crate::lock::{Claim, LockError, Mode, offset_of, wait_for};
use crate::sealed;
use crate::store::Store;
use crate::temp::{Existing, Temp, rename};
use crate::walk::open_directory;

pub(crate) const NAME: &str = "name";
const KIND: &str = "cache mount";
/// Copies of one private cache mount; more steps than that at once wait for each other.
const MAX_INSTANCES: u32 = 256;

/// Who may use a cache mount while somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    /// Anybody who shares, too.
    Shared,
    /// Nobody: the next one gets a directory of its own.
    Private,
    /// Nobody: the next one waits.
    Locked,
}

/// A cache mount in use, until it is dropped.
#[derive(Debug)]
pub struct CacheDir {
    path: PathBuf,
    _claim: Claim,
}

impl CacheDir {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it. What steps have put there is not trusted: a path through a link is refused.
    pub fn below(&self, path: &TreePath) -> Result<PathBuf, FsError> {
        let full = self.path.join(path.as_os());
        let root = File::open(&self.path).at("open the directory", &self.path)?;
        open_directory(root.as_fd(), path).at("open the directory", &full)?;
        Ok(full)
    }
}

/// Why there is no cache mount to be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("could not fill the new cache mount `{id}`")]
    Seed { id: String, source: io::Error },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The lock of one instance of a cache mount.
pub(crate) fn lock_of(identity: &Digest, instance: u32) -> u64 {
    offset_of(&Digest::of(format!("cache mount {identity} {instance}").as_bytes()))
}

impl Store {
    /// The directory of the cache mount `identity`, which people know as `id`.
    ///
    /// A new one is filled by `seed`, which is given an empty directory of root's, 0755, and also decides on its
    /// metadata; what it leaves is published whole or not at all.
    pub fn cache_mount(
        &self,
        identity: &Digest,
        id: &str,
        sharing: CacheSharing,
        cancel: &Cancel,
        seed: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<CacheDir, CacheError> {
        let locks = self.0.root.join("locks");
        let (instance, claim) = match sharing {
            CacheSharing::Shared => {
                let claim = wait_for(cancel, || Claim::attempt(&locks, lock_of(identity, 0), Mode::Shared))?;
                (0, claim)
            }
            CacheSharing::Locked => {
                let claim =
                    wait_for(cancel, || Claim::attempt(&locks, lock_of(identity, 0), Mode::Exclusive))?;
                (0, claim)
            }
            CacheSharing::Private => wait_for(cancel, || {
                for instance in 0..MAX_INSTANCES {
                    if let Some(claim) = Claim::attempt(&locks, lock_of(identity, instance), Mode::Exclusive)?
                    {
                        return Ok(Some((instance, claim)));
                    }
                }
                Ok(None)
            })?,
        };
        let owner = self.0.root.join("caches").join(identity.hex());
        let path = owner.join(instance.to_string());
        if !path.is_dir() {
            // Those who share one may all be here.
            let _making = self.lock_briefly(lock_of(identity, u32::MAX - instance))?;
            if !path.is_dir() {
                self.make_cache(&owner, &path, id, seed)?;
            }
        }
        let name = owner.join(NAME);
        // Only the collector's order depends on it.
        let _ = File::options().append(true).open(&name).and_then(|f| f.set_modified(SystemTime::now()));
        Ok(CacheDir { path, _claim: claim })
    }

    fn make_cache(
        &self,
        owner: &Path,
        path: &Path,
        id: &str,
        seed: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), CacheError> {
        let temp = Temp::directory(&self.0)?;
        // One level down, so that what is renamed is not the locked name itself: seeding may take long.
        let fresh = temp.path().join("cache");
        fs::create_dir(&fresh).at("create the directory", &fresh)?;
        own(&fresh, 0o755, 0, 0).at("change the mode of", &fresh)?;
        seed(&fresh).map_err(|source| CacheError::Seed { id: id.to_owned(), source })?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(owner).at("create the directory", owner)?;
        self.write_file(&owner.join(NAME), &sealed::seal(KIND, id.as_bytes()), Existing::Replace)?;
        rename(&fresh, path, Existing::Keep)?;
        Ok(())
    }

    /// What people know a cache mount as.
    pub(crate) fn cache_name(&self, owner: &Path) -> Option<String> {
        let bytes = fs::read(owner.join(NAME)).ok()?;
        String::from_utf8(sealed::open(KIND, &bytes)?.to_vec()).ok()
    }
}

/// Gives an empty directory of the store's its mode and owner.
pub fn own(directory: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::chown(directory, Some(uid), Some(gid))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode & 0o7777);
    fs::set_permissions(directory, mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OwnerMapping;
    use std::time::{Duration, Instant};

    fn mount(store: &Store, sharing: CacheSharing, seeds: &mut u32) -> CacheDir {
        let id = Digest::of(b"cache");
        let mut seed = |path: &Path| {
            *seeds += 1;
            own(path, 0o1770, 7, 8)?;
            fs::write(path.join("seeded"), "")
        };
        store.cache_mount(&id, "cache", sharing, &Cancel::new(None), &mut seed).unwrap()
    }

    #[test]
    fn a_cache_is_seeded_once_and_keeps_what_is_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let mut seeds = 0;
        let first = mount(&store, CacheSharing::Shared, &mut seeds);
        fs::write(first.path().join("more"), "").unwrap();
        let second = mount(&store, CacheSharing::Shared, &mut seeds);
        assert_eq!((first.path(), seeds), (second.path(), 1));
        assert!(second.path().join("more").exists());
        assert!(second.below(&TreePath::parse("no/such").unwrap()).is_err());
        std::os::unix::fs::symlink("/", second.path().join("out")).unwrap();
        assert!(second.below(&TreePath::parse("out/etc").unwrap()).is_err());
    }

    #[test]
    fn a_private_cache_in_use_gives_the_next_one_its_own_and_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let mut seeds = 0;
        let first = mount(&store, CacheSharing::Private, &mut seeds);
        let second = mount(&store, CacheSharing::Private, &mut seeds);
        assert_ne!(first.path(), second.path());
        let path = first.path().to_owned();
        drop(first);
        let third = mount(&store, CacheSharing::Private, &mut seeds);
        assert_eq!((third.path(), seeds), (&*path, 2));
    }

    #[test]
    fn a_locked_cache_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let held = mount(&store, CacheSharing::Locked, &mut 0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| mount(&store, CacheSharing::Locked, &mut 0));
            std::thread::sleep(Duration::from_millis(30));
            drop(held);
        });
        assert!(start.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_seed_that_fails_leaves_no_cache() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let id = Digest::of(b"cache");
        let cancel = Cancel::new(None);
        let mut fails = |_: &Path| Err(io::Error::other("no"));
        let error = store.cache_mount(&id, "cache", CacheSharing::Shared, &cancel, &mut fails).unwrap_err();
        assert!(matches!(error, CacheError::Seed { .. }));
        let mut seeds = 0;
        mount(&store, CacheSharing::Shared, &mut seeds);
        assert_eq!(seeds, 1);
    }
}
