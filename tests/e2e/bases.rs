//! The registry of base images that all tests of this process share, and the configuration that leads kiln to it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// The repository.
pub(crate) fn repository() -> &'static Path {
    // engine/cli is two below the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the manifest lies in the repository")
}

/// A running registry. It reads our end of a pipe and ends with this process, however that ends.
struct Served {
    port: u16,
    config: PathBuf,
    images: Mutex<BTreeSet<String>>,
    _registry: Mutex<Child>,
}

static SERVED: OnceLock<Served> = OnceLock::new();

/// Path of a kiln configuration under which `docker.io/library/NAME` is there for each of `names`.
pub(crate) fn config(names: &[&str]) -> PathBuf {
    let served = served();
    let mut images = served.images.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let missing: Vec<&str> = names.iter().copied().filter(|name| !images.contains(*name)).collect();
    if !missing.is_empty() {
        // A second registry on the same storage pushes what is missing and ends at once.
        let output = script().args(&missing).stdin(Stdio::null()).output().expect("tests/bases/serve starts");
        assert!(output.status.success(), "tests/bases/serve: {}", String::from_utf8_lossy(&output.stderr));
        images.extend(missing.iter().map(|name| (*name).to_owned()));
    }
    served.config.clone()
}

/// Port of the registry on the loopback interface.
pub(crate) fn port() -> u16 {
    served().port
}

fn served() -> &'static Served {
    SERVED.get_or_init(|| {
        let mut registry = script()
            .arg("busybox")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/bases/serve starts");
        let mut lines = BufReader::new(registry.stdout.take().expect("standard output is a pipe")).lines();
        let mut line = || match lines.next() {
            Some(Ok(line)) => line,
            _ => panic!("tests/bases/serve gave up; its message is above"),
        };
        Served {
            port: line().parse().expect("tests/bases/serve prints a port"),
            config: line().into(),
            images: Mutex::new(BTreeSet::from(["busybox".to_owned()])),
            _registry: Mutex::new(registry),
        }
    })
}

fn script() -> Command {
    let mut command = Command::new(repository().join("tests/bases/serve"));
    command.arg("--until-eof");
    command
}
