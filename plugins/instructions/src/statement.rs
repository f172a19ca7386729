//! Reads a statement: its flags, how many arguments it has, and comments that are none.

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::instruction_types::{Argument, FlagValue, Statement};

use crate::findings::Findings;

/// The value of a flag that may stand once.
pub(crate) fn flag<'a>(statement: &'a Statement, name: &str) -> Option<&'a Argument> {
    flags(statement, name).last().and_then(|flag| flag.values.first())
}

/// The value of a flag that may stand once, unless it is empty.
pub(crate) fn nonempty_flag<'a>(statement: &'a Statement, name: &str) -> Option<&'a Argument> {
    flag(statement, name).filter(|value| !value.value.is_empty())
}

/// Every use of a flag, in order.
pub(crate) fn flags<'a>(statement: &'a Statement, name: &str) -> impl Iterator<Item = &'a FlagValue> {
    statement.flag_values.iter().filter(move |flag| flag.name == name)
}

pub(crate) fn boolean(statement: &Statement, name: &str) -> Option<bool> {
    flag(statement, name).map(|value| value.value.eq_ignore_ascii_case("true"))
}

/// The one argument of a line that is taken whole. Two or more cannot be: such a line is not split.
pub(crate) fn only<'a>(
    statement: &'a Statement,
    what: &str,
    findings: &mut Findings,
) -> Option<&'a Argument> {
    let found = statement.arguments.first();
    if found.is_none() {
        let message = format!("{} needs one argument, {what}", statement.keyword);
        findings.push(Diagnostic::error("argument-count", message).at(&statement.at));
    }
    found
}

pub(crate) fn at_least_one(statement: &Statement, what: &str, findings: &mut Findings) -> bool {
    let found = !statement.arguments.is_empty();
    if !found {
        let message = format!("{} needs at least one argument, {what}", statement.keyword);
        findings.push(Diagnostic::error("argument-count", message).at(&statement.at));
    }
    found
}

/// Warns of a line that is taken whole and holds what looks like a comment (§2.3): `what` says what it is part of.
pub(crate) fn comment_in_text(statement: &Statement, what: &str, findings: &mut Findings) {
    let Some(text) = statement.arguments.first() else { return };
    let hash = text.original.match_indices('#').find(|(i, _)| text.original[..*i].ends_with([' ', '\t']));
    if let Some((start, _)) = hash {
        let comment = text.original[start..].trim_end();
        findings.push(trailing_comment(format!("`{comment}` is part of {what}"), &text.at));
    }
}

/// Warns of words from a `#` on (§2.3). `read_as` says what those words, at least one, are taken for.
pub(crate) fn comment_in_words(
    statement: &Statement,
    read_as: impl FnOnce(&[Argument]) -> String,
    findings: &mut Findings,
) {
    let arguments = &statement.arguments;
    if statement.json {
        return;
    }
    // A first word may well be the name of a file that begins so.
    let Some(first) = arguments.iter().skip(1).position(|word| word.original.starts_with('#')) else {
        return;
    };
    let words = &arguments[first + 1..];
    let at = Span { end: words[words.len() - 1].at.end, ..words[0].at.clone() };
    findings.push(trailing_comment(read_as(words), &at));
}

fn trailing_comment(consequence: String, at: &Span) -> Diagnostic {
    Diagnostic::warning("trailing-comment", format!("`#` does not start a comment here: {consequence}"))
        .at(at)
        .help("put the comment on a line of its own, above the instruction")
}

/// Words for a message: `a`, `a` and `b`, `a`, `b` and `c`.
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}
