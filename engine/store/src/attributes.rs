//! Extended attributes: which are content, which are overlay's own, and how each is read and set.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use kiln_core::tree::Xattrs;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::store::OwnerMapping;

/// The kernel's limit for one listing and for one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const KERNEL_MAX: usize = 64 << 10;
/// Names of all attributes and values of one entry together, wherever it comes from.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Where the bytes of attributes come from or go to.
#[derive(Clone, Copy)]
pub(crate) enum On<'a> {
    Open(BorrowedFd<'a>),
    /// A name in an open directory; a link is not followed.
    Name(BorrowedFd<'a>, &'a [u8]),
}

impl On<'_> {
    /// No system call takes a directory and a name for attributes before Linux 6.13; this does the same.
    fn path(self) -> Option<CString> {
        match self {
            Self::Open(_) => None,
            Self::Name(dir, name) => {
                let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
                path.extend_from_slice(name);
                CString::new(path).ok()
            }
        }
    }

    fn list(self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match (self, self.path()) {
            (Self::Open(fd), _) => rustix::fs::flistxattr(fd, buffer),
            (_, Some(path)) => rustix::fs::llistxattr(&path, buffer),
            _ => Err(Errno::INVAL),
        }
    }

    fn value(self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match (self, self.path()) {
            (Self::Open(fd), _) => rustix::fs::fgetxattr(fd, name, buffer),
            (_, Some(path)) => rustix::fs::lgetxattr(&path, name, buffer),
            _ => Err(Errno::INVAL),
        }
    }

    fn set(self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match (self, self.path()) {
            (Self::Open(fd), _) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            (_, Some(path)) => rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()),
            _ => Err(Errno::INVAL),
        }
    }

    fn unset(self, name: &[u8]) -> rustix::io::Result<()> {
        match (self, self.path()) {
            (Self::Open(fd), _) => rustix::fs::fremovexattr(fd, name),
            (_, Some(path)) => rustix::fs::lremovexattr(&path, name),
            _ => Err(Errno::INVAL),
        }
    }
}

fn own_prefix(mapping: OwnerMapping) -> &'static str {
    match mapping {
        OwnerMapping::Root => "trusted.overlay.",
        OwnerMapping::User => "user.overlay.",
    }
}

/// Overlay's conventions in either spelling: no tar, context or step can bring them in.
pub(crate) fn is_overlays(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Whether an attribute is part of what a file is, rather than of the machine it lies on.
pub(crate) fn is_content(name: &[u8]) -> bool {
    let of_the_machine: [&[u8]; 4] =
        [b"security.selinux", b"security.ima", b"security.evm", b"security.apparmor"];
    !is_overlays(name) && !of_the_machine.contains(&name)
}

/// What an entry of a changeset may keep of the attributes it came with, sorted; `None` for none.
pub(crate) fn admitted(xattrs: Option<Box<Xattrs>>) -> Option<Box<Xattrs>> {
    let mut xattrs = xattrs?;
    xattrs.retain(|(name, _)| is_content(name) && !name.is_empty() && !name.contains(&0));
    xattrs.sort();
    xattrs.dedup_by(|later, kept| later.0 == kept.0);
    (!xattrs.is_empty()).then_some(xattrs)
}

/// What was found on one file.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) content: Option<Box<Xattrs>>,
    /// A directory that hides what is below.
    pub(crate) opaque: bool,
    /// An empty file that stands for a deletion.
    pub(crate) whiteout: bool,
    /// Overlay's names brought in by a step, to be taken away.
    pub(crate) stray: Vec<Box<[u8]>>,
}

pub(crate) fn read(on: On<'_>, mapping: OwnerMapping) -> io::Result<Attributes> {
    let mut found = Attributes::default();
    let mut small = [0; 512];
    let mut large;
    let names: &[u8] = match on.list(&mut small) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(found),
        Ok(length) => &small[..length],
        Err(Errno::RANGE) => {
            large = vec![0; KERNEL_MAX];
            let length = on.list(&mut large)?;
            &large[..length]
        }
        Err(e) => return Err(e.into()),
    };
    let own = own_prefix(mapping).as_bytes();
    let mut content = Xattrs::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if let Some(mark) = name.strip_prefix(own) {
            match mark {
                // `x` says that whiteouts may be in it as attributes, not that it hides anything.
                b"opaque" => found.opaque = value(on, name)?.as_deref() == Some(b"y"),
                b"whiteout" => found.whiteout = true,
                mark if mark.starts_with(b"overlay.") => found.stray.push(name.into()),
                _ => {}
            }
        } else if is_overlays(name) {
            found.stray.push(name.into());
        } else if is_content(name)
            && let Some(value) = value(on, name)?
        {
            content.push((name.into(), value.into()));
        }
    }
    content.sort();
    found.content = (!content.is_empty()).then(|| Box::new(content));
    Ok(found)
}

fn value(on: On<'_>, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut small = [0; 512];
    match on.value(name, &mut small) {
        Ok(length) => Ok(Some(small[..length].to_vec())),
        Err(Errno::RANGE) => {
            let mut large = vec![0; KERNEL_MAX];
            let length = on.value(name, &mut large)?;
            large.truncate(length);
            Ok(Some(large))
        }
        // Removed since, or listed and not readable by us.
        Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Sets what is content. What the file system or the user namespace does not allow is left out: it stays in the tree.
pub(crate) fn write(on: On<'_>, xattrs: Option<&Xattrs>) -> rustix::io::Result<()> {
    for (name, value) in xattrs.into_iter().flatten() {
        match on.set(name, value) {
            Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(crate) fn remove(on: On<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match on.unset(name) {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

pub(crate) fn set_opaque(dir: BorrowedFd<'_>, mapping: OwnerMapping) -> rustix::io::Result<()> {
    On::Open(dir).set(format!("{}opaque", own_prefix(mapping)).as_bytes(), b"y")
}

pub(crate) fn clear_opaque(dir: BorrowedFd<'_>, mapping: OwnerMapping) -> rustix::io::Result<()> {
    remove(On::Open(dir), format!("{}opaque", own_prefix(mapping)).as_bytes())
}

/// Makes an empty file a whiteout where device 0:0 cannot be made; its directory has to say that it may hold such.
pub(crate) fn set_whiteout(
    dir: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    mapping: OwnerMapping,
) -> rustix::io::Result<()> {
    let prefix = own_prefix(mapping);
    On::Open(file).set(format!("{prefix}whiteout").as_bytes(), b"y")?;
    let opaque = format!("{prefix}opaque");
    let mut value = [0; 1];
    match On::Open(dir).value(opaque.as_bytes(), &mut value) {
        // One that hides everything needs no whiteouts read.
        Ok(1) if value[0] == b'y' => Ok(()),
        _ => On::Open(dir).set(opaque.as_bytes(), b"x"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn overlays_names_come_in_under_no_spelling() {
        let names: [&[u8]; 6] = [
            b"trusted.overlay.opaque",
            b"user.overlay.opaque",
            b"trusted.overlay.overlay.redirect",
            b"security.selinux",
            b"user.kept",
            b"security.capability",
        ];
        let came = Box::new(names.map(|name| (name.into(), (*b"v").into())).to_vec());
        let kept = admitted(Some(came)).unwrap();
        let kept: Vec<&[u8]> = kept.iter().map(|(name, _)| &**name).collect();
        assert_eq!(kept, [b"security.capability", &b"user.kept"[..]]);
        assert!(admitted(Some(Box::default())).is_none());
    }

    #[test]
    fn long_values_and_marks_are_read() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = std::fs::File::open(dir.path()).unwrap();
        let on = On::Open(open.as_fd());
        on.set(b"user.long", &[7; 3000]).unwrap();
        on.set(b"user.overlay.opaque", b"y").unwrap();
        on.set(b"user.overlay.overlay.x", b"y").unwrap();
        let found = read(on, OwnerMapping::User).unwrap();
        assert!(found.opaque);
        assert_eq!(found.content.unwrap()[0].1.len(), 3000);
        assert_eq!(found.stray.len(), 1);
        let found = read(on, OwnerMapping::Root).unwrap();
        assert!(!found.opaque);
        assert_eq!(found.stray.len(), 2);
    }
}
