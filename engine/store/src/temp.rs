//! Work in progress: names in `tmp/`, locked by their owner, so that what a dead process left can be told and swept.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::cache_mount::own;
use crate::fault::{At, FsError};
use crate::store::{Shared, Store};
use crate::{lock, remove};

/// A name below `tmp/`. Dropped without having been published, a file is removed at once and a directory left for the
/// sweep: deleting many files just before making others is slow on some file systems.
#[derive(Debug)]
pub(crate) struct Temp {
    store: Arc<Shared>,
    name: u64,
    path: PathBuf,
    is_directory: bool,
    published: bool,
    left: bool,
}

/// Whether what has the name already is to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Keep,
    Replace,
}

/// 64 random bits.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // Signals cut nothing this short; old kernels without the call exist only below our minimum.
        other => unreachable!("getrandom gave {other:?} for eight bytes"),
    }
}

impl Temp {
    fn new(store: &Arc<Shared>, is_directory: bool) -> Result<Self, FsError> {
        loop {
            let name = random() >> 1;
            // Locked before it exists: whoever sees the name sees the lock.
            if store.uses.own(name)? {
                return Ok(Self {
                    store: Arc::clone(store),
                    name,
                    path: store.root.join(format!("tmp/{name:016x}")),
                    is_directory,
                    published: false,
                    left: false,
                });
            }
        }
    }

    pub(crate) fn directory(store: &Arc<Shared>) -> Result<Self, FsError> {
        let temp = Self::new(store, true)?;
        fs::DirBuilder::new().mode(0o755).create(&temp.path).at("create the directory", &temp.path)?;
        Ok(temp)
    }

    pub(crate) fn file(store: &Arc<Shared>) -> Result<(Self, File), FsError> {
        let temp = Self::new(store, false)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&temp.path)
            .at("create the file", &temp.path)?;
        Ok((temp, file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps it locked for as long as the store lives.
    fn leave(mut self) -> PathBuf {
        self.left = true;
        self.path.clone()
    }

    /// Renames it to its final name. `false` when that is taken and `existing` says to keep.
    pub(crate) fn publish(mut self, to: &Path, existing: Existing) -> Result<bool, FsError> {
        let renamed = rename(&self.path, to, existing)?;
        self.published = renamed;
        Ok(renamed)
    }
}

/// Renames, telling apart a name that is taken.
pub(crate) fn rename(from: &Path, to: &Path, existing: Existing) -> Result<bool, FsError> {
    let flags = match existing {
        Existing::Keep => RenameFlags::NOREPLACE,
        Existing::Replace => RenameFlags::empty(),
    };
    match rustix::fs::renameat_with(CWD, from, CWD, to, flags) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST | Errno::NOTEMPTY) if existing == Existing::Keep => Ok(false),
        // A file system without that flag: a look first. Two that pass it at once publish equal things.
        Err(Errno::INVAL | Errno::NOSYS) if existing == Existing::Keep => {
            if to.symlink_metadata().is_ok() {
                return Ok(false);
            }
            fs::rename(from, to).at("put in place", to)?;
            Ok(true)
        }
        Err(e) => Err(e).at("put in place", to),
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published && !self.is_directory {
            // What cannot be removed now is swept later.
            let _ = fs::remove_file(&self.path);
        }
        if !self.left {
            self.store.uses.release(self.name);
        }
    }
}

impl Store {
    /// Writes a small file under its final name by way of a temporary one.
    pub(crate) fn write_file(&self, to: &Path, bytes: &[u8], existing: Existing) -> Result<bool, FsError> {
        let (temp, mut file) = Temp::file(&self.0)?;
        file.write_all(bytes).at("write the file", temp.path())?;
        drop(file);
        temp.publish(to, existing)
    }

    /// A fresh empty directory of root's, 0755, that stays while this store lives.
    pub fn empty_directory(&self) -> Result<PathBuf, FsError> {
        let path = Temp::directory(&self.0)?.leave();
        own(&path, 0o755, 0, 0).at("change the mode of", &path)?;
        Ok(path)
    }

    /// Moves something out of the way, to be deleted by the next sweep.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), FsError> {
        let away = self.0.root.join(format!("tmp/{:016x}", random() >> 1));
        match fs::rename(path, &away) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.at("move away", path),
        }
    }

    /// Deletes what nobody owns in `tmp/`, in a thread of its own. Not for the way to a no-op. The thread ends with the
    /// process; what it did not get to is left for the next sweep.
    pub fn sweep(&self) -> Sweep {
        let store = self.clone();
        Sweep(std::thread::spawn(move || store.sweep_now()))
    }

    /// What cannot be deleted keeps nothing else from being; the first such error is told.
    fn sweep_now(&self) -> Result<u64, FsError> {
        let tmp = self.0.root.join("tmp");
        let locks = self.0.uses.for_collector()?;
        let mut removed = 0;
        let mut failed = None;
        for entry in fs::read_dir(&tmp).at("list the directory", &tmp)? {
            let entry = entry.at("list the directory", &tmp)?;
            match sweep_one(&entry, &locks) {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(e) => failed = failed.or(Some(e)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }
}

fn sweep_one(entry: &fs::DirEntry, locks: &File) -> Result<bool, FsError> {
    let path = entry.path();
    let name = entry.file_name();
    let number = name.to_str().filter(|n| n.len() == 16).and_then(|n| u64::from_str_radix(n, 16).ok());
    let Some(number) = number.filter(|number| number >> 63 == 0) else {
        // A mark of `durable` or a `format` on its way; one older than a minute was left by a dead process.
        let modified = entry.metadata().and_then(|about| about.modified());
        let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() > 60));
        if old {
            remove::remove(&path)?;
        }
        return Ok(old);
    };
    if !lock::try_lock(locks, number, lock::Mode::Exclusive).at("lock a name for", &path)? {
        return Ok(false);
    }
    let removed = remove::remove(&path);
    lock::try_lock(locks, number, lock::Mode::Unlocked).at("unlock the name of", &path)?;
    removed.map(|()| true)
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep(std::thread::JoinHandle<Result<u64, FsError>>);

impl Sweep {
    /// Gives it some time; tells whether it came to its end. It goes on otherwise, while the process does.
    pub fn wait_at_most(&self, limit: std::time::Duration) -> bool {
        let start = std::time::Instant::now();
        while !self.0.is_finished() && start.elapsed() < limit {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        self.0.is_finished()
    }

    /// Waits for its end; tells how many temporary entries were deleted.
    pub fn wait(self) -> Result<u64, FsError> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
