//! Byte-range locks that belong to an open file: the kernel drops them with whoever held them, however it died.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_core::{Cancel, Digest};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::fault::{At, FsError};

/// How long a holder of an exclusive lock that is only ever held for a rename is waited for.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
    Unlocked,
}

/// Where in a lock file a digest has its byte: at its first 63 bits.
pub(crate) fn offset_of(digest: &Digest) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(first) >> 1
}

/// Sets the lock of one byte without waiting; `false` when somebody else's stands against it.
pub(crate) fn try_lock(file: &File, offset: u64, mode: Mode) -> io::Result<bool> {
    let range = libc::flock {
        l_type: match mode {
            Mode::Shared => libc::F_RDLCK,
            Mode::Exclusive => libc::F_WRLCK,
            Mode::Unlocked => libc::F_UNLCK,
        } as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

pub(crate) fn open_lock_file(path: &Path) -> Result<File, FsError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .at("open the lock file", path)
}

/// Why a lock was not waited for to the end.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cancelled while waiting for another build")]
    Cancelled,
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Tries again at growing intervals until `attempt` gives something or `cancel` is raised.
pub(crate) fn wait_for<T>(
    cancel: &Cancel,
    mut attempt: impl FnMut() -> Result<Option<T>, FsError>,
) -> Result<T, LockError> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if let Some(got) = attempt()? {
            return Ok(got);
        }
        if cancel.is_cancelled() {
            return Err(LockError::Cancelled);
        }
        match cancel.wake_fd() {
            None => std::thread::sleep(pause),
            Some(fd) => {
                let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
                let timeout = rustix::fs::Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
                let woken = rustix::event::poll(&mut fds, Some(&timeout)).unwrap_or(0) > 0;
                // Readable but not (yet) raised: the descriptor would wake us at once again and again.
                if woken && !cancel.is_cancelled() {
                    std::thread::sleep(pause);
                }
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// An exclusive lock on a descriptor of its own.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

impl Claim {
    pub(crate) fn attempt(path: &Path, offset: u64, mode: Mode) -> Result<Option<Self>, FsError> {
        let file = open_lock_file(path)?;
        let locked = try_lock(&file, offset, mode).at("lock a key in", path)?;
        Ok(locked.then_some(Self { _file: file }))
    }
}

/// The names that this store has in use. Shared locks on one descriptor, one byte per name, held until the store is
/// dropped: what a build has touched stays for as long as the build lasts.
#[derive(Debug)]
pub(crate) struct Uses {
    file: File,
    path: PathBuf,
    held: Mutex<HashSet<u64>>,
}

impl Uses {
    pub(crate) fn open(path: &Path) -> Result<Self, FsError> {
        Ok(Self { file: open_lock_file(path)?, path: path.to_owned(), held: Mutex::new(HashSet::new()) })
    }

    /// To be called before looking whether what has that name exists: afterwards no collector takes it away.
    pub(crate) fn hold(&self, offset: u64) -> Result<(), FsError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&offset) {
            return Ok(());
        }
        let start = Instant::now();
        while !try_lock(&self.file, offset, Mode::Shared).at("lock a name in", &self.path)? {
            if start.elapsed() > COLLECTOR_PATIENCE {
                return Err(io::Error::from(io::ErrorKind::TimedOut)).at("lock a name in", &self.path);
            }
            std::thread::sleep(SHORTEST_PAUSE);
        }
        held.insert(offset);
        Ok(())
    }

    /// Exclusively, for something that nobody else knows of yet.
    pub(crate) fn own(&self, offset: u64) -> Result<bool, FsError> {
        try_lock(&self.file, offset, Mode::Exclusive).at("lock a name in", &self.path)
    }

    pub(crate) fn release(&self, offset: u64) {
        // Failing to unlock would only keep a temporary from being swept while this process lives.
        let _ = try_lock(&self.file, offset, Mode::Unlocked);
    }

    /// A second descriptor, whose locks stand against those of every store, this one included.
    pub(crate) fn for_collector(&self) -> Result<File, FsError> {
        open_lock_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_stands_against_another_descriptor_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks");
        let offset = offset_of(&Digest::from_bytes([0xff; 32]));
        let first = Claim::attempt(&path, offset, Mode::Exclusive).unwrap();
        assert!(first.is_some());
        assert!(Claim::attempt(&path, offset, Mode::Exclusive).unwrap().is_none());
        assert!(Claim::attempt(&path, offset - 1, Mode::Exclusive).unwrap().is_some());
        drop(first);
        assert!(Claim::attempt(&path, offset, Mode::Exclusive).unwrap().is_some());
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let cancel = Cancel::new(None);
        cancel.raise(1);
        let waited = wait_for::<()>(&cancel, || Ok(None));
        assert!(matches!(waited, Err(LockError::Cancelled)));
    }

    #[test]
    fn what_is_held_cannot_be_collected() {
        let dir = tempfile::tempdir().unwrap();
        let uses = Uses::open(&dir.path().join("uses")).unwrap();
        uses.hold(7).unwrap();
        let collector = uses.for_collector().unwrap();
        assert!(!try_lock(&collector, 7, Mode::Exclusive).unwrap());
        assert!(try_lock(&collector, 8, Mode::Exclusive).unwrap());
    }
}
