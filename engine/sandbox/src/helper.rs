//! The process between kiln and its steps: takes specs, answers with how they ended. One thread, one per build.
//!
//! It is the first process of a pid namespace that all steps nest in. So when it goes, for whatever reason, the
//! kernel kills every process of every step, whoever they have become; and it goes when kiln does, since then the
//! socket between them ends. As first process it also ignores whatever signals the terminal sends.

use std::ffi::CStr;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};
use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group,
    pidfd_send_signal, set_dumpable_behavior, setrlimit, umask, waitid,
};

use crate::fault::{At, Fault, Step};
use crate::init::{self, Ends, World};
use crate::spec::Network;
use crate::sys::{self, Side, SingleThreaded};
use crate::{ids, network, seccomp};

/// The name (argument 0) under which this executable is the helper.
pub(crate) const NAME: &str = "kiln-sandbox";
const PROCESS_NAME: &CStr = c"kiln-sandbox";

/// First byte of a request to run a step; then which network, and whether it is to be in the foreground of its
/// terminal. Comes with the descriptors of [`Ends`].
pub(crate) const RUN: u8 = b'R';
/// First byte of a request to make the steps' common network; the path of `pasta` follows. Comes with a control socket.
pub(crate) const NETWORK: u8 = b'N';
/// First byte of the answer when a step has ended: exit code or signal follows.
pub(crate) const EXITED: u8 = b'E';
pub(crate) const KILLED: u8 = b'S';
/// First byte of the answer when the network is there.
pub(crate) const CONNECTED: u8 = b'C';
/// What may be sent while a step runs.
pub(crate) const TERMINATE: u8 = b'T';
pub(crate) const KILL: u8 = b'K';

pub(crate) const MAX_REQUEST_BYTES: usize = 4096 + 1;
const MAX_DESCRIPTORS: usize = 5;

pub(crate) fn network_byte(network: Network) -> u8 {
    match network {
        Network::Private => 0,
        Network::None => 1,
        Network::Host => 2,
    }
}

/// To be called first in `main`: if this process was started to be the helper, it is, and this never returns.
pub fn enter_if_helper() {
    if std::env::args_os().next().is_some_and(|name| name == NAME) {
        let code = match start() {
            Ok(never) => match never {},
            Err(()) => 1,
        };
        sys::leave(code);
    }
}

enum Never {}

/// A running step, or what serves the steps' network.
struct Running {
    pid: Pid,
    pidfd: OwnedFd,
    /// Absent once its other end is gone.
    control: Option<OwnedFd>,
}

fn start() -> Result<Never, ()> {
    // Input is the socket; it must not stay input.
    let socket = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(drop)?;
    if rustix::net::sockopt::socket_type(&socket) != Ok(rustix::net::SocketType::SEQPACKET) {
        return Err(());
    }
    prepare(&socket).map_err(|fault| init::report(socket.as_fd(), &fault))
}

fn prepare(socket: &OwnedFd) -> Result<Never, Fault> {
    let here = |error: io::Error| Fault::new(Step::Prepare, "", error);
    // No step may look into this process, nor reach kiln's file through it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Prepare, "")?;
    let null = std::fs::File::open("/dev/null").map_err(here)?;
    rustix::stdio::dup2_stdin(&null).at(Step::Prepare, "")?;
    drop(null);
    let single = SingleThreaded::check().map_err(here)?;
    let namespaces = (libc::CLONE_NEWPID | libc::CLONE_NEWNS) as u64;
    if let Side::Parent { .. } = sys::clone(single, namespaces).map_err(here)? {
        sys::leave(0);
    }
    // Steps copy this namespace: nothing they mount may travel back.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).at(Step::Prepare, "/")?;
    let _ = rustix::thread::set_name(PROCESS_NAME);
    umask(Mode::empty());
    // Passed on to every step: kiln may have been started with signals ignored, and Rust ignores one itself.
    sys::reset_signals();
    sys::unblock_signals();
    // A root of hundreds of layers holds a descriptor for each while it is mounted. Steps get limits of their own.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).at(Step::Prepare, "")?;
    let world = World {
        single,
        in_user_namespace: crate::rootless::in_user_namespace(),
        filter: seccomp::filter(),
        capabilities: ids::known_capabilities(),
        network: None,
    };
    serve(socket, world)
}

fn serve(socket: &OwnedFd, mut world: World) -> Result<Never, Fault> {
    let mut running: Vec<Running> = Vec::new();
    loop {
        let (request, reports) = wait(socket, &running).at(Step::Prepare, "")?;
        for index in (0..running.len()).rev() {
            if answer(&mut running[index], reports[index]) {
                running.swap_remove(index);
            }
        }
        if !request {
            continue;
        }
        let mut bytes = [0; MAX_REQUEST_BYTES];
        let (length, descriptors) = receive(socket, &mut bytes).at(Step::Prepare, "")?;
        match (&bytes[..length], descriptors.len()) {
            // Kiln is gone, or done. With this process end all others here.
            ([], _) => sys::leave(0),
            ([RUN, network, foreground], 4 | 5) => {
                running.extend(run(&world, *network, *foreground != 0, descriptors));
            }
            ([NETWORK, pasta @ ..], 1) => {
                let control = &descriptors[0];
                match network::connect(world.single, pasta) {
                    Ok((namespace, pid, pidfd)) => {
                        world.network = Some(namespace);
                        running.push(Running { pid, pidfd, control: None });
                        let _ = send(control, &[CONNECTED], SendFlags::NOSIGNAL);
                    }
                    Err(fault) => init::report(control.as_fd(), &fault),
                }
            }
            // Kiln sends nothing else.
            _ => sys::leave(1),
        }
    }
}

#[derive(Clone, Copy)]
struct Report {
    ended: bool,
    spoken: bool,
}

/// Waits until something happens: whether the socket has something, and which of `running`.
fn wait(socket: &OwnedFd, running: &[Running]) -> rustix::io::Result<(bool, Vec<Report>)> {
    let mut events = vec![PollFd::new(socket, PollFlags::IN)];
    for step in running {
        events.push(PollFd::new(&step.pidfd, PollFlags::IN));
        // Without its control socket a place is kept by looking at the process twice.
        events.push(PollFd::from_borrowed_fd(
            step.control.as_ref().unwrap_or(&step.pidfd).as_fd(),
            PollFlags::IN,
        ));
    }
    loop {
        match poll(&mut events, None) {
            Err(Errno::INTR) => {}
            result => {
                result?;
                break;
            }
        }
    }
    let happened = |event: &PollFd<'_>| !event.revents().is_empty();
    let reports = events[1..]
        .chunks_exact(2)
        .zip(running)
        .map(|(pair, step)| Report {
            ended: happened(&pair[0]),
            spoken: step.control.is_some() && happened(&pair[1]),
        })
        .collect();
    Ok((happened(&events[0]), reports))
}

/// Reacts to what a step, or whoever waits for it, did. True once the step is no more.
fn answer(step: &mut Running, report: Report) -> bool {
    if report.spoken {
        let mut command = [0];
        match step.control.as_ref().map(|control| rustix::io::read(control, &mut command)) {
            Some(Ok(1)) if command == [TERMINATE] => {
                // The group, since the kernel keeps such a signal from the first process of a namespace unless
                // it asked for it.
                let _ = kill_process_group(step.pid, Signal::TERM);
            }
            Some(Err(Errno::INTR)) | None => {}
            // Told to, or nobody waits for it any more.
            end => {
                let _ = pidfd_send_signal(&step.pidfd, Signal::KILL);
                if !matches!(end, Some(Ok(1))) {
                    step.control = None;
                }
            }
        }
    }
    if !report.ended {
        return false;
    }
    // Once the first process of a namespace can be waited for, all others in it are gone, and so are its mounts.
    let status = match waitid(WaitId::PidFd(step.pidfd.as_fd()), WaitIdOptions::EXITED) {
        Ok(Some(status)) => status,
        Ok(None) | Err(Errno::INTR) => return false,
        Err(_) => return true,
    };
    let (kind, value) = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (EXITED, code),
        (None, signal) => (KILLED, signal.unwrap_or(libc::SIGKILL)),
    };
    if let Some(control) = &step.control {
        let [a, b, c, d] = value.to_ne_bytes();
        let _ = send(control, &[kind, a, b, c, d], SendFlags::NOSIGNAL);
    }
    true
}

/// Starts a step. What goes wrong before there is one is told at once, and there is none.
fn run(world: &World, network: u8, foreground: bool, mut descriptors: Vec<OwnedFd>) -> Option<Running> {
    let stdin = (descriptors.len() == MAX_DESCRIPTORS).then(|| descriptors.remove(2));
    let mut descriptors = descriptors.into_iter();
    let ends = Ends {
        control: descriptors.next()?,
        spec: descriptors.next()?,
        stdin,
        stdout: descriptors.next()?,
        stderr: descriptors.next()?,
        foreground,
    };
    let mut namespaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if network == network_byte(Network::None) {
        namespaces |= libc::CLONE_NEWNET;
    }
    match sys::clone(world.single, namespaces as u64) {
        Ok(Side::Child) => init::become_step(world, &ends),
        Ok(Side::Parent { pid, pidfd }) => Some(Running { pid, pidfd, control: Some(ends.control) }),
        Err(error) => {
            let fault = Fault::new(Step::Isolate, "", error);
            init::report(ends.control.as_fd(), &fault);
            None
        }
    }
}

/// One request with the descriptors that came along.
fn receive(socket: impl AsFd, bytes: &mut [u8]) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let socket: BorrowedFd<'_> = socket.as_fd();
    let received = loop {
        let mut parts = [IoSliceMut::new(bytes)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}
