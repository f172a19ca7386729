//! Ignore files (§19), against the rules of the specification written down without any cleverness.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::texts::{line, word};
use crate::ignore::IgnoreFile;

/// Whether `pattern` matches all of `path`, both as characters: §19.3, one row per arm.
fn matches(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        // `**/`: any number of directories, also none.
        ['*', '*', '/', rest @ ..] => {
            matches(rest, path)
                || (0..path.len()).filter(|at| path[*at] == '/').any(|at| matches(rest, &path[at + 1..]))
        }
        ['*', '*', rest @ ..] => (0..=path.len()).any(|at| matches(rest, &path[at..])),
        ['*', rest @ ..] => {
            matches(rest, path) || path.first().is_some_and(|c| *c != '/' && matches(pattern, &path[1..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && matches(rest, &path[1..]),
        ['\\', c, rest @ ..] | [c, rest @ ..] => path.first() == Some(c) && matches(rest, &path[1..]),
    }
}

/// It, or a directory above it.
fn matches_at_all(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    let ends = (1..=path.len()).filter(|end| *end == path.len() || path[*end] == '/');
    ends.into_iter().any(|end| matches(&pattern, &path[..end]))
}

/// One part of a pattern. Of three asterisks in a row the specification does not speak.
fn part() -> impl Strategy<Value = String> {
    let wild = vec(select(vec!["a", "b", "?", "*a", "*b", "*?"]), 1..3).prop_map(|pieces| pieces.concat());
    let last = select(vec!["", "", "*"]);
    prop_oneof![
        2 => vec(select(vec!["a", "b"]), 1..3).prop_map(|pieces| pieces.concat()),
        3 => (wild, last).prop_map(|(wild, last)| format!("{wild}{last}")),
        1 => select(vec!["**", "*"]).prop_map(str::to_owned),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_path_is_hidden_by_the_rules_of_the_specification(
        patterns in vec(vec(part(), 1..4), 1..4),
        path in vec("[ab]{1,3}", 1..4),
    ) {
        let patterns: Vec<String> = patterns.into_iter().map(|parts| parts.join("/")).collect();
        let path = path.join("/");
        let file = IgnoreFile::read("x", &patterns.join("\n")).unwrap();
        let expected = patterns.iter().any(|pattern| matches_at_all(pattern, &path));
        prop_assert_eq!(file.hides(&path), expected, "{:?} {}", patterns, path);
    }

    #[test]
    fn no_ignore_file_makes_it_panic(lines in vec(prop_oneof![line(), word("ab*?[]^-\\!#/. ", 8)], 0..8), path in ".{0,12}") {
        let text = lines.join("\n");
        if let Ok(file) = IgnoreFile::read("x", &text) {
            prop_assert!(file.patterns.len() <= lines.len());
            prop_assert!(file.patterns.iter().map(String::len).sum::<usize>() <= text.len());
            file.hides(&path);
        }
    }
}
