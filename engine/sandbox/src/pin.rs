//! A way to execute kiln's own file that does not lead back to a writable file.
//!
//! A step that is root can open `/proc/<pid>/exe` of a process it can see, or get itself executed as one, and write
//! to the file behind it (CVE-2019-5736). Nothing it can see is executed from kiln's file, but the file is not left
//! to depend on that.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount::READ_ONLY;
use crate::sys;

const OWN: &str = "/proc/self/exe";

/// Kiln's executable, to be executed by descriptor.
pub(crate) fn own_executable() -> io::Result<OwnedFd> {
    // Without the right to mount, a copy in memory costs what reading the file does.
    read_only_mount(Path::new(OWN)).or_else(|_| read_only_mount_by_name()).or_else(|_| sealed_copy())
}

/// A read-only mount of the file alone, attached nowhere: it cannot be opened for writing through it.
fn read_only_mount(file: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, file, flags)?;
    sys::set_mount_attributes(&tree, u64::from(READ_ONLY.bits()), 0, false)?;
    Ok(tree)
}

/// After kiln moved to a mount namespace of its own, its file is still open in the old one, where nothing can be
/// cloned from; the same path leads to it in the new one, if nothing else has been put there.
fn read_only_mount_by_name() -> io::Result<OwnedFd> {
    let mount = read_only_mount(&fs::read_link(OWN)?)?;
    let (own, named) = (fs::metadata(OWN)?, fstat(&mount)?);
    if (own.dev(), own.ino()) != (named.st_dev, named.st_ino) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let copy = memfd_create("kiln-sandbox", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::{Errno, write};
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    fn path(executable: &OwnedFd) -> String {
        format!("/proc/self/fd/{}", executable.as_raw_fd())
    }

    fn write_to(executable: &OwnedFd) -> rustix::io::Result<usize> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        write(open(path(executable), flags, Mode::empty())?, b"x")
    }

    #[test]
    fn what_is_executed_is_this_program() {
        // The test binary lists its tests.
        let executable = own_executable().unwrap();
        let output = Command::new(path(&executable)).arg("--list").stdin(Stdio::null()).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("pin::tests"));
    }

    #[test]
    fn a_copy_cannot_be_written_to() {
        assert_eq!(write_to(&sealed_copy().unwrap()), Err(Errno::PERM));
    }

    #[test]
    fn a_read_only_mount_cannot_be_written_to_where_privileges_allow_one() {
        // Of a file that does not run, since one that does is busy for writers anyhow.
        let file = tempfile::NamedTempFile::new().unwrap();
        match read_only_mount(file.path()) {
            Ok(mount) => assert_eq!(write_to(&mount), Err(Errno::ROFS)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
