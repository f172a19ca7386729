//! A private directory with a store of its own, and the binary to be tested.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::bases;
use crate::steps::Steps;

/// No command of a test takes longer than this unless it hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// Everything one test touches.
pub(crate) struct TestSpace {
    directory: TempDir,
    /// Where the store is; a test may move it.
    pub(crate) store: PathBuf,
    /// What `KILN_CONFIG` names.
    pub(crate) config: PathBuf,
    /// Environment given on top of the little that every command has.
    pub(crate) environment: Vec<(String, String)>,
}

/// What a command did.
pub(crate) struct Ran {
    pub(crate) command: String,
    /// The exit status; of a process killed by a signal, 128 and its number.
    pub(crate) status: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl TestSpace {
    /// A space whose kiln knows no registry but those it is told of in the test.
    pub(crate) fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("kiln-e2e-").tempdir().expect("a directory for the test");
        let config = directory.path().join("kiln.toml");
        // Where nothing answers: a test must not depend on what the machine can reach.
        fs::write(&config, "[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\"]\n[registry.\"127.0.0.1:1\"]\nplain-http = true\n")
            .expect("the configuration is written");
        for name in ["context", "home", "run"] {
            fs::create_dir(directory.path().join(name)).expect("a directory for the test");
        }
        let store = directory.path().join("store");
        Self { directory, store, config, environment: Vec::new() }
    }

    /// A space in which the base images `names` can be pulled.
    pub(crate) fn with_bases(names: &[&str]) -> Self {
        let mut space = Self::new();
        space.config = bases::config(names);
        space
    }

    /// A copy of `examples/NAME` as the context. The example's own directory is never written to.
    pub(crate) fn with_example(name: &str, bases: &[&str]) -> Self {
        let space = if bases.is_empty() { Self::new() } else { Self::with_bases(bases) };
        fs::remove_dir(space.context()).expect("the empty context goes");
        let example = bases::repository().join("examples").join(name);
        shell(&format!("cp -r '{}' '{}'", example.display(), space.context().display()));
        space
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.path("context")
    }

    /// Writes a file of the context, with its parents.
    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.context().join(relative);
        fs::create_dir_all(path.parent().expect("a file has a parent")).expect("parents are made");
        fs::write(path, content).expect("the file is written");
        self
    }

    pub(crate) fn directory(&self, relative: &str) -> &Self {
        fs::create_dir_all(self.context().join(relative)).expect("the directory is made");
        self
    }

    pub(crate) fn link(&self, relative: &str, target: &str) -> &Self {
        symlink(target, self.context().join(relative)).expect("the link is made");
        self
    }

    pub(crate) fn dockerfile(&self, text: &str) -> &Self {
        self.write("Dockerfile", text)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        let path = self.path(relative);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `kiln ARGS…`, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("KILN_ROOT", &self.store)
            .env("KILN_CONFIG", &self.config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn kiln(&self, args: &[&str]) -> Ran {
        let child = self.command(args).spawn().expect("kiln starts");
        finish(child, format!("kiln {}", args.join(" ")))
    }

    pub(crate) fn kiln_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("kiln starts");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        std::thread::scope(|scope| {
            // kiln may well end without reading all of it.
            scope.spawn(move || drop(stdin.write_all(input)));
            finish(child, format!("kiln {} <input", args.join(" ")))
        })
    }

    /// `kiln build --progress plain ARGS… CONTEXT`.
    pub(crate) fn build(&self, args: &[&str]) -> Ran {
        let context = self.context();
        let mut all = vec!["build", "--progress", "plain"];
        all.extend(args);
        all.push(context.to_str().expect("the context has a name in UTF-8"));
        self.kiln(&all)
    }

    /// Builds `dockerfile` with `args`.
    pub(crate) fn build_text(&self, dockerfile: &str, args: &[&str]) -> Ran {
        self.dockerfile(dockerfile);
        self.build(args)
    }
}

impl Ran {
    /// Fails the test unless the command ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ends(0)
    }

    /// Fails the test unless the command ended with `status`, and in no case with a panic.
    #[track_caller]
    pub(crate) fn ends(self, status: i32) -> Self {
        assert!(!self.stderr.contains("panicked at"), "{self}");
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Fails the test unless standard error holds each of `texts`.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "standard error does not hold `{text}`\n{self}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn does_not_say(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "standard error holds `{text}`\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("standard output is no UTF-8\n{self}"))
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("standard output: {error}\n{self}"))
    }

    /// The steps that plain progress told of.
    pub(crate) fn steps(&self) -> Steps {
        Steps::read(&self.stderr)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(4000)]);
        write!(
            f,
            "$ {}\n{}--- standard output\n{stdout}--- status {}",
            self.command, self.stderr, self.status
        )
    }
}

/// Collects what `child` writes and waits for it, but not for ever.
pub(crate) fn finish(mut child: Child, command: String) -> Ran {
    use std::io::Read;
    let begun = Instant::now();
    let mut stdout = child.stdout.take().expect("standard output is a pipe");
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    let stdout = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = loop {
        match child.try_wait().expect("kiln can be waited for") {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                child.kill().expect("kiln can be killed");
                panic!("`{command}` did not end within {PATIENCE:?}");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let took = begun.elapsed();
    Ran {
        command,
        status: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        stdout: stdout.join().expect("the reader does not panic").expect("standard output is read"),
        stderr: String::from_utf8_lossy(
            &stderr.join().expect("the reader does not panic").expect("standard error is read"),
        )
        .into_owned(),
        took,
    }
}

/// Runs a line of shell on the host and returns what it printed.
#[track_caller]
pub(crate) fn shell(line: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", line]).output().expect("bash runs");
    assert!(output.status.success(), "$ {line}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}
