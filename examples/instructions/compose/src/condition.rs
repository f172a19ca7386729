//! The condition of an IF: texts, versions and their comparison, joined by `!`, `&&` and `||`.
//!
//! An operator is a word that is written as one. A word that a variable brought in is a value, whatever it looks like,
//! and one that came to nothing is an empty text.

use std::cmp::Ordering;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Argument, Statement};

/// Whether something holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Condition {
    /// The text is not empty, `0`, `false`, `no` or `off`.
    True(String),
    Compare(String, Comparison, String),
    /// The text is one of several.
    In(String, Vec<String>),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Comparison {
    Equal,
    Different,
    Below,
    AtMost,
    Above,
    AtLeast,
}

const COMPARISONS: [(&str, Comparison); 7] = [
    ("=", Comparison::Equal),
    ("==", Comparison::Equal),
    ("!=", Comparison::Different),
    ("<", Comparison::Below),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    (">=", Comparison::AtLeast),
];

fn comparison(word: &Argument) -> Option<Comparison> {
    COMPARISONS.iter().find(|(text, _)| *text == word.original).map(|(_, comparison)| *comparison)
}

fn wrong(at: &Argument, message: String, help: &str) -> Diagnostic {
    Diagnostic::error("if-condition", message).at(&at.at).help(help)
}

/// What is wrong with a condition that has not been expanded.
pub(crate) fn grammar(statement: &Statement) -> Option<Diagnostic> {
    if words(statement).next().is_none() {
        let problem = Diagnostic::error("if-condition", "IF needs a condition").at(&statement.at);
        return Some(problem.help("write `IF $NAME = value <<THEN`, for example"));
    }
    // A trailing operator has nothing to its right, whatever variables hold.
    let all: Vec<&Argument> = words(statement).collect();
    let dangling = all.iter().enumerate().find(|(index, word)| {
        matches!(word.original.as_str(), "&&" | "||" | "!")
            && all.get(index + 1).is_none_or(|next| matches!(next.original.as_str(), "&&" | "||"))
    });
    if let Some((_, word)) = dangling {
        return Some(wrong(
            word,
            format!("nothing comes after `{}`", word.original),
            "write what is to hold",
        ));
    }
    Condition::read(statement).err()
}

/// Everything but the here-documents.
fn words(statement: &Statement) -> impl Iterator<Item = &Argument> {
    statement.arguments.iter().filter(|argument| argument.heredoc.is_none())
}

impl Condition {
    /// # Errors
    ///
    /// Words that make no condition, the first of them.
    pub(crate) fn read(statement: &Statement) -> Result<Self, Diagnostic> {
        let words: Vec<&Argument> = words(statement).collect();
        Self::joined(&words, "||", Self::Any, &|words| {
            Self::joined(words, "&&", Self::All, &|words| Self::negated(words))
        })
    }

    fn joined(
        words: &[&Argument],
        operator: &str,
        join: fn(Vec<Self>) -> Self,
        read: &dyn Fn(&[&Argument]) -> Result<Self, Diagnostic>,
    ) -> Result<Self, Diagnostic> {
        let mut parts =
            words.split(|word| word.original == operator).map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
    }

    fn negated(words: &[&Argument]) -> Result<Self, Diagnostic> {
        match words {
            [first, rest @ ..] if first.original == "!" => Ok(Self::Not(Box::new(Self::negated(rest)?))),
            words => Self::test(words),
        }
    }

    fn test(words: &[&Argument]) -> Result<Self, Diagnostic> {
        let at = words.iter().position(|word| comparison(word).is_some() || word.original == "in");
        let Some(at) = at else { return Ok(Self::True(one(words)?)) };
        let (left, right) = (one(&words[..at])?, &words[at + 1..]);
        match comparison(words[at]) {
            Some(comparison) => Ok(Self::Compare(left, comparison, one(right)?)),
            None => Ok(Self::In(left, right.iter().map(|word| word.value.clone()).collect())),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::True(text) => {
                !matches!(text.to_ascii_lowercase().as_str(), "" | "0" | "false" | "no" | "off")
            }
            Self::Compare(left, comparison, right) => match comparison {
                Comparison::Equal => left == right,
                Comparison::Different => left != right,
                Comparison::Below => versions(left, right).is_lt(),
                Comparison::AtMost => versions(left, right).is_le(),
                Comparison::Above => versions(left, right).is_gt(),
                Comparison::AtLeast => versions(left, right).is_ge(),
            },
            Self::In(text, list) => list.contains(text),
            Self::Not(condition) => !condition.holds(),
            Self::All(conditions) => conditions.iter().all(Self::holds),
            Self::Any(conditions) => conditions.iter().any(Self::holds),
        }
    }
}

/// The one word there is, or the empty text.
fn one(words: &[&Argument]) -> Result<String, Diagnostic> {
    match words {
        [] => Ok(String::new()),
        [word] if comparison(word).is_none() => Ok(word.value.clone()),
        [word] => Err(wrong(
            word,
            format!("`{}` stands where a value should", word.original),
            "put a value in quotes",
        )),
        [_, extra, ..] => {
            let message = format!("`{}` is one word too many", extra.original);
            Err(wrong(
                extra,
                message,
                "put texts with blanks in quotes, and join conditions with `&&` or `||`",
            ))
        }
    }
}

/// Orders versions: numbers as numbers, `v` in front aside, and `1.0-rc1` before `1.0`.
fn versions(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (release, rest) =
            text.split_once('-').map_or((text, None), |(release, rest)| (release, Some(rest)));
        (release.to_owned(), rest.map(str::to_owned))
    };
    let ((a, a_rest), (b, b_rest)) = (split(a), split(b));
    parts(&a, &b).then_with(|| match (a_rest, b_rest) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => parts(&a, &b),
    })
}

/// Part by part; a missing one counts as 0.
fn parts(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split(['.', '-', '+']), b.split(['.', '-', '+']));
    loop {
        let (x, y) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (x, y) => (x.unwrap_or("0"), y.unwrap_or("0")),
        };
        let order = match (x.parse::<u64>(), y.parse::<u64>()) {
            (Ok(x), Ok(y)) => x.cmp(&y),
            _ => runs(x, y),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Text before a number, and the number: `rc9` comes before `rc10`.
fn runs(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
        (letters.to_owned(), text[letters.len()..].parse::<u64>().unwrap_or(0))
    };
    split(a).cmp(&split(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use kiln_sdk::plugin::Instruction;
    use kiln_sdk::testing;

    use super::*;

    /// The statement `IF text`, in which words after `$` stand for what variables brought.
    fn holds(text: &str) -> bool {
        let known = crate::Compose::instructions();
        let descriptor = known.iter().find(|it| it.keyword == "IF").expect("IF");
        let mut statement = testing::statement(&format!("IF {text}"), descriptor);
        for argument in &mut statement.arguments {
            if let Some(value) = argument.original.strip_prefix('$') {
                argument.value = value.to_owned();
            }
        }
        statement.arguments.retain(|argument| !(argument.original == "$" && argument.value.is_empty()));
        Condition::read(&statement).expect("a condition").holds()
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for yes in [
            "a = a",
            "a == a",
            "a != b",
            "yes",
            "1",
            "! no",
            "! ! yes",
            "arm64 in amd64 arm64",
            "no || yes",
            "yes && yes",
            "no && no || yes",
            "! a = b && yes",
            "= $",
            "$ = $",
            "$= != a",
            "a != $=",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in [
            "a = b",
            "0",
            "OFF",
            "no",
            "false",
            "! yes",
            "arm in amd64 arm64",
            "a in",
            "$",
            "yes && $",
            "$ = a",
        ] {
            assert!(!holds(no), "{no}");
        }
    }

    #[test]
    fn versions_are_in_order() {
        for (below, above) in [
            ("1.9", "1.10"),
            ("1.2", "1.2.1"),
            ("v1.0-rc1", "1.0"),
            ("1.0-rc9", "1.0-rc10"),
            ("3.11.2", "3.12"),
            ("a", "b"),
            ("", "1"),
        ] {
            assert!(
                holds(&format!("${below} < {above}")) && holds(&format!("{above} >= ${below}")),
                "{below} {above}"
            );
        }
        assert!(holds("1.0 <= v1.0.0") && holds("1.0 >= v1.0.0") && !holds("1 > 1.0"));
    }
}
