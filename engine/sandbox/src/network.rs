//! The network namespace that the steps of one build share, and its way to the outside.
//!
//! A namespace of its own needs somebody to carry packets: `pasta`, if it is installed, which costs 50 ms once and
//! nothing per step. Without it a step that is to have network access runs in the host's namespace, as it does under
//! BuildKit without a configured network, and at no cost. Bridges and address translation would work for root too,
//! but would change the host's configuration, and outlive a killed kiln.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, MemfdFlags, access, memfd_create};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, set_dumpable_behavior, waitid,
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::fault::{At, Fault, Step};
use crate::helper::MAX_REQUEST_BYTES;
use crate::init::loopback;
use crate::sys::{self, Side, SingleThreaded};

/// `pasta` on a machine it cannot work on has been seen to neither serve nor end.
const DEADLINE: Duration = Duration::from_secs(2);
const TUN: &str = "/dev/net/tun";

/// Whether steps that ask for [`crate::Network::Private`] get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// They have a namespace apart from the host's.
    Own,
    /// They run in the host's namespace, for this reason.
    Host { reason: String },
}

/// Where `pasta` is, if it can be expected to work, or why it is not used.
pub(crate) fn find_pasta() -> Result<Vec<u8>, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let pasta = std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join("pasta"))
        .find(|candidate| access(candidate, Access::EXEC_OK).is_ok())
        .ok_or("`pasta` (package passt) is not installed")?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN)
        .map_err(|error| format!("`{TUN}` cannot be opened: {error}"))?;
    let pasta = pasta.into_os_string().into_vec();
    if pasta.len() >= MAX_REQUEST_BYTES {
        return Err("the path of `pasta` is too long".to_owned());
    }
    Ok(pasta)
}

/// Why there is no network, in a few words.
pub(crate) fn reason(fault: &Fault) -> String {
    if fault.detail.is_empty() {
        let error = io::Error::from_raw_os_error(fault.errno);
        format!("`pasta` could not connect one: {error}")
    } else {
        format!("`pasta` could not connect one: {}", fault.detail)
    }
}

/// In the helper: makes the namespace and connects it.
///
/// Returns it, and the process that keeps it, which like `pasta` itself ends with the helper.
pub(crate) fn connect(single: SingleThreaded, pasta: &[u8]) -> Result<(OwnedFd, Pid, OwnedFd), Fault> {
    let (ready, report) = pipe_with(PipeFlags::CLOEXEC).at(Step::Network, "")?;
    let (pid, pidfd) = match sys::clone(single, 0).at(Step::Network, "")? {
        Side::Child => {
            drop(ready);
            sys::leave(hold(single, report));
        }
        Side::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(report);
    let connected = (|| {
        let mut id = String::new();
        File::from(ready).read_to_string(&mut id).at(Step::Network, "")?;
        let path = format!("/proc/{id}/ns/net");
        let namespace = File::open(&path).at(Step::Network, &path)?;
        serve(single, pasta, &path)?;
        Ok(OwnedFd::from(namespace))
    })();
    match connected {
        Ok(namespace) => Ok((namespace, pid, pidfd)),
        Err(fault) => {
            end(&pidfd);
            Err(fault)
        }
    }
}

/// The process that keeps the namespace: `pasta` gives up its privileges before it opens the namespace by this
/// process' id, so this one must have none either.
fn hold(single: SingleThreaded, report: OwnedFd) -> i32 {
    let prepared = || -> io::Result<()> {
        sys::unshare(single, libc::CLONE_NEWNET)?;
        loopback()?;
        let none = CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        set_capabilities(None, sets)?;
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        // The id by which others find it: /proc is not of this pid namespace.
        let id = fs::read_link("/proc/self")?;
        rustix::io::write(&report, id.as_os_str().as_bytes())?;
        Ok(())
    };
    if prepared().is_err() {
        return 1;
    }
    drop(report);
    loop {
        let _ = poll(&mut [], None);
    }
}

/// Runs `pasta` until it has connected the namespace and gone into the background.
fn serve(single: SingleThreaded, pasta: &[u8], namespace: &str) -> Result<(), Fault> {
    let log = memfd_create("pasta", MemfdFlags::CLOEXEC).at(Step::Network, "")?;
    let arguments = [
        "pasta",
        "--config-net",
        "--quiet",
        // No port of either side is to show on the other, the host's loopback addresses included.
        "--no-map-gw",
        "--tcp-ports=none",
        "--udp-ports=none",
        "--tcp-ns=none",
        "--udp-ns=none",
        "--runas=0",
        "--netns-only",
        "--netns",
        namespace,
    ];
    let text = |text: &[u8]| CString::new(text).at(Step::Network, OsStr::from_bytes(text));
    let program = text(pasta)?;
    let arguments =
        arguments.iter().map(|argument| text(argument.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let pidfd = match sys::clone(single, 0).at(Step::Network, "")? {
        Side::Child => {
            let null = rustix::stdio::stdin();
            let _ = rustix::stdio::dup2_stdout(null);
            let _ = rustix::stdio::dup2_stderr(&log);
            sys::close_on_exec();
            sys::execute(&program, &arguments, &[]);
            sys::leave(127)
        }
        Side::Parent { pidfd, .. } => pidfd,
    };
    if !ends_in_time(&pidfd) {
        end(&pidfd);
        return Err(Fault {
            detail: format!("it was not ready after {} seconds", DEADLINE.as_secs()),
            ..Fault::new(Step::Network, "", Errno::TIMEDOUT)
        });
    }
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
        Ok(Some(status)) if status.exit_status() == Some(0) => Ok(()),
        _ => Err(Fault { detail: last_line(log), ..Fault::new(Step::Network, "", Errno::NETUNREACH) }),
    }
}

fn ends_in_time(pidfd: &OwnedFd) -> bool {
    let until = Instant::now() + DEADLINE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            result => return result == Ok(1),
        }
    }
}

fn end(pidfd: &OwnedFd) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

fn last_line(log: OwnedFd) -> String {
    let mut log = File::from(log);
    let mut text = Vec::new();
    let _ = log.rewind();
    let _ = log.take(64 << 10).read_to_end(&mut text);
    String::from_utf8_lossy(&text)
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .to_owned()
}
