//! The child half of a step, in the order things happen: from a copy of the helper to the program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::fs::{Mode, fstat};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, fchdir, getpid, setpgid, setsid, umask};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fault::{At, Fault, Step};
use crate::spec::{Network, Security, Spec, Stdio, normalize};
use crate::wire::{Writer, decode};
use crate::{ids, limits, mounts, place, program, sys};

/// What the helper found out once for all steps.
pub(crate) struct World {
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
    start_session(&spec)?;

    let prepared = mounts::prepare(&spec, world.in_user_namespace)?;
    let (root, null) = mounts::enter(prepared, &spec)?;
    if spec.stdio == Stdio::Capture {
        // The step's own device: as root it could change mode and owner of the host's.
        rustix::stdio::dup2_stdin(&null).at(Step::Device, "/dev/null")?;
    }

    rustix::system::sethostname(spec.hostname.as_bytes()).at(Step::Hostname, &spec.hostname)?;
    limits::apply(&spec.ulimits)?;
    match sys::join_new_keyring() {
        // A kernel without keyrings has none to leak.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
        joined => joined.at(Step::Keyring, "")?,
    }
    enter_directory(&root, &spec)?;

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

fn start_session(spec: &Spec) -> Result<(), Fault> {
    let stdin = rustix::stdio::stdin();
    if spec.stdio == Stdio::Inherit && rustix::termios::isatty(stdin) {
        // In kiln's session, whose terminal it is, but as a group of its own, with the keyboard.
        let own: Option<Pid> = None;
        setpgid(own, own).at(Step::Session, "")?;
        let group = getpid();
        let moved = sys::without_background_stop(|| rustix::termios::tcsetpgrp(stdin, group));
        // A terminal that does not control kiln is only written to and read from.
        return match moved {
            Err(rustix::io::Errno::NOTTY) => Ok(()),
            moved => moved.at(Step::Session, ""),
        };
    }
    setsid().map(drop).at(Step::Session, "")
}

fn enter_directory(root: &OwnedFd, spec: &Spec) -> Result<(), Fault> {
    let path =
        normalize(&spec.cwd).ok_or_else(|| Fault::new(Step::Cwd, &spec.cwd, rustix::io::Errno::INVAL))?;
    let owner = (spec.user.uid, spec.user.gid);
    let directory = place::directory(root.as_fd(), &path, owner).at(Step::Cwd, &spec.cwd)?;
    fchdir(directory).at(Step::Cwd, &spec.cwd)
}
