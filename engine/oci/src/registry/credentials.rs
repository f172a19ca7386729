//! Who kiln is to a registry: Docker's `config.json` with its helper programs, and Podman's `auth.json`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use kiln_core::Cancel;
use serde::Deserialize;

/// Under this name the files know `docker.io`.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A helper program that has not answered by then is ended.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// A configuration file may have this many bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("could not read the credentials in `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is no JSON of the form that credentials have", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("the entry `{key}` of `{}` is no base64 text of `user:password`", path.display())]
    Entry { path: PathBuf, key: String },
    #[error("the credential helper `{helper}`, which `{}` names, could not be run", path.display())]
    Helper { helper: String, path: PathBuf, source: io::Error },
    #[error("the credential helper `{helper}` failed for `{host}`: {said}")]
    HelperFailed { helper: String, host: String, said: String },
    #[error("interrupted")]
    Cancelled,
}

/// How to show who one is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for a token.
    Identity(String),
    /// To be sent as it is.
    Bearer(String),
}

/// Never shows the secret itself.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password of {user:?}"),
            Self::Identity(_) => f.write_str("Identity"),
            Self::Bearer(_) => f.write_str("Bearer"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub secret: Secret,
    /// For messages: `of user `me` from `/home/me/.docker/config.json``.
    pub origin: String,
}

#[derive(Debug, Default, Deserialize)]
struct FileJson {
    #[serde(default)]
    auths: Option<BTreeMap<String, AuthJson>>,
    #[serde(rename = "credsStore", default)]
    store: Option<String>,
    #[serde(rename = "credHelpers", default)]
    helpers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
struct AuthJson {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

/// The files, read once; helpers are asked when a registry wants credentials, and not before.
#[derive(Debug, Default)]
pub struct Credentials {
    files: Vec<(PathBuf, FileJson)>,
}

impl Credentials {
    /// Nobody.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// From the files that Docker and Podman would read: `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`, then
    /// `$REGISTRY_AUTH_FILE`, or `$XDG_RUNTIME_DIR/containers/auth.json` and `~/.config/containers/auth.json`. A file
    /// that does not exist says nothing.
    pub fn from_environment() -> Result<Self, CredentialsError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME");
        let mut paths = Vec::new();
        if let Some(docker) = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker"))) {
            paths.push(docker.join("config.json"));
        }
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            paths.push(file);
        } else {
            let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
            let directories = [variable("XDG_RUNTIME_DIR"), config];
            paths.extend(directories.into_iter().flatten().map(|dir| dir.join("containers/auth.json")));
        }
        Self::from_files(paths)
    }

    /// From these files, the first of which that knows a host counts.
    pub fn from_files(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, CredentialsError> {
        let mut files = Vec::new();
        for path in paths {
            let mut text = Vec::new();
            let read =
                std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut text));
            match read {
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(source) => return Err(CredentialsError::Read { path, source }),
            }
            if text.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice(&text) {
                Ok(json) => files.push((path, json)),
                Err(source) => return Err(CredentialsError::Malformed { path, source }),
            }
        }
        Ok(Self { files })
    }

    /// What to say to `host` about `repository`; `None` for nothing.
    pub(super) fn find(
        &self,
        host: &str,
        repository: &str,
        cancel: &Cancel,
    ) -> Result<Option<Credential>, CredentialsError> {
        let names = names_of(host, repository);
        for (path, file) in &self.files {
            let helper = file
                .helpers
                .as_ref()
                .and_then(|helpers| find_key(helpers, &names))
                .map(|(_, helper)| helper)
                .or(file.store.as_ref().filter(|store| !store.is_empty()));
            if let Some(helper) = helper {
                let found = ask_helper(helper, host, path, cancel)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            if let Some((key, auth)) = file.auths.as_ref().and_then(|auths| find_key(auths, &names)) {
                let found = read_entry(path, key, auth)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }
}

/// What a file may call it, most specific first.
fn names_of(host: &str, repository: &str) -> Vec<String> {
    let hosts: &[&str] = match host {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => {
            &["docker.io", "index.docker.io", "registry-1.docker.io"]
        }
        _ => &[host],
    };
    let mut names = Vec::new();
    for host in hosts {
        let mut path = repository;
        while !path.is_empty() {
            names.push(format!("{host}/{path}"));
            path = path.rsplit_once('/').map_or("", |(rest, _)| rest);
        }
    }
    names.extend(hosts.iter().map(|&host| host.to_owned()));
    names
}

/// Keys are spelled with or without a scheme and an API version.
fn find_key<'a, V>(map: &'a BTreeMap<String, V>, names: &[String]) -> Option<(&'a str, &'a V)> {
    let plain = |key: &str| {
        let key = key.strip_prefix("https://").or(key.strip_prefix("http://")).unwrap_or(key);
        let key = key.trim_end_matches('/');
        let key = key.strip_suffix("/v1").or(key.strip_suffix("/v2")).unwrap_or(key);
        key.to_owned()
    };
    names.iter().find_map(|name| {
        map.iter().find(|(key, _)| plain(key) == *name).map(|(key, value)| (key.as_str(), value))
    })
}

fn read_entry(path: &Path, key: &str, entry: &AuthJson) -> Result<Option<Credential>, CredentialsError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let place = format!("from `{}`", path.display());
    let anonymous = |secret| Ok(Some(Credential { secret, origin: place.clone() }));
    if let Some(token) = given(&entry.registrytoken) {
        return anonymous(Secret::Bearer(token));
    }
    if let Some(token) = given(&entry.identitytoken) {
        return anonymous(Secret::Identity(token));
    }
    let (user, password) = match (given(&entry.auth), given(&entry.username)) {
        (Some(auth), _) => {
            let engine = base64::engine::general_purpose::STANDARD;
            let decoded = engine.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let Some((user, password)) = pair else {
                return Err(CredentialsError::Entry { path: path.to_owned(), key: key.to_owned() });
            };
            (user.to_owned(), password.to_owned())
        }
        (None, Some(user)) => (user, entry.password.clone().unwrap_or_default()),
        (None, None) => return Ok(None),
    };
    let origin = format!("of user `{user}` {place}");
    Ok(Some(Credential { secret: Secret::Password { user, password }, origin }))
}

/// Speaks the protocol of Docker's helpers: `docker-credential-<name> get` takes a host and answers in JSON.
fn ask_helper(
    name: &str,
    host: &str,
    path: &Path,
    cancel: &Cancel,
) -> Result<Option<Credential>, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    let helper = format!("docker-credential-{name}");
    let not_run = |source| CredentialsError::Helper { helper: helper.clone(), path: path.to_owned(), source };
    // A name with a slash would be a path, and not one of the installed programs.
    if name.contains('/') {
        return Err(not_run(io::ErrorKind::InvalidInput.into()));
    }
    let question = if names_of(host, "").contains(&"docker.io".to_owned()) { DOCKER_HUB_KEY } else { host };
    let (success, output) = run_helper(&helper, question, cancel)
        .map_err(|error| if cancel.is_cancelled() { CredentialsError::Cancelled } else { not_run(error) })?;
    let said = || {
        let said = String::from_utf8_lossy(&output);
        said.chars().filter(|c| !c.is_control()).take(200).collect::<String>()
    };
    if !success {
        // The one message that is no failure; helpers agree on it.
        if said().contains("credentials not found") {
            return Ok(None);
        }
        return Err(CredentialsError::HelperFailed { helper, host: host.to_owned(), said: said() });
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| CredentialsError::HelperFailed {
        helper: helper.clone(),
        host: host.to_owned(),
        // What it said may hold the secret.
        said: "its answer is not in the form that was asked for".to_owned(),
    })?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    Ok(Some(match answer.username.as_str() {
        "<token>" => {
            Credential { secret: Secret::Identity(answer.secret), origin: format!("from `{helper}`") }
        }
        user => Credential {
            origin: format!("of user `{user}` from `{helper}`"),
            secret: Secret::Password { user: user.to_owned(), password: answer.secret },
        },
    }))
}

fn run_helper(helper: &str, question: &str, cancel: &Cancel) -> io::Result<(bool, Vec<u8>)> {
    let mut child = Command::new(helper)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    // A helper that does not read its input has its reasons; its answer counts.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(question.as_bytes()));
    let stdout = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("credential-helper".to_owned()).spawn(move || {
        let mut output = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(1 << 20).read_to_end(&mut output));
        // Nobody listens any more when it took too long.
        let _ = sender.send(read.map(|_| output));
    })?;
    let deadline = Instant::now() + HELPER_TIMEOUT;
    let output = loop {
        match receiver.recv_timeout(Duration::from_millis(50)) {
            Ok(output) => break output,
            Err(mpsc::RecvTimeoutError::Timeout) if cancel.is_cancelled() || Instant::now() > deadline => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break Err(io::ErrorKind::BrokenPipe.into()),
        }
    };
    let status = child.wait()?;
    Ok((status.success(), output?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> (tempfile::TempDir, Credentials) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let credentials = Credentials::from_files([path]).unwrap();
        (directory, credentials)
    }

    fn user(credentials: &Credentials, host: &str, repository: &str) -> Option<String> {
        let found = credentials.find(host, repository, &Cancel::default()).unwrap()?;
        Some(match found.secret {
            Secret::Password { user, password } => format!("{user}/{password}"),
            Secret::Identity(token) => format!("identity {token}"),
            Secret::Bearer(token) => format!("bearer {token}"),
        })
    }

    #[test]
    fn entries_are_found_however_the_host_is_spelled() {
        let (_keep, credentials) = credentials(
            r#"{"auths":{
                "https://index.docker.io/v1/":{"auth":"aHViOnB3"},
                "quay.io":{"auth":"cTpxOnE="},
                "quay.io/team":{"username":"t","password":"p"},
                "http://localhost:5000/v2/":{"identitytoken":"it"},
                "empty.example":{}
            }}"#,
        );
        assert_eq!(user(&credentials, "docker.io", "library/x").unwrap(), "hub/pw");
        assert_eq!(user(&credentials, "registry-1.docker.io", "library/x").unwrap(), "hub/pw");
        assert_eq!(user(&credentials, "quay.io", "other/x").unwrap(), "q/q:q");
        assert_eq!(user(&credentials, "quay.io", "team/sub/x").unwrap(), "t/p");
        assert_eq!(user(&credentials, "localhost:5000", "x").unwrap(), "identity it");
        assert_eq!(user(&credentials, "empty.example", "x"), None);
        assert_eq!(user(&credentials, "other.example", "x"), None);
    }

    #[test]
    fn missing_files_say_nothing_and_broken_ones_say_where() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let found = Credentials::from_files([path.clone(), directory.path().join("no/such/file")]).unwrap();
        assert_eq!(user(&found, "docker.io", "x"), None);
        std::fs::write(&path, "{").unwrap();
        let error = Credentials::from_files([path.clone()]).unwrap_err().to_string();
        assert!(error.contains("config.json"), "{error}");
        std::fs::write(&path, r#"{"auths":{"a":{"auth":"!"}}}"#).unwrap();
        let broken = Credentials::from_files([path]).unwrap();
        let error = broken.find("a", "x", &Cancel::default()).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("config.json"), "{error}");
    }

    #[test]
    fn a_helper_that_is_not_installed_is_named() {
        let (_keep, credentials) = credentials(r#"{"credHelpers":{"x.example":"no-such-helper-anywhere"}}"#);
        let error = credentials.find("x.example", "r", &Cancel::default()).unwrap_err().to_string();
        assert!(error.contains("docker-credential-no-such-helper-anywhere"), "{error}");
        assert_eq!(user(&credentials, "y.example", "r"), None);
    }

    /// What a helper program that is this shell script answers.
    fn helper(script: &str, cancel: &Cancel) -> io::Result<(bool, Vec<u8>)> {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's child may hold the file open for writing for a moment after its fork.
        for _ in 0..50 {
            match run_helper(path.to_str().unwrap(), "x.example", cancel) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                other => return other,
            }
        }
        panic!("the script stays busy");
    }

    #[test]
    fn helpers_are_asked_for_the_host_and_their_answer_is_taken() {
        let cancel = Cancel::default();
        let script = r#"read host; test "$1" = get && echo "{\"Username\":\"me\",\"Secret\":\"for $host\"}""#;
        let (success, output) = helper(script, &cancel).unwrap();
        assert!(success);
        assert_eq!(
            String::from_utf8(output).unwrap().trim(),
            r#"{"Username":"me","Secret":"for x.example"}"#
        );
        let (success, output) =
            helper("echo credentials not found in native keychain; exit 1", &cancel).unwrap();
        assert!(!success && output.starts_with(b"credentials not found"));
    }

    #[test]
    fn a_helper_that_hangs_ends_with_the_build() {
        let cancel = Cancel::default();
        cancel.raise(1);
        let start = Instant::now();
        assert!(helper("exec sleep 30", &cancel).is_err());
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::Password { user: "me".to_owned(), password: "hidden".to_owned() };
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
