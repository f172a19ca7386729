//! The parent half: starts the helper, sends it specs, and waits for what becomes of them.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio as Redirect};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kiln_core::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, fcntl_setfl, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, send, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::cgroup::Cgroup;
use crate::fault::{Fault, SandboxError, StartError};
use crate::init::FAULT;
use crate::network::Availability;
use crate::spec::{Network, Spec, Stdio};
use crate::wire::{Reader, encode};
use crate::{helper, network, pin, sys};

/// Between asking a cancelled step to end and killing it.
const GRACE: Duration = Duration::from_millis(500);
/// How often a second cancellation is looked for while a step is being asked to end.
const IMPATIENCE: Duration = Duration::from_millis(20);
/// Read from a step's output at once.
const OUTPUT_BYTES: usize = 64 << 10;
/// A message of the helper: a fault with a path and the kernel's words.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It was told to end by [`Cancel`], however it then did.
    Cancelled,
}

/// The helper of one build. Steps may be run from several threads at once.
///
/// Dropping it ends the helper; if kiln is killed, the helper and every process of every step end too.
#[derive(Debug)]
pub struct Sandbox {
    socket: OwnedFd,
    helper: Mutex<Child>,
    private: OnceLock<Availability>,
    /// Goes after the helper.
    _cgroup: Option<Cgroup>,
}

impl Sandbox {
    /// Starts the helper. Costs one execution of kiln's file; nothing is waited for.
    ///
    /// `main` must begin with [`crate::enter_if_helper`].
    pub fn start() -> Result<Self, StartError> {
        Self::start_in(None)
    }

    /// As [`Self::start`], with all steps in a cgroup of their own below `cgroup`.
    pub fn start_in(cgroup: Option<&str>) -> Result<Self, StartError> {
        let cgroup = cgroup.map(Cgroup::make).transpose()?;
        let executable = pin::own_executable().map_err(StartError::Pin)?;
        let (socket, other) = pair().map_err(StartError::Socket)?;
        let mut helper = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()));
        helper.arg0(helper::NAME).env_clear().current_dir("/").stdin(other).stdout(Redirect::null());
        let helper = match &cgroup {
            None => helper.spawn(),
            Some(cgroup) => cgroup.within(|| helper.spawn())?,
        };
        let helper = helper.map_err(StartError::Spawn)?;
        Ok(Self { socket, helper: Mutex::new(helper), private: OnceLock::new(), _cgroup: cgroup })
    }

    /// Whether steps with [`Network::Private`] have a network of their own. Made at the first call, within
    /// two seconds, and only if there is a program that can connect it to the outside.
    pub fn private_network(&self) -> &Availability {
        self.private.get_or_init(|| match network::find_pasta() {
            Err(reason) => Availability::Host { reason },
            Ok(pasta) => match self.connect(&pasta) {
                Ok(()) => Availability::Own,
                Err(reason) => Availability::Host { reason },
            },
        })
    }

    /// Runs `spec` to its end. Blocks; `output` gets what the step writes as it comes, in pieces of no meaning.
    ///
    /// When this returns, no process of the step is left and none of its mounts.
    ///
    /// # Errors
    ///
    /// The step did not run, except for [`SandboxError::HelperGone`] and [`SandboxError::Socket`], after which
    /// that is unknown.
    pub fn run(
        &self,
        spec: &Spec,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &Cancel,
    ) -> Result<Exit, SandboxError> {
        spec.check().map_err(SandboxError::Spec)?;
        if cancel.is_cancelled() {
            return Ok(Exit::Cancelled);
        }
        if spec.network == Network::Private {
            self.private_network();
        }
        let (control, theirs) = pair().map_err(SandboxError::Socket)?;
        let description = describe(spec).map_err(SandboxError::Socket)?;
        let foreground = spec.stdio == Stdio::Inherit && in_foreground();
        let request = [helper::RUN, helper::network_byte(spec.network), foreground.into()];
        let mut pipes = Vec::new();
        match spec.stdio {
            Stdio::Capture => {
                let (stdout, to_stdout) = output_pipe().map_err(SandboxError::Socket)?;
                let (stderr, to_stderr) = output_pipe().map_err(SandboxError::Socket)?;
                pipes.extend([(Stream::Stdout, stdout), (Stream::Stderr, stderr)]);
                let ends = [&theirs, &description, &to_stdout, &to_stderr].map(AsFd::as_fd);
                self.ask(&request, &ends)?;
            }
            Stdio::Inherit => {
                let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
                let ends =
                    [theirs.as_fd(), description.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
                self.ask(&request, &ends)?;
            }
        }
        drop((theirs, description));
        let exit = Waiting { control, pipes, cancel, stop: Stop::NotAsked }.finish(output);
        if foreground {
            take_back_terminal();
        }
        exit.map_err(|error| match error {
            SandboxError::HelperGone => self.post_mortem(),
            error => error,
        })
    }

    fn ask(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        let parts = [IoSlice::new(request)];
        loop {
            match sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(self.post_mortem()),
                Err(error) => return Err(SandboxError::Socket(error.into())),
            }
        }
    }

    /// What the helper had to say before it ended.
    fn post_mortem(&self) -> SandboxError {
        let mut message = vec![0; MAX_MESSAGE_BYTES];
        match recv(&self.socket, &mut message, RecvFlags::DONTWAIT) {
            Ok((_, length)) => read_fault(&message[..length]),
            Err(_) => None,
        }
        .map_or(SandboxError::HelperGone, SandboxError::from)
    }

    fn connect(&self, pasta: &[u8]) -> Result<(), String> {
        let (control, theirs) = pair().map_err(|error| error.to_string())?;
        let request = [&[helper::NETWORK], pasta].concat();
        self.ask(&request, &[theirs.as_fd()]).map_err(|error| error.to_string())?;
        drop(theirs);
        let mut message = vec![0; MAX_MESSAGE_BYTES];
        let length = receive(&control, &mut message).map_err(|error| error.to_string())?;
        match &message[..length] {
            [helper::CONNECTED] => Ok(()),
            fault => Err(read_fault(fault)
                .map_or_else(|| SandboxError::HelperGone.to_string(), |fault| network::reason(&fault))),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        // The process that was started left as soon as the real helper had begun.
        let helper = self.helper.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = helper.wait();
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The spec in a file without a name: any size, and secrets in it are nowhere but in memory.
fn describe(spec: &Spec) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("step", MemfdFlags::CLOEXEC)?);
    file.write_all(&encode(spec))?;
    Ok(file.into())
}

/// Reading end, which does not block, and writing end, which does.
fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (from, to) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&from, fcntl_getfl(&from)? | OFlags::NONBLOCK)?;
    Ok((from, to))
}

fn read_fault(message: &[u8]) -> Option<Fault> {
    match message {
        [FAULT, rest @ ..] => Fault::decode(&mut Reader::new(rest)),
        _ => None,
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Err(Errno::INTR) => {}
            Ok((_, length)) => return Ok(length),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether input is the terminal that controls kiln, and kiln has its keyboard.
fn in_foreground() -> bool {
    rustix::termios::tcgetpgrp(io::stdin()) == Ok(rustix::process::getpgrp())
}

/// After a step was in the foreground instead of kiln.
fn take_back_terminal() {
    let group = rustix::process::getpgrp();
    // A terminal that has hung up meanwhile is nobody's.
    let _ = sys::without_background_stop(|| rustix::termios::tcsetpgrp(io::stdin(), group));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotAsked,
    Asked(Instant),
    Forced,
}

struct Waiting<'a> {
    control: OwnedFd,
    pipes: Vec<(Stream, OwnedFd)>,
    cancel: &'a Cancel,
    stop: Stop,
}

impl Waiting<'_> {
    fn finish(mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit, SandboxError> {
        let mut buffer = vec![0; OUTPUT_BYTES];
        let mut fault = None;
        loop {
            let told = self.wait().map_err(|error| SandboxError::Socket(error.into()))?;
            self.pipes.retain(|(stream, pipe)| drain(*stream, pipe, &mut buffer, output));
            self.follow_cancel();
            if !told {
                continue;
            }
            let length = receive(&self.control, &mut buffer).map_err(SandboxError::Socket)?;
            let message = &buffer[..length];
            match *message {
                [FAULT, ..] => fault = read_fault(message),
                [kind @ (helper::EXITED | helper::KILLED), a, b, c, d] => {
                    // What it wrote last may have come after the pipes were looked at.
                    self.pipes.retain(|(stream, pipe)| drain(*stream, pipe, &mut buffer, output));
                    let value = i32::from_ne_bytes([a, b, c, d]);
                    return match fault {
                        _ if self.stop != Stop::NotAsked => Ok(Exit::Cancelled),
                        Some(fault) => Err(fault.into()),
                        None if kind == helper::EXITED => Ok(Exit::Code(value)),
                        None => Ok(Exit::Signal(value)),
                    };
                }
                // The helper's end closed without a step's end: there was no step, or there is no helper.
                _ => return Err(fault.map_or(SandboxError::HelperGone, SandboxError::from)),
            }
        }
    }

    /// Waits for something to do. True if the helper said something.
    fn wait(&self) -> rustix::io::Result<bool> {
        let mut events = vec![PollFd::new(&self.control, PollFlags::IN)];
        events.extend(self.pipes.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
        let timeout = match self.stop {
            Stop::NotAsked => {
                // Once cancelled it stays readable, and is no longer news.
                events
                    .extend(self.cancel.wake_fd().map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
                // Without a descriptor to wake this up, cancellation has to be looked for.
                self.cancel.wake_fd().is_none().then_some(IMPATIENCE)
            }
            Stop::Asked(_) => Some(IMPATIENCE),
            Stop::Forced => None,
        };
        let timeout = timeout.map(|timeout| Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() });
        match poll(&mut events, timeout.as_ref()) {
            Err(Errno::INTR) => Ok(false),
            result => {
                result?;
                Ok(!events[0].revents().is_empty())
            }
        }
    }

    fn follow_cancel(&mut self) {
        let level = self.cancel.level();
        let next = match self.stop {
            Stop::NotAsked if level == 1 => Stop::Asked(Instant::now()),
            Stop::NotAsked if level > 1 => Stop::Forced,
            Stop::Asked(since) if level > 1 || since.elapsed() >= GRACE => Stop::Forced,
            stop => stop,
        };
        if next != self.stop {
            self.stop = next;
            let command = if next == Stop::Forced { helper::KILL } else { helper::TERMINATE };
            // If the helper is gone, so is the step, and the socket says so next.
            let _ = send(&self.control, &[command], SendFlags::NOSIGNAL);
        }
    }
}

/// Passes on what there is. False once there will be no more.
fn drain(stream: Stream, pipe: &OwnedFd, buffer: &mut [u8], output: &mut dyn FnMut(Stream, &[u8])) -> bool {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => return false,
            Ok(length) => output(stream, &buffer[..length]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return true,
            Err(_) => return false,
        }
    }
}
