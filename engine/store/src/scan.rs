//! Turns a directory in overlay's form into the entries of a changeset.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use kiln_core::tree::{Content, File, Place, Time};
use kiln_core::{Entry, Kind, TreePath};
use rustix::fs::{FileType, Mode, OFlags, Statx, readlinkat};

use crate::attributes::{self, Attributes, On};
use crate::content::hash_all;
use crate::fault::{At, FsError};
use crate::store::OwnerMapping;
use crate::walk::{self, Gather, Job, MAX_PATH, More, WalkError, names, on, stat_at, stat_fd};

/// What lies in a directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In order, the root first. Files have digests and are [`Place::Here`]; sockets are among them.
    pub(crate) entries: Vec<(TreePath, Entry)>,
    /// Attributes with overlay's names that overlay did not set itself.
    pub(crate) strays: Vec<(TreePath, Vec<Box<[u8]>>)>,
    /// Files of several names, by the name that holds them.
    pub(crate) linked: std::collections::HashSet<TreePath>,
}

struct Item {
    path: TreePath,
    entry: Entry,
    /// For a file with further names, somewhere.
    inode: Option<u64>,
}

struct Scanner {
    mapping: OwnerMapping,
    items: Vec<Item>,
    strays: Vec<(TreePath, Vec<Box<[u8]>>)>,
}

impl Scanner {
    fn push(&mut self, path: TreePath, stat: &Statx, kind: Kind, attributes: Attributes) {
        if !attributes.stray.is_empty() {
            self.strays.push((path.clone(), attributes.stray));
        }
        let inode = (stat.stx_nlink > 1 && matches!(kind, Kind::File(_))).then_some(stat.stx_ino);
        let entry = Entry {
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: mtime(stat),
            xattrs: attributes.content,
        };
        self.items.push(Item { path, entry, inode });
    }

    fn child(
        &mut self,
        dir: &OwnedFd,
        path: TreePath,
        name: &CStr,
        more: &mut More<Self>,
    ) -> Result<(), WalkError> {
        let stat = stat_at(dir, name).map_err(on("look at", &path))?;
        let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => {
                if path.as_bytes().len() > MAX_PATH {
                    let source = rustix::io::Errno::NAMETOOLONG;
                    return Err(on("open the directory", &path)(source));
                }
                more.push(Job { path, state: () });
                return Ok(());
            }
            // Attributes are read when the file is opened for its bytes.
            FileType::RegularFile => {
                let kind = Kind::File(File {
                    size: stat.stx_size,
                    content: Content { digest: None, place: Place::Here },
                });
                self.push(path, &stat, kind, Attributes::default());
                return Ok(());
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(on("read the link", &path))?;
                Kind::Symlink(target.into_bytes().into())
            }
            FileType::CharacterDevice if (major, minor) == (0, 0) => {
                self.items.push(Item { path, entry: whiteout(), inode: None });
                return Ok(());
            }
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => Kind::Socket,
        };
        let attributes = attributes::read(On::Name(dir.as_fd(), name.to_bytes()), self.mapping);
        let attributes = attributes.map_err(|source| WalkError {
            action: "read attributes of",
            path: path.clone(),
            source,
        })?;
        self.push(path, &stat, kind, attributes);
        Ok(())
    }
}

impl Gather for Scanner {
    type State = ();

    fn directory(&mut self, dir: &OwnedFd, job: Job<()>, more: &mut More<Self>) -> Result<(), WalkError> {
        let path = &job.path;
        let stat = stat_fd(dir).map_err(on("look at", path))?;
        let attributes = attributes::read(On::Open(dir.as_fd()), self.mapping)
            .map_err(|source| WalkError { action: "read attributes of", path: path.clone(), source })?;
        let opaque = attributes.opaque;
        self.push(path.clone(), &stat, Kind::Directory { opaque }, attributes);
        names(dir, path, |name, _| self.child(dir, path.join(name.to_bytes()), name, more))
    }
}

pub(crate) fn mtime(stat: &Statx) -> Time {
    Time { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec }
}

/// All its other fields mean nothing, so they are always the same.
pub(crate) fn whiteout() -> Entry {
    Entry { kind: Kind::Whiteout, mode: 0, ..Entry::directory() }
}

/// Reads everything below `root`, bytes included.
pub(crate) fn scan(root: &Path, mapping: OwnerMapping) -> Result<Found, FsError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty()).at("open the directory", root)?;
    let scanners = walk::walk(fd.as_fd(), (), || Scanner { mapping, items: Vec::new(), strays: Vec::new() });
    let mut found = Found::default();
    let mut items = Vec::new();
    for scanner in scanners.map_err(|e| e.below(root))? {
        items.extend(scanner.items);
        found.strays.extend(scanner.strays);
    }
    items.sort_unstable_by(|a, b| a.path.cmp(&b.path));

    // Of several names the first in order holds the file.
    let mut holders: HashMap<u64, TreePath> = HashMap::new();
    let mut files = Vec::new();
    for item in &mut items {
        if !matches!(item.entry.kind, Kind::File(_)) {
            continue;
        }
        match item.inode.and_then(|inode| holders.get(&inode)) {
            Some(holder) => {
                item.entry.kind = Kind::Link(holder.clone());
                found.linked.insert(holder.clone());
            }
            None => {
                if let Some(inode) = item.inode {
                    holders.insert(inode, item.path.clone());
                }
                files.push(item.path.clone());
            }
        }
    }
    let mut hashed = hash_all(fd.as_fd(), &files, mapping).into_iter();
    let mut linked_xattrs = HashMap::new();
    for mut item in items {
        if let Kind::File(file) = &mut item.entry.kind {
            let Some(result) = hashed.next() else {
                unreachable!("every file was hashed");
            };
            let result = result.map_err(|e| e.below(root))?;
            let attributes = result.attributes;
            if attributes.whiteout && file.size == 0 {
                item.entry = whiteout();
            } else {
                file.size = result.before.stx_size;
                file.content.digest = Some(result.digest);
                item.entry.xattrs = attributes.content;
                if !attributes.stray.is_empty() {
                    found.strays.push((item.path.clone(), attributes.stray));
                }
                if found.linked.contains(&item.path) {
                    linked_xattrs.insert(item.path.clone(), item.entry.xattrs.clone());
                }
            }
        } else if let Kind::Link(holder) = &item.entry.kind {
            item.entry.xattrs = linked_xattrs.get(holder).cloned().flatten();
        }
        found.entries.push((item.path, item.entry));
    }
    Ok(found)
}
