//! A root to run things in, and short ways to run them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kiln_core::Cancel;
use kiln_sandbox::{
    Exit, Mount, MountKind, Network, Root, Sandbox, SandboxError, Spec, Stream, mount_points,
};
use tempfile::TempDir;

const APPLETS: [&str; 33] = [
    "sh", "true", "false", "cat", "echo", "ls", "id", "pwd", "stat", "sleep", "grep", "test", "touch",
    "mkdir", "rm", "mv", "ln", "chmod", "chown", "mount", "umount", "hostname", "ip", "readlink", "kill",
    "mknod", "env", "head", "wc", "ps", "ulimit", "dd", "su",
];

pub(crate) fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].iter().map(PathBuf::from).find(|path| {
        fs::read(path).is_ok_and(|bytes| {
            // The name of a program loader stands right behind the headers, if there is one.
            let head = &bytes[..bytes.len().min(4096)];
            head.starts_with(b"\x7fELF") && !head.windows(8).any(|part| part == b"ld-linux")
        })
    })
}

pub(crate) struct Space {
    pub(crate) directory: TempDir,
    pub(crate) sandbox: Sandbox,
    uppers: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) upper: PathBuf,
}

impl Space {
    pub(crate) fn new() -> Self {
        // Overlay cannot write to overlay, which a temporary directory may lie on; memory it can.
        let shm = Path::new("/dev/shm");
        let directory =
            if shm.is_dir() { tempfile::tempdir_in(shm).unwrap() } else { tempfile::tempdir().unwrap() };
        let space = Self { directory, sandbox: Sandbox::start().unwrap(), uppers: AtomicU32::new(0) };
        let base = space.path("base");
        for directory in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "mnt"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        fs::copy(busybox().unwrap(), base.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", base.join("bin").join(applet)).unwrap();
        }
        fs::write(base.join("etc/hosts"), "of the image").unwrap();
        fs::write(base.join("etc/resolv.conf"), "of the image").unwrap();
        fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
            .unwrap();
        space
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new layer of its own on top of the base; where mounts go is laid out in a stub between them.
    pub(crate) fn spec(&self, argv: &[&str]) -> Spec {
        let number = self.uppers.fetch_add(1, Ordering::Relaxed);
        let made = |kind: &str| {
            let path = self.path(&format!("{kind}{number}"));
            fs::create_dir(&path).unwrap();
            path
        };
        let (stub, upper, work) = (made("stub"), made("upper"), made("work"));
        let root = Root { lowers: vec![self.path("base"), stub], upper: Some(upper), work: Some(work) };
        let mut spec = Spec::new(root, argv.iter().map(Into::into).collect());
        spec.env = vec![("PATH".into(), "/bin".into())];
        spec.network = Network::Host;
        spec.hosts = b"127.0.0.1 localhost\n".to_vec();
        spec.resolv_conf = b"nameserver 192.0.2.1\n".to_vec();
        spec
    }

    pub(crate) fn sh(&self, script: &str) -> Spec {
        self.spec(&["sh", "-c", script])
    }

    pub(crate) fn run(&self, spec: &Spec) -> Result<Ran, SandboxError> {
        self.run_until(spec, &Cancel::new(None))
    }

    pub(crate) fn run_until(&self, spec: &Spec, cancel: &Cancel) -> Result<Ran, SandboxError> {
        self.lay_out(spec);
        self.run_as_is(spec, cancel)
    }

    /// Makes the mount points that the base lacks, in the stub.
    fn lay_out(&self, spec: &Spec) {
        for point in mount_points(spec) {
            let name = point.path.strip_prefix("/").unwrap();
            let stub = spec.root.lowers.last().unwrap().join(name);
            if fs::symlink_metadata(self.path("base").join(name)).is_ok() || stub.exists() {
                continue;
            }
            if point.directory {
                fs::create_dir_all(stub).unwrap();
            } else {
                fs::create_dir_all(stub.parent().unwrap()).unwrap();
                fs::write(stub, "").unwrap();
            }
        }
    }

    pub(crate) fn run_as_is(&self, spec: &Spec, cancel: &Cancel) -> Result<Ran, SandboxError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut output = |stream, bytes: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        };
        let exit = self.sandbox.run(spec, &mut output, cancel)?;
        Ok(Ran {
            exit,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            upper: spec.root.upper.clone().unwrap_or_default(),
        })
    }

    /// What a script that must succeed prints, without the last line end.
    pub(crate) fn output(&self, spec: &Spec) -> String {
        let ran = self.run(spec).unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(ran.exit, Exit::Code(0), "{ran:?}");
        ran.stdout.trim_end().to_owned()
    }
}

pub(crate) fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Everything below a directory, as paths relative to it, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = vec![directory.to_owned()];
    while let Some(next) = rest.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                rest.push(entry.path());
            }
            let name = entry.path();
            found.push(name.strip_prefix(directory).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

/// Prints how long `true` takes.
pub(crate) fn measure() -> ExitCode {
    const RUNS: usize = 300;
    if let Err(error) = kiln_sandbox::enter_user_namespace() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let space = Space::new();
    let true_in = |network| Spec { network, ..space.spec(&["/bin/true"]) };
    let run = |sandbox: &Sandbox, spec: &Spec| {
        let exit = sandbox.run(spec, &mut |_, _| {}, &Cancel::new(None)).unwrap();
        assert_eq!(exit, Exit::Code(0));
    };
    let report = |name: &str, mut times: Vec<u128>| {
        times.sort_unstable();
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() * 9 / 10]);
        println!("true, {name}: minimum {least} us, median {median} us, 90 % {most} us");
    };
    for (name, network) in [("host network", Network::Host), ("no network", Network::None)] {
        let specs: Vec<Spec> = (0..RUNS).map(|_| true_in(network)).collect();
        let times = specs.iter().map(|spec| {
            let start = Instant::now();
            run(&space.sandbox, spec);
            start.elapsed().as_micros()
        });
        report(name, times.collect());
    }
    let specs: Vec<Spec> = (0..RUNS / 10).map(|_| true_in(Network::Host)).collect();
    let times = specs.iter().map(|spec| {
        let start = Instant::now();
        run(&Sandbox::start().unwrap(), spec);
        start.elapsed().as_micros()
    });
    report("with the start of a helper", times.collect());
    ExitCode::SUCCESS
}
