//! Servers of the tests: one for files over HTTP that remembers what it was asked, and git's own daemon.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::process::eventually;
use crate::space::shell;

/// What every answer says in `Last-Modified`, and as seconds since 1970.
pub(crate) const MODIFIED: (&str, i64) = ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777);

/// Serves a directory over HTTP, with an `ETag` made of each file's content. `/to/x` redirects to `/x`, `/status/N/x`
/// is answered with status N, `/torn/x` breaks off in the middle.
pub(crate) struct Files {
    pub(crate) root: TempDir,
    host: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    root: PathBuf,
    /// Path and status of every answer.
    answers: Mutex<Vec<String>>,
    /// What `Authorization` has to be, if anything.
    key: Mutex<Option<String>>,
    closed: AtomicBool,
}

impl Files {
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory to serve");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("the port has a number").to_string();
        let shared = Arc::new(Shared { root: root.path().to_owned(), ..Shared::default() });
        let mine = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if mine.closed.load(Ordering::Relaxed) {
                    return;
                }
                let mine = mine.clone();
                // Whoever asked may have gone; git asks for several things at a time.
                std::thread::spawn(move || stream.and_then(|stream| mine.answer(stream)));
            }
        });
        Self { root, host, shared }
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.root.path().join(path), content).expect("the file is written");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.host)
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// From now on only who shows this is served.
    pub(crate) fn lock(&self, authorization: &str) {
        *self.shared.key.lock().expect("no thread panics with the lock") = Some(authorization.to_owned());
    }

    /// What was answered since the last look: status and path of each.
    pub(crate) fn answers(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.answers.lock().expect("no thread panics with the lock"))
    }

    /// Nobody is answered any more.
    pub(crate) fn stop(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next one.
        drop(TcpStream::connect(&self.host));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return Ok(()) };
        let header = |name: &str| {
            lines.iter().find_map(|line| {
                let (known, value) = line.split_once(':')?;
                known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let plain = path.split('?').next().unwrap_or_default();
        let (status, headers, body) = self.respond(plain, &header);
        self.answers.lock().expect("no thread panics with the lock").push(format!("{status} {plain}"));
        let length = if plain.starts_with("/torn/") { body.len() * 2 } else { body.len() };
        let head =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)
    }

    fn respond(&self, path: &str, header: &dyn Fn(&str) -> Option<String>) -> (u16, String, Vec<u8>) {
        let empty = |status, headers: String| (status, headers, Vec::new());
        let key = self.key.lock().expect("no thread panics with the lock").clone();
        if key.is_some() && header("Authorization") != key {
            return empty(401, "WWW-Authenticate: Basic realm=tests\r\n".to_owned());
        }
        if let Some(to) = path.strip_prefix("/to/") {
            return empty(302, format!("Location: /{to}\r\n"));
        }
        if let Some(rest) = path.strip_prefix("/status/") {
            let status = rest.split('/').next().and_then(|status| status.parse().ok()).unwrap_or(500);
            return empty(status, String::new());
        }
        let file = self.root.join(path.trim_start_matches("/torn").trim_start_matches('/'));
        let Ok(content) = fs::read(file) else { return empty(404, String::new()) };
        let sum = content.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        let tag = format!("\"{sum:x}\"");
        if header("If-None-Match").as_deref() == Some(&tag) {
            return empty(304, String::new());
        }
        (200, format!("ETag: {tag}\r\nLast-Modified: {}\r\n", MODIFIED.0), content)
    }
}

/// `git daemon` over a directory of bare repositories.
pub(crate) struct Daemon {
    process: Child,
    port: u16,
    pub(crate) root: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let root = tempfile::tempdir().expect("a directory for repositories");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let process = Command::new("git")
            .args(["-c", "safe.directory=*", "daemon", "--export-all", "--listen=127.0.0.1", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", root.path().display()))
            .arg(root.path())
            .env("HOME", root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("git (a Debian package) starts");
        eventually("git daemon answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { process, port, root }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }

    /// A repository called `name`, made by commands of git in a working copy that is pushed in the end. Returns what
    /// the commands print.
    pub(crate) fn repository(&self, name: &str, commands: &str) -> String {
        commit(self.root.path(), name, commands)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `commands` in a working copy of the bare repository `name` below `root`, both made if they are not there, and
/// pushes all branches and tags.
pub(crate) fn commit(root: &Path, name: &str, commands: &str) -> String {
    shell(&format!(
        "export HOME='{root}' GIT_CONFIG_GLOBAL='{root}/gitconfig' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z'
         cd '{root}'
         printf '[user]\\nname = t\\nemail = t@t\\n[protocol]\\nallow = always\\n' > gitconfig
         [ -d '{name}' ] || git init -q --bare --initial-branch=main '{name}'
         [ -d '{name}.work' ] || {{
             git init -q --initial-branch=main '{name}.work'
             git -C '{name}.work' remote add origin '{root}/{name}'
         }}
         cd '{name}.work'
         {commands}
         git push -q --all origin
         git push -q --tags origin
         git -C '{root}/{name}' update-server-info",
        root = root.display()
    ))
}
