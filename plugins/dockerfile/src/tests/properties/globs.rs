//! The shell patterns of `${v#p}`, `${v%p}` and `${v/p/r}` (§7.4), against a matcher that tries everything.

use crate::pattern::Pattern;
use proptest::collection::vec;
use proptest::prelude::*;

use super::texts::word;

/// One item of a pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// `*`
    Run,
    /// `?`
    One,
    Literal(char),
}

/// A pattern as items, and as it is written.
pub(super) fn pattern() -> impl Strategy<Value = (Vec<Item>, String)> {
    let item = prop_oneof![
        Just((Item::Run, "*".to_owned())),
        Just((Item::One, "?".to_owned())),
        prop::sample::select(vec!['*', '?', '\\', '/', '}'])
            .prop_map(|c| (Item::Literal(c), format!("\\{c}"))),
        prop::sample::select(vec!['a', 'b', '.', 'é', '[', ']', '^'])
            .prop_map(|c| (Item::Literal(c), c.to_string())),
    ];
    vec(item, 0..6).prop_map(|items| {
        let (items, written): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        (items, written.concat())
    })
}

/// Neither `*` nor `?` matches a newline.
pub(super) fn matches(pattern: &[Item], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([Item::Run, rest @ ..], _) => {
            matches(rest, text) || text.first().is_some_and(|c| *c != '\n' && matches(pattern, &text[1..]))
        }
        ([Item::One, rest @ ..], [c, after @ ..]) => *c != '\n' && matches(rest, after),
        ([Item::Literal(wanted), rest @ ..], [c, after @ ..]) => wanted == c && matches(rest, after),
        _ => false,
    }
}

/// `value` without the shortest or longest part at its begin or end that matches.
pub(super) fn trimmed(pattern: &[Item], value: &str, prefix: bool, longest: bool) -> String {
    let value: Vec<char> = value.chars().collect();
    let parts = |length: usize| match prefix {
        true => (&value[..length], &value[length..]),
        false => (&value[value.len() - length..], &value[..value.len() - length]),
    };
    let mut lengths: Vec<usize> = (0..=value.len()).collect();
    if longest {
        lengths.reverse();
    }
    let found = lengths.into_iter().map(parts).find(|(part, _)| matches(pattern, part));
    String::from_iter(found.map_or(&value[..], |(_, rest)| rest))
}

/// The leftmost matches, longest first, as ranges of characters; an empty one right behind another does not count.
pub(super) fn found(pattern: &[Item], value: &str, all: bool) -> Vec<(usize, usize)> {
    let value: Vec<char> = value.chars().collect();
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at <= value.len() {
        let end = (at..=value.len()).rev().find(|end| matches(pattern, &value[at..*end]));
        let adjacent = end == Some(at) && found.last().is_some_and(|last| last.1 == at);
        match end.filter(|_| !adjacent) {
            Some(end) => {
                found.push((at, end));
                if !all {
                    break;
                }
                at = end.max(at + 1);
            }
            None => at += 1,
        }
    }
    found
}

/// `value` with its matches replaced, where the replacement holds no `$`.
pub(super) fn replaced(pattern: &[Item], value: &str, replacement: &str, all: bool) -> String {
    let letters: Vec<char> = value.chars().collect();
    let mut result = String::new();
    let mut at = 0;
    for (start, end) in found(pattern, value, all) {
        result.extend(&letters[at..start]);
        result.push_str(replacement);
        at = end;
    }
    result.extend(&letters[at..]);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn patterns_find_what_a_search_of_all_parts_finds(
        (items, written) in pattern(),
        value in word("aab.é/*[\n}", 12),
    ) {
        let read = Pattern::read(&written).unwrap();
        for longest in [false, true] {
            prop_assert_eq!(read.trim_prefix(&value, longest), trimmed(&items, &value, true, longest));
            prop_assert_eq!(read.trim_suffix(&value, longest), trimmed(&items, &value, false, longest));
        }
        for all in [false, true] {
            let places: Vec<_> = read.find(&value, all).into_iter().map(|range| {
                (value[..range.start].chars().count(), value[..range.end].chars().count())
            }).collect();
            prop_assert_eq!(places, found(&items, &value, all));
        }
    }

    #[test]
    fn no_pattern_and_no_value_make_it_panic(written in ".{0,12}", value in ".{0,20}") {
        if let Ok(pattern) = Pattern::read(&written) {
            let all = pattern.find(&value, true);
            prop_assert!(all.len() <= value.chars().count() + 1);
            prop_assert!(value.ends_with(pattern.trim_prefix(&value, true)));
            prop_assert!(value.starts_with(pattern.trim_suffix(&value, false)));
        }
    }
}
