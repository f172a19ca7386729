//! Places in the file, and findings that name them.

use std::ops::Range;

use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};

/// The text of a file, by the name that messages give it.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Text<'_> {
    pub fn span(&self, range: &Range<usize>) -> Span {
        Span { file: self.name.to_owned(), start: self.position(range.start), end: self.position(range.end) }
    }

    fn position(&self, offset: usize) -> Position {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = before.rsplit('\n').next().unwrap_or("");
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position { line: number(before.matches('\n').count() + 1), column: number(line.chars().count() + 1) }
    }

    pub fn error(&self, code: &str, message: impl Into<String>, at: &Range<usize>) -> Diagnostic {
        Diagnostic::error(code, message).at(&self.span(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = Text { name: "f", text: "a\nüb = c\n" };
        let span = text.span(&(5..6));
        assert_eq!((span.start.line, span.start.column, span.end.column), (2, 3, 4));
        assert_eq!(text.span(&(0..99)).end.line, 3);
    }
}
