//! Runs one process in Linux namespaces over given mounts.
//!
//! A [`Sandbox`] is started once per build: kiln executes itself again as a helper with a single thread (see
//! [`enter_if_helper`]), and each [`Sandbox::run`] sends it a [`Spec`]. The helper copies itself into new namespaces;
//! the copy makes the mounts, drops what the step may not have, and becomes the program. Knows nothing of images,
//! digests, caches or graphs.
//!
//! In reading order: `spec` (what is asked for), `run` (the asking), `helper`, `init` and `mounts` (the doing).

mod cgroup;
mod devices;
mod fault;
mod helper;
mod ids;
mod init;
mod limits;
mod mount;
mod mounts;
mod network;
mod pin;
mod place;
mod program;
mod rootless;
mod run;
mod seccomp;
mod spec;
mod sys;
mod syscalls;
mod wire;

pub use cgroup::CgroupError;
pub use fault::{SandboxError, StartError, Step};
pub use helper::enter_if_helper;
pub use network::Availability;
pub use rootless::{EnterError, Identity, enter_user_namespace};
pub use run::{Exit, Sandbox, Stream};
pub use spec::{
    Mount, MountKind, MountPoint, Network, Resource, Root, Security, Spec, SpecError, Stdio, Ulimit, User,
    mount_points,
};
