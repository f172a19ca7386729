//! Lends SSH keys to steps: an agent's socket inside, through which a step can have things signed and nothing else.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_core::graph::ClientMount;
use rustix::process::Pid;

/// Where the keys are that `--ssh` lends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// The socket of an agent.
    Agent(PathBuf),
    /// A socket to be passed on as it is, whoever listens on it.
    Raw(PathBuf),
    /// Files of private keys, to be held by an agent of this build's own.
    Keys(Vec<PathBuf>),
}

/// Messages of the agent protocol that a step may send: list the keys, sign, and extensions such as the binding to a
/// session. Others would change what the person's agent holds.
const ALLOWED: [u8; 3] = [11, 13, 27];
/// The answer to all others: one byte, "failure".
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];
/// As OpenSSH has it.
const MAX_MESSAGE_BYTES: usize = 256 << 10;
/// For an agent to listen, and to have read a key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why keys could not be lent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    #[error(
        "`{program}` could not be run, which holds the keys; install the SSH client, or give an agent's socket"
    )]
    Program { program: &'static str, source: io::Error },
    #[error("the key `{}` could not be used: {why}", .file.display())]
    Key { file: PathBuf, why: String },
    #[error("`ssh-agent` did not begin to listen")]
    Deaf,
    #[error("could not make a socket for the step")]
    Socket(#[source] io::Error),
}

/// An agent of this build's own. It ends with kiln, however that ends.
#[derive(Debug)]
pub(crate) struct KeyAgent {
    directory: PathBuf,
    /// `cat`, below which the agent runs, and at whose end it goes within some seconds.
    holder: Child,
    agent: Option<Pid>,
}

impl KeyAgent {
    /// Starts `ssh-agent` and gives it the keys.
    pub(crate) fn start(keys: &[PathBuf]) -> Result<Self, AgentError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kiln-ssh-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&directory).map_err(AgentError::Socket)?;
        let socket = directory.join("agent");
        let mut holder = Command::new("ssh-agent")
            .arg("-a")
            .arg(&socket)
            .args(["sh", "-c", "echo $SSH_AGENT_PID && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| AgentError::Program { program: "ssh-agent", source })
            .inspect_err(|_| {
                let _ = fs::remove_dir(&directory);
            })?;
        let mut id = String::new();
        if let Some(said) = holder.stdout.take() {
            let _ = BufReader::new(said).read_line(&mut id);
        }
        let agent = id.trim().parse().ok().and_then(Pid::from_raw);
        let agent = Self { directory, holder, agent };
        let begun = Instant::now();
        while UnixStream::connect(agent.socket()).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err(AgentError::Deaf);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for key in keys {
            agent.add(key)?;
        }
        Ok(agent)
    }

    fn add(&self, key: &Path) -> Result<(), AgentError> {
        let why = |why: String| AgentError::Key { file: key.to_owned(), why };
        // Through standard input: ssh-add refuses a file that others may read, which is nobody's business here.
        let bytes = fs::read(key).map_err(|error| why(error.to_string()))?;
        let mut adding = Command::new("ssh-add")
            .args(["-q", "-"])
            .env("SSH_AUTH_SOCK", self.socket())
            // There is nobody to type a passphrase.
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("SSH_ASKPASS", "false")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| AgentError::Program { program: "ssh-add", source })?;
        if let Some(mut input) = adding.stdin.take() {
            // What it does not want to read it will say.
            let _ = input.write_all(&bytes);
        }
        let ended = adding.wait_with_output().map_err(|error| why(error.to_string()))?;
        match ended.status.success() {
            true => Ok(()),
            false => {
                let said = String::from_utf8_lossy(&ended.stderr);
                let said =
                    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("`ssh-add` refused it");
                Err(why(format!("{}; a key with a passphrase has to be in an agent already", said.trim())))
            }
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("agent")
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        if let Some(agent) = self.agent {
            // While what it runs below is there, this is the agent's id.
            let _ = rustix::process::kill_process(agent, rustix::process::Signal::TERM);
        }
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A socket for one step, and who answers on it.
#[derive(Debug)]
pub(crate) struct Forward {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Forward {
    /// Listens on a socket in `directory`, with the owner and mode that the mount asks for.
    pub(crate) fn start(directory: &Path, agent: PathBuf, client: &ClientMount) -> Result<Self, AgentError> {
        // The name of a socket may have some hundred bytes, and the path of a store more.
        let open = fs::File::open(directory).map_err(AgentError::Socket)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/agent", open.as_raw_fd()));
        let listener = UnixListener::bind(&short).map_err(AgentError::Socket)?;
        let socket = directory.join("agent");
        std::os::unix::fs::chown(&socket, Some(client.uid), Some(client.gid)).map_err(AgentError::Socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(client.mode & 0o777))
            .map_err(AgentError::Socket)?;
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        let listening = std::thread::Builder::new()
            .name("ssh".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if over.load(Ordering::Acquire) {
                        break;
                    }
                    let agent = agent.clone();
                    // A connection ends when the step does, or the agent.
                    std::thread::spawn(move || {
                        if let (Ok(step), Ok(agent)) = (stream, UnixStream::connect(agent)) {
                            let _ = pass_on(step, agent);
                        }
                    });
                }
            })
            .map_err(AgentError::Socket)?;
        Ok(Self { socket, ended, listening: Some(listening) })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        let woken = fs::File::open(self.socket.parent().unwrap_or(Path::new("/")))
            .and_then(|open| UnixStream::connect(format!("/proc/self/fd/{}/agent", open.as_raw_fd())));
        if let Some(listening) = self.listening.take()
            && woken.is_ok()
        {
            let _ = listening.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// Questions one way, answers the other, until one side has enough.
fn pass_on(mut step: UnixStream, mut agent: UnixStream) -> io::Result<()> {
    let mut message = Vec::new();
    while read_message(&mut step, &mut message)? {
        match ALLOWED.contains(&message[4]) {
            true => {
                agent.write_all(&message)?;
                if !read_message(&mut agent, &mut message)? {
                    return Ok(());
                }
                step.write_all(&message)?;
            }
            false => step.write_all(&FAILURE)?,
        }
    }
    Ok(())
}

/// A message with its length before it, never without a type. False at the end.
fn read_message(from: &mut UnixStream, message: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes == 0 || bytes > MAX_MESSAGE_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.clear();
    message.extend_from_slice(&length);
    message.resize(4 + bytes, 0);
    from.read_exact(&mut message[4..])?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_can_ask_for_signatures_and_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("upstream");
        let upstream = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = upstream.accept().unwrap();
            let mut message = Vec::new();
            while read_message(&mut stream, &mut message).unwrap() {
                // Says the type back.
                stream.write_all(&[0, 0, 0, 2, 12, message[4]]).unwrap();
            }
        });
        let long = directory.path().join("x".repeat(200));
        fs::create_dir(&long).unwrap();
        let me = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let client = ClientMount { id: "default".into(), required: true, mode: 0o600, uid: me.0, gid: me.1 };
        let forward = Forward::start(&long, socket, &client).unwrap();
        assert_eq!(fs::metadata(forward.socket()).unwrap().permissions().mode() & 0o777, 0o600);
        let open = fs::File::open(&long).unwrap();
        let mut step = UnixStream::connect(format!("/proc/self/fd/{}/agent", open.as_raw_fd())).unwrap();
        let mut answer = Vec::new();
        for (question, expected) in [(11, [12, 11].as_slice()), (17, &[5]), (19, &[5]), (13, &[12, 13])] {
            step.write_all(&[0, 0, 0, 1, question]).unwrap();
            assert!(read_message(&mut step, &mut answer).unwrap());
            assert_eq!(&answer[4..], expected, "{question}");
        }
        drop(step);
        drop(forward);
        assert!(!long.join("agent").exists());
    }
}
