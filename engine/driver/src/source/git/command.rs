//! Runs the `git` program with nothing of the person's own configuration, prompts or hooks.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kiln_core::Cancel;

/// Between two looks at whether git has ended.
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(25);
/// So much of what git writes is read: a list of all files of a large repository.
const MAX_OUTPUT_BYTES: u64 = 256 << 20;
/// So much of what git complains about is read.
const MAX_COMPLAINT_BYTES: u64 = 64 << 10;

/// Of the person's environment git sees these: where programs are, and how to reach other machines.
const PASSED_ON: [&str; 10] = [
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "TMPDIR",
];

/// On every command: what an untrusted repository could make git do, it does not do.
const CONFIGURATION: [(&str, &str); 11] = [
    ("advice.detachedHead", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("credential.helper", ""),
    ("fetch.recurseSubmodules", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    // Whoever owns the store's directories owns what is in them.
    ("safe.directory", "*"),
];

/// Files get the modes that git gives them, whatever the person's umask is.
const WITH_UMASK: &str = "umask 022 && exec \"$@\"";

/// Transports that an address may use.
pub(super) const FROM_AFAR: &str = "http:https:ssh:git";
/// For commands that read another directory of kiln's own.
pub(super) const FROM_HERE: &str = "file";

#[derive(Debug, thiserror::Error)]
pub(super) enum GitFailure {
    #[error("the program `git` is not installed")]
    Missing,
    #[error("`git` could not be run")]
    Run(#[source] io::Error),
    #[error("git said: {}", last_words(complaint))]
    Failed { complaint: String },
    #[error("interrupted")]
    Cancelled,
}

/// The lines that say why: those that git marks as fatal or as errors, else the last one.
fn last_words(complaint: &str) -> String {
    let mut lines = complaint.lines().map(str::trim).filter(|line| !line.is_empty());
    let marked = |line: &&str| {
        ["fatal: ", "error: ", "remote: ", "ssh: "].iter().any(|mark| line.starts_with(mark))
            || line.ends_with("Permission denied (publickey).")
            || line.contains("Host key verification failed")
    };
    let mut words: Vec<&str> = lines.clone().filter(marked).collect();
    words.dedup();
    if words.is_empty() {
        words.extend(lines.next_back());
    }
    words.truncate(4);
    words.join("; ").chars().filter(|it| !it.is_control()).take(600).collect()
}

/// One command to be run.
pub(super) struct Git<'a> {
    arguments: Vec<OsString>,
    configuration: Vec<(String, String)>,
    environment: Vec<(&'static str, OsString)>,
    directory: &'a Path,
    protocols: &'static str,
}

impl<'a> Git<'a> {
    /// In `directory`, with these arguments; none of them comes from an address unless it stands after `--`.
    pub(super) fn new<S: AsRef<OsStr>>(directory: &'a Path, arguments: impl IntoIterator<Item = S>) -> Self {
        Self {
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            configuration: Vec::new(),
            environment: Vec::new(),
            directory,
            protocols: "",
        }
    }

    pub(super) fn protocols(mut self, protocols: &'static str) -> Self {
        self.protocols = protocols;
        self
    }

    pub(super) fn configure(mut self, pairs: &[(String, String)]) -> Self {
        self.configuration.extend_from_slice(pairs);
        self
    }

    pub(super) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// What it wrote.
    pub(super) fn run(self, cancel: &Cancel) -> Result<Vec<u8>, GitFailure> {
        // Checked here, since the shell's own complaint would not tell.
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|directory| directory.join("git").is_file()) {
            return Err(GitFailure::Missing);
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WITH_UMASK, "sh", "git"]).args(&self.arguments).current_dir(self.directory);
        command.env_clear();
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
            command.env("GIT_SSL_CAINFO", file);
        }
        command
            .env("LC_ALL", "C")
            // Neither files of configuration nor passwords are read from there.
            .env("HOME", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            // By the environment: command lines are for everybody to see, and some of it is secret.
            .env("GIT_CONFIG_COUNT", (CONFIGURATION.len() + self.configuration.len()).to_string());
        let fixed = CONFIGURATION.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        for (index, (name, value)) in fixed.chain(self.configuration).enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.envs(self.environment);
        // A group of its own, so that it can be ended with all that it started.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(GitFailure::Run)?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            unreachable!("both were asked for as pipes");
        };
        let (status, output, complaint) = std::thread::scope(|scope| {
            let output = scope.spawn(|| read(stdout, MAX_OUTPUT_BYTES));
            let complaint = scope.spawn(|| read(stderr, MAX_COMPLAINT_BYTES));
            let status = wait(&mut child, cancel);
            let join = |reading: std::thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
                reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            (status, join(output), join(complaint))
        });
        let status = status.map_err(GitFailure::Run)?.ok_or(GitFailure::Cancelled)?;
        let (output, complaint) = (output.map_err(GitFailure::Run)?, complaint.map_err(GitFailure::Run)?);
        match status.success() {
            true => Ok(output),
            false => Err(GitFailure::Failed { complaint: String::from_utf8_lossy(&complaint).into_owned() }),
        }
    }
}

/// Reads to the end, and keeps up to `limit` bytes.
fn read(mut from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(limit).read_to_end(&mut bytes)?;
    let more = io::copy(&mut from, &mut io::sink())?;
    match more > 0 && limit == MAX_OUTPUT_BYTES {
        true => Err(io::Error::other(format!("it wrote more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// `None` when the build was cancelled: then nothing of it runs any more.
fn wait(child: &mut Child, cancel: &Cancel) -> io::Result<Option<ExitStatus>> {
    let mut pause = SHORTEST_LOOK;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if cancel.is_cancelled() {
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(group) = group {
                // It may have ended by itself meanwhile.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_complaint_the_lines_that_say_why_are_shown() {
        for (complaint, words) in [
            ("warning: x\nfatal: repository 'y' not found\n", "fatal: repository 'y' not found"),
            ("hint\nerror: a\n\nfatal: b\n", "error: a; fatal: b"),
            ("something else\n\nlast\n", "last"),
            ("", ""),
        ] {
            assert_eq!(last_words(complaint), words);
        }
    }

    #[test]
    fn arguments_and_addresses_are_never_read_by_a_shell() {
        let directory = tempdir();
        let strange = "$(touch made); `touch made`";
        let git = Git::new(&directory, ["rev-parse", "--sq-quote", strange]);
        let quoted = git.run(&Cancel::default()).expect("git (a Debian package) runs");
        assert_eq!(String::from_utf8_lossy(&quoted).trim(), format!("'{strange}'"));
        assert!(!directory.join("made").exists());
        std::fs::remove_dir(directory).unwrap();
    }

    fn tempdir() -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("kiln-git-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        path
    }
}
