//! Paths inside an image as text. Nothing is looked up, so `..` goes by the letters.

/// The shortest spelling: no `.`, no empty element, `..` only at the front of a relative path.
/// The empty path is `.`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// `path` as seen from `dir`, absolute and clean. An empty `dir` is the root.
pub(crate) fn absolute(dir: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{dir}/{path}")) }
}

/// [`absolute`], and ends with `/` where the spelling says that it is a directory (§12.2).
pub(crate) fn destination(dir: &str, path: &str) -> String {
    let is_dir = path.is_empty() || path == "." || path.ends_with('/') || path.ends_with("/.");
    let mut found = absolute(dir, path);
    if is_dir && !found.ends_with('/') {
        found.push('/');
    }
    found
}

/// What follows the last `/`, trailing ones aside; `/` for the root.
pub(crate) fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return if path.is_empty() { "." } else { "/" };
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/", "a/b/c"),
            ("/../a/../../b", "/b"),
            ("../../a", "../../a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn a_destination_remembers_that_it_is_a_directory() {
        for (dir, path, expected) in [
            ("/app", "", "/app/"),
            ("/app", ".", "/app/"),
            ("/app", "..", "/"),
            ("/app", "x", "/app/x"),
            ("/app", "x/", "/app/x/"),
            ("/app", "x/.", "/app/x/"),
            ("", "x", "/x"),
            ("/", "/", "/"),
            ("/app", "/y/../z/", "/z/"),
        ] {
            assert_eq!(destination(dir, path), expected, "{dir} {path}");
        }
    }

    #[test]
    fn a_base_name_ignores_trailing_slashes() {
        assert_eq!(base_name("/a/b//"), "b");
        assert_eq!(base_name("b"), "b");
        assert_eq!(base_name("//"), "/");
        assert_eq!(base_name(""), ".");
    }
}
