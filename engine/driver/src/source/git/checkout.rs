//! Writes a commit's files, and those of its submodules, where a layer can be made of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_core::graph::GitSource;
use kiln_core::tree::Time;
use kiln_core::{Entry, LayerId, Tree, TreePath};
use kiln_plugin::Point;

use super::command::{FROM_HERE, Git};
use super::repository::Repository;
use super::{Commit, MAX_DEPTH};
use crate::error::BuildError;
use crate::session::Session;
use crate::source::address::is_repository;
use crate::source::context::elsewhere;
use crate::source::remote::{RemoteError, Why};

/// A submodule of a commit.
#[derive(Debug, PartialEq, Eq)]
struct Submodule {
    path: TreePath,
    url: String,
    commit: String,
}

impl Session<'_> {
    /// A layer of the commit's files, or of those in its sub-directory, as git writes them: 0644 or 0755, root's.
    pub(super) fn check_out(&self, source: &GitSource, commit: &Commit) -> Result<LayerId, RemoteError> {
        let failed = |error: io::Error| BuildError::world("could not write a commit's files", error);
        let step =
            self.driver.store.begin_step().map_err(|error| {
                BuildError::world("could not make a directory for a commit's files", error)
            })?;
        let whole = match source.subdir.is_empty() {
            true => step.upper().to_owned(),
            false => step.work().join("all"),
        };
        fs::create_dir_all(&whole).map_err(failed)?;
        // A part of the files is no working copy of the repository.
        match source.keep_git_dir && source.subdir.is_empty() {
            true => self.write_working_copy(source, commit, &whole)?,
            false => self.write_files(&source.url, &source.url, commit, &whole, source.submodules, 0)?,
        }
        if !source.subdir.is_empty() {
            let part = directory_in(&whole, &source.subdir).map_err(failed)?.ok_or_else(|| {
                let url = kiln_oci::web::without_credentials(&source.url);
                let message = format!("`{url}` has no directory `{}` in commit {}", source.subdir, commit.id);
                RemoteError::new(Why::NotFound, message)
            })?;
            for entry in fs::read_dir(part).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                fs::rename(entry.path(), step.upper().join(entry.file_name())).map_err(failed)?;
            }
        }
        let mut time = self.now();
        if source.commit_times {
            time = Time { seconds: self.time_of(&source.url, commit)?, nanoseconds: 0 };
            set_times(step.upper(), time.seconds).map_err(failed)?;
        }
        let committed = step.commit(&[]);
        let (layer, tree) =
            committed.map_err(|error| BuildError::world("could not keep a commit's files", error))?;
        // The layer of a step says nothing of the root. Here it is a directory like the others, with a time.
        let mut entries = elsewhere(layer, &tree).into_entries();
        entries.push((TreePath::root(), Entry { mtime: time, ..Entry::directory() }));
        Ok(self.forms.keep(Tree::new(entries))?)
    }

    /// Writes the files into the empty directory `into`. `root` is the repository of which this one is a submodule, or
    /// itself.
    fn write_files(
        &self,
        url: &str,
        root: &str,
        commit: &Commit,
        into: &Path,
        submodules: bool,
        depth: usize,
    ) -> Result<(), RemoteError> {
        // The repository is let go of before its submodules are fetched: one of them may be itself.
        let submodules = {
            let repository = Repository::open(self, url, Some(root))?;
            repository.fetch(commit)?;
            repository.write(&commit.id, into)?;
            if submodules { repository.submodules(&commit.id)? } else { Vec::new() }
        };
        for submodule in submodules {
            if depth == MAX_DEPTH {
                let message = format!("the submodules of `{root}` are nested more than {MAX_DEPTH} deep");
                return Err(RemoteError::new(Why::Invalid, message));
            }
            let into = into.join(submodule.path.as_os());
            fs::create_dir_all(&into)
                .map_err(|error| BuildError::world("could not write a submodule's files", error))?;
            let commit = Commit { id: submodule.commit, name: String::new() };
            self.judge_submodule(&submodule.url, &commit)?;
            self.write_files(&submodule.url, root, &commit, &into, true, depth + 1)?;
        }
        Ok(())
    }

    /// Asks of all submodules below a commit before git fetches them by itself.
    fn judge_submodules(
        &self,
        url: &str,
        root: &str,
        commit: &Commit,
        depth: usize,
    ) -> Result<(), RemoteError> {
        let submodules = {
            let repository = Repository::open(self, url, Some(root))?;
            repository.fetch(commit)?;
            repository.submodules(&commit.id)?
        };
        for submodule in submodules {
            if depth == MAX_DEPTH {
                let message = format!("the submodules of `{root}` are nested more than {MAX_DEPTH} deep");
                return Err(RemoteError::new(Why::Invalid, message));
            }
            let commit = Commit { id: submodule.commit, name: String::new() };
            self.judge_submodule(&submodule.url, &commit)?;
            self.judge_submodules(&submodule.url, root, &commit, depth + 1)?;
        }
        Ok(())
    }

    /// Asks of one submodule. Its address is part of the commit above it: a policy lets it be used as it is, or not.
    fn judge_submodule(&self, url: &str, commit: &Commit) -> Result<(), RemoteError> {
        let source = GitSource {
            url: url.to_owned(),
            commit: commit.id.clone(),
            fetch_by_commit: true,
            ..GitSource::default()
        };
        let judged = self.judged_git(&source, &[])?;
        if judged.url == source.url && judged.commit == source.commit {
            return Ok(());
        }
        let shown = kiln_oci::web::without_credentials(url);
        let message = format!("a policy names another repository in place of the submodule `{shown}`");
        Err(RemoteError::new(Why::Invalid, message)
            .with_help("a submodule's address is written in the commit above it and cannot be another one"))
    }

    /// Writes a repository with one commit, checked out, in which git commands work.
    fn write_working_copy(
        &self,
        source: &GitSource,
        commit: &Commit,
        into: &Path,
    ) -> Result<(), RemoteError> {
        let repository = Repository::open(self, &source.url, None)?;
        repository.fetch(commit)?;
        let from = repository.path().to_string_lossy().into_owned();
        let shown = repository.shown();
        let kept = "refs/kiln/kept";
        repository.name(commit, kept)?;
        let here = |arguments: &[&str]| Git::new(into, arguments).protocols(FROM_HERE);
        repository.run(here(&["init", "--quiet", "--template=", "--initial-branch=master", "."]))?;
        repository.run(here(&["remote", "add", "origin", "--", &shown]))?;
        // Branches and tags keep their names, so that what git is asked about them has an answer.
        let is_named = ["refs/heads/", "refs/tags/"].iter().any(|kind| commit.name.starts_with(kind));
        let spec = format!("+{kept}:{}", if is_named { &commit.name } else { "" });
        let fetch = ["fetch", "--quiet", "--no-tags", "--update-head-ok", "--depth=1", "--", &from, &spec];
        repository.run(here(&fetch))?;
        repository.run(here(&["checkout", "--quiet", "--detach", &commit.id, "--"]))?;
        let fetched = into.join(".git/FETCH_HEAD");
        match fs::remove_file(fetched) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BuildError::world("could not tidy a working copy", error).into());
            }
            _ => {}
        }
        if source.submodules {
            if self.policies.are_asked_at(Point::Source) {
                self.judge_submodules(&source.url, &source.url, commit, 0)?;
            }
            let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
            repository.run(repository.reaching(Git::new(into, update)))?;
        }
        Ok(())
    }
}

impl Repository<'_> {
    /// Writes a commit's files into an empty directory.
    fn write(&self, commit: &str, into: &Path) -> Result<(), RemoteError> {
        let index = self.path().join("kiln-index");
        let clean = || match fs::remove_file(&index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BuildError::world("could not write to the store", error))
            }
            _ => Ok(()),
        };
        clean()?;
        let git = |directory, arguments: &[&str]| {
            Git::new(directory, arguments)
                .env("GIT_DIR", self.path())
                .env("GIT_WORK_TREE", into)
                .env("GIT_INDEX_FILE", &index)
        };
        self.run(git(self.path(), &["read-tree", commit, "--"]))?;
        self.run(git(into, &["checkout-index", "--all", "--force", "--quiet"]))?;
        Ok(clean()?)
    }

    fn submodules(&self, commit: &str) -> Result<Vec<Submodule>, RemoteError> {
        let listing = self.run(self.local(["ls-tree", "-r", "-z", "--full-tree", commit, "--"]))?;
        let links = git_links(&listing);
        if links.is_empty() {
            return Ok(Vec::new());
        }
        let blob = format!("--blob={commit}:.gitmodules");
        let configured = self.attempt(self.local(["config", "-z", &blob, "--list"]))?.unwrap_or_default();
        let configured = urls(&configured);
        let mut submodules = Vec::new();
        for (path, link) in links {
            let wrong = |what: String| {
                let message = format!("the submodule `{path}` of `{}` {what}", self.shown());
                RemoteError::new(Why::Invalid, message)
                    .with_help("without submodules it is to be had by `?submodules=false` after the address")
            };
            let Some(setting) = configured.iter().find(|setting| setting.path == path) else {
                return Err(wrong("has no address in its .gitmodules".to_owned()));
            };
            if setting.is_left_out {
                continue;
            }
            let url = absolute(&self.url, &setting.url)
                .filter(|url| is_repository(url) || is_plain_http(url))
                .ok_or_else(|| {
                    let url = kiln_oci::web::without_credentials(&setting.url);
                    wrong(format!("is at `{url}`, which is not an address that can be fetched"))
                })?;
            let place = TreePath::parse(&path).map_err(|error| wrong(format!("is at {error}")))?;
            submodules.push(Submodule { path: place, url, commit: link });
        }
        Ok(submodules)
    }
}

/// A submodule's address need not end in `.git`.
fn is_plain_http(url: &str) -> bool {
    url.starts_with("http://") || url.starts_with("https://")
}

/// Paths and commits of submodules, from what `git ls-tree -r -z` wrote.
fn git_links(listing: &[u8]) -> Vec<(String, String)> {
    let entries = listing.split(|byte| *byte == 0);
    let link = |entry: &[u8]| {
        let text = String::from_utf8_lossy(entry);
        let (about, path) = text.split_once('\t')?;
        let commit = about.strip_prefix("160000 commit ")?;
        Some((path.to_owned(), commit.trim().to_owned()))
    };
    entries.filter_map(link).collect()
}

/// What `.gitmodules` says of one submodule.
#[derive(Debug, Default, PartialEq, Eq)]
struct Setting {
    path: String,
    url: String,
    /// `update = none`.
    is_left_out: bool,
}

/// From what `git config -z --list` wrote.
fn urls(listing: &[u8]) -> Vec<Setting> {
    let mut settings: BTreeMap<String, Setting> = BTreeMap::new();
    for entry in listing.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(entry);
        let (key, value) = text.split_once('\n').unwrap_or((&text, ""));
        let Some((name, field)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.')) else {
            continue;
        };
        let setting = settings.entry(name.to_owned()).or_default();
        match field {
            "path" => setting.path = value.trim_end_matches('/').to_owned(),
            "url" => setting.url = value.to_owned(),
            "update" => setting.is_left_out = value == "none",
            _ => {}
        }
    }
    settings.into_values().collect()
}

/// The address of a submodule, which may be given from that of its repository on.
fn absolute(base: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        return (!url.is_empty()).then(|| url.to_owned());
    }
    // Nothing is taken off beyond the host.
    let host = match base.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/').unwrap_or(rest.len()),
        None => base.find(':')?,
    };
    let mut base = base.trim_end_matches('/');
    let mut rest = url;
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            let cut = base.rfind(['/', ':']).filter(|cut| *cut >= host)?;
            (base, rest) = (&base[..cut], next);
        } else {
            break;
        }
    }
    let separator = if base.len() <= host && !base.contains("://") { ":" } else { "/" };
    Some(format!("{base}{separator}{rest}"))
}

/// The directory at `path` below `root`, no part of which is a link.
fn directory_in(root: &Path, path: &str) -> io::Result<Option<std::path::PathBuf>> {
    let mut at = root.to_owned();
    for part in TreePath::clean(path).components() {
        at.push(OsStr::from_bytes(part));
        match fs::symlink_metadata(&at) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(at))
}

/// Gives everything below `directory` one time.
fn set_times(directory: &Path, seconds: i64) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let mut open = vec![directory.to_owned()];
    let mut done = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => open.push(entry.path()),
                false => utimensat(CWD, entry.path(), &times, AtFlags::SYMLINK_NOFOLLOW)?,
            }
        }
        done.push(directory);
    }
    // Reading a directory leaves its times alone; nothing is written any more.
    for directory in done {
        utimensat(CWD, &directory, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_submodules_start_from_their_repository() {
        for (base, url, expected) in [
            ("https://host/a/b.git", "../c.git", Some("https://host/a/c.git")),
            ("https://host/a/b.git/", "../../c.git", Some("https://host/c.git")),
            ("https://host/b.git", "./c", Some("https://host/b.git/c")),
            ("https://host/b.git", "../../c", None),
            ("git@host:a/b.git", "../c.git", Some("git@host:a/c.git")),
            ("git@host:b.git", "../c.git", Some("git@host:c.git")),
            ("git@host:b.git", "../../c.git", None),
            ("https://host/b.git", "ssh://other/x", Some("ssh://other/x")),
            ("https://host/b.git", "", None),
        ] {
            assert_eq!(absolute(base, url).as_deref(), expected, "{base} {url}");
        }
    }

    #[test]
    fn submodules_are_read_from_what_git_lists() {
        let listing = b"100644 blob aaaa\ta\x00160000 commit bbbb\tdir/sub module\0";
        assert_eq!(git_links(listing), [("dir/sub module".to_owned(), "bbbb".to_owned())]);
        let configured =
            b"submodule.a.b.path\ndir/sub\0submodule.a.b.url\n../x\0core.bare\ntrue\0submodule.c.update\nnone\0";
        let settings = urls(configured);
        assert_eq!(
            settings[0],
            Setting { path: "dir/sub".to_owned(), url: "../x".to_owned(), is_left_out: false }
        );
        assert!(settings[1].is_left_out);
    }
}
