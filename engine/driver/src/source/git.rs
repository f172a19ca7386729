//! Git repositories: what a reference means now, and a commit's files as a layer.
//!
//! All is done by the `git` program. Each repository has a bare one of its own in the store, into which as little as
//! possible is fetched; what was fetched once is there for the next build.

mod checkout;
mod command;
mod repository;

use kiln_core::graph::GitSource;
use kiln_core::seams::GitInfo;
use kiln_core::{CacheKey, Digest, LayerId, Span};
use kiln_oci::web::without_credentials;
use kiln_plugin::Point;
use kiln_store::Existing;

use super::address::is_repository;
use super::remote::{RemoteError, Why};
use crate::error::BuildError;
use crate::session::Session;
use repository::Repository;

/// Submodules in submodules, so deep and no deeper.
const MAX_DEPTH: usize = 16;
/// Fewer digits of a commit are not looked for.
const MIN_ABBREVIATION: usize = 4;

/// What a reference turned out to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// 40 or 64 hexadecimal digits.
    pub(crate) id: String,
    /// Such as `refs/heads/main`; empty for a commit that was asked for by its id.
    name: String,
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_whole(commit: &str) -> bool {
    matches!(commit.len(), 40 | 64) && is_hex(commit)
}

impl Session<'_> {
    /// The source with the commit that it is now, as far as policies let it be used.
    pub(crate) fn pin_git(&self, source: &GitSource, spans: &[Span]) -> Result<GitSource, RemoteError> {
        let source = &self.judged_git(source, spans)?;
        let commit = self.commit_of(source)?;
        Ok(GitSource { reference: commit.name.clone(), commit: commit.id.clone(), ..source.clone() })
    }

    /// What the source means, asked once per build.
    fn commit_of(&self, source: &GitSource) -> Result<std::sync::Arc<Commit>, RemoteError> {
        let asked = [&*source.url, &*source.reference, &*source.commit].join("\n");
        let asked = format!("{asked}\n{}", source.fetch_by_commit);
        self.commits.or_find(&asked, || {
            let shown = without_credentials(&source.url);
            self.forms.task(&format!("resolving {shown}"), |_| self.find_commit(source))
        })
    }

    fn find_commit(&self, source: &GitSource) -> Result<Commit, RemoteError> {
        let shown = without_credentials(&source.url);
        if !is_repository(&source.url) || source.url.contains(char::is_control) {
            let message = format!("`{shown}` is not the address of a git repository");
            return Err(RemoteError::new(Why::Invalid, message));
        }
        if !source.commit.is_empty() && !is_hex(&source.commit) {
            return Err(RemoteError::new(Why::Invalid, format!("`{}` is not a commit", source.commit)));
        }
        let by_id = |id: &str| Ok(Commit { id: id.to_ascii_lowercase(), name: String::new() });
        if is_whole(&source.commit) && (source.fetch_by_commit || source.reference.is_empty()) {
            return by_id(&source.commit);
        }
        let check = |id: &str| {
            let wanted = source.commit.to_ascii_lowercase();
            if id.starts_with(&wanted) {
                return Ok(());
            }
            let what = match source.reference.as_str() {
                "" => "its default branch".to_owned(),
                reference => format!("`{reference}`"),
            };
            let message = format!("`{shown}`: {what} is at commit {id}, and {wanted} was asked for");
            Err(RemoteError::new(Why::Mismatch, message))
        };
        if is_whole(&source.reference) {
            let id = source.reference.to_ascii_lowercase();
            check(&id)?;
            return by_id(&id);
        }
        if !is_reference(&source.reference) {
            let message = format!("`{}` is not a name that a branch or tag can have", source.reference);
            return Err(RemoteError::new(Why::Invalid, message));
        }
        let repository = Repository::open(self, &source.url, None)?;
        if let Some(found) = repository.look_up(&source.reference)? {
            check(&found.id)?;
            return Ok(found);
        }
        // A part of a commit's id cannot be asked for: all there is has to be looked through.
        if is_hex(&source.reference)
            && source.reference.len() >= MIN_ABBREVIATION
            && let Some(id) = repository.find_abbreviated(&source.reference)?
        {
            check(&id)?;
            return by_id(&id);
        }
        let message = match source.reference.as_str() {
            "" => format!("`{shown}` has no default branch"),
            reference => format!("`{shown}` has no branch, tag or commit `{reference}`"),
        };
        let help = "write `#` and the name of a branch or tag after the address";
        Err(RemoteError::new(Why::NotFound, message).with_help(match source.reference.as_str() {
            "" => help,
            _ => "",
        }))
    }

    /// The files of a pinned source as a layer.
    pub(crate) fn git_layer(&self, source: &GitSource) -> Result<LayerId, RemoteError> {
        let commit = Commit { id: source.commit.clone(), name: source.reference.clone() };
        let key = key(source, &commit.id, &self.submodule_rules(source));
        let store = &self.driver.store;
        let lost = |error| BuildError::world("could not read the store", error);
        let known = || -> Result<Option<LayerId>, BuildError> {
            let record = store.record(&key).map_err(lost)?;
            let text = record.as_deref().and_then(|record| std::str::from_utf8(record).ok());
            Ok(text.and_then(Digest::from_hex).map(LayerId).filter(|layer| self.is_at_hand(layer)))
        };
        if let Some(layer) = known()? {
            return Ok(layer);
        }
        let _claim = self.claim(&key)?;
        if let Some(layer) = known()? {
            return Ok(layer);
        }
        let what = format!("fetching {} {}", without_credentials(&source.url), &commit.id[..12]);
        let layer = self.forms.task(&what, |_| self.check_out(source, &commit))?;
        store
            .put_record(&key, layer.hex().as_bytes(), Existing::Replace)
            .map_err(|error| BuildError::world("could not write to the store", error))?;
        Ok(layer)
    }

    /// Of the commit that the source is now.
    pub(crate) fn commit_id(&self, source: &GitSource) -> Result<String, RemoteError> {
        Ok(self.commit_of(source)?.id.clone())
    }

    /// Which policies have a say in what submodules are fetched; empty where none has.
    pub(crate) fn submodule_rules(&self, source: &GitSource) -> String {
        match source.submodules {
            true => self.policies.fingerprint(Point::Source),
            false => String::new(),
        }
    }

    /// When the commit was made that the source is now, in seconds since 1970.
    pub(crate) fn git_time(&self, source: &GitSource) -> Result<i64, RemoteError> {
        let source = &self.judged_git(source, &[])?;
        self.time_of(&source.url, &*self.commit_of(source)?)
    }

    fn time_of(&self, url: &str, commit: &Commit) -> Result<i64, RemoteError> {
        let key = CacheKey(Digest::of(format!("kiln commit time 1\n{}", commit.id).as_bytes()));
        let time = self.commit_times.or_find(&commit.id, || {
            let record = self.driver.store.record(&key);
            let record = record.map_err(|error| BuildError::world("could not read the store", error))?;
            if let Some(time) = record.and_then(|record| std::str::from_utf8(&record).ok()?.parse().ok()) {
                return Ok(time);
            }
            let repository = Repository::open(self, url, None)?;
            repository.fetch(commit)?;
            let time = repository.time_of(&commit.id)?;
            self.driver
                .store
                .put_record(&key, time.to_string().as_bytes(), Existing::Keep)
                .map_err(|error| BuildError::world("could not write to the store", error))?;
            Ok(time)
        })?;
        Ok(*time)
    }

    /// For a plugin that plans.
    pub(crate) fn git_info(&self, source: &GitSource) -> Result<GitInfo, RemoteError> {
        self.found_git_info(&self.judged_git(source, &[])?)
    }

    /// For a plugin. Nobody is asked whether it may be used.
    pub(crate) fn found_git_info(&self, source: &GitSource) -> Result<GitInfo, RemoteError> {
        let commit = self.commit_of(source)?;
        let modified = u64::try_from(self.time_of(&source.url, &commit)?).unwrap_or(0);
        Ok(GitInfo { reference: commit.name.clone(), commit: commit.id.clone(), modified })
    }
}

/// What a checkout is known by. Its address is part of it only where it is part of the files.
///
/// `rules` are those under which its submodules were fetched, which nobody asks about again.
fn key(source: &GitSource, commit: &str, rules: &str) -> CacheKey {
    let url = if source.keep_git_dir { without_credentials(&source.url) } else { String::new() };
    let text = format!(
        "kiln checkout 1\n{commit}\n{}\n{} {} {}\n{url}\n{}{rules}",
        source.subdir,
        source.submodules,
        source.keep_git_dir,
        source.commit_times,
        if source.keep_git_dir { &source.reference } else { "" },
    );
    CacheKey(Digest::of(text.as_bytes()))
}

/// As git checks them (git-check-ref-format), as far as it matters to those who ask for one.
fn is_reference(name: &str) -> bool {
    !name.starts_with('-')
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("@{")
        && !name.contains(|it: char| it.is_control() || " ~^:?*[\\".contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_would_read_otherwise_are_none() {
        for good in ["", "main", "refs/pull/1/head", "v1.0", "feature/x@y"] {
            assert!(is_reference(good), "{good}");
        }
        for bad in ["--upload-pack=x", "a b", "a..b", "a:b", "*", "a@{1}", "a^{}", "a~1", "x/", "a\nb"] {
            assert!(!is_reference(bad), "{bad}");
        }
    }

    #[test]
    fn a_checkout_is_known_by_what_decides_its_files() {
        let source = GitSource { url: "https://host/x.git".to_owned(), ..GitSource::default() };
        let of = |source: &GitSource| key(source, "abc", "");
        let elsewhere = GitSource { url: "https://mirror/x.git".to_owned(), ..source.clone() };
        assert_eq!(of(&source), of(&elsewhere));
        let kept = |source: &GitSource| GitSource { keep_git_dir: true, ..source.clone() };
        assert_ne!(of(&kept(&source)), of(&kept(&elsewhere)));
        assert_ne!(of(&source), of(&GitSource { subdir: "a".to_owned(), ..source.clone() }));
        assert_ne!(of(&source), of(&GitSource { submodules: true, ..source.clone() }));
        assert_ne!(of(&source), key(&source, "abd", ""));
    }
}
