//! Measures what the store holds: every entry with its size on disk and its last use.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kiln_core::Digest;
use rustix::fs::{FileType, Mode, OFlags};

use crate::cache_mount::{NAME, lock_of};
use crate::fault::{At, FsError};
use crate::lock::offset_of;
use crate::store::Store;
use crate::walk::{self, Gather, Job, More, WalkError, names, on, stat_at};

/// What an entry of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    Blob,
    /// A layer's tree and the notes of its blobs.
    Tree,
    /// A layer's directory.
    Directory,
    /// Many layers as one directory.
    Flat,
    Record,
    CacheMount,
    /// A stat index of a context.
    Context,
    /// Notes of builds, for explaining.
    Notes,
    Image,
    /// Work in progress, or what is still to be swept.
    Temporary,
}

impl EntryKind {
    pub const ALL: [Self; 10] = [
        Self::Image,
        Self::Blob,
        Self::Tree,
        Self::Directory,
        Self::Flat,
        Self::Record,
        Self::CacheMount,
        Self::Context,
        Self::Notes,
        Self::Temporary,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image references",
            Self::Blob => "blobs",
            Self::Tree => "layer trees",
            Self::Directory => "layer directories",
            Self::Flat => "flattened layers",
            Self::Record => "records",
            Self::CacheMount => "cache mounts",
            Self::Context => "context indexes",
            Self::Notes => "build notes",
            Self::Temporary => "temporary",
        }
    }
}

/// One thing that the store holds.
#[derive(Clone, Debug)]
pub struct UsageEntry {
    pub kind: EntryKind,
    /// Hexadecimal digits; of a cache mount what people call it, if that is known.
    pub id: String,
    /// Blocks on disk. A file of several names counts with the first of them that was met.
    pub disk_bytes: u64,
    /// Within the hour.
    pub last_used: SystemTime,
    pub(crate) path: PathBuf,
    /// Where the lock of its name is, and in which file; `None` for what nobody holds.
    pub(crate) lock: Option<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Uses(u64),
    Claims(u64),
}

/// What the store holds, by kind and each.
#[derive(Clone, Debug)]
pub struct Usage {
    /// In the order of [`EntryKind::ALL`], without those of which there is nothing.
    pub kinds: Vec<UsageOfKind>,
    pub entries: Vec<UsageEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageOfKind {
    pub kind: EntryKind,
    pub name: &'static str,
    pub entries: u64,
    pub disk_bytes: u64,
}

impl Store {
    /// What vanishes meanwhile is left out.
    pub fn usage(&self) -> Result<Usage, FsError> {
        let entries = self.entries()?;
        let mut sums: HashMap<EntryKind, (u64, u64)> = HashMap::new();
        for entry in &entries {
            let sum = sums.entry(entry.kind).or_default();
            sum.0 += 1;
            sum.1 += entry.disk_bytes;
        }
        let kinds = EntryKind::ALL.into_iter().filter_map(|kind| {
            let (entries, disk_bytes) = *sums.get(&kind)?;
            Some(UsageOfKind { kind, name: kind.name(), entries, disk_bytes })
        });
        Ok(Usage { kinds: kinds.collect(), entries })
    }

    pub(crate) fn entries(&self) -> Result<Vec<UsageEntry>, FsError> {
        let root = &self.0.root;
        let mut found = Listing { entries: Vec::new(), inodes: HashSet::new() };
        for (name, kind) in [
            ("images", EntryKind::Image),
            ("blobs/sha256", EntryKind::Blob),
            ("contexts", EntryKind::Context),
            ("builds", EntryKind::Notes),
        ] {
            for path in list(&root.join(name))? {
                let lock = match kind {
                    EntryKind::Blob => digest_of(&path).map(|digest| Lock::Uses(offset_of(&digest))),
                    _ => None,
                };
                found.add(kind, &path, &path, lock)?;
            }
        }
        for directory in list(&root.join("records"))? {
            for path in list(&directory)? {
                found.add(EntryKind::Record, &path, &path, None)?;
            }
        }
        for directory in list(&root.join("layers"))? {
            for path in list(&directory)? {
                let lock = digest_of(&path).map(|digest| Lock::Uses(offset_of(&digest)));
                let dir = path.join("dir");
                if dir.is_dir() {
                    found.add(EntryKind::Directory, &dir, &path, lock)?;
                }
                // Inodes that were counted with the directory are not counted again.
                found.add(EntryKind::Tree, &path, &path, lock)?;
            }
        }
        for path in list(&root.join("flat"))? {
            let lock = digest_of(&path).map(|digest| Lock::Uses(offset_of(&digest)));
            found.add(EntryKind::Flat, &path, &path, lock)?;
        }
        for owner in list(&root.join("caches"))? {
            let name = owner.join(NAME);
            let Some(identity) = digest_of(&owner) else { continue };
            for path in list(&owner)? {
                let instance = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
                let Some(instance) = instance else { continue };
                let lock = Lock::Claims(lock_of(&identity, instance));
                let used = if name.exists() { &name } else { &path };
                found.add(EntryKind::CacheMount, &path, used, Some(lock))?;
                if let (Some(entry), Some(name)) = (found.entries.last_mut(), self.cache_name(&owner)) {
                    entry.id = name;
                }
            }
        }
        for path in list(&root.join("tmp"))? {
            found.add(EntryKind::Temporary, &path, &path, None)?;
        }
        Ok(found.entries)
    }
}

pub(crate) fn digest_of(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str().and_then(Digest::from_hex)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, FsError> {
    let listing = match fs::read_dir(directory) {
        Ok(listing) => listing,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).at("list the directory", directory),
    };
    let mut paths = Vec::new();
    for entry in listing {
        match entry {
            Ok(entry) => paths.push(entry.path()),
            // The directory was deleted meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => break,
            Err(e) => return Err(e).at("list the directory", directory),
        }
    }
    Ok(paths)
}

struct Listing {
    entries: Vec<UsageEntry>,
    /// Counted already: files of several layers, and all of a layer's directory.
    inodes: HashSet<u64>,
}

impl Listing {
    fn add(&mut self, kind: EntryKind, path: &Path, used: &Path, lock: Option<Lock>) -> Result<(), FsError> {
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e).at("look at", path),
        };
        let last_used =
            fs::metadata(used).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let disk_bytes = if about.is_dir() { self.measure(path)? } else { about.blocks() * 512 };
        let name = match kind {
            EntryKind::Directory => path.parent().and_then(Path::file_name),
            _ => path.file_name(),
        };
        let id = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.entries.push(UsageEntry { kind, id, disk_bytes, last_used, path: path.to_owned(), lock });
        Ok(())
    }

    fn measure(&mut self, path: &Path) -> Result<u64, FsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(root) => root,
            Err(rustix::io::Errno::NOENT) => return Ok(0),
            Err(e) => return Err(e).at("open the directory", path),
        };
        let weighers = match walk::walk(root.as_fd(), (), || Weigher(Vec::new())) {
            Ok(weighers) => weighers,
            // The directory itself was deleted meanwhile.
            Err(e) if e.source.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e.below(path)),
        };
        let all = weighers.into_iter().flat_map(|Weigher(inodes)| inodes);
        Ok(all.filter(|(inode, _)| self.inodes.insert(*inode)).map(|(_, bytes)| bytes).sum())
    }
}

/// Inodes with the bytes of their blocks.
struct Weigher(Vec<(u64, u64)>);

impl Gather for Weigher {
    type State = ();

    fn directory(&mut self, dir: &OwnedFd, job: Job<()>, more: &mut More<Self>) -> Result<(), WalkError> {
        names(dir, &job.path, |name, _| {
            let path = job.path.join(name.to_bytes());
            // Something that goes meanwhile weighs nothing.
            let Ok(stat) = stat_at(dir, name) else { return Ok(()) };
            self.0.push((stat.stx_ino, stat.stx_blocks * 512));
            if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory {
                if path.as_bytes().len() > walk::MAX_PATH {
                    return Err(on("open the directory", &path)(rustix::io::Errno::NAMETOOLONG));
                }
                more.push(Job { path, state: () });
            }
            Ok(())
        })
    }
}
