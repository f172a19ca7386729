//! Tells contexts that lie on other machines from paths, and reads what their addresses say (Dockerfile specification
//! §20.2 to §20.4).

use kiln_core::TreePath;
use kiln_core::graph::GitSource;

/// A context that has to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    Git {
        source: GitSource,
        /// The address says whose the times of files are.
        says_times: bool,
    },
    /// An archive, or a single file.
    Http(String),
}

/// Whether a context is an address and not a path.
pub(crate) fn is_remote(text: &str) -> bool {
    is_http(text) || split(text).is_some()
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// What `text` names on another machine; `None` for a path.
///
/// # Errors
///
/// What contradicts itself in the address, in words.
pub(crate) fn parse(text: &str) -> Option<Result<Remote, String>> {
    match split(text) {
        Some((remote, query, fragment)) => Some(read(remote, query, fragment)),
        None => is_http(text).then(|| Ok(Remote::Http(text.to_owned()))),
    }
}

/// Repository, query and fragment of an address of a git repository.
fn split(text: &str) -> Option<(String, &str, &str)> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = before.split_once('?').unwrap_or((before, ""));
    // A way of writing it that has been there longer than the others.
    if let Some(path) = remote.strip_prefix("github.com/") {
        return (!path.is_empty()).then(|| (format!("https://{remote}"), query, fragment));
    }
    is_repository(remote).then(|| (remote.to_owned(), query, fragment))
}

/// `git://…`, `ssh://…`, `http(s)://…/….git` or `user@host:path`.
pub(crate) fn is_repository(remote: &str) -> bool {
    let after = |scheme| remote.strip_prefix(scheme).filter(|rest: &&str| !rest.is_empty());
    if after("git://").or(after("ssh://")).is_some() {
        return true;
    }
    if let Some(rest) = after("http://").or(after("https://")) {
        return rest.split_once('/').is_some_and(|(_, path)| path.ends_with(".git"));
    }
    let Some((user, rest)) = remote.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: &[char]| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.chars().all(|it| it.is_ascii_alphanumeric() || more.contains(&it))
    };
    word(user, &['-', '_']) && word(host, &['-', '.']) && !path.is_empty()
}

fn read(remote: String, query: &str, fragment: &str) -> Result<Remote, String> {
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut source = GitSource {
        url: remote,
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        submodules: true,
        ..GitSource::default()
    };
    let mut seen: Vec<String> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (decode(key), decode(value));
        if seen.contains(&key) {
            return Err(format!("`{key}` is given twice"));
        }
        let other = match key.as_str() {
            "tag" => "branch",
            "branch" => "tag",
            _ => "",
        };
        if seen.iter().any(|key| key == other) {
            return Err("`tag` and `branch` exclude each other".to_owned());
        }
        set(&mut source, &key, value)?;
        seen.push(key);
    }
    if source.fetch_by_commit && source.commit.is_empty() {
        return Err("`fetch-by-commit` needs `commit`".to_owned());
    }
    source.subdir = TreePath::clean(&source.subdir).display()[1..].to_owned();
    Ok(Remote::Git { source, says_times: seen.iter().any(|key| key == "mtime") })
}

const KEYS: &str =
    "branch, checksum, commit, fetch-by-commit, keep-git-dir, mtime, ref, subdir, submodules and tag";

fn set(source: &mut GitSource, key: &str, value: String) -> Result<(), String> {
    let switch = |value: &str| match value {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{key}={value}` is neither true nor false")),
    };
    match key {
        "keep-git-dir" => source.keep_git_dir = switch(&value)?,
        "submodules" => source.submodules = switch(&value)?,
        "fetch-by-commit" => source.fetch_by_commit = switch(&value)?,
        "ref" | "tag" | "branch" | "subdir" | "mtime" | "checksum" | "commit" if value.is_empty() => {
            return Err(format!("`{key}` has no value"));
        }
        "ref" => agree(&mut source.reference, value, "", "the reference")?,
        "tag" => agree(&mut source.reference, value, "refs/tags/", "the reference")?,
        "branch" => agree(&mut source.reference, value, "refs/heads/", "the reference")?,
        "subdir" => agree(&mut source.subdir, value, "", "the directory")?,
        "mtime" => {
            source.commit_times = match value.as_str() {
                "commit" => true,
                "checkout" => false,
                _ => return Err(format!("`mtime={value}` is neither `checkout` nor `commit`")),
            }
        }
        "checksum" | "commit" => {
            let good = value.len() <= 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            let commit = value.to_ascii_lowercase();
            if !good {
                return Err(format!("`{value}` is not a commit"));
            }
            if !source.commit.is_empty() && source.commit != commit {
                return Err("`commit` and `checksum` differ".to_owned());
            }
            source.commit = commit;
        }
        _ => return Err(format!("no option `{key}`; there are {KEYS}")),
    }
    Ok(())
}

/// Sets what the query says, which may say again but not otherwise what the fragment says.
fn agree(known: &mut String, value: String, prefix: &str, what: &str) -> Result<(), String> {
    let whole = if value.starts_with(prefix) { value.clone() } else { format!("{prefix}{value}") };
    if !known.is_empty() && *known != value && *known != whole {
        return Err(format!("{what} is given as `{known}` and as `{value}`"));
    }
    *known = whole;
    Ok(())
}

/// Undoes the encoding of queries; what is none stays.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(if bytes[at] == b'+' { b' ' } else { bytes[at] }));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> GitSource {
        match parse(text) {
            Some(Ok(Remote::Git { source, .. })) => source,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn paths_repositories_and_downloads_are_told_apart() {
        for text in [".", "./git@host:x", "../x.git", "/x.git", "x.git", "git@", "git@host", "user@host:"] {
            assert!(!is_remote(text) && parse(text).is_none(), "{text}");
        }
        for text in ["http://host/x", "https://host/x.tar.gz#y", "https://host/x.git/info", "https://x.git"] {
            assert_eq!(parse(text), Some(Ok(Remote::Http(text.to_owned()))));
            assert!(is_remote(text));
        }
        for (text, url) in [
            ("git@host:a/b", "git@host:a/b"),
            ("git://host/a#b", "git://host/a"),
            ("ssh://git@host/a?ref=b", "ssh://git@host/a"),
            ("https://host/a.git", "https://host/a.git"),
            ("github.com/moby/buildkit#v1:dir", "https://github.com/moby/buildkit"),
        ] {
            assert_eq!(git(text).url, url);
            assert!(is_remote(text));
        }
    }

    #[test]
    fn fragment_and_query_say_where_in_the_repository() {
        let source = git("https://host/x.git#main:/a/../b/");
        assert_eq!((source.reference.as_str(), source.subdir.as_str()), ("main", "b"));
        assert!(source.submodules && !source.keep_git_dir && !source.commit_times);
        let query = "?branch=main&subdir=a%2Fb&keep-git-dir&submodules=0&mtime=commit&commit=ABC";
        let source = git(&format!("https://host/x.git{query}"));
        assert_eq!((source.reference.as_str(), source.subdir.as_str()), ("refs/heads/main", "a/b"));
        assert!(!source.submodules && source.keep_git_dir && source.commit_times);
        assert_eq!(source.commit, "abc");
    }

    #[test]
    fn contradictions_and_unknown_options_are_told() {
        for (query, message) in [
            ("?ref=a#b", "the reference is given as `b` and as `a`"),
            ("?tag=a&branch=a", "`tag` and `branch` exclude each other"),
            ("?ref=a&ref=a", "`ref` is given twice"),
            ("?ref=", "`ref` has no value"),
            ("?submodules=maybe", "`submodules=maybe` is neither true nor false"),
            ("?checksum=xyz", "`xyz` is not a commit"),
            ("?checksum=a&commit=b", "`commit` and `checksum` differ"),
            ("?fetch-by-commit", "`fetch-by-commit` needs `commit`"),
        ] {
            assert_eq!(parse(&format!("https://host/x.git{query}")), Some(Err(message.to_owned())));
        }
        let unknown = parse("https://host/x.git?brunch=a").unwrap().unwrap_err();
        assert!(unknown.starts_with("no option `brunch`; there are branch"), "{unknown}");
    }
}
