//! What can go wrong between a `Spec` and its process, and what to tell the person.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::cgroup::CgroupError;
use crate::spec::SpecError;
use crate::wire::{Reader, Writer};

/// A stage of setting a step up. Which path it was about, if any, stands beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Reading the step's description in the child.
    Describe,
    /// Preparing the helper process.
    Prepare,
    /// Making the namespaces.
    Isolate,
    /// Entering the network namespace, or raising its loopback interface.
    Network,
    /// Becoming a session, or the foreground of the terminal.
    Session,
    /// Mounting the root file system.
    Root,
    /// Opening what is to be bound.
    Source,
    /// Mounting at a path.
    Mount,
    /// Finding a path to mount at.
    MountPoint,
    /// Making a device file.
    Device,
    /// Changing to the new root.
    Pivot,
    Hostname,
    Limit,
    Keyring,
    /// Creating or entering the working directory.
    Cwd,
    Capabilities,
    /// Loading the system call filter.
    Filter,
    /// Taking on user and groups.
    Identity,
    /// Executing the program.
    Execute,
}

impl Step {
    const ALL: [Step; 19] = [
        Step::Describe,
        Step::Prepare,
        Step::Isolate,
        Step::Network,
        Step::Session,
        Step::Root,
        Step::Source,
        Step::Mount,
        Step::MountPoint,
        Step::Device,
        Step::Pivot,
        Step::Hostname,
        Step::Limit,
        Step::Keyring,
        Step::Cwd,
        Step::Capabilities,
        Step::Filter,
        Step::Identity,
        Step::Execute,
    ];

    fn words(self) -> &'static str {
        match self {
            Step::Describe => "reading the description of the step",
            Step::Prepare => "preparing the sandbox helper",
            Step::Isolate => "making namespaces",
            Step::Network => "setting up the network",
            Step::Session => "starting a session",
            Step::Root => "mounting the root file system",
            Step::Source => "opening the mount source",
            Step::Mount => "mounting",
            Step::MountPoint => "finding the mount point",
            Step::Device => "making the device file",
            Step::Pivot => "changing to the new root",
            Step::Hostname => "setting the host name",
            Step::Limit => "setting the resource limit",
            Step::Keyring => "making a keyring",
            Step::Cwd => "entering the working directory",
            Step::Capabilities => "dropping capabilities",
            Step::Filter => "loading the system call filter",
            Step::Identity => "taking on the user",
            Step::Execute => "executing",
        }
    }
}

/// One failed step, as it travels over the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    /// A path, or what else the step was about; may be empty.
    pub(crate) about: Vec<u8>,
    pub(crate) errno: i32,
    /// What the kernel or the executable said beyond the number; may be empty.
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(step: Step, about: impl AsRef<Path>, error: impl Into<io::Error>) -> Self {
        Self {
            step,
            about: about.as_ref().as_os_str().as_bytes().to_vec(),
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
            detail: String::new(),
        }
    }

    pub(crate) fn encode(&self, to: &mut Writer) {
        to.byte(self.step as u8);
        to.string(&self.about);
        to.u32(self.errno as u32);
        to.string(self.detail.as_bytes());
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            step: *Step::ALL.get(usize::from(from.byte()?))?,
            about: from.string()?.to_vec(),
            errno: from.u32()? as i32,
            detail: String::from_utf8_lossy(from.string()?).into_owned(),
        })
    }
}

/// Turns a result into one that says which step failed, and where.
pub(crate) trait At<T> {
    fn at(self, step: Step, about: impl AsRef<Path>) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step, about: impl AsRef<Path>) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(step, about, error))
    }
}

/// Why the helper could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not make a read-only copy of kiln to run steps with")]
    Pin(#[source] io::Error),
    #[error("could not make a socket for the sandbox helper")]
    Socket(#[source] io::Error),
    #[error("could not start the sandbox helper")]
    Spawn(#[source] io::Error),
    #[error("could not run steps below the cgroup")]
    Cgroup(#[from] CgroupError),
}

/// Why a step did not run, or its end could not be seen.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("the step cannot be run")]
    Spec(#[source] SpecError),
    /// The world could not be set up; the program did not start.
    #[error("{}", setup_message(*.step, .path.as_deref(), .detail, *.hint))]
    Setup {
        step: Step,
        path: Option<PathBuf>,
        /// The kernel's own words, if it had more than a number.
        detail: String,
        /// What may be done about it.
        hint: Option<&'static str>,
        #[source]
        source: io::Error,
    },
    #[error("`{}` was not found{}", .program.display(), searched(.path.as_ref()))]
    ProgramNotFound {
        program: OsString,
        /// The `PATH` that was searched inside the root, if one was.
        path: Option<OsString>,
    },
    #[error("`{}` exists, but its interpreter or program loader{} does not", .program.display(), in_backticks(.interpreter))]
    NoInterpreter {
        program: OsString,
        /// From the `#!` line or the ELF header; empty if it could not be read.
        interpreter: String,
    },
    #[error("`{}` cannot be executed by this user", .program.display())]
    NotExecutable {
        program: OsString,
        #[source]
        source: io::Error,
    },
    #[error("exec format error: `{}` {reason}", .program.display())]
    ExecFormat { program: OsString, reason: String },
    #[error("the sandbox helper ended unexpectedly")]
    HelperGone,
    #[error("could not speak with the sandbox helper")]
    Socket(#[source] io::Error),
}

impl From<Fault> for SandboxError {
    fn from(fault: Fault) -> Self {
        let about = OsString::from_vec(fault.about);
        let source = io::Error::from_raw_os_error(fault.errno);
        if fault.step != Step::Execute {
            return SandboxError::Setup {
                step: fault.step,
                hint: hint(fault.step, fault.errno),
                path: (!about.is_empty()).then(|| about.into()),
                detail: fault.detail,
                source,
            };
        }
        match fault.errno {
            libc::ENOENT if fault.detail.starts_with(SEARCHED) => SandboxError::ProgramNotFound {
                program: about,
                path: Some(fault.detail[SEARCHED.len()..].to_owned().into()),
            },
            libc::ENOENT if fault.detail.starts_with(INTERPRETER) => SandboxError::NoInterpreter {
                program: about,
                interpreter: fault.detail[INTERPRETER.len()..].to_owned(),
            },
            libc::ENOENT => SandboxError::ProgramNotFound { program: about, path: None },
            libc::ENOEXEC => SandboxError::ExecFormat { program: about, reason: fault.detail },
            _ => SandboxError::NotExecutable { program: about, source },
        }
    }
}

/// How the detail of an [`Step::Execute`] fault begins when a `PATH` was searched, …
pub(crate) const SEARCHED: &str = "searched ";
/// … and when the file is there but what should interpret it is not.
pub(crate) const INTERPRETER: &str = "interpreter ";

fn setup_message(step: Step, path: Option<&Path>, detail: &str, hint: Option<&str>) -> String {
    let mut message = step.words().to_owned();
    if let Some(path) = path {
        message += &format!(" `{}`", path.display());
    }
    message += " failed";
    if !detail.is_empty() {
        message += &format!(" ({detail})");
    }
    if let Some(hint) = hint {
        message += &format!("; {hint}");
    }
    message
}

fn searched(path: Option<&OsString>) -> String {
    path.map_or_else(
        || " in the root file system".to_owned(),
        |path| format!(" in the root file system (PATH is `{}`)", path.display()),
    )
}

fn in_backticks(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!(" `{word}`") }
}

fn hint(step: Step, errno: i32) -> Option<&'static str> {
    Some(match (step, errno) {
        (Step::Prepare | Step::Isolate, libc::EPERM) => {
            "kiln needs root, or user namespaces an unprivileged user may make"
        }
        (Step::Prepare | Step::Isolate, libc::ENOSPC) => {
            "a limit on namespaces is reached, see /proc/sys/user"
        }
        (Step::Prepare | Step::Isolate, libc::ENOSYS) => "kiln needs Linux 5.12 or newer",
        (Step::Root, libc::ELOOP) => "the same directory is among the layers twice",
        (Step::Root, libc::EINVAL) => {
            "the store must lie on a file system overlay can write to: ext4, xfs, btrfs or tmpfs, \
             not overlay itself or a network file system"
        }
        (Step::Root | Step::Mount, libc::ENODEV) => "this kernel lacks the file system",
        (Step::Mount, libc::EPERM) => {
            "if kiln itself runs in a container, that container must not mask /proc and /sys"
        }
        (Step::Source, libc::ELOOP) => "it is a symbolic link; name what it leads to",
        (Step::MountPoint, libc::ENOENT) => "the root file system has nothing there to mount on",
        (Step::MountPoint, libc::EROFS) => "it lies in a read-only mount that has nothing there to mount on",
        (Step::MountPoint, libc::ELOOP) => "the path must not lead through this symbolic link",
        (Step::Mount, libc::ENOTDIR) => {
            "a directory can only be mounted on a directory, and a file on a file"
        }
        (Step::Pivot, libc::EINVAL) => "kiln cannot run steps when started from an initial ramdisk",
        (Step::Limit, libc::EPERM) => "the hard limit is above the one kiln runs under",
        (Step::Cwd, libc::EROFS) => "it does not exist and the root is read-only",
        (Step::Cwd, libc::ENOTDIR) => "part of the path is not a directory",
        (Step::Identity, libc::EINVAL) => {
            "the user or group id is not mapped in the user namespace kiln runs in; give the user more \
             ids in /etc/subuid and /etc/subgid"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(step: Step, about: &str, errno: i32, detail: &str) -> String {
        let fault = Fault { step, about: about.into(), errno, detail: detail.to_owned() };
        let mut wire = Writer::default();
        fault.encode(&mut wire);
        assert_eq!(Fault::decode(&mut Reader::new(&wire.bytes)).as_ref(), Some(&fault));
        SandboxError::from(fault).to_string()
    }

    #[test]
    fn every_step_has_its_place_in_the_list() {
        for (index, step) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, index, "{step:?}");
        }
    }

    #[test]
    fn a_message_says_what_failed_where_and_what_to_do() {
        assert_eq!(
            message(Step::Mount, "/proc", libc::EPERM, ""),
            "mounting `/proc` failed; if kiln itself runs in a container, that container must not mask /proc and /sys"
        );
        assert_eq!(
            message(Step::Root, "", libc::EIO, "overlay: no"),
            "mounting the root file system failed (overlay: no)"
        );
    }

    #[test]
    fn a_program_that_cannot_start_is_told_apart_by_the_reason() {
        let path = format!("{SEARCHED}/bin:/usr/bin");
        assert_eq!(
            message(Step::Execute, "bash", libc::ENOENT, &path),
            "`bash` was not found in the root file system (PATH is `/bin:/usr/bin`)"
        );
        assert_eq!(
            message(Step::Execute, "/bin/sh", libc::ENOENT, ""),
            "`/bin/sh` was not found in the root file system"
        );
        let interpreter = format!("{INTERPRETER}/bin/bash");
        assert_eq!(
            message(Step::Execute, "/x", libc::ENOENT, &interpreter),
            "`/x` exists, but its interpreter or program loader `/bin/bash` does not"
        );
        assert_eq!(
            message(Step::Execute, "/x", libc::ENOEXEC, "is for arm"),
            "exec format error: `/x` is for arm"
        );
    }
}
