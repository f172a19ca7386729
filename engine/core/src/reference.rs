//! Names of images, as people write them and as registries know them.

use std::fmt;

use crate::digest::Digest;

/// A parsed reference, `[domain/]path[:tag][@digest]`, normalised as Docker does: no domain is `docker.io`, no
/// namespace there is `library/`. Beyond that a host is lower-case, for it is the same host however it is spelled, and
/// what is said of it in configurations and policies has to hold for every spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    /// Host and optional port.
    pub domain: String,
    /// Repository path within the registry.
    pub path: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    #[error("the image name is empty")]
    Empty,
    #[error("`{text}` is not an image name: {why}")]
    Malformed { text: String, why: &'static str },
}

impl ImageRef {
    pub fn parse(text: &str) -> Result<Self, ParseReferenceError> {
        if text.is_empty() {
            return Err(ParseReferenceError::Empty);
        }
        let bad = |why| ParseReferenceError::Malformed { text: text.to_owned(), why };
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => (
                rest,
                Some(
                    digest
                        .parse()
                        .map_err(|_| bad("after `@` comes `sha256:` and 64 lower-case hex digits"))?,
                ),
            ),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag {
            let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !first
                || tag.len() > 128
                || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
            {
                return Err(bad(
                    "a tag is up to 128 letters, digits, `_`, `.` and `-`, and does not begin with `.` or `-`",
                ));
            }
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, path.to_owned())
            }
            Some(_) => (DOCKER_HUB, name.to_owned()),
            None => (DOCKER_HUB, format!("library/{name}")),
        };
        let domain = domain.to_ascii_lowercase();
        let (domain, path) = match domain.as_str() {
            "index.docker.io" | DOCKER_HUB if !path.contains('/') => (DOCKER_HUB, format!("library/{path}")),
            "index.docker.io" => (DOCKER_HUB, path),
            other => (other, path),
        };
        if !is_domain(domain) {
            return Err(bad("the part before the first `/` is not a host name"));
        }
        if path.len() > 255 {
            return Err(bad("a repository name has at most 255 characters"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad("a repository name is lower case"));
        }
        if !path.split('/').all(is_component) {
            return Err(bad(
                "parts of a repository name are lower-case letters and digits, joined by `.`, `_`, `__` or `-`",
            ));
        }
        Ok(Self { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// Bytes are fixed: there is a digest.
    pub fn is_pinned(&self) -> bool {
        self.digest.is_some()
    }

    /// With `:latest` where there is neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The shortest text that parses to this reference: `alpine:3` for `docker.io/library/alpine:3`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        match full.strip_prefix("docker.io/") {
            Some(rest) => rest.strip_prefix("library/").unwrap_or(rest).to_owned(),
            None => full,
        }
    }
}

const DOCKER_HUB: &str = "docker.io";

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, Some(port)),
        _ => (domain, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|h| h.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'));
    (bracketed || host.split('.').all(label))
        && port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') && !port.is_empty()
        })
}

fn is_component(part: &str) -> bool {
    let mut alnum_before = false;
    let mut separator = String::new();
    for c in part.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            let joined = separator.is_empty()
                || separator == "."
                || separator == "_"
                || separator == "__"
                || separator.bytes().all(|b| b == b'-');
            if !joined {
                return false;
            }
            alnum_before = true;
            separator.clear();
        } else if alnum_before && matches!(c, '.' | '_' | '-') {
            separator.push(c);
        } else {
            return false;
        }
    }
    alnum_before && separator.is_empty()
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_full_ones() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3.22", "docker.io/library/alpine:3.22"),
            ("me/app", "docker.io/me/app"),
            ("docker.io/alpine", "docker.io/library/alpine"),
            ("index.docker.io/me/app:x", "docker.io/me/app:x"),
            ("localhost/app", "localhost/app"),
            ("127.0.0.1:5000/library/busybox", "127.0.0.1:5000/library/busybox"),
            ("[::1]:5000/a/b:c", "[::1]:5000/a/b:c"),
            ("a__b/c-d--e", "docker.io/a__b/c-d--e"),
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().to_string(), full, "{text}");
        }
    }

    #[test]
    fn a_host_is_the_same_however_it_is_spelled() {
        for (text, full) in [
            ("LOCALHOST:5000/a", "localhost:5000/a"),
            ("Docker.IO/alpine", "docker.io/library/alpine"),
            ("Registry/a", "registry/a"),
        ] {
            assert_eq!(ImageRef::parse(text).unwrap().to_string(), full, "{text}");
        }
    }

    #[test]
    fn familiar_names_drop_what_goes_without_saying() {
        assert_eq!(ImageRef::parse("docker.io/library/alpine:3").unwrap().familiar(), "alpine:3");
        assert_eq!(ImageRef::parse("quay.io/x/y").unwrap().familiar(), "quay.io/x/y");
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "",
            "UPPER",
            "a b",
            "a//b",
            "a:",
            "a@sha256:12",
            "-a",
            "a_",
            "a___b",
            ":tag",
            "http://x/y",
            "a:b:c",
            "localhost:05000/x",
            "localhost:/x",
        ] {
            assert!(ImageRef::parse(text).is_err(), "{text}");
        }
    }
}
