//! Says whether what was published can be believed after a power loss, without ever flushing a step.
//!
//! Blobs and directories carry a stamp, boot id and time since boot, as an extended attribute. One of this boot is
//! trusted: a killed process tears nothing. An older one counts if the file `durable` says that everything published
//! until then had reached the disk. What is neither is checked against its name at the first use and stamped anew.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::fault::{At, FsError};
use crate::sealed;
use crate::store::Store;

/// On a blob's file, and on the directory of a layer for its directory form.
const ATTRIBUTE: &str = "user.kiln.stamp";
const DURABLE: &str = "durable";
/// Boots that `durable` remembers; what is older is checked again.
const MAX_BOOTS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) boot: [u8; 16],
    /// Nanoseconds since boot, suspended time included.
    pub(crate) since: u64,
}

impl Stamp {
    fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.boot);
        bytes[16..].copy_from_slice(&self.since.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (boot, since) = bytes.split_first_chunk::<16>()?;
        Some(Self { boot: *boot, since: u64::from_be_bytes(since.try_into().ok()?) })
    }

    /// Now. Where the kernel tells no boot id, every process is a boot of its own.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self {
            boot: boot_id(),
            since: u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
                + u64::try_from(time.tv_nsec).unwrap_or(0),
        }
    }

    /// Puts it on an open file or directory. File systems without attributes are left alone: nothing on them is
    /// trusted without a look.
    pub(crate) fn put(self, on: impl AsFd) -> Result<(), Errno> {
        match rustix::fs::fsetxattr(on, ATTRIBUTE, &self.to_bytes(), XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn of(on: impl AsFd) -> Option<Self> {
        let mut bytes = [0; 24];
        let length = rustix::fs::fgetxattr(on, ATTRIBUTE, &mut bytes).ok()?;
        Self::from_bytes(&bytes[..length])
    }
}

fn boot_id() -> [u8; 16] {
    static ID: OnceLock<[u8; 16]> = OnceLock::new();
    *ID.get_or_init(|| {
        let read = || {
            let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
            let digits: Vec<u8> =
                text.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|digit| digit as u8).collect();
            let mut id = [0; 16];
            if digits.len() != 32 {
                return None;
            }
            for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = pair[0] << 4 | pair[1];
            }
            Some(id)
        };
        read().unwrap_or_else(|| crate::temp::random().to_be_bytes().repeat(2).try_into().unwrap_or([0; 16]))
    })
}

/// Up to when, per boot, everything published is known to be on disk.
#[derive(Debug, Default)]
pub(crate) struct Durable(Vec<Stamp>);

impl Durable {
    /// One that cannot be read covers nothing.
    pub(crate) fn load(root: &Path) -> Self {
        let bytes = fs::read(root.join(DURABLE)).unwrap_or_default();
        let marks = sealed::open("durable", &bytes)
            .map(|body| body.chunks_exact(24).filter_map(Stamp::from_bytes).collect())
            .unwrap_or_default();
        Self(marks)
    }

    pub(crate) fn covers(&self, stamp: Stamp) -> bool {
        stamp.boot == boot_id()
            || self.0.iter().any(|mark| mark.boot == stamp.boot && stamp.since <= mark.since)
    }

    /// Moves the mark of `stamp`'s boot and writes the file by rename.
    pub(crate) fn advance(mut self, root: &Path, stamp: Stamp) -> Result<(), FsError> {
        match self.0.iter_mut().find(|mark| mark.boot == stamp.boot) {
            Some(mark) => mark.since = mark.since.max(stamp.since),
            None => self.0.push(stamp),
        }
        let excess = self.0.len().saturating_sub(MAX_BOOTS);
        self.0.drain(..excess);
        let body: Vec<u8> = self.0.iter().flat_map(|mark| mark.to_bytes()).collect();
        let fresh = root.join(format!("tmp/{DURABLE}-{:016x}", crate::temp::random()));
        fs::write(&fresh, sealed::seal("durable", &body)).at("write the file", &fresh)?;
        fs::rename(&fresh, root.join(DURABLE)).at("put in place", root.join(DURABLE))
    }
}

impl Store {
    /// Has everything that was published until now written to disk, in a thread of its own, and then says so in
    /// `durable`. To be called once by a build that works, early; never on the way to a no-op. The mark is not moved if
    /// the system reports an error. The thread ends with the process: then the mark stays where it was.
    pub fn flush(&self) -> Flush {
        let store = self.clone();
        Flush(std::thread::spawn(move || {
            let until = Stamp::now();
            let root = &store.0.root;
            let handle = fs::File::open(root).at("open the directory", root)?;
            rustix::fs::syncfs(&handle).at("flush the file system of", root)?;
            // Read again: another process may have moved it.
            Durable::load(root).advance(root, until)
        }))
    }
}

/// A flush under way.
#[derive(Debug)]
pub struct Flush(std::thread::JoinHandle<Result<(), FsError>>);

impl Flush {
    /// Waits for its end.
    pub fn wait(self) -> Result<(), FsError> {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_of_this_boot_counts_and_an_older_one_only_below_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let older = |since| Stamp { boot: [9; 16], since };
        assert!(Durable::load(dir.path()).covers(Stamp::now()));
        assert!(!Durable::load(dir.path()).covers(older(5)));
        Durable::load(dir.path()).advance(dir.path(), older(5)).unwrap();
        Durable::load(dir.path()).advance(dir.path(), Stamp::now()).unwrap();
        let durable = Durable::load(dir.path());
        assert!(durable.covers(older(5)));
        assert!(!durable.covers(older(6)));
    }

    #[test]
    fn a_torn_mark_covers_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let mark = Stamp { boot: [9; 16], since: 5 };
        Durable::load(dir.path()).advance(dir.path(), mark).unwrap();
        let mut bytes = fs::read(dir.path().join(DURABLE)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(dir.path().join(DURABLE), bytes).unwrap();
        assert!(!Durable::load(dir.path()).covers(mark));
    }
}
