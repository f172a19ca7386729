//! `/dev` of a step: which device files there are, and why no others work.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::fault::{At, Fault, Step};
use crate::mount::{NO_DEVICES, NO_EXEC, NO_SUID, READ_ONLY, attach_entry, bind, clone_entry, fresh, tmpfs};
use crate::sys;

/// Device files of every step: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];
/// What an insecure step gets on top, to make file systems in: loop devices.
const LOOP_DEVICES: u32 = 8;

const DEV_SIZE_BYTES: u64 = 65536 << 10;

/// A device of the host, to be bound where device files cannot be made.
pub(crate) struct HostDevice {
    name: &'static str,
    mount: OwnedFd,
}

/// `/dev`, with device files in it or, where such cannot be made, with the host's beside it.
pub(crate) fn prepare(insecure: bool) -> Result<(OwnedFd, Vec<HostDevice>), Fault> {
    let dev =
        tmpfs(DEV_SIZE_BYTES, 0o755, false, NO_SUID).map_err(|error| error.fault(Step::Mount, "/dev"))?;
    let mut from_host = Vec::new();
    let everyone = Mode::from_raw_mode(0o666);
    for (name, major, minor) in DEVICES {
        let number = makedev(major, minor);
        match mknodat(&dev, name, FileType::CharacterDevice, everyone, number) {
            Err(Errno::PERM) => {
                let path = Path::new("/dev").join(name);
                mknodat(&dev, name, FileType::RegularFile, everyone, 0).at(Step::Device, &path)?;
                // Read-only hinders nobody from writing to the device, only from changing the host's file.
                let mount = bind(&path, READ_ONLY | NO_SUID | NO_EXEC).at(Step::Device, &path)?;
                from_host.push(HostDevice { name, mount });
            }
            made => made.at(Step::Device, Path::new("/dev").join(name))?,
        }
    }
    if insecure && from_host.is_empty() {
        let loops =
            (0..LOOP_DEVICES).map(|minor| (format!("loop{minor}"), FileType::BlockDevice, makedev(7, minor)));
        let control = ("loop-control".to_owned(), FileType::CharacterDevice, makedev(10, 237));
        for (name, kind, number) in loops.chain([control]) {
            mknodat(&dev, &*name, kind, Mode::from_raw_mode(0o660), number)
                .at(Step::Device, Path::new("/dev").join(&name))?;
        }
    }
    for (target, name) in DEVICE_LINKS {
        symlinkat(target, &dev, name).at(Step::Device, Path::new("/dev").join(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).at(Step::Device, Path::new("/dev").join(name))?;
    }
    Ok((dev, from_host))
}

pub(crate) fn pseudo_terminals() -> Result<OwnedFd, Fault> {
    const TTY_GROUP: (&str, &str) = ("gid", "5");
    let options = [("ptmxmode", "0666"), ("mode", "0620"), TTY_GROUP];
    let attributes = NO_SUID | NO_EXEC;
    match fresh("devpts", &options, attributes) {
        // The group is not mapped in this user namespace.
        Err(error) if error.source.raw_os_error() == Some(libc::EINVAL) => {
            fresh("devpts", &options[..2], attributes)
        }
        made => made,
    }
    .map_err(|error| error.fault(Step::Mount, "/dev/pts"))
}

/// Lets the device files kiln made be opened, and no others in `/dev`: each is its own mount.
pub(crate) fn activate(dev: &OwnedFd, host_devices: &[HostDevice], insecure: bool) -> Result<(), Fault> {
    for HostDevice { name, mount } in host_devices {
        attach_entry(mount, dev, name).at(Step::Mount, Path::new("/dev").join(name))?;
    }
    if insecure {
        return Ok(());
    }
    if host_devices.is_empty() {
        for (name, ..) in DEVICES {
            let path = Path::new("/dev").join(name);
            let device = clone_entry(dev, name, MountAttrFlags::empty()).at(Step::Device, &path)?;
            attach_entry(device, dev, name).at(Step::Mount, &path)?;
        }
    }
    let inert = u64::from(NO_DEVICES.bits());
    sys::set_mount_attributes(dev, inert, 0, false).at(Step::Mount, "/dev")
}
