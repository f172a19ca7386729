//! Makes mounts that are attached nowhere yet, and attaches them at paths that cannot leave the root.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::fault::{Fault, Step};
use crate::sys;

pub(crate) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
pub(crate) const NO_SUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub(crate) const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(crate) const NO_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;

/// What overlay is mounted from; `lowers` base first.
pub(crate) struct Layers<'a> {
    pub(crate) lowers: &'a [PathBuf],
    /// Upper and work directory.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
}

/// A failed mount, with what the kernel said about it.
#[derive(Debug)]
pub(crate) struct MountError {
    pub(crate) source: io::Error,
    pub(crate) said: String,
}

impl<E: Into<io::Error>> From<E> for MountError {
    fn from(error: E) -> Self {
        Self { source: error.into(), said: String::new() }
    }
}

impl MountError {
    /// Which step it was that failed, and where.
    pub(crate) fn fault(self, step: Step, about: impl AsRef<Path>) -> Fault {
        Fault { detail: self.said, ..Fault::new(step, about, self.source) }
    }
}

/// How the lower directories are told to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LowerStyle {
    /// One option each, since Linux 6.5: up to 500.
    Appended,
    /// One option of at most 255 bytes.
    Joined,
}

/// Ways to ask for the same overlay, from what the newest kernels take to what the oldest do.
const ATTEMPTS: [(LowerStyle, &[Setting]); 4] = [
    (LowerStyle::Appended, &ALL_SETTINGS),
    (LowerStyle::Joined, &ALL_SETTINGS),
    (LowerStyle::Joined, &OLD_SETTINGS),
    (LowerStyle::Joined, &[]),
];

type Setting = (&'static str, &'static str);
/// What a layer looks like must not depend on how the kernel was built: no redirects, no files with only metadata.
const ALL_SETTINGS: [Setting; 5] =
    [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"), ("xino", "off"), ("uuid", "null")];
const OLD_SETTINGS: [Setting; 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// Mounts `layers` over each other.
///
/// `in_user_namespace`: keep overlay's own marks in `user.` attributes, the only ones that may be written there.
pub(crate) fn overlay(
    layers: &Layers<'_>,
    attributes: MountAttrFlags,
    in_user_namespace: bool,
) -> Result<OwnedFd, MountError> {
    if let ([only], None) = (layers.lowers, layers.upper) {
        // Overlay wants two directories. One that nobody may write to is a read-only bind.
        return Ok(bind(only, attributes | READ_ONLY)?);
    }
    let mut first = None;
    for (style, settings) in ATTEMPTS {
        match attempt_overlay(layers, style, settings, attributes, in_user_namespace) {
            Ok(mount) => return Ok(mount),
            // A kernel that does not know an option says only this.
            Err(error) if error.source.raw_os_error() == Some(libc::EINVAL) => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(first.unwrap_or(error)),
        }
    }
    Err(first.unwrap_or_else(|| Errno::INVAL.into()))
}

fn attempt_overlay(
    layers: &Layers<'_>,
    style: LowerStyle,
    settings: &[Setting],
    attributes: MountAttrFlags,
    in_user_namespace: bool,
) -> Result<OwnedFd, MountError> {
    // By descriptor: no path is too long for an option, contains its separator, or shows in the step's mountinfo.
    let directory =
        |path: &Path| open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let lowers: Vec<OwnedFd> =
        layers.lowers.iter().rev().map(|lower| directory(lower)).collect::<Result<_, _>>()?;
    let upper = match layers.upper {
        Some((upper, work)) => Some((directory(upper)?, directory(work)?)),
        None => None,
    };
    rustix::process::chdir("/proc/self/fd")?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = configure_overlay(&context, &lowers, &upper, style, settings, in_user_namespace);
    finish(context, configured, attributes)
}

fn configure_overlay(
    context: &OwnedFd,
    lowers: &[OwnedFd],
    upper: &Option<(OwnedFd, OwnedFd)>,
    style: LowerStyle,
    settings: &[Setting],
    in_user_namespace: bool,
) -> rustix::io::Result<()> {
    let name = |directory: &OwnedFd| directory.as_raw_fd().to_string();
    match style {
        LowerStyle::Appended => {
            for lower in lowers {
                fsconfig_set_string(context, "lowerdir+", name(lower))?;
            }
        }
        LowerStyle::Joined => {
            let names: Vec<String> = lowers.iter().map(name).collect();
            fsconfig_set_string(context, "lowerdir", names.join(":"))?;
        }
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(context, "upperdir", name(upper))?;
        fsconfig_set_string(context, "workdir", name(work))?;
        if !settings.is_empty() {
            // Results are synced by who keeps them, or made again: the kernel need not.
            fsconfig_set_flag(context, "volatile")?;
        }
    }
    if in_user_namespace {
        fsconfig_set_flag(context, "userxattr")?;
    }
    settings.iter().try_for_each(|(key, value)| fsconfig_set_string(context, *key, *value))
}

/// A new instance of the file system `kind` with string options.
pub(crate) fn fresh(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configured = options.iter().try_for_each(|(key, value)| fsconfig_set_string(&context, *key, *value));
    finish(context, configured, attributes)
}

/// A tmpfs; with `unswapped`, one that stays in memory if the kernel can promise that.
pub(crate) fn tmpfs(
    size_bytes: u64,
    mode: u32,
    unswapped: bool,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let configure = || {
        fsconfig_set_string(&context, "mode", format!("{mode:o}"))?;
        if size_bytes > 0 {
            fsconfig_set_string(&context, "size", size_bytes.to_string())?;
        }
        if unswapped {
            // Since Linux 6.4, and never in a user namespace: a bonus.
            let _ = fsconfig_set_flag(&context, "noswap");
        }
        Ok(())
    };
    let configured = configure();
    finish(context, configured, attributes)
}

fn finish(
    context: OwnedFd,
    configured: rustix::io::Result<()>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    configured
        .and_then(|()| fsconfig_create(&context))
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
        .map_err(|source| MountError { source: source.into(), said: messages(&context) })
}

/// What the kernel logged about a mount in the making, without severities.
fn messages(context: &OwnedFd) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let text = text.trim();
        said.push(text.split_once(' ').map_or(text, |(_, message)| message).to_owned());
        if said.len() == 8 {
            break;
        }
    }
    said.join("; ")
}

/// A detached copy of what is mounted at `source`, a path of the host, with all below it.
pub(crate) fn bind(source: &Path, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let tree = open_tree(
        CWD,
        source,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    if FileType::from_raw_mode(fstat(&tree)?.st_mode).is_symlink() {
        return Err(Errno::LOOP.into());
    }
    sys::set_mount_attributes(&tree, u64::from(attributes.bits()), 0, true)?;
    Ok(tree)
}

/// A detached copy of one entry of an attached mount. `name` must be chosen by kiln.
pub(crate) fn clone_entry(
    directory: impl AsFd,
    name: &str,
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let tree = open_tree(
        directory,
        name,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW,
    )?;
    if !attributes.is_empty() {
        sys::set_mount_attributes(&tree, u64::from(attributes.bits()), 0, false)?;
    }
    Ok(tree)
}

/// Attaches a detached mount to an opened path.
pub(crate) fn attach(mount: impl AsFd, at: impl AsFd) -> rustix::io::Result<()> {
    move_mount(
        mount,
        "",
        at,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Attaches a detached mount to an entry, chosen by kiln, of a mount made by kiln.
pub(crate) fn attach_entry(mount: impl AsFd, directory: impl AsFd, name: &str) -> rustix::io::Result<()> {
    move_mount(mount, "", directory, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// How often a path is resolved anew because of renames somewhere on the machine.
const MAX_ATTEMPTS: u32 = 1000;

/// Opens `path` with `root` as the end of every way up and the start of every absolute link.
///
/// Magic links (`/proc/self/fd/3`), which lead anywhere, are refused with `ELOOP`.
pub(crate) fn resolve(root: BorrowedFd<'_>, path: &Path, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path == Path::new("") { Path::new("/") } else { path };
    let mut attempts = 0;
    loop {
        let opened = openat2(
            root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | more,
        );
        // Somebody renamed a directory meanwhile, so the kernel could not be sure.
        if opened.as_ref().err() != Some(&Errno::AGAIN) || attempts == MAX_ATTEMPTS {
            return opened;
        }
        attempts += 1;
    }
}

/// The mount an opened path lies in.
pub(crate) fn mount_id(file: impl AsFd) -> rustix::io::Result<u64> {
    let status = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::MNT_ID)?;
    Ok(status.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn kernels_old_and_new_are_asked_for_the_same_overlay() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: String| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        for (number, (style, settings)) in ATTEMPTS.into_iter().enumerate() {
            let lowers = ["base", "top"].map(|name| path(format!("{name}{number}")));
            fs::write(lowers[0].join("file"), "base").unwrap();
            fs::write(lowers[1].join("file"), "top").unwrap();
            let upper = path(format!("upper{number}"));
            let work = path(format!("work{number}"));
            let layers = Layers { lowers: &lowers, upper: Some((&upper, &work)) };
            match attempt_overlay(&layers, style, settings, MountAttrFlags::empty(), false) {
                Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
                    println!("needs the right to mount");
                }
                mount => {
                    let file = rustix::fs::openat(mount.unwrap(), "file", OFlags::RDONLY, Mode::empty());
                    let mut content = [0; 8];
                    let length = rustix::io::read(file.unwrap(), &mut content).unwrap();
                    assert_eq!(&content[..length], b"top", "{style:?}");
                }
            }
        }
    }
}
