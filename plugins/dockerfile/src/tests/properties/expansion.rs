//! Words with variables (§7): words are made together with what they mean, and the text has to come to that.

use std::collections::{BTreeMap, BTreeSet};

use crate::expand::{self, ExpandError, Mode, Variables};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::globs::{self, Item};
use super::texts::{line, word};

/// Variables by name; `declared` is declared and has no value.
struct Table(BTreeMap<&'static str, &'static str>);

impl Variables for Table {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).copied()
    }

    fn is_declared(&self, name: &str) -> bool {
        name == "declared"
    }

    fn spend(&self, _: usize) -> bool {
        true
    }
}

fn table() -> Table {
    Table(BTreeMap::from([
        ("a", "abab.tar.gz"),
        ("empty", ""),
        ("space", " x  y "),
        ("quote", "'\"\\"),
        ("line", "a\nb"),
        ("é", "accent"),
        ("1", "one"),
    ]))
}

const NAMES: [&str; 9] = ["a", "empty", "space", "quote", "line", "é", "1", "unset", "declared"];

/// A part of a word.
#[derive(Clone, Debug)]
enum Piece {
    /// Characters that mean themselves everywhere.
    Plain(String),
    /// An escape and the character that it protects.
    Escaped(char),
    Single(String),
    Double(Vec<Inner>),
    /// `${name}`
    Value(&'static str),
    /// `${name:-word}`, `${name+word}` and so on.
    Choice {
        name: &'static str,
        colon: bool,
        operator: char,
        word: Vec<Piece>,
    },
    /// `${name#pattern}`, `${name%%pattern}`
    Trim {
        name: &'static str,
        suffix: bool,
        longest: bool,
        pattern: Vec<Item>,
        written: String,
    },
    /// `${name/pattern/replacement}`
    Replace {
        name: &'static str,
        all: bool,
        pattern: Vec<Item>,
        written: String,
        replacement: String,
    },
}

/// A part of a text in double quotes.
#[derive(Clone, Debug)]
enum Inner {
    Plain(String),
    /// One of `"`, `$` and the escape itself.
    Escaped(char),
    /// An escape that protects nothing and stays.
    Kept(char),
    Value(&'static str),
}

fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

fn inner(escape: char) -> impl Strategy<Value = Inner> {
    prop_oneof![
        word("ab .'{}", 3).prop_map(Inner::Plain),
        select(vec!['"', '$', escape]).prop_map(Inner::Escaped),
        select(vec!['a', 'é', '\'', '}']).prop_map(Inner::Kept),
        name().prop_map(Inner::Value),
    ]
}

fn pieces(escape: char) -> impl Strategy<Value = Vec<Piece>> {
    let leaf = prop_oneof![
        word("ab .:-=_é*?#%+,[]", 4).prop_map(Piece::Plain),
        select(vec!['a', ' ', '$', '"', '\'', '}', '{', 'é', escape]).prop_map(Piece::Escaped),
        word("a \"$\\`{}", 4).prop_map(Piece::Single),
        vec(inner(escape), 0..4).prop_map(Piece::Double),
        name().prop_map(Piece::Value),
        (name(), any::<bool>(), any::<bool>(), globs::pattern()).prop_map(
            |(name, suffix, longest, (pattern, written))| {
                Piece::Trim { name, suffix, longest, pattern, written }
            }
        ),
        (name(), any::<bool>(), globs::pattern(), word("xyé .", 3))
            // Nothing between two slashes would make them one operator.
            .prop_filter("empty", |(_, _, (items, _), _)| !items.is_empty())
            .prop_map(|(name, all, (pattern, written), replacement)| {
                Piece::Replace { name, all, pattern, written, replacement }
            }),
    ];
    let piece = leaf.prop_recursive(4, 24, 4, |piece| {
        (name(), any::<bool>(), select(vec!['-', '+', '?']), vec(piece, 0..4))
            .prop_map(|(name, colon, operator, word)| Piece::Choice { name, colon, operator, word })
    });
    vec(piece, 0..6)
}

fn written(pieces: &[Piece], escape: char) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Plain(text) => text.clone(),
        Piece::Escaped(c) => format!("{escape}{c}"),
        Piece::Single(text) => format!("'{text}'"),
        Piece::Double(inner) => {
            let part = |part: &Inner| match part {
                Inner::Plain(text) => text.clone(),
                Inner::Escaped(c) | Inner::Kept(c) => format!("{escape}{c}"),
                Inner::Value(name) => format!("${{{name}}}"),
            };
            format!("\"{}\"", inner.iter().map(part).collect::<String>())
        }
        Piece::Value(name) => format!("${{{name}}}"),
        Piece::Choice { name, colon, operator, word } => {
            let colon = if *colon { ":" } else { "" };
            format!("${{{name}{colon}{operator}{}}}", written(word, escape))
        }
        Piece::Trim { name, suffix, longest, written, .. } => {
            let operator = if *suffix { "%" } else { "#" }.repeat(1 + usize::from(*longest));
            format!("${{{name}{operator}{written}}}")
        }
        Piece::Replace { name, all, written, replacement, .. } => {
            let operator = if *all { "//" } else { "/" };
            format!("${{{name}{operator}{written}/{replacement}}}")
        }
    };
    pieces.iter().map(piece).collect()
}

/// What a word comes to, or the name that is required and missing first.
fn meaning(pieces: &[Piece], escape: char, unset: &mut BTreeSet<String>) -> Result<String, String> {
    let table = table();
    let mut value = |name: &str| {
        let found = table.value(name);
        if found.is_none() && !table.is_declared(name) {
            unset.insert(name.to_owned());
        }
        found
    };
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) | Piece::Single(plain) => text.push_str(plain),
            Piece::Escaped(c) => text.push(*c),
            Piece::Double(inner) => {
                for part in inner {
                    match part {
                        Inner::Plain(plain) => text.push_str(plain),
                        Inner::Escaped(c) => text.push(*c),
                        Inner::Kept(c) => text.extend([escape, *c]),
                        Inner::Value(name) => text.push_str(value(name).unwrap_or_default()),
                    }
                }
            }
            Piece::Value(name) => text.push_str(value(name).unwrap_or_default()),
            Piece::Choice { name, colon, operator, word } => {
                let found = value(name);
                let mut inside = BTreeSet::new();
                let word = meaning(word, escape, &mut inside)?;
                for name in inside {
                    value(&name);
                }
                let usable = found.filter(|found| !(*colon && found.is_empty()));
                match (operator, usable) {
                    ('-', None) | ('+', Some(_)) => text.push_str(&word),
                    ('+', None) => {}
                    ('?', None) => return Err((*name).to_owned()),
                    (_, _) => text.push_str(found.unwrap_or_default()),
                }
            }
            Piece::Trim { name, suffix, longest, pattern, .. } => {
                let found = value(name).unwrap_or_default();
                text.push_str(&globs::trimmed(pattern, found, !suffix, *longest));
            }
            Piece::Replace { name, all, pattern, replacement, .. } => {
                let found = value(name).unwrap_or_default();
                text.push_str(&globs::replaced(pattern, found, replacement, *all));
            }
        }
    }
    Ok(text)
}

fn comes_to_its_meaning(pieces: &[Piece], escape: char) -> Result<(), TestCaseError> {
    let text = written(pieces, escape);
    let mut unset = BTreeSet::new();
    match (expand::word(&text, Mode::arguments(escape), &table()), meaning(pieces, escape, &mut unset)) {
        (Ok(expanded), Ok(expected)) => {
            prop_assert_eq!(expanded.text, expected, "{}", text);
            prop_assert_eq!(expanded.undefined.into_iter().collect::<BTreeSet<_>>(), unset, "{}", text);
        }
        (Err(ExpandError::Required { name, .. }), Err(expected)) => {
            prop_assert_eq!(name, expected, "{}", text)
        }
        (found, expected) => prop_assert!(false, "{text}: {found:?}, and not {expected:?}"),
    }
    Ok(())
}

/// A word of which no pattern has the escape character in it: patterns have an escape of their own.
fn without_patterns(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| match piece {
        Piece::Trim { .. } | Piece::Replace { .. } => false,
        Piece::Choice { word, .. } => without_patterns(word),
        _ => true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_word_comes_to_what_it_means(pieces in pieces('\\')) {
        comes_to_its_meaning(&pieces, '\\')?;
    }

    #[test]
    fn a_word_comes_to_what_it_means_with_the_other_escape(
        pieces in pieces('`').prop_filter("patterns", |pieces| without_patterns(pieces)),
    ) {
        comes_to_its_meaning(&pieces, '`')?;
    }

    #[test]
    fn no_text_makes_it_panic_or_grow_without_variables(text in line(), escape in select(vec!['\\', '`'])) {
        for mode in [Mode::arguments(escape), Mode::HEREDOC] {
            if let Ok(expanded) = expand::word(&text, mode, &Table(BTreeMap::new())) {
                prop_assert!(expanded.text.len() <= text.len());
                let names: BTreeSet<_> = expanded.undefined.iter().collect();
                prop_assert_eq!(names.len(), expanded.undefined.len(), "each name once");
            }
            if let Ok((words, _)) = expand::words(&text, mode, &table()) {
                prop_assert!(words.iter().all(|word| !word.is_empty()));
            }
        }
    }
}
