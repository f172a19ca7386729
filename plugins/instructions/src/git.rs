//! Tells git repositories among the sources of ADD, and reads what their URLs say (§12.14, §20.4).

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::graph::GitSource;

/// A repository as a source names it.
#[derive(Debug, PartialEq)]
pub(crate) struct GitUrl {
    pub(crate) remote: String,
    /// Empty for the default branch.
    pub(crate) reference: String,
    pub(crate) subdir: String,
    pub(crate) commit: Option<String>,
    pub(crate) keep_git_dir: Option<bool>,
    pub(crate) submodules: bool,
    pub(crate) fetch_by_commit: bool,
    /// Of what `mtime` asks for, which counts for build contexts only.
    pub(crate) commit_times: bool,
}

const KEYS: [&str; 10] = [
    "branch",
    "checksum",
    "commit",
    "fetch-by-commit",
    "keep-git-dir",
    "mtime",
    "ref",
    "subdir",
    "submodules",
    "tag",
];

/// None when `text` is no git URL; an error says what is wrong with one.
pub(crate) fn parse(text: &str) -> Option<Result<GitUrl, String>> {
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = before.split_once('?').unwrap_or((before, ""));
    is_git(remote).then(|| GitUrl::read(remote, query, fragment))
}

fn is_git(remote: &str) -> bool {
    let after = |scheme| remote.strip_prefix(scheme).filter(|rest: &&str| !rest.is_empty());
    if after("git://").or(after("ssh://")).is_some() {
        return true;
    }
    if let Some(rest) = after("http://").or(after("https://")) {
        return rest.split_once('/').is_some_and(|(_, path)| path.ends_with(".git"));
    }
    // `user@host:path`.
    let Some((user, rest)) = remote.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, more: char| {
        !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || it == '-' || it == more)
    };
    word(user, '_') && word(host, '.')
}

impl GitUrl {
    fn read(remote: &str, query: &str, fragment: &str) -> Result<Self, String> {
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut url = Self {
            remote: remote.into(),
            reference: reference.into(),
            subdir: subdir.into(),
            commit: None,
            keep_git_dir: None,
            submodules: true,
            fetch_by_commit: false,
            commit_times: false,
        };
        let mut seen: Vec<String> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let (key, value) = (decode(key, true), decode(value, true));
            if seen.contains(&key) {
                return Err(format!("`{key}` is given twice"));
            }
            if seen
                .iter()
                .any(|other| matches!((other.as_str(), key.as_str()), ("tag", "branch") | ("branch", "tag")))
            {
                return Err("`tag` and `branch` exclude each other".into());
            }
            url.set(&key, value)?;
            seen.push(key);
        }
        if url.fetch_by_commit && url.commit.is_none() {
            return Err("`fetch-by-commit` needs `commit`".into());
        }
        // Only a whole commit id can be asked for by itself.
        if let Some(commit) = url.commit.as_ref().filter(|it| url.reference.is_empty() && is_whole(it)) {
            url.reference.clone_from(commit);
        }
        url.subdir = crate::path::absolute("/", &url.subdir)[1..].to_owned();
        Ok(url)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let switch = |value: &str| match value {
            "" => Ok(true),
            _ => boolean(value).ok_or_else(|| format!("`{key}={value}` is neither true nor false")),
        };
        match key {
            "keep-git-dir" => self.keep_git_dir = Some(switch(&value)?),
            "submodules" => self.submodules = switch(&value)?,
            "fetch-by-commit" => self.fetch_by_commit = switch(&value)?,
            _ if !KEYS.contains(&key) => {
                return Err(match nearest(key, KEYS) {
                    Some(near) => format!("no option `{key}`; there is `{near}`"),
                    None => format!("no option `{key}`; there are {}", KEYS.join(", ")),
                });
            }
            _ if value.is_empty() => return Err(format!("`{key}` has no value")),
            "ref" => agree(&mut self.reference, value, "", "the reference")?,
            "tag" => agree(&mut self.reference, value, "refs/tags/", "the reference")?,
            "branch" => agree(&mut self.reference, value, "refs/heads/", "the reference")?,
            "subdir" => agree(&mut self.subdir, value, "", "the directory")?,
            "mtime" => {
                self.commit_times = match value.as_str() {
                    "commit" => true,
                    "checkout" => false,
                    _ => return Err(format!("`mtime={value}` is neither `checkout` nor `commit`")),
                }
            }
            _ => {
                let commit = commit(&value)?;
                if self.commit.as_ref().is_some_and(|other| *other != commit) {
                    return Err("`commit` and `checksum` differ".into());
                }
                self.commit = Some(commit);
            }
        }
        Ok(())
    }

    pub(crate) fn source(self, keep_git_dir: bool) -> GitSource {
        GitSource {
            url: self.remote,
            reference: self.reference,
            commit: self.commit.unwrap_or_default(),
            fetch_by_commit: self.fetch_by_commit,
            subdir: self.subdir,
            submodules: self.submodules,
            keep_git_dir,
            commit_times: false,
        }
    }
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

/// A commit id or its first digits, in lower case.
pub(crate) fn commit(text: &str) -> Result<String, String> {
    let good = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if good { Ok(text.to_ascii_lowercase()) } else { Err(format!("`{text}` is not a commit")) }
}

fn is_whole(commit: &str) -> bool {
    commit.len() == 40 || commit.len() == 64
}

/// The words that are taken for true and false in options.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Undoes percent encoding; what is none stays. In a query, `+` is a space.
pub(crate) fn decode(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let digits = bytes
            .get(i + 1..i + 3)
            .filter(|_| bytes[i] == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match digits.filter(|hex| !hex.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(if query && bytes[i] == b'+' { b' ' } else { bytes[i] });
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_files_and_downloads() {
        for text in [
            "git@github.com:moby/buildkit.git",
            "user_1@host.example:path",
            "ssh://git@host/x",
            "git://host/x",
            "https://host/x.git",
            "http://host/a/x.git#main",
            "https://host/x.git?ref=main",
        ] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "github.com/moby/buildkit.git",
            "https://host/x.tar.gz",
            "https://host/x.git/file",
            "https://x.git",
            "./git@host:x",
            "dir/x.git",
            "a@b",
            "a b@c:d",
            "git://",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    fn read(suffix: &str) -> Result<GitUrl, String> {
        parse(&format!("https://host/x.git{suffix}")).unwrap()
    }

    #[test]
    fn fragment_and_query_say_the_same_things() {
        let commit = "a".repeat(40);
        for (suffix, reference, subdir) in [
            ("", "", ""),
            ("#main", "main", ""),
            ("#main:sub/dir", "main", "sub/dir"),
            ("#:/sub/../dir/", "", "dir"),
            ("?ref=main&subdir=a", "main", "a"),
            ("?branch=main", "refs/heads/main", ""),
            ("?tag=v1#v1", "refs/tags/v1", ""),
            ("?tag=v1#refs/tags/v1", "refs/tags/v1", ""),
            (&format!("?commit={commit}"), commit.as_str(), ""),
            ("?commit=abc", "", ""),
        ] {
            let url = read(suffix).unwrap();
            assert_eq!((url.reference.as_str(), url.subdir.as_str()), (reference, subdir), "{suffix}");
            assert_eq!(url.remote, "https://host/x.git");
        }
        let url = read("?keep-git-dir&submodules=false&checksum=ABC&fetch-by-commit=1&mtime=commit").unwrap();
        assert_eq!(
            (url.keep_git_dir, url.submodules, url.commit.as_deref()),
            (Some(true), false, Some("abc"))
        );
        assert!(url.fetch_by_commit && url.commit_times);
    }

    #[test]
    fn contradictions_and_unknown_options_are_errors() {
        for (suffix, message) in [
            ("?ref=a#b", "the reference is given as `b` and as `a`"),
            ("?tag=a&branch=a", "`tag` and `branch` exclude each other"),
            ("?ref=a&ref=a", "`ref` is given twice"),
            ("?subdir=a#:b", "the directory is given as `b` and as `a`"),
            ("?ref=", "`ref` has no value"),
            ("?brunch=a", "no option `brunch`; there is `branch`"),
            ("?submodules=maybe", "`submodules=maybe` is neither true nor false"),
            ("?checksum=xyz", "`xyz` is not a commit"),
            ("?checksum=a&commit=b", "`commit` and `checksum` differ"),
            ("?mtime=now", "`mtime=now` is neither `checkout` nor `commit`"),
            ("?fetch-by-commit", "`fetch-by-commit` needs `commit`"),
        ] {
            assert_eq!(read(suffix).unwrap_err(), message, "{suffix}");
        }
    }

    #[test]
    fn percent_encoding_is_undone_once() {
        assert_eq!(decode("a%20b+c%2", false), "a b+c%2");
        assert_eq!(decode("a+b%zz%25%2525", true), "a b%zz%%25");
    }
}
