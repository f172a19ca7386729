//! One repository of another machine, by way of its bare copy in the store.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use kiln_core::Digest;
use kiln_oci::web::{basic_authorization, without_credentials};
use kiln_store::{CacheDir, CacheError, CacheSharing};

use super::super::remote::{RemoteError, Why};
use super::Commit;
use super::command::{FROM_AFAR, Git, GitFailure};
use crate::agent::SshSource;
use crate::error::BuildError;
use crate::session::Session;

/// The id with which `--ssh` gives the agent or key for repositories.
const SSH_ID: &str = "default";

/// In use by nobody else until it is dropped.
pub(super) struct Repository<'s> {
    pub(super) session: &'s Session<'s>,
    pub(super) url: String,
    directory: CacheDir,
    /// Credentials, as configuration of git.
    credentials: Vec<(String, String)>,
}

impl<'s> Repository<'s> {
    /// `root` is the repository that leads to this one as a submodule: credentials that are for no host in particular
    /// are for its host.
    pub(super) fn open(session: &'s Session<'_>, url: &str, root: Option<&str>) -> Result<Self, RemoteError> {
        let shown = without_credentials(url);
        let identity = Digest::of(format!("kiln git 1\n{shown}").as_bytes());
        let directory = session
            .driver
            .store
            .cache_mount(
                &identity,
                &format!("git {shown}"),
                CacheSharing::Locked,
                session.cancel,
                &mut |_| Ok(()),
            )
            .map_err(|error| match error {
                CacheError::Lock(_) if session.cancel.is_cancelled() => BuildError::Cancelled,
                error => BuildError::world(format!("could not keep a copy of `{shown}`"), error),
            })?;
        let credentials = credentials(session, url, root.unwrap_or(url));
        let repository = Self { session, url: url.to_owned(), directory, credentials };
        if !repository.path().join("HEAD").exists() {
            repository.run(repository.local(["init", "--quiet", "--bare", "--template=", "."]))?;
        }
        repository
            .sweep()
            .map_err(|error| BuildError::world(format!("could not use the copy of `{shown}`"), error))?;
        Ok(repository)
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn shown(&self) -> String {
        without_credentials(&self.url)
    }

    /// Locks of commands that were killed keep every later one from working. Nobody else is here, so all are of those.
    fn sweep(&self) -> io::Result<()> {
        let mut open = vec![self.path().to_owned(), self.path().join("refs/kiln")];
        while let Some(directory) = open.pop() {
            let listing = match std::fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                listing => listing?,
            };
            for entry in listing {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "lock") {
                    std::fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// A command that asks nobody.
    pub(super) fn local<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Git<'_> {
        Git::new(self.path(), arguments).env("GIT_DIR", self.path())
    }

    /// A command that asks the server.
    pub(super) fn remote<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Git<'_> {
        self.reaching(self.local(arguments))
    }

    /// Lets a command reach the server.
    pub(super) fn reaching<'g>(&self, git: Git<'g>) -> Git<'g> {
        let mut git = git.protocols(FROM_AFAR).configure(&self.credentials);
        let (ssh, agent) = self.ssh();
        git = git.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        match agent {
            Some(agent) => git.env("SSH_AUTH_SOCK", agent),
            None => git,
        }
    }

    /// The command for connections by ssh, and the agent's socket. A host's key is believed when it is first seen, and
    /// from then on has to stay the same.
    fn ssh(&self) -> (OsString, Option<PathBuf>) {
        let given = self.session.request.ssh.iter().find(|(id, _)| id == SSH_ID).map(|(_, source)| source);
        let (agent, keys) = match given {
            None => (None, &[][..]),
            Some(SshSource::Agent(socket) | SshSource::Raw(socket)) => (Some(socket.clone()), &[][..]),
            Some(SshSource::Keys(keys)) => (None, &keys[..]),
        };
        let mut known = vec![self.path().join("known_hosts")];
        known.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".ssh/known_hosts")));
        let known: Vec<String> = known.iter().map(|path| format!("\"{}\"", path.display())).collect();
        let mut command = format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o {}",
            quoted(&format!("UserKnownHostsFile={}", known.join(" ")))
        );
        for key in keys {
            let key = std::path::absolute(key).unwrap_or_else(|_| key.clone());
            let key = quoted(&format!("IdentityFile=\"{}\"", key.display()));
            command.push_str(&format!(" -o IdentitiesOnly=yes -o {key}"));
        }
        (command.into(), agent)
    }

    pub(super) fn run(&self, git: Git<'_>) -> Result<Vec<u8>, RemoteError> {
        git.run(self.session.cancel).map_err(|failure| self.failure(failure))
    }

    /// As [`Repository::run`]; `None` when git said no.
    pub(super) fn attempt(&self, git: Git<'_>) -> Result<Option<Vec<u8>>, RemoteError> {
        match git.run(self.session.cancel) {
            Ok(output) => Ok(Some(output)),
            Err(GitFailure::Failed { .. }) => Ok(None),
            Err(failure) => Err(self.failure(failure)),
        }
    }

    /// What git's failure means.
    fn failure(&self, failure: GitFailure) -> RemoteError {
        let shown = self.shown();
        let complaint = match &failure {
            GitFailure::Cancelled => return RemoteError::Build(BuildError::Cancelled),
            GitFailure::Missing => {
                let message =
                    format!("the program `git` is not installed, and `{shown}` is a git repository");
                return RemoteError::new(Why::NoProgram, message).with_help("install the package `git`");
            }
            GitFailure::Run(_) => {
                return RemoteError::Build(BuildError::world("could not run `git`", failure));
            }
            GitFailure::Failed { complaint } => complaint,
        };
        let said = failure.to_string().replace(&self.url, &shown);
        let message = format!("could not fetch `{shown}`: {said}");
        let has = |words: &[&str]| words.iter().any(|words| complaint.contains(words));
        if has(&["Host key verification failed"]) {
            let help = "the host has shown another key than before; `kiln prune --all` forgets the old one, if \
                        the new one is right";
            return RemoteError::new(Why::Unavailable, message).with_help(help);
        }
        if has(&["Permission denied (", "Permission denied, please"]) {
            let help = "give a key for it: `--ssh default` for your agent, or `--ssh default=KEYFILE`";
            return RemoteError::new(Why::Unauthorized, message).with_help(help);
        }
        if has(&["could not read Username", "could not read Password", "Authentication failed", "error: 401"])
        {
            let help = "a token for it is given by `--secret id=GIT_AUTH_TOKEN`, a whole header by \
                        `--secret id=GIT_AUTH_HEADER`; some servers answer so for what does not exist";
            return RemoteError::new(Why::Unauthorized, message).with_help(help);
        }
        let missing = [
            "not found",
            "does not appear to be a git repository",
            "does not exist",
            "not exported",
            "error: 404",
        ];
        let no_host = ["Could not resolve host", "could not resolve", "command not found", "not found: "];
        match has(&missing) && !has(&no_host) {
            true => RemoteError::new(Why::NotFound, message),
            false => RemoteError::new(Why::Unavailable, message),
        }
    }

    /// What the server says that `reference` is; the default branch for none.
    pub(super) fn look_up(&self, reference: &str) -> Result<Option<Commit>, RemoteError> {
        let mut patterns = vec!["HEAD".to_owned()];
        if !reference.is_empty() {
            patterns = candidates(reference).to_vec();
            patterns.extend(candidates(reference).map(|name| format!("{name}^{{}}")));
        }
        let arguments = ["ls-remote", "--symref", "--", &self.url];
        let arguments = arguments.into_iter().map(str::to_owned).chain(patterns);
        let output = self.run(self.remote(arguments))?;
        Ok(choose(reference, &String::from_utf8_lossy(&output)))
    }

    pub(super) fn has(&self, commit: &str) -> Result<bool, RemoteError> {
        let found = self.attempt(self.local(["cat-file", "-e", &format!("{commit}^{{commit}}")]))?;
        Ok(found.is_some())
    }

    /// Fetches a commit's files and nothing else, unless the server cannot do that.
    pub(super) fn fetch(&self, commit: &Commit) -> Result<(), RemoteError> {
        if self.has(&commit.id)? {
            return Ok(());
        }
        let to = format!("refs/kiln/{}", commit.id);
        // By its name first: some servers give nothing but what has one.
        let names = [&*commit.name, &*commit.id];
        let specs = names.into_iter().filter(|name| !name.is_empty()).map(|name| format!("+{name}:{to}"));
        for spec in specs {
            let shallow = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", &self.url, &spec];
            if self.attempt(self.remote(shallow))?.is_some() && self.has(&commit.id)? {
                return Ok(());
            }
        }
        self.fetch_all()?;
        if self.has(&commit.id)? {
            return Ok(());
        }
        let message = format!("`{}` has no commit {}", self.shown(), commit.id);
        Err(RemoteError::new(Why::NotFound, message))
    }

    /// Gives a commit that was fetched the name `kept`: with the annotated tag by which it was asked for, if there is one.
    pub(super) fn name(&self, commit: &Commit, kept: &str) -> Result<(), RemoteError> {
        if commit.name.starts_with("refs/tags/") {
            let spec = format!("+{}:{kept}", commit.name);
            let fetch = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", &self.url, &spec];
            let peeled = format!("{kept}^{{commit}}");
            if self.attempt(self.remote(fetch))?.is_some() {
                let id = self.run(self.local(["rev-parse", "--verify", "--quiet", &peeled]))?;
                if String::from_utf8_lossy(&id).trim() == commit.id {
                    return Ok(());
                }
            }
        }
        self.run(self.local(["update-ref", kept, &commit.id])).map(drop)
    }

    /// Fetches everything that branches and tags lead to.
    fn fetch_all(&self) -> Result<(), RemoteError> {
        let mut arguments = vec!["fetch", "--quiet", "--no-tags"];
        // What was fetched without its history before gets it now.
        if self.path().join("shallow").exists() {
            arguments.push("--unshallow");
        }
        arguments.extend([
            "--",
            &self.url,
            "+refs/heads/*:refs/kiln/all/heads/*",
            "+refs/tags/*:refs/kiln/all/tags/*",
        ]);
        self.run(self.remote(arguments)).map(drop)
    }

    /// The one commit whose id begins with these digits.
    pub(super) fn find_abbreviated(&self, digits: &str) -> Result<Option<String>, RemoteError> {
        self.fetch_all()?;
        let wanted = format!("{digits}^{{commit}}");
        let found = self.attempt(self.local(["rev-parse", "--verify", "--quiet", &wanted]))?;
        Ok(found.map(|id| String::from_utf8_lossy(&id).trim().to_owned()).filter(|id| super::is_whole(id)))
    }

    /// Seconds since 1970.
    pub(super) fn time_of(&self, commit: &str) -> Result<i64, RemoteError> {
        let output =
            self.run(self.local(["log", "-1", "--no-show-signature", "--format=%ct", commit, "--"]))?;
        let text = String::from_utf8_lossy(&output);
        text.trim().parse().map_err(|_| {
            RemoteError::new(Why::Invalid, format!("the commit {commit} of `{}` has no time", self.shown()))
        })
    }
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The full names that a reference may stand for, in the order in which git prefers them (§20.4).
fn candidates(reference: &str) -> [String; 3] {
    let full = |prefix: &str| match reference.strip_prefix(prefix) {
        Some(_) => reference.to_owned(),
        None => format!("{prefix}{reference}"),
    };
    [full("refs/"), full("refs/heads/"), full("refs/tags/")]
}

/// Picks from what `git ls-remote --symref` wrote; of an annotated tag the commit that it is about.
fn choose(reference: &str, listing: &str) -> Option<Commit> {
    let lines = || listing.lines().filter_map(|line| line.split_once('\t'));
    let id_of = |name: &str| {
        lines().find(|(id, known)| *known == name && super::is_whole(id)).map(|(id, _)| id.to_owned())
    };
    if reference.is_empty() {
        let leads_to = lines().find(|(id, name)| *name == "HEAD" && id.starts_with("ref: "));
        let name = leads_to.map_or("HEAD", |(leads_to, _)| &leads_to["ref: ".len()..]);
        return Some(Commit { id: id_of("HEAD")?, name: name.to_owned() });
    }
    candidates(reference).into_iter().find_map(|name| {
        let id = id_of(&format!("{name}^{{}}")).or_else(|| id_of(&name))?;
        Some(Commit { id, name })
    })
}

/// Scheme and `host[:port]` of an address that git reaches over HTTP.
fn http_host(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let host = rest.split('/').next()?;
    Some((scheme, host.rsplit_once('@').map_or(host, |(_, host)| host)))
}

/// What secrets say to be shown to the server (§12.14): what is for its host comes first.
fn credentials(session: &Session<'_>, url: &str, root: &str) -> Vec<(String, String)> {
    let Some((scheme, host)) = http_host(url) else { return Vec::new() };
    let is_roots = http_host(root) == Some((scheme, host));
    let header = |suffix: &str| session.secret_text(&format!("GIT_AUTH_HEADER{suffix}"));
    let token = |suffix: &str| {
        let token = session.secret_text(&format!("GIT_AUTH_TOKEN{suffix}"))?;
        Some(basic_authorization("x-access-token", &token))
    };
    let own = format!(".{host}");
    let value = header(&own)
        .or_else(|| token(&own))
        .or_else(|| if is_roots { header("").or_else(|| token("")) } else { None });
    let pair = |value| (format!("http.{scheme}://{host}/.extraHeader"), format!("Authorization: {value}"));
    value.map(pair).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn branches_come_before_tags_and_tags_mean_their_commits() {
        let listing =
            format!("{A}\trefs/heads/x\n{B}\trefs/tags/x\n{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n");
        let found = |reference| choose(reference, &listing).unwrap();
        assert_eq!(found("x").name, "refs/heads/x");
        assert_eq!(found("refs/tags/x").id, B);
        assert_eq!(found("tags/x").id, B);
        assert_eq!((found("v1").id.as_str(), found("v1").name.as_str()), (B, "refs/tags/v1"));
        assert_eq!(choose("y", &listing), None);
    }

    #[test]
    fn the_default_branch_is_where_head_leads() {
        let listing = format!("ref: refs/heads/main\tHEAD\n{A}\tHEAD\n{B}\trefs/remotes/origin/HEAD\n");
        let head = choose("", &listing).unwrap();
        assert_eq!((head.id.as_str(), head.name.as_str()), (A, "refs/heads/main"));
        assert_eq!(choose("", &format!("{A}\tHEAD\n")).unwrap().name, "HEAD");
        assert_eq!(choose("", ""), None);
    }

    #[test]
    fn words_of_the_shell_are_quoted() {
        assert_eq!(quoted("a b'c"), "'a b'\\''c'");
    }

    #[test]
    fn hosts_are_read_without_users() {
        assert_eq!(http_host("https://me:pw@host:8443/x.git"), Some(("https", "host:8443")));
        assert_eq!(http_host("ssh://git@host/x"), None);
        assert_eq!(http_host("git@host:x"), None);
    }
}
