//! Image references as people write them: `alpine`, `ghcr.io/a/b:1@sha256:…` (§10.2).

/// A reference with its defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// `docker.io/library/alpine`
    pub name: String,
    /// `latest` when neither tag nor digest is given.
    pub tag: Option<String>,
    pub digest: Option<String>,
}

/// Longest name, registry included, that registries take.
const MAX_NAME_BYTES: usize = 255;

impl Reference {
    /// Reads a reference and fills in registry, namespace and tag.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err("what follows `@` is no digest");
        }
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("what follows `:` is no tag");
        }
        let (domain, path) = match name.split_once('/') {
            Some((domain, path)) if is_domain(domain) => (domain, path),
            _ => ("docker.io", name),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("the name of a repository is in lower case");
        }
        if !is_domain_well_formed(domain) || !path.split('/').all(is_component) {
            return Err("it is not of the form `name`, `name:tag` or `name@digest`");
        }
        // An image id: 64 hexadecimal digits name no repository.
        if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("it is the id of an image and not its name");
        }
        let library = if domain == "docker.io" && !path.contains('/') { "library/" } else { "" };
        let name = format!("{domain}/{library}{path}");
        if name.len() > MAX_NAME_BYTES {
            return Err("it is longer than registries take");
        }
        let tag = tag.or(digest.is_none().then_some("latest"));
        Ok(Reference { name, tag: tag.map(str::to_owned), digest: digest.map(str::to_owned) })
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// The part before the first slash is a registry only if it looks like a host.
fn is_domain(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.chars().any(|c| c.is_ascii_uppercase())
}

fn is_domain_well_formed(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, after)) => {
            if address.is_empty() || !address.chars().all(|c| c.is_ascii_hexdigit() || c == ':') {
                return false;
            }
            match after.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if after.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Runs of lower case letters and digits, with `.`, `_`, `__` or any number of `-` between.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = text;
    loop {
        let run = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        if rest.is_empty() {
            return true;
        }
        let between = rest.find(is_plain).unwrap_or(rest.len());
        let separator = &rest[..between];
        if !(matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')) {
            return false;
        }
        rest = &rest[between..];
    }
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => hex.len() == 64,
        "sha384" => hex.len() == 96,
        "sha512" => hex.len() == 128,
        _ => {
            let part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
            algorithm.split(['+', '.', '_', '-']).all(part) && hex.len() >= 32
        }
    };
    length && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_10_2_defaults_are_filled_in() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, full) in [
            ("alpine".to_owned(), "docker.io/library/alpine:latest".to_owned()),
            ("a/b:1.2-x".to_owned(), "docker.io/a/b:1.2-x".to_owned()),
            ("ghcr.io/a".to_owned(), "ghcr.io/a:latest".to_owned()),
            ("localhost/x".to_owned(), "localhost/x:latest".to_owned()),
            ("localhost:5000/x".to_owned(), "localhost:5000/x:latest".to_owned()),
            ("[::1]:5000/x".to_owned(), "[::1]:5000/x:latest".to_owned()),
            ("index.docker.io/x".to_owned(), "docker.io/library/x:latest".to_owned()),
            (format!("x@{digest}"), format!("docker.io/library/x@{digest}")),
            (format!("x:1@{digest}"), format!("docker.io/library/x:1@{digest}")),
            ("a__b-c--d.e".to_owned(), "docker.io/library/a__b-c--d.e:latest".to_owned()),
        ] {
            assert_eq!(Reference::read(&text).map(|it| it.to_string()), Ok(full), "{text}");
        }
    }

    #[test]
    fn section_10_2_malformed_references_are_refused() {
        for text in [
            "",
            "Alpine",
            "a:",
            "a:b:c",
            "a@",
            "a@sha256:12",
            "-a",
            "a-",
            "a..b",
            "a/",
            "/a",
            "a//b",
            "a b",
            "a$",
            "ä",
            ":tag",
            "a:-x",
            "a___b",
            "http://x/y",
            "x.y:z/a",
            "a/B",
        ] {
            assert!(Reference::read(text).is_err(), "{text}");
        }
        assert!(Reference::read(&"a".repeat(64)).is_err());
        assert!(Reference::read(&"z".repeat(300)).is_err());
    }
}
