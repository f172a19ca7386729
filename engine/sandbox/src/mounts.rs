//! What is mounted where in a step, and why with these flags.
//!
//! In two halves, before and after the step leaves the host's file tree: what names a path of the host is opened in
//! the first, what names a path of the root is resolved in the second.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fchmod, fchown, mkdirat, open, openat,
};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount, unmount};
use rustix::process::{fchdir, pivot_root};

use crate::devices::{self, HostDevice};
use crate::fault::{At, Fault, Step};
use crate::mount::{
    Layers, NO_DEVICES, NO_EXEC, NO_SUID, READ_ONLY, attach, attach_entry, bind, clone_entry, fresh, overlay,
    resolve, tmpfs,
};
use crate::place;
use crate::spec::{MountKind, Security, Spec, depth, normalize};

/// What tells of the host, or lets it be changed, without a namespace in between. Docker's list.
const PROC_MASKED: [&str; 10] = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
    "interrupts",
];
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
const SYS_MASKED: [&str; 2] = ["firmware", "devices/virtual/powercap"];

/// Mounts that are made but attached nowhere yet.
pub(crate) struct Prepared {
    root: OwnedFd,
    proc: OwnedFd,
    sys: OwnedFd,
    cgroup: Option<OwnedFd>,
    /// Holds the content of files that exist in memory only; ends up out of sight.
    files: OwnedFd,
    dev: OwnedFd,
    host_devices: Vec<HostDevice>,
    pts: OwnedFd,
    shm: OwnedFd,
    /// Some small kernels are built without.
    mqueue: Option<OwnedFd>,
    /// One per mount of the spec; nothing for files, which come out of `files`.
    mounts: Vec<Option<OwnedFd>>,
}

pub(crate) fn prepare(spec: &Spec, in_user_namespace: bool) -> Result<Prepared, Fault> {
    let insecure = spec.security == Security::Insecure;
    // A step may make device files, as Docker lets it, but as there they must give no access to the host's disks.
    // Docker has the devices cgroup for that; here no mount a step can write to lets them be opened.
    let inert = if insecure { MountAttrFlags::empty() } else { NO_DEVICES };
    let (dev, host_devices) = devices::prepare(insecure)?;
    let quiet = NO_SUID | NO_DEVICES | NO_EXEC;
    let protected = if insecure { quiet } else { quiet | READ_ONLY };
    let mounts = spec
        .mounts
        .iter()
        .map(|mount| match &mount.kind {
            MountKind::Bind { source, readonly } => {
                let read_only = if *readonly { READ_ONLY } else { MountAttrFlags::empty() };
                bind(source, inert | read_only).at(Step::Source, source).map(Some)
            }
            MountKind::Overlay { lowers, upper, work } => {
                let layers = Layers { lowers, upper: Some((upper, work)) };
                overlay(&layers, inert, in_user_namespace)
                    .map(Some)
                    .map_err(|error| error.fault(Step::Mount, &mount.target))
            }
            MountKind::Tmpfs { size, mode } => tmpfs(*size, *mode, false, NO_SUID | inert)
                .map(Some)
                .map_err(|error| error.fault(Step::Mount, &mount.target)),
            MountKind::File { .. } => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let layers = Layers {
        lowers: &spec.root.lowers,
        upper: spec.root.upper.as_deref().zip(spec.root.work.as_deref()),
    };
    Ok(Prepared {
        mounts,
        root: overlay(&layers, inert, in_user_namespace).map_err(|error| error.fault(Step::Root, ""))?,
        proc: fresh("proc", &[], quiet).map_err(|error| error.fault(Step::Mount, "/proc"))?,
        sys: sysfs(protected)?,
        // Kernels without the unified hierarchy leave the directory empty: nothing here uses cgroups.
        cgroup: fresh("cgroup2", &[], protected).ok(),
        files: tmpfs(0, 0o700, true, MountAttrFlags::empty())
            .map_err(|error| error.fault(Step::Mount, "/dev"))?,
        dev,
        host_devices,
        pts: devices::pseudo_terminals()?,
        shm: tmpfs(spec.shm_size, 0o1777, false, quiet)
            .map_err(|error| error.fault(Step::Mount, "/dev/shm"))?,
        mqueue: match fresh("mqueue", &[], quiet) {
            Err(error) if error.source.raw_os_error() == Some(libc::ENODEV) => None,
            made => Some(made.map_err(|error| error.fault(Step::Mount, "/dev/mqueue"))?),
        },
    })
}

/// `/sys` of the step's network namespace, or the host's where that one is not ours to show.
fn sysfs(attributes: MountAttrFlags) -> Result<OwnedFd, Fault> {
    match fresh("sysfs", &[], attributes) {
        Err(error) if error.source.raw_os_error() == Some(libc::EPERM) => {
            bind(Path::new("/sys"), attributes).at(Step::Mount, "/sys")
        }
        made => made.map_err(|error| error.fault(Step::Mount, "/sys")),
    }
}

/// Makes the prepared root the root, leaves the host's behind, and mounts the rest.
///
/// Returns the root and, of the new `/dev`, the `null` device.
pub(crate) fn enter(prepared: Prepared, spec: &Spec) -> Result<(OwnedFd, OwnedFd), Fault> {
    let Prepared { root, proc, sys, cgroup, files, dev, host_devices, pts, shm, mqueue, mounts } = prepared;
    pivot(&root)?;
    let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Pivot, "/")?;
    let insecure = spec.security == Security::Insecure;

    place_built_in(&proc, &root, "/proc")?;
    place_built_in(&sys, &root, "/sys")?;
    // Below /dev proper, which hides it: bound from there file by file.
    place_built_in(&files, &root, "/dev")?;
    place_built_in(&dev, &root, "/dev")?;
    for (mount, name) in [(Some(pts), "pts"), (Some(shm), "shm"), (mqueue, "mqueue")] {
        let Some(mount) = mount else { continue };
        let target = Path::new("/dev").join(name);
        // What the step mounts there itself takes the place, instead of lying on top.
        if spec.mounts.iter().any(|mount| normalize(&mount.target).as_deref() == Some(&*target)) {
            continue;
        }
        attach_entry(mount, &dev, name).at(Step::Mount, target)?;
    }
    devices::activate(&dev, &host_devices, insecure)?;
    if let Some(cgroup) = cgroup {
        match attach_entry(cgroup, &sys, "fs/cgroup") {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Fault::new(Step::Mount, "/sys/fs/cgroup", error)),
        }
    }
    let null = openat(&dev, "null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at(Step::Device, "/dev/null")?;
    if !insecure {
        mkdirat(&files, "empty", Mode::from_raw_mode(0o555)).at(Step::Mount, "/dev")?;
        for name in PROC_MASKED {
            mask(&proc, name, "/proc", &dev, &files)?;
        }
        for name in SYS_MASKED {
            mask(&sys, name, "/sys", &dev, &files)?;
        }
        for name in PROC_READ_ONLY {
            protect(&proc, name)?;
        }
    }
    place_mounts(&root, &files, mounts, spec)?;
    Ok((root, null))
}

/// The way `pivot_root(".", ".")` works: the old root ends up on top of the new one, and is detached from there.
fn pivot(root: &OwnedFd) -> Result<(), Fault> {
    move_mount(root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).at(Step::Root, "")?;
    fchdir(root).at(Step::Pivot, "")?;
    pivot_root(".", ".").at(Step::Pivot, "")?;
    unmount(".", UnmountFlags::DETACH).at(Step::Pivot, "")
}

/// No link may stand in the way of these: a `/proc` elsewhere would leave an imitation at `/proc`.
fn place_built_in(mount: &OwnedFd, root: &OwnedFd, target: &str) -> Result<(), Fault> {
    let point =
        resolve(root.as_fd(), Path::new(target), ResolveFlags::NO_SYMLINKS).at(Step::MountPoint, target)?;
    attach(mount, point).at(Step::Mount, target)
}

fn mask(within: &OwnedFd, name: &str, parent: &str, dev: &OwnedFd, files: &OwnedFd) -> Result<(), Fault> {
    let path = || Path::new(parent).join(name);
    let victim = match openat(within, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened.at(Step::Mount, path())?,
    };
    let status = rustix::fs::fstat(&victim).at(Step::Mount, path())?;
    let nothing = if FileType::from_raw_mode(status.st_mode).is_dir() {
        clone_entry(files, "empty", READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC)
    } else {
        clone_entry(dev, "null", MountAttrFlags::empty())
    };
    attach(nothing.at(Step::Mount, path())?, victim).at(Step::Mount, path())
}

fn protect(proc: &OwnedFd, name: &str) -> Result<(), Fault> {
    let path = || Path::new("/proc").join(name);
    let same = match clone_entry(proc, name, READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        cloned => cloned.at(Step::Mount, path())?,
    };
    attach_entry(same, proc, name).at(Step::Mount, path())
}

/// What is asked for, parents first, over hosts and resolv.conf where both mean one place.
fn place_mounts(
    root: &OwnedFd,
    files: &OwnedFd,
    mounts: Vec<Option<OwnedFd>>,
    spec: &Spec,
) -> Result<(), Fault> {
    let attributes = READ_ONLY | NO_SUID | NO_DEVICES | NO_EXEC;
    let file = |name: &str, content: &[u8], mode: u32, owner: (u32, u32), target: &Path| {
        write_file(files.as_fd(), name, content, mode, owner)
            .at(Step::Mount, target)
            .and_then(|()| clone_entry(files, name, attributes).at(Step::Mount, target))
    };
    let mut all: Vec<(PathBuf, OwnedFd)> = Vec::with_capacity(mounts.len() + 2);
    for (target, name, content) in
        [("/etc/hosts", "hosts", &spec.hosts), ("/etc/resolv.conf", "resolv.conf", &spec.resolv_conf)]
    {
        let target = PathBuf::from(target);
        let mount = file(name, content, 0o644, (0, 0), &target)?;
        all.push((target, mount));
    }
    for (index, (mount, prepared)) in spec.mounts.iter().zip(mounts).enumerate() {
        let target = normalize(&mount.target)
            .ok_or_else(|| Fault::new(Step::MountPoint, &mount.target, Errno::INVAL))?;
        let prepared = match (&mount.kind, prepared) {
            (_, Some(prepared)) => prepared,
            (MountKind::File { content, mode, uid, gid }, None) => {
                file(&format!("file{index}"), content, *mode, (*uid, *gid), &target)?
            }
            (_, None) => unreachable!("mount {index} was not prepared"),
        };
        all.push((target, prepared));
    }
    // Stable: of two at one depth, the one that was given first is mounted first.
    all.sort_by_key(|(target, _)| depth(target));
    for (target, mount) in all {
        let status = rustix::fs::fstat(&mount).at(Step::Mount, &target)?;
        let directory = FileType::from_raw_mode(status.st_mode).is_dir();
        let point = place::mount_point(root.as_fd(), &target, directory).at(Step::MountPoint, &target)?;
        attach(mount, point).at(Step::Mount, &target)?;
    }
    Ok(())
}

fn write_file(
    directory: BorrowedFd<'_>,
    name: &str,
    content: &[u8],
    mode: u32,
    (uid, gid): (u32, u32),
) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
    let mut rest = content;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(&file, Mode::from_raw_mode(mode))
}
