//! The child half of a step, in the order things happen: from a copy of the helper to the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{Mode, fstat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, WaitOptions, fchdir, getpid, setpgid, setsid, umask, wait};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fault::{At, Fault, Step};
use crate::spec::{Network, Security, Spec, Stdio, normalize};
use crate::sys::{Side, SingleThreaded};
use crate::wire::{Writer, decode};
use crate::{ids, limits, mounts, place, program, sys};

/// What the helper found out once for all steps.
pub(crate) struct World {
    pub(crate) single: SingleThreaded,
    pub(crate) in_user_namespace: bool,
    pub(crate) filter: Vec<libc::sock_filter>,
    /// How many capabilities this kernel has.
    pub(crate) capabilities: u32,
    /// The network namespace that steps share, if there is one.
    pub(crate) network: Option<OwnedFd>,
}

/// The descriptors a step starts with.
pub(crate) struct Ends {
    pub(crate) control: OwnedFd,
    /// A file holding the encoded spec.
    pub(crate) spec: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// Input is the terminal that controls kiln, and the step is to have its keyboard.
    pub(crate) foreground: bool,
}

/// First byte of a message that carries a [`Fault`].
pub(crate) const FAULT: u8 = b'F';

/// Turns this process, the first of its namespaces, into the step's program.
pub(crate) fn become_step(world: &World, ends: &Ends) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| set_up(world, ends)));
    let fault = outcome.unwrap_or_else(|_| {
        Fault::new(Step::Describe, "", io::Error::from_raw_os_error(libc::ENOTRECOVERABLE))
    });
    report(ends.control.as_fd(), &fault);
    sys::leave(127)
}

pub(crate) fn report(control: BorrowedFd<'_>, fault: &Fault) {
    let mut message = Writer::default();
    message.byte(FAULT);
    fault.encode(&mut message);
    // If nobody listens any more, nobody waits for the reason.
    let _ = rustix::net::send(control, &message.bytes, SendFlags::NOSIGNAL);
}

/// Returns what failed; on success, never.
fn set_up(world: &World, ends: &Ends) -> Fault {
    match prepare(world, ends) {
        Ok(spec) => program::execute(&spec),
        Err(fault) => fault,
    }
}

fn prepare(world: &World, ends: &Ends) -> Result<Spec, Fault> {
    let spec = read_spec(&ends.spec)?;
    join_network(world, &spec)?;
    if let Some(stdin) = &ends.stdin {
        rustix::stdio::dup2_stdin(stdin).at(Step::Describe, "")?;
    }
    rustix::stdio::dup2_stdout(&ends.stdout).at(Step::Describe, "")?;
    rustix::stdio::dup2_stderr(&ends.stderr).at(Step::Describe, "")?;
    // Other steps' sockets came along with the copy; they must not be kept open by this one.
    sys::close_others(ends.control.as_fd());
    start_session(ends.foreground)?;

    let prepared = mounts::prepare(&spec, world.in_user_namespace)?;
    let (root, null) = mounts::enter(prepared, &spec)?;
    if spec.stdio == Stdio::Capture {
        // The step's own device: as root it could change mode and owner of the host's.
        rustix::stdio::dup2_stdin(&null).at(Step::Device, "/dev/null")?;
    }

    rustix::system::sethostname(spec.hostname.as_bytes()).at(Step::Hostname, &spec.hostname)?;
    limits::apply(&spec.ulimits)?;
    leave_keyring(spec.security)?;
    enter_directory(&root, &spec)?;
    if spec.stdio == Stdio::Inherit {
        attend(world.single, &null)?;
    }

    if spec.security == Security::Default {
        ids::limit_capabilities(ids::DEFAULT_CAPABILITIES, world.capabilities)?;
        // Before the user changes: loading needs CAP_SYS_ADMIN, since setuid programs are to work.
        sys::load_filter(&world.filter).at(Step::Filter, "")?;
    }
    ids::clear_inherited()?;
    ids::take_on(&spec.user)?;
    umask(Mode::from_raw_mode(0o022));
    sys::close_on_exec();
    Ok(spec)
}

fn read_spec(file: &OwnedFd) -> Result<Spec, Fault> {
    let length = fstat(file).at(Step::Describe, "")?.st_size as usize;
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64).at(Step::Describe, "")? {
            0 => break,
            read => filled += read,
        }
    }
    decode(&bytes[..filled])
        .ok_or_else(|| Fault::new(Step::Describe, "", io::Error::from_raw_os_error(libc::EBADMSG)))
}

fn join_network(world: &World, spec: &Spec) -> Result<(), Fault> {
    match (spec.network, &world.network) {
        (Network::Private, Some(shared)) => {
            move_into_link_name_space(shared.as_fd(), Some(LinkNameSpaceType::Network)).at(Step::Network, "")
        }
        (Network::None, _) => loopback().at(Step::Network, "lo"),
        (Network::Private | Network::Host, _) => Ok(()),
    }
}

/// A new network namespace has a loopback interface, which is down.
pub(crate) fn loopback() -> io::Result<()> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sys::raise_loopback(socket)
}

fn start_session(foreground: bool) -> Result<(), Fault> {
    if !foreground {
        return setsid().map(drop).at(Step::Session, "");
    }
    // In kiln's session, whose terminal it is, but as a group of its own, with the keyboard.
    let own: Option<Pid> = None;
    setpgid(own, own).at(Step::Session, "")?;
    let group = getpid();
    sys::without_background_stop(|| rustix::termios::tcsetpgrp(rustix::stdio::stdin(), group))
        .at(Step::Session, "")
}

/// Stays the first process of the namespace, and returns in a second one, which is to be the program.
///
/// The kernel keeps signals from a first process that has not asked for them, those of the keyboard included. What
/// nobody types at can be the first process itself, as it is under Docker.
fn attend(single: SingleThreaded, null: &OwnedFd) -> Result<(), Fault> {
    let program = match sys::clone(single, 0).at(Step::Isolate, "")? {
        Side::Child => return Ok(()),
        Side::Parent { pid, .. } => pid,
    };
    let _ = rustix::stdio::dup2_stdin(null);
    let _ = rustix::stdio::dup2_stdout(null);
    let _ = rustix::stdio::dup2_stderr(null);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => {
                let signal = status.terminating_signal().unwrap_or(0);
                sys::leave(status.exit_status().unwrap_or(128 + signal));
            }
            // Something whose parent is gone, or a signal for somebody else.
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => sys::leave(127),
        }
    }
}

fn leave_keyring(security: Security) -> Result<(), Fault> {
    match sys::join_new_keyring().map_err(|error| error.raw_os_error()) {
        // A kernel without keyrings has none to leak.
        Err(Some(libc::ENOSYS)) => Ok(()),
        // Those of earlier steps count until the kernel finds time to remove them. The filter lets nobody use one.
        Err(Some(libc::EDQUOT)) if security == Security::Default => Ok(()),
        Err(code) => {
            let error = io::Error::from_raw_os_error(code.unwrap_or(libc::EIO));
            Err(Fault::new(Step::Keyring, "", error))
        }
        Ok(()) => Ok(()),
    }
}

fn enter_directory(root: &OwnedFd, spec: &Spec) -> Result<(), Fault> {
    let path = normalize(&spec.cwd).ok_or_else(|| Fault::new(Step::Cwd, &spec.cwd, Errno::INVAL))?;
    let owner = (spec.user.uid, spec.user.gid);
    let directory = place::directory(root.as_fd(), &path, owner).at(Step::Cwd, &spec.cwd)?;
    fchdir(directory).at(Step::Cwd, &spec.cwd)
}
