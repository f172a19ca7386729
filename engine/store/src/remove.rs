//! Deletes whatever lies under a path, however deep and with however odd permissions, following no link.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::fault::{At, FsError};

/// Directories are not entered deeper than this; what lies deeper is first moved up. Keeps descriptors few.
const MAX_DEPTH: usize = 64;

/// Something that is already gone is fine.
pub(crate) fn remove(path: &Path) -> Result<(), FsError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).at("look at", path),
        Ok(about) if !about.is_dir() => {
            return match fs::remove_file(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other.at("delete", path),
            };
        }
        Ok(_) => {}
    }
    // Each round empties the upper levels and brings what lies deeper nearer.
    let mut moved = 0u64;
    loop {
        let top = open(CWD, path.as_os_str()).at("open the directory", path)?;
        let before = moved;
        empty(&top, &top, 0, &mut moved).at("delete what is in", path)?;
        if moved == before {
            break;
        }
    }
    match fs::remove_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("delete the directory", path),
    }
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&at, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Without privileges a step's directory of mode 000 must be opened up first.
            let handle = openat(
                &at,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::fs::chmod(proc_path(&handle), Mode::RWXU)?;
            openat(&at, name, flags, Mode::empty())
        }
        other => other,
    }
}

fn proc_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd as _;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn empty(top: &OwnedFd, dir: &OwnedFd, depth: usize, moved: &mut u64) -> rustix::io::Result<()> {
    let mut writable = false;
    // A listing is read whole before names go: some file systems skip entries otherwise.
    let names: Vec<_> = Dir::read_from(dir)?
        .filter_map(|entry| match entry {
            Ok(e) if matches!(e.file_name().to_bytes(), b"." | b"..") => None,
            Ok(e) => Some(Ok((e.file_name().to_owned(), e.file_type()))),
            Err(e) => Some(Err(e)),
        })
        .collect::<Result<_, _>>()?;
    for (name, kind) in names {
        loop {
            let done = match kind {
                FileType::Directory | FileType::Unknown => remove_directory(top, dir, &name, depth, moved),
                _ => unlinkat(dir, &name, AtFlags::empty()),
            };
            match done {
                Ok(()) | Err(Errno::NOENT) => break,
                Err(Errno::ACCESS) if !writable => {
                    fchmod(dir, Mode::RWXU)?;
                    writable = true;
                }
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

fn remove_directory(
    top: &OwnedFd,
    parent: &OwnedFd,
    name: &std::ffi::CStr,
    depth: usize,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    if depth >= MAX_DEPTH {
        *moved += 1;
        return renameat(parent, name, top, format!("moved-up-{moved}"));
    }
    match open(parent, name) {
        Ok(dir) => {
            empty(top, &dir, depth + 1, moved)?;
            unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
        // The listing did not say what it is.
        Err(Errno::NOTDIR | Errno::LOOP) => unlinkat(parent, name, AtFlags::empty()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_a_thousand_levels_deep_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut at = open(CWD, top.as_os_str()).unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open(&at, "d").unwrap();
        }
        drop(at);
        remove(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn links_are_deleted_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("top/locked")).unwrap();
        fs::write(dir.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("top/locked/up")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o000);
        fs::set_permissions(dir.path().join("top/locked"), mode).unwrap();
        remove(&dir.path().join("top")).unwrap();
        assert!(dir.path().join("kept").exists());
        assert!(!dir.path().join("top").exists());
    }
}
