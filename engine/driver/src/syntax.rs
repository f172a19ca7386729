//! Finds the frontend that a build file asks for in its first lines (Dockerfile specification §3.3). Knows nothing else of
//! what is in build files.

use serde_json::{Map, Value};

/// Repositories of Docker's frontend, whose language kiln's own one speaks, under any registry that has them.
const OWN: [&str; 3] = ["docker/dockerfile", "docker/dockerfile-upstream", "kiln/dockerfile"];

/// The build argument that counts instead of the file.
pub(crate) const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Files that are looked into when none is named. Which frontend reads a file has to be known before one is asked, and
/// these are the names under which every builder looks for a file that may say so. What else is in them, and that a
/// directory with one of them is no other frontend's, is what the frontend for Dockerfiles knows.
pub(crate) const FILES: [&str; 3] = ["Dockerfile", "dockerfile", "Containerfile"];

/// Lines that are looked at: the directives come first.
const LINES: usize = 64;

/// What a file asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) reference: String,
    /// Counts from 1.
    pub(crate) line: u32,
}

/// By the detector's rules, which are not those of the directives: the sign stands in the first column, a line `#!`
/// may come first, and other languages have signs of their own.
pub(crate) fn asked(bytes: &[u8]) -> Option<Asked> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines: Vec<(u32, &str)> = (1..).zip(text.split('\n').take(LINES)).collect();
    if lines.first().is_some_and(|(_, line)| line.starts_with("#!")) {
        lines.remove(0);
    }
    ["#", "//"].iter().find_map(|sign| in_block(&lines, sign)).or_else(|| in_json(text))
}

/// Whether all of a file has to be seen to know what it asks for.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start().starts_with(b"{")
}

/// Nothing in a block with a directive that is given twice: that is an error by itself.
fn in_block(lines: &[(u32, &str)], sign: &str) -> Option<Asked> {
    let mut seen: Vec<String> = Vec::new();
    let mut found = None;
    for (number, line) in lines {
        let Some((key, value)) = line.strip_prefix(sign).and_then(pair) else { break };
        if !matches!(key.as_str(), "syntax" | "escape" | "check") {
            break;
        }
        if seen.contains(&key) {
            return None;
        }
        if key == "syntax" {
            found = Some(Asked { reference: first_word(value).to_owned(), line: *number });
        }
        seen.push(key);
    }
    found
}

/// `key = value`, the key in lower case.
fn pair(text: &str) -> Option<(String, &str)> {
    let (key, value) = text.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let well_formed =
        key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (well_formed && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// `"syntax": "…"` of a file that is one JSON object.
fn in_json(text: &str) -> Option<Asked> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let reference = first_word(object.get("syntax")?.as_str()?).to_owned();
    let before = text.split("\"syntax\"").next().unwrap_or_default();
    let line = u32::try_from(1 + before.matches('\n').count()).unwrap_or(1);
    (!reference.is_empty()).then_some(Asked { reference, line })
}

/// What follows the first blank is for the frontend itself.
pub(crate) fn first_word(value: &str) -> &str {
    value.trim().split(' ').next().unwrap_or_default()
}

/// Whether a name means the frontend that ships with kiln. It is never asked for anywhere.
pub(crate) fn is_own(reference: &str) -> bool {
    let repository = reference.split('@').next().unwrap_or_default();
    let start = repository.rfind('/').map_or(0, |slash| slash + 1);
    let end = repository[start..].find(':').map_or(repository.len(), |colon| start + colon);
    let repository = &repository[..end];
    OWN.iter()
        .any(|own| repository.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_3_3_the_detector_reads_the_beginning_of_a_file() {
        for (text, expected) in [
            ("# syntax=a/b:1\nFROM x", Some(("a/b:1", 1))),
            ("#SYNTAX = a/b --flag\r\nFROM x", Some(("a/b", 1))),
            ("\u{feff}# escape=`\n# check=skip=all\n# syntax=a/b\nFROM x", Some(("a/b", 3))),
            ("#!/usr/bin/env x\n# syntax=a/b\n", Some(("a/b", 2))),
            ("// syntax=a/b\n{}", Some(("a/b", 1))),
            ("{\"x\": 1,\n \"syntax\": \"a/b x\"}", Some(("a/b", 2))),
            ("\u{feff}\n{\"syntax\": \"a/b\"}\n", Some(("a/b", 2))),
            ("{\"syntax\": \"a/b\"", None),
            ("{\"syntax\": 1}", None),
            ("{\"syntax\": \" \"}", None),
            ("{\"x\": {\"syntax\": \"a/b\"}}", None),
            (" # syntax=a/b\nFROM x", None),
            ("# a comment\n# syntax=a/b\nFROM x", None),
            ("\n# syntax=a/b\n", None),
            ("# syntax=\nFROM x", None),
            ("FROM x\n# syntax=a/b\n", None),
            ("# syntax=a\n# syntax=b\nFROM x", None),
            ("", None),
        ] {
            let found = asked(text.as_bytes());
            let found = found.as_ref().map(|asked| (asked.reference.as_str(), asked.line));
            assert_eq!(found, expected, "{text:?}");
        }
        assert!(is_json(b"\xef\xbb\xbf \n{") && !is_json(b"# syntax=x\n{") && !is_json(b""));
    }

    #[test]
    fn section_3_3_names_of_the_dockerfile_frontend_mean_this_one() {
        for own in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:0",
            "docker/dockerfile-upstream:master",
            "mirror.example.com:5000/proxy/docker/dockerfile:1",
            "kiln/dockerfile",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "docker/dockerfile-copy",
            "r2d4/mockerfile",
            "dockerfile",
            "xdocker/dockerfile",
            "docker/dockerfile/x",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
