//! What one step is to see and be: plain data, written by whoever wants a process run.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// One process and the world around it.
///
/// Nothing else reaches the process: environment, resource limits, umask (022), host name, keyring, working
/// directory and descriptors come from here or are fixed, never from where kiln was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub root: Root,
    /// In addition to what [`mount_points`] lists as always there. Any order; parents are mounted first, and of
    /// two on one target the later one is seen.
    pub mounts: Vec<Mount>,
    /// The program and its arguments. A program without `/` is searched for in the `PATH` of `env`, inside the root.
    pub argv: Vec<OsString>,
    /// The whole environment, in order.
    pub env: Vec<(OsString, OsString)>,
    /// Absolute. What is missing of it is created 0755, owned by `user`.
    pub cwd: PathBuf,
    pub user: User,
    pub hostname: String,
    pub network: Network,
    pub security: Security,
    /// Size limit of `/dev/shm`, in bytes.
    pub shm_size: u64,
    pub ulimits: Vec<Ulimit>,
    /// Content of `/etc/hosts`, bound read-only over whatever the root has there.
    pub hosts: Vec<u8>,
    /// Content of `/etc/resolv.conf`, likewise.
    pub resolv_conf: Vec<u8>,
    pub stdio: Stdio,
}

impl Spec {
    /// `argv` as root in `/` of `root`, with the default protections and nothing in its environment.
    pub fn new(root: Root, argv: Vec<OsString>) -> Self {
        Self {
            root,
            mounts: Vec::new(),
            argv,
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            user: User::default(),
            hostname: "localhost".to_owned(),
            network: Network::Private,
            security: Security::Default,
            shm_size: 64 << 20,
            ulimits: Vec::new(),
            hosts: Vec::new(),
            resolv_conf: Vec::new(),
            stdio: Stdio::Capture,
        }
    }

    /// # Errors
    ///
    /// What the kernel, or the way to it, could not carry.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        if self.argv.first().is_none_or(|program| program.is_empty()) {
            return Err(SpecError::NoProgram);
        }
        if self.root.lowers.is_empty() {
            return Err(SpecError::NoLayers);
        }
        if self.root.upper.is_some() != self.root.work.is_some() {
            return Err(SpecError::HalfWritable);
        }
        let strings = self.argv.iter().chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        for string in strings {
            if string.as_encoded_bytes().contains(&0) {
                return Err(SpecError::Nul(string.clone()));
            }
        }
        normalize(&self.cwd).ok_or_else(|| SpecError::Path(self.cwd.clone()))?;
        for mount in &self.mounts {
            match normalize(&mount.target) {
                Some(target) if target != Path::new("/") => {}
                _ => return Err(SpecError::Path(mount.target.clone())),
            }
        }
        Ok(())
    }
}

/// Why a [`Spec`] cannot be run anywhere.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("there is no program to run")]
    NoProgram,
    #[error("the root has no directory to start from")]
    NoLayers,
    #[error("the root has an upper directory without a work directory, or the reverse")]
    HalfWritable,
    #[error("`{}` contains a zero byte", .0.display())]
    Nul(OsString),
    #[error("`{}` is not an absolute path below `/` without `..`", .0.display())]
    Path(PathBuf),
}

/// The file tree the process takes for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Read only, base first, each directory once, at most 500.
    pub lowers: Vec<PathBuf>,
    /// Where changes go, in overlay's form. Absent: the root is read-only.
    pub upper: Option<PathBuf>,
    /// Empty, on the file system of `upper`, never used before and not to be used again.
    pub work: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, without `..`; links in it are followed inside the root. Must exist there (see [`mount_points`]),
    /// unless it lies in another, writable mount, where it is created.
    pub target: PathBuf,
    pub kind: MountKind,
}

/// Device files work in none of them (mounted `nodev`), unless the step is [`Security::Insecure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// A directory, file or socket of the host. A link in the last place of `source` is not followed.
    Bind { source: PathBuf, readonly: bool },
    /// A writable view of directories whose changes are kept in `upper`. `lowers` base first; `work` as in [`Root`].
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
    /// Fresh and empty. `size` in bytes, 0 for the kernel's own limit (half of memory).
    Tmpfs { size: u64, mode: u32 },
    /// One read-only file that exists in memory only and is not swapped out where the kernel can see to that.
    File { content: Vec<u8>, mode: u32, uid: u32, gid: u32 },
}

/// Numeric ids, as seen inside. In a user namespace they must be mapped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace apart from the host's, with access to the outside, if [`crate::Sandbox::private_network`] can
    /// have one; else the host's. Steps of one [`crate::Sandbox`] share it.
    Private,
    /// A namespace of the step's own with nothing but loopback.
    None,
    /// The namespace kiln runs in.
    Host,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Docker's default capabilities and system call filter, kernel interfaces masked, device files inert.
    Default,
    /// All of kiln's capabilities, no filter, nothing masked, `/sys` writable, device files work.
    Insecure,
}

/// A resource limit. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ulimit {
    pub resource: Resource,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// What [`Ulimit`] limits, in the words of `docker build --ulimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    pub const ALL: [(&'static str, Resource); 15] = [
        ("core", Resource::Core),
        ("cpu", Resource::Cpu),
        ("data", Resource::Data),
        ("fsize", Resource::Fsize),
        ("locks", Resource::Locks),
        ("memlock", Resource::Memlock),
        ("msgqueue", Resource::Msgqueue),
        ("nice", Resource::Nice),
        ("nofile", Resource::Nofile),
        ("nproc", Resource::Nproc),
        ("rss", Resource::Rss),
        ("rtprio", Resource::Rtprio),
        ("rttime", Resource::Rttime),
        ("sigpending", Resource::Sigpending),
        ("stack", Resource::Stack),
    ];

    /// By its lower case name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, resource)| *resource)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Empty input; both outputs go to the caller. The step is a session of its own without a terminal.
    Capture,
    /// Kiln's own three descriptors. If input is the terminal kiln is in the foreground of, the step is put in the
    /// foreground instead, so that keyboard signals go to it. That a signal ended it shows as exit code 128 + signal.
    Inherit,
}

/// Something a mount needs to be there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Absolute; links in it are to be followed inside the root.
    pub path: PathBuf,
    /// Else a regular file.
    pub directory: bool,
}

/// What is mounted in every step: path, and whether it is a directory.
pub(crate) const BUILT_IN: [(&str, bool); 5] =
    [("/proc", true), ("/dev", true), ("/sys", true), ("/etc/hosts", false), ("/etc/resolv.conf", false)];

/// Directories and files that must exist in the root for `spec` to be run, each once, parents first.
///
/// Whoever makes the root lays the missing ones out in a stub layer on top of the lowers: the sandbox creates
/// none of them, so no trace of a mount is left in the upper. Mounts inside other mounts are not listed.
pub fn mount_points(spec: &Spec) -> Vec<MountPoint> {
    let mut points: Vec<MountPoint> =
        BUILT_IN.iter().map(|&(path, directory)| MountPoint { path: path.into(), directory }).collect();
    for mount in &spec.mounts {
        let Some(path) = normalize(&mount.target) else {
            continue;
        };
        let directory = match &mount.kind {
            MountKind::Bind { source, .. } => {
                source.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
            }
            MountKind::Overlay { .. } | MountKind::Tmpfs { .. } => true,
            MountKind::File { .. } => false,
        };
        if !points.iter().any(|point| point.path == path) {
            points.push(MountPoint { path, directory });
        }
    }
    let all: Vec<PathBuf> = points.iter().map(|point| point.path.clone()).collect();
    points.retain(|point| !all.iter().any(|other| *other != point.path && point.path.starts_with(other)));
    points.sort_by_key(|point| depth(&point.path));
    points
}

/// The path without `.` and doubled slashes; nothing for a relative path or one with `..`.
pub(crate) fn normalize(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir | Component::Prefix(_) => return None,
            Component::RootDir | Component::Normal(_) => clean.push(component),
            Component::CurDir => {}
        }
    }
    clean.has_root().then_some(clean)
}

pub(crate) fn depth(path: &Path) -> usize {
    path.components().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(targets: &[&str]) -> Spec {
        let root = Root { lowers: vec!["/layer".into()], upper: None, work: None };
        let mut spec = Spec::new(root, vec!["true".into()]);
        spec.mounts = targets
            .iter()
            .map(|target| Mount { target: target.into(), kind: MountKind::Tmpfs { size: 0, mode: 0o755 } })
            .collect();
        spec
    }

    fn extra_points(targets: &[&str]) -> Vec<String> {
        mount_points(&spec(targets))
            .into_iter()
            .map(|point| point.path.to_str().unwrap().to_owned())
            .filter(|path| !BUILT_IN.iter().any(|(known, _)| known == path))
            .collect()
    }

    #[test]
    fn mount_points_come_once_parents_first_and_not_inside_other_mounts() {
        assert_eq!(
            extra_points(&["/a/b/c", "/x//y/", "/x/y", "/dev/shm", "/a/b/c/d", "/z/./w"]),
            ["/x/y", "/z/w", "/a/b/c"]
        );
    }

    #[test]
    fn a_mount_over_a_parent_of_a_built_in_one_hides_its_mount_point() {
        let points = mount_points(&spec(&["/etc"]));
        assert!(points.iter().all(|point| !point.path.starts_with("/etc/hosts")));
        assert!(points.iter().any(|point| point.path == Path::new("/etc")));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        let refused = |change: &dyn Fn(&mut Spec)| {
            let mut spec = spec(&[]);
            change(&mut spec);
            spec.check().unwrap_err().to_string()
        };
        assert!(spec(&["/a"]).check().is_ok());
        assert_eq!(refused(&|spec| spec.argv.clear()), "there is no program to run");
        assert_eq!(
            refused(&|spec| spec.env.push(("A".into(), "b\0c".into()))),
            "`b\0c` contains a zero byte"
        );
        for target in ["/", "a", "/a/../..", ""] {
            assert!(spec(&[target]).check().is_err(), "{target:?} accepted");
        }
        assert!(refused(&|spec| spec.cwd = "work".into()).contains("`work`"));
        assert!(refused(&|spec| spec.root.upper = Some("/u".into())).contains("upper"));
    }

    #[test]
    fn limits_are_known_by_the_names_docker_uses() {
        assert_eq!(Resource::parse("nofile"), Some(Resource::Nofile));
        assert_eq!(Resource::parse("NOFILE"), None);
        assert_eq!(Resource::parse("as"), None);
    }
}
