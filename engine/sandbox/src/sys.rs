//! The system calls that `rustix` does not offer safely: the only `unsafe` of this room.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

/// Proof that this process has one thread, so that a copy of it may run any code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SingleThreaded(());

impl SingleThreaded {
    /// # Errors
    ///
    /// `EBUSY` if there are several threads.
    pub(crate) fn check() -> io::Result<Self> {
        // One thread cannot become two while it looks: only the process itself makes threads.
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads != 1 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        Ok(Self(()))
    }
}

pub(crate) enum Side {
    Parent { pid: Pid, pidfd: OwnedFd },
    Child,
}

/// Copies this process into the new namespaces of `flags` (`CLONE_NEW…`).
///
/// The child has copies of all descriptors, and of everything that owns them: it must close none by dropping what
/// the parent half of the program still counts on, and should leave through [`leave`] or [`execute`].
pub(crate) fn clone(_: SingleThreaded, flags: u64) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero is a valid `clone_args`.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child runs on its own copy of memory. The
    // process has one thread, so no lock is held by a thread that the copy lacks. `pidfd` outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent {
            pid: Pid::from_raw(pid as i32).expect("clone3 returns a positive id"),
            // SAFETY: the kernel just opened this descriptor for us; nothing else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Ends the process without running destructors or exit handlers.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from 3 on but `keep`, whoever owns it: for a child that is about to become something else.
pub(crate) fn close_others(keep: BorrowedFd<'_>) {
    let keep = keep.as_raw_fd().max(3) as u32;
    for (first, last) in [(3, keep - 1), (keep + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: the caller's objects that own these descriptors are never used nor dropped again.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// Marks every descriptor from 3 on to be closed by the next `execve`.
pub(crate) fn close_on_exec() {
    // SAFETY: changes a flag only; no descriptor is closed before the program is replaced.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Replaces the program. Returns only when that failed.
pub(crate) fn execute(program: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer, and they and the strings live until the call returns, if it does.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Sets and clears attributes (`MOUNT_ATTR_…`) of the mount `mount` is the root of, and makes it private.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    set: u64,
    clear: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and structure are valid for the call, and the size is the structure's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    succeeded(result)
}

/// Loads a system call filter for this process and all it starts. Needs `CAP_SYS_ADMIN`.
pub(crate) fn load_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads `len` instructions, which live until the call returns, and checks them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    succeeded(result)
}

/// Leaves the session keyring of whoever started kiln for an empty one.
pub(crate) fn join_new_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing is read from memory.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    succeeded(result)
}

/// Brings up the loopback interface of the network namespace this process is in.
pub(crate) fn raise_loopback(socket: impl AsFd) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq` with name and flags set.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    succeeded(i64::from(result))
}

/// Moves this process into new namespaces (`CLONE_NEW…`).
pub(crate) fn unshare(_: SingleThreaded, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: with one thread nothing else sees file system context or descriptors change under it.
    succeeded(i64::from(unsafe { libc::unshare(flags) }))
}

/// Gives every signal its default effect, for this process and what it executes.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: the default runs no code of ours. Refusals (KILL, STOP, numbers libc keeps) change nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Unblocks every signal, for this thread and what it executes.
pub(crate) fn unblock_signals() {
    // SAFETY: an emptied set is initialised; no old set is asked for.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Runs `action` with `SIGTTOU` blocked in this thread, so that a background process may change a terminal.
pub(crate) fn without_background_stop<T>(action: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are initialised by the calls that fill them, and the old mask is put back.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut blocked);
        libc::sigaddset(&raw mut blocked, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, &raw mut before);
        let result = action();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        result
    }
}

fn succeeded(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a call with three numbers as arguments; 0 if it succeeded.
    fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> i32 {
        let [a, b, c] = arguments;
        // SAFETY: the calls made here take numbers only, or are refused before they look at their arguments.
        match unsafe { libc::syscall(number, a, b, c, 0, 0) } {
            -1 => io::Error::last_os_error().raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }

    #[test]
    fn the_kernel_reads_the_filter_as_it_is_meant() {
        // A filter is loaded for one thread, and without a privilege if that renounces gaining any.
        let results = std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            load_filter(&crate::seccomp::filter()).unwrap();
            let none = [0, 0, 0];
            [
                ("keyctl", call(libc::SYS_keyctl, none), libc::EPERM),
                ("mount", call(libc::SYS_mount, none), libc::EPERM),
                ("unshare", call(libc::SYS_unshare, none), libc::EPERM),
                ("bpf", call(libc::SYS_bpf, none), libc::EPERM),
                ("io_uring", call(libc::SYS_io_uring_setup, none), libc::EPERM),
                ("clone3", call(libc::SYS_clone3, none), libc::ENOSYS),
                ("newer than known", call(500, none), libc::ENOSYS),
                ("nonsense", call(100_000, none), libc::ENOSYS),
                (
                    "clone into a user namespace",
                    call(libc::SYS_clone, [libc::CLONE_NEWUSER.into(), 0, 0]),
                    libc::EPERM,
                ),
                ("asking for the personality", call(libc::SYS_personality, [0xffff_ffff, 0, 0]), 0),
                ("a personality of old", call(libc::SYS_personality, [0x000_0003, 0, 0]), libc::EPERM),
                (
                    "a socket to the hypervisor",
                    call(libc::SYS_socket, [libc::AF_VSOCK.into(), 1, 0]),
                    libc::EPERM,
                ),
                (
                    "typing into a terminal",
                    call(libc::SYS_ioctl, [0, libc::TIOCSTI as libc::c_long, 0]),
                    libc::EPERM,
                ),
                ("getpid", call(libc::SYS_getpid, none), 0),
                ("a file that is not open", call(libc::SYS_close, [9999, 0, 0]), libc::EBADF),
            ]
        })
        .join()
        .unwrap();
        for (what, result, expected) in results {
            assert_eq!(result, expected, "{what}");
        }
    }
}
