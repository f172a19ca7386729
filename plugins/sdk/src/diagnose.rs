//! Findings in one line: what is wrong, where, and what to do about it.

use crate::wit::diagnostics::{Diagnostic, Label, Position, Severity, Span, TextEdit};

impl Diagnostic {
    /// A finding with a code, `[a-z-]` or the name of a rule, and one sentence.
    pub fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.into(),
            message: message.into(),
            primary: None,
            related: Vec::new(),
            nodes: Vec::new(),
            help: String::new(),
            url: String::new(),
            fixes: Vec::new(),
        }
    }

    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    pub fn info(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, message)
    }

    pub fn at(mut self, place: &Span) -> Self {
        self.primary = Some(place.clone());
        self
    }

    /// Another place that matters, and why.
    pub fn label(mut self, place: &Span, text: impl Into<String>) -> Self {
        self.related.push(Label { at: place.clone(), text: text.into() });
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = text.into();
        self
    }

    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// An edit that would put it right.
    pub fn fix(mut self, place: &Span, replacement: impl Into<String>) -> Self {
        self.fixes.push(TextEdit { at: place.clone(), replacement: replacement.into() });
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Span {
    /// From one column of a line up to, not including, another; both count from 1.
    pub fn on_line(file: &str, line: u32, from: u32, to: u32) -> Self {
        Self { file: file.into(), start: Position { line, column: from }, end: Position { line, column: to } }
    }
}

/// The candidate that `word` was probably meant to be, case of ASCII letters aside: at most a third of its letters, and one in
/// any case, differ. None when nothing comes near.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters =
        |word: &str| -> Vec<char> { word.chars().map(|letter| letter.to_ascii_lowercase()).collect() };
    let word = letters(word);
    let limit = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &letters(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    // Cost is the product of the lengths, and no keyword is that long.
    if a.len().abs_diff(b.len()) > 3 || a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = above;
        above = row;
    }
    above[b.len()]
}

/// Names as messages list them: each in quotes, with commas between them.
pub fn quoted<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let words = ["target", "source", "readonly", "uid", "gid"];
        let check = |word, expected| assert_eq!(nearest(word, words), expected, "{word}");
        check("taget", Some("target"));
        check("tagret", Some("target"));
        check("TARGET", Some("target"));
        check("readonyl", Some("readonly"));
        check("uif", Some("uid"));
        check("completely-else", None);
        check("xyz", None);
        check("", None);
    }
}
