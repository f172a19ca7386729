//! Writes entries of a changeset as files below one directory, in overlay's form, and never outside it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use kiln_core::tree::Time;
use kiln_core::{Entry, Kind, TreePath};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod,
    fchown, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::attributes::{self, On};
use crate::fault::{At, FsError};
use crate::store::OwnerMapping;
use crate::walk::open_directory;

/// Every path is resolved below the directory with no link followed on the way.
#[derive(Debug)]
pub(crate) struct Writer {
    root: OwnedFd,
    path: PathBuf,
    mapping: OwnerMapping,
    /// The directory used last: entries come grouped by directory.
    last: Option<(TreePath, OwnedFd)>,
}

impl Writer {
    pub(crate) fn new(path: &Path, mapping: OwnerMapping) -> Result<Self, FsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).at("open the directory", path)?;
        Ok(Self { root, path: path.to_owned(), mapping, last: None })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn full(&self, path: &TreePath) -> PathBuf {
        self.path.join(path.as_os())
    }

    /// The directory that `path` lies in.
    fn parent(&mut self, path: &TreePath) -> Result<BorrowedFd<'_>, FsError> {
        let parent = path.parent().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(last, _)| *last != parent) {
            let fd =
                open_directory(self.root.as_fd(), &parent).at("open the directory", self.full(&parent))?;
            self.last = Some((parent, fd));
        }
        match &self.last {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => unreachable!("the directory was opened just now"),
        }
    }

    /// Empty, and only ours until [`Writer::settle_directory`].
    pub(crate) fn make_directory(&mut self, path: &TreePath) -> Result<(), FsError> {
        let full = self.full(path);
        mkdirat(self.parent(path)?, path.name(), Mode::RWXU).at("create the directory", full)
    }

    pub(crate) fn create_file(&mut self, path: &TreePath) -> Result<File, FsError> {
        let full = self.full(path);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(self.parent(path)?, path.name(), flags, Mode::RUSR | Mode::WUSR);
        file.map(File::from).at("create the file", full)
    }

    /// Owner, attributes, mode, times, in this order: a change of owner takes file capabilities and set-id bits away,
    /// and everything changes times.
    pub(crate) fn settle(&self, fd: BorrowedFd<'_>, path: &TreePath, entry: &Entry) -> Result<(), FsError> {
        let (uid, gid) = ids(entry);
        fchown(fd, uid, gid).at("change the owner of", self.full(path))?;
        attributes::write(On::Open(fd), entry.xattrs.as_deref()).at("set attributes of", self.full(path))?;
        fchmod(fd, Mode::from_raw_mode(entry.mode)).at("change the mode of", self.full(path))?;
        futimens(fd, &times(entry.mtime)).at("set the times of", self.full(path))
    }

    /// To be called once everything in it is written, for that would change its time again.
    pub(crate) fn settle_directory(&mut self, path: &TreePath, entry: &Entry) -> Result<(), FsError> {
        let fd = open_directory(self.root.as_fd(), path).at("open the directory", self.full(path))?;
        if entry.kind == (Kind::Directory { opaque: true }) {
            attributes::set_opaque(fd.as_fd(), self.mapping).at("mark as opaque", self.full(path))?;
        }
        self.settle(fd.as_fd(), path, entry)
    }

    pub(crate) fn set_times(&mut self, path: &TreePath, time: Time) -> Result<(), FsError> {
        let full = self.full(path);
        let done = if path.is_root() {
            futimens(&self.root, &times(time))
        } else {
            utimensat(self.parent(path)?, path.name(), &times(time), AtFlags::SYMLINK_NOFOLLOW)
        };
        done.at("set the times of", full)
    }

    /// A symbolic link, a device, a fifo; a device where none can be made is an empty file that stands in for it.
    /// Sockets mean nothing without their process and are left out.
    pub(crate) fn make_node(&mut self, path: &TreePath, entry: &Entry) -> Result<(), FsError> {
        let full = self.full(path);
        let mapping = self.mapping;
        let mode = Mode::from_raw_mode(entry.mode);
        let parent = self.parent(path)?;
        let name = path.name();
        let device = |kind, major, minor| match mknodat(parent, name, kind, mode, makedev(major, minor)) {
            Err(Errno::PERM) if mapping == OwnerMapping::User => {
                mknodat(parent, name, FileType::RegularFile, mode, 0)
            }
            other => other,
        };
        match &entry.kind {
            Kind::Symlink(target) => symlinkat(&**target, parent, name),
            Kind::CharDevice { major, minor } => device(FileType::CharacterDevice, *major, *minor),
            Kind::BlockDevice { major, minor } => device(FileType::BlockDevice, *major, *minor),
            Kind::Fifo => mknodat(parent, name, FileType::Fifo, mode, 0),
            Kind::Socket => return Ok(()),
            other => unreachable!("{other:?} is made otherwise"),
        }
        .at("create", &full)?;
        let (uid, gid) = ids(entry);
        chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).at("change the owner of", &full)?;
        if entry.xattrs.is_some() {
            attributes::write(On::Name(parent, name), entry.xattrs.as_deref())
                .at("set attributes of", &full)?;
        }
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Just made by us in a directory only ours: it is no link.
            chmodat(parent, name, mode, AtFlags::empty()).at("change the mode of", &full)?;
        }
        utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).at("set the times of", &full)
    }

    /// A further name, `path`, of what `target` names.
    pub(crate) fn make_link(&mut self, target: &TreePath, path: &TreePath) -> Result<(), FsError> {
        let from = target.parent().unwrap_or_default();
        let from = open_directory(self.root.as_fd(), &from).at("open the directory", self.full(&from))?;
        self.link_from(from.as_fd(), target.name(), path)
    }

    /// As [`Writer::make_link`], from another directory.
    pub(crate) fn link_from(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
    ) -> Result<(), FsError> {
        let full = self.full(path);
        linkat(dir, name, self.parent(path)?, path.name(), AtFlags::empty()).at("create the hard link", full)
    }

    /// Device 0:0, or where that may not be made the form with an attribute.
    pub(crate) fn make_whiteout(&mut self, path: &TreePath) -> Result<(), FsError> {
        let full = self.full(path);
        let mapping = self.mapping;
        let parent = self.parent(path)?;
        match mknodat(parent, path.name(), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)) {
            Err(Errno::PERM) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                openat(parent, path.name(), flags, Mode::empty())
                    .and_then(|file| attributes::set_whiteout(parent, file.as_fd(), mapping))
            }
            other => other,
        }
        .at("create the whiteout", full)
    }

    /// Removes one name; a directory must be empty.
    pub(crate) fn remove(&mut self, path: &TreePath, directory: bool) -> Result<(), FsError> {
        let full = self.full(path);
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if directory {
            // Its descriptor would keep it from being the one made anew under this name.
            self.last = None;
        }
        unlinkat(self.parent(path)?, path.name(), flags).at("delete", full)
    }
}

fn ids(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn times(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() },
    }
}
