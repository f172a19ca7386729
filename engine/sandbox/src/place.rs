//! Finds, and where that is wanted creates, directories and mount points inside the root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, ResolveFlags, Uid, chmodat, chownat, mkdirat, mknodat, readlinkat,
};
use rustix::io::Errno;

use crate::mount::{mount_id, resolve};

/// Links to nowhere that are followed when something is to be created behind them.
const MAX_DANGLING_LINKS: u32 = 16;

/// The place to mount something at.
///
/// What is missing is created only inside other mounts: on the root's own file system that would leave a trace in
/// the layer, so there it is `ENOENT`.
pub(crate) fn mount_point(root: BorrowedFd<'_>, path: &Path, directory: bool) -> rustix::io::Result<OwnedFd> {
    match resolve(root, path, ResolveFlags::empty()) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let parent = mount_point(root, parent, true)?;
    if mount_id(&parent)? == mount_id(root)? {
        return Err(Errno::NOENT);
    }
    let made = if directory {
        mkdirat(&parent, name, Mode::from_raw_mode(0o755))
    } else {
        mknodat(&parent, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0)
    };
    match made {
        // A link to nowhere, if it still cannot be resolved.
        Ok(()) | Err(Errno::EXIST) => resolve(root, path, ResolveFlags::empty()),
        Err(error) => Err(error),
    }
}

/// Opens a directory, creating what is missing of it 0755 with the given owner.
pub(crate) fn directory(root: BorrowedFd<'_>, path: &Path, owner: (u32, u32)) -> rustix::io::Result<OwnedFd> {
    create(root, path.to_owned(), owner, MAX_DANGLING_LINKS)
}

fn create(root: BorrowedFd<'_>, path: PathBuf, owner: (u32, u32), links: u32) -> rustix::io::Result<OwnedFd> {
    match resolve(root, &path, ResolveFlags::empty()) {
        Err(Errno::NOENT) => {}
        found => return found,
    }
    let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    let parent = create(root, parent_path.to_owned(), owner, links)?;
    match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            // A set-group-id parent passes its bit on; the mode is said to be 0755.
            chmodat(&parent, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
            chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            resolve(root, &path, ResolveFlags::empty())
        }
        Err(Errno::EXIST) if links > 0 => {
            let target = readlinkat(parent.as_fd(), name, Vec::new())?;
            let target = Path::new(std::ffi::OsStr::new(target.to_str().map_err(|_| Errno::ILSEQ)?));
            create(root, parent_path.join(target), owner, links - 1)
        }
        Err(error) => Err(error),
    }
}
