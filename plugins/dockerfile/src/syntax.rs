//! Finds the frontend that a file asks for (§3.3), and refuses files that ask for another one than this.

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};

use crate::directives;
use crate::scope::BuildArgs;

const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Repositories of the frontend whose language this one speaks, under any registry that has them.
const OWN: [&str; 3] = ["docker/dockerfile", "docker/dockerfile-upstream", "kiln/dockerfile"];

/// What a file asks for.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    reference: String,
    line: u32,
}

/// The error of a file, or of a build argument, that asks for another frontend.
pub fn foreign(name: &str, bytes: &[u8], build_args: &BuildArgs) -> Option<Diagnostic> {
    let error = |reference: &str, place: &str| {
        Diagnostic::error(
            "unknown-syntax",
            format!("{place} asks for the frontend `{reference}`, which kiln does not run"),
        )
    };
    if let Some(value) =
        build_args.get(ARGUMENT).map(|value| first_word(value)).filter(|value| !value.is_empty())
    {
        return (!is_own(value)).then(|| {
            error(value, &format!("the build argument `{ARGUMENT}`"))
                .help("leave it out to read the file as a Dockerfile")
        });
    }
    let asked = asked(&String::from_utf8_lossy(bytes))?;
    (!is_own(&asked.reference)).then(|| {
        error(&asked.reference, "the file")
            .at(&Span::on_line(name, asked.line, 0, 0))
            .help(
                "if it is an ordinary Dockerfile, remove the line; if it uses instructions of that frontend, give them to \
                 kiln as a plugin with `--plugin FILE`",
            )
    })
}

/// By the detector's rules, which are not those of the directives: the sign stands in the first column, a line `#!`
/// may come first, and other languages have signs of their own.
fn asked(text: &str) -> Option<Asked> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<(u32, &str)> = (1..).zip(text.split('\n').take(64)).collect();
    if lines.first().is_some_and(|(_, line)| line.starts_with("#!")) {
        lines.remove(0);
    }
    ["#", "//"].iter().find_map(|sign| in_block(&lines, sign)).or_else(|| in_json(text))
}

/// Nothing in a block with a directive that is given twice: that is an error by itself.
fn in_block(lines: &[(u32, &str)], sign: &str) -> Option<Asked> {
    let mut seen: Vec<String> = Vec::new();
    let mut found = None;
    for (number, line) in lines {
        let Some((key, value)) = line.strip_prefix(sign).and_then(directives::pair) else { break };
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

/// The text of `"syntax": "…"` in a file that is one JSON object, of which no more has to be known here.
fn in_json(text: &str) -> Option<Asked> {
    let object = text.trim_start().strip_prefix('{')?;
    let (before, after) = object.split_once("\"syntax\"")?;
    let value = after.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let (value, _) = value.split_once('"')?;
    let above = text.len() - object.len();
    let line = 1 + text[..above].matches('\n').count() + before.matches('\n').count();
    Some(Asked { reference: first_word(value).to_owned(), line: u32::try_from(line).unwrap_or(1) })
}

/// What follows the first blank is for the frontend itself.
fn first_word(value: &str) -> &str {
    value.trim().split(' ').next().unwrap_or_default()
}

fn is_own(reference: &str) -> bool {
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

    fn reference(text: &str) -> Option<String> {
        asked(text).map(|asked| asked.reference)
    }

    #[test]
    fn section_3_3_the_detector_reads_the_beginning_of_a_file() {
        for (text, expected) in [
            ("# syntax=a/b:1\nFROM x", Some("a/b:1")),
            ("#SYNTAX = a/b --flag\r\nFROM x", Some("a/b")),
            ("\u{feff}# escape=`\n# check=skip=all\n# syntax=a/b\nFROM x", Some("a/b")),
            ("#!/usr/bin/env x\n# syntax=a/b\n", Some("a/b")),
            ("// syntax=a/b\n{}", Some("a/b")),
            ("{\"x\": 1,\n \"syntax\": \"a/b x\"}", Some("a/b")),
            (" # syntax=a/b\nFROM x", None),
            ("# a comment\n# syntax=a/b\nFROM x", None),
            ("\n# syntax=a/b\n", None),
            ("# syntax=\nFROM x", None),
            ("FROM x\n# syntax=a/b\n", None),
            ("# syntax=a\n# syntax=b\nFROM x", None),
            ("", None),
        ] {
            assert_eq!(reference(text).as_deref(), expected, "{text:?}");
        }
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

    #[test]
    fn section_3_3_another_frontend_is_an_error_at_its_line() {
        let none = BuildArgs::default();
        let error = foreign("Dockerfile", b"# escape=`\n# syntax=a/b\nFROM x", &none).unwrap();
        assert_eq!(error.primary.as_ref().map(|span| span.start.line), Some(2));
        assert!(error.message.contains("`a/b`") && error.help.contains("--plugin"));
        let own = BuildArgs::from([(ARGUMENT.to_owned(), "docker/dockerfile:1 x".to_owned())]);
        assert_eq!(foreign("Dockerfile", b"# syntax=a/b\n", &own), None, "the argument overrides the file");
        let other = BuildArgs::from([(ARGUMENT.to_owned(), "a/b".to_owned())]);
        assert!(foreign("Dockerfile", b"FROM x", &other).unwrap().message.contains(ARGUMENT));
    }
}
