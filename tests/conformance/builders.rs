//! The builders that the table is held against: kiln, and the ones that people know.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No build of the table takes longer than this unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builder {
    Kiln,
    /// `docker buildx build`
    BuildKit,
    /// `buildah build`
    Buildah,
}

/// What a build did.
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\n{}", self.command, self.stderr)?;
        if !self.stdout.is_empty() {
            write!(f, "--- standard output\n{}", &self.stdout)?;
        }
        write!(f, "--- status {}", self.status)
    }
}

/// Where a build takes place.
pub(crate) struct Place<'a> {
    /// Relative paths begin here.
    pub(crate) directory: &'a Path,
    /// kiln's store.
    pub(crate) store: &'a Path,
    /// What leads kiln to the base images.
    pub(crate) config: &'a Path,
    pub(crate) environment: &'a [(String, String)],
}

impl Builder {
    /// Builds `source` with `args`; the image goes to the archive `output`, relative to the place, unless that is
    /// `None`.
    pub(crate) fn build(
        self,
        place: &Place,
        args: &[String],
        source: &str,
        input: &[u8],
        output: Option<&str>,
    ) -> Ran {
        let mut command = self.program();
        let mut words: Vec<String> = match self {
            Self::Kiln => vec!["build".into(), "--progress".into(), "plain".into()],
            Self::BuildKit => {
                ["buildx", "build", "--progress", "plain", "--provenance=false"].map(Into::into).into()
            }
            Self::Buildah => ["build", "--layers", "--format", "docker"].map(Into::into).into(),
        };
        words.extend(args.iter().cloned());
        // What the reference is given besides, such as the network that it may use here.
        if self != Self::Kiln
            && let Ok(more) = std::env::var("COMPARE_ARGS")
        {
            words.extend(more.split_whitespace().map(str::to_owned));
        }
        let image = format!("kiln-conformance-{}", std::process::id());
        match (self, output) {
            (_, None) => {}
            (Self::Kiln, Some(output)) => words.extend(["-o".into(), format!("type=oci,dest={output}")]),
            (Self::BuildKit, Some(output)) => words
                .extend(["-o".into(), format!("type=oci,dest={}", place.directory.join(output).display())]),
            (Self::Buildah, Some(_)) => words.extend(["-t".into(), image.clone()]),
        }
        words.push(source.to_owned());
        command.args(&words).current_dir(place.directory);
        if self == Self::Kiln {
            command
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap_or_default())
                .env("HOME", place.directory)
                .env("KILN_ROOT", place.store)
                .env("KILN_CONFIG", place.config);
        }
        command.envs(place.environment.iter().map(|(name, value)| (name, value)));
        let mut ran = run(command, &words, input);
        if let (Self::Buildah, 0, Some(output)) = (self, ran.status, output) {
            let archive = format!("oci-archive:{}", place.directory.join(output).display());
            let mut push = self.program();
            push.args(["push", "--quiet", &image, &archive]);
            let pushed = run(push, &["push".into()], b"");
            if pushed.status != 0 {
                ran = pushed;
            }
        }
        ran
    }

    /// The program, which `COMPARE_PROGRAM` names if it goes by another name than usual.
    fn program(self) -> Command {
        let named = |usual: &str| {
            let named = std::env::var("COMPARE_PROGRAM").unwrap_or_else(|_| usual.to_owned());
            let mut words = named.split_whitespace().map(str::to_owned);
            let mut command = Command::new(words.next().expect("COMPARE_PROGRAM names a program"));
            command.args(words);
            command
        };
        match self {
            Self::Kiln => Command::new(PathBuf::from(env!("CARGO_BIN_EXE_kiln"))),
            Self::BuildKit => named("docker"),
            Self::Buildah => named("buildah"),
        }
    }
}

fn run(mut command: Command, words: &[String], input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("`{name}` does not start: {error}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let (id, done) = (child.id(), std::sync::mpsc::channel::<()>());
    let output = std::thread::scope(|scope| {
        // It may well end without reading all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        let (finished, receiver) = done;
        scope.spawn(move || {
            let begun = Instant::now();
            if receiver.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let pid = rustix::process::Pid::from_raw(id as i32).expect("a child has an id");
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                let _ = writeln!(std::io::stderr(), "ended a build after {:?}", begun.elapsed());
            }
        });
        let output = child.wait_with_output().expect("what it prints can be read");
        drop(finished);
        output
    });
    let words: Vec<String> = words.iter().map(|word| word.replace(' ', "\\ ")).collect();
    Ran {
        command: format!("{} {}", name.rsplit('/').next().unwrap_or(&name), words.join(" ")),
        status: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
