//! Names of images, and patterns for them.

use core::fmt;

use crate::glob::Glob;

/// The registry that a name without one means.
const DEFAULT_HOST: &str = "docker.io";

/// A name such as `docker.io/library/alpine`, whatever was left out when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Takes a reference apart. What is no reference was refused before a policy is asked.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, tag, digest) = parts(text);
        Self { name: full(name), tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) }
    }

    /// The tag that is meant: with neither tag nor digest it is `latest`.
    pub(crate) fn effective_tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }
}

/// In full: `docker.io/library/alpine:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = self.effective_tag() {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// A pattern for images: a name in which a registry and `library/` may be left out as in a reference, and perhaps
/// patterns for tag and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImagePattern {
    text: String,
    name: Glob,
    tag: Option<Glob>,
    digest: Option<Glob>,
}

impl ImagePattern {
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, tag, digest) = parts(text);
        if name == "*" {
            return Err(
                "`*` could mean several things: `**` is every image, `docker.io/library/*` Docker's own",
            );
        }
        if name.is_empty() || name.contains("//") || name.starts_with('/') {
            return Err("it names no image");
        }
        let is_lone_host = !name.contains('/') && name != "**" && is_host(name);
        let name = match name {
            "**" => name.to_owned(),
            _ if is_lone_host => match tag {
                // `registry.example.com:5000`
                Some(port) => format!("{}/**", host_of(&format!("{name}:{port}"))),
                None => format!("{}/**", host_of(name)),
            },
            _ => full(name.trim_end_matches('/')),
        };
        let tag = if is_lone_host { None } else { tag };
        Ok(Self {
            text: text.to_owned(),
            name: Glob::new(&name),
            tag: tag.map(Glob::new),
            digest: digest.map(Glob::new),
        })
    }

    pub(crate) fn matches(&self, reference: &Reference) -> bool {
        let part = |pattern: &Option<Glob>, text: Option<&str>| match pattern {
            None => true,
            Some(pattern) => text.is_some_and(|text| pattern.matches(text)),
        };
        self.name.matches(&reference.name)
            && part(&self.tag, reference.effective_tag())
            && part(&self.digest, reference.digest.as_deref())
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Name, tag and digest.
fn parts(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..]), digest),
        None => (rest, None, digest),
    }
}

/// Whether the first part of a name is a registry.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// A host in the spelling in which hosts are compared: lower-case, and without the port that goes without saying.
fn host_of(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(":443") {
        Some(host) => host.to_owned(),
        None => host,
    }
}

/// With the registry, and `library/` where Docker's registry has it.
fn full(name: &str) -> String {
    let Some((host, path)) = name.split_once('/') else { return format!("{DEFAULT_HOST}/library/{name}") };
    // A star in place of a registry stands for any.
    if !is_host(host) && !host.contains('*') {
        return format!("{DEFAULT_HOST}/{name}");
    }
    match host_of(host).as_str() {
        DEFAULT_HOST | "index.docker.io" if !path.contains('/') && !path.starts_with('*') => {
            format!("{DEFAULT_HOST}/library/{path}")
        }
        "index.docker.io" => format!("{DEFAULT_HOST}/{path}"),
        host => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_in_full() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |text: &str, expected: &str| assert_eq!(Reference::parse(text).to_string(), expected);
        check("alpine", "docker.io/library/alpine:latest");
        check("docker.io/alpine:3", "docker.io/library/alpine:3");
        check("index.docker.io/library/alpine", "docker.io/library/alpine:latest");
        check("index.docker.io/alpine", "docker.io/library/alpine:latest");
        check("a/b", "docker.io/a/b:latest");
        check("localhost/a", "localhost/a:latest");
        check("LOCALHOST/a", "localhost/a:latest");
        check("Docker.IO/alpine", "docker.io/library/alpine:latest");
        check("Registry.Example.com:443/a", "registry.example.com/a:latest");
        check("registry.example.com:5000/a/b:1", "registry.example.com:5000/a/b:1");
        check(&format!("alpine@{digest}"), &format!("docker.io/library/alpine@{digest}"));
        check(&format!("alpine:3@{digest}"), &format!("docker.io/library/alpine:3@{digest}"));
    }

    #[test]
    fn a_pattern_leaves_out_what_a_reference_may() {
        let check = |pattern: &str, text: &str, expected: bool| {
            let pattern = ImagePattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(&Reference::parse(text)), expected, "{pattern} {text}");
        };
        check("alpine", "alpine:3.20", true);
        check("alpine", "evil/alpine", false);
        check("alpine:3.*", "docker.io/library/alpine:3.20", true);
        check("alpine:3.*", "alpine", false);
        check("alpine:latest", "alpine", true);
        check("docker.io/library/*", "python:3", true);
        check("docker.io/library/*", "bitnami/python", false);
        check("docker.io/*", "python", false);
        check("docker.io/**", "python", true);
        check("bitnami/*", "docker.io/bitnami/x:1", true);
        check("registry.example.com", "registry.example.com/a/b", true);
        check("registry.example.com", "REGISTRY.example.com:443/a/b", true);
        check("registry.example.com:443", "registry.example.com/a/b", true);
        check("Registry.example.com/a/*", "registry.example.com/a/b", true);
        check("registry.example.com:5000", "registry.example.com:5000/a", true);
        check("registry.example.com:5000", "registry.example.com/a", false);
        check("registry.example.com", "docker.io/registry.example.com/a", false);
        check("registry.example.com", "registry.example.com.evil/a", false);
        check("*.example.com/base/*", "r.example.com/base/x", true);
        check("**", "a/b", true);
        check("**@sha256:*", &format!("a@sha256:{}", "b".repeat(64)), true);
        check("**@sha256:*", "a", false);
        for bad in ["", "*", ":1", "@sha256:1", "a//b", "/a"] {
            assert!(ImagePattern::parse(bad).is_err(), "{bad}");
        }
    }
}
