//! Joins physical lines to logical ones and remembers where each byte of them was written. Knows nothing of
//! instructions.

use kiln_sdk::wit::diagnostics::{Position, Span};
use std::ops::Range;

/// Longest physical line, in bytes, without its line end (§2.2).
pub const MAX_LINE_BYTES: usize = 65_535;

/// One physical line without its line end.
#[derive(Clone, Copy, Debug)]
pub struct Physical<'t> {
    /// As it stands in the file, `\r` included, `\n` not.
    pub raw: &'t str,
    /// Whether a `\n` followed.
    pub ended: bool,
    /// From 1.
    pub number: u32,
}

impl<'t> Physical<'t> {
    /// The line without `\r` at its end (§2.1).
    pub fn text(&self) -> &'t str {
        self.raw.trim_end_matches('\r')
    }

    /// What follows `#`, trimmed, if the line is a comment (§2.3).
    pub fn comment(&self) -> Option<&'t str> {
        self.text().trim_start().strip_prefix('#').map(str::trim)
    }
}

/// The physical lines of one text, in order.
pub struct Reader<'t> {
    rest: &'t str,
    number: u32,
    /// Lines over the limit, which were read all the same.
    pub too_long: Vec<u32>,
}

impl<'t> Reader<'t> {
    /// `first_line` is the number of the first line of `text`; a byte order mark is skipped (§2.1).
    pub fn new(text: &'t str, first_line: u32) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Reader { rest, number: first_line.saturating_sub(1), too_long: Vec::new() }
    }

    /// The number of the line read last.
    pub fn line(&self) -> u32 {
        self.number
    }

    /// The next line without taking it.
    pub fn peek(&self) -> Option<Physical<'t>> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n');
        Some(Physical {
            raw: &self.rest[..end.unwrap_or(self.rest.len())],
            ended: end.is_some(),
            number: self.number + 1,
        })
    }

    /// Takes the next line.
    pub fn take(&mut self) -> Option<Physical<'t>> {
        let line = self.peek()?;
        self.rest = &self.rest[line.raw.len() + usize::from(line.ended)..];
        self.number = line.number;
        if line.raw.len() > MAX_LINE_BYTES {
            self.too_long.push(line.number);
        }
        Some(line)
    }

    /// Joins the instruction that begins with `first`, which has been taken already and is no comment.
    ///
    /// Nothing for a blank line. Comment lines and blank lines inside are dropped (§2.7, §2.8).
    pub fn join(&mut self, first: Physical<'t>, escape: char) -> Option<Logical> {
        let stripped = first.text().trim_start();
        let (part, mut goes_on) = cut_continuation(stripped, escape);
        if !goes_on && part.is_empty() {
            return None;
        }
        let indent = first.text().len() - stripped.len();
        let column = first.text()[..indent].chars().count() as u32 + 1;
        let mut line = Logical {
            text: part.to_owned(),
            is_ascii: true,
            pieces: vec![Piece { start: 0, line: first.number, column }],
            first_line: first.number,
            last_line: first.number,
            blank_inside: false,
        };
        while goes_on {
            let Some(next) = self.take() else { break };
            line.last_line = next.number;
            if next.comment().is_some() {
                continue;
            }
            if next.text().trim_start().is_empty() {
                line.blank_inside = true;
                continue;
            }
            let (part, more) = cut_continuation(next.text(), escape);
            line.pieces.push(Piece { start: line.text.len(), line: next.number, column: 1 });
            line.text.push_str(part);
            goes_on = more;
        }
        line.is_ascii = line.text.is_ascii();
        Some(line)
    }
}

/// What is left of a physical line without its continuation mark, and whether there was one (§2.6).
///
/// Only one character before the mark is looked at, so three escapes in a row do not continue either.
fn cut_continuation(line: &str, escape: char) -> (&str, bool) {
    let Some(body) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else { return (line, false) };
    if body.ends_with(escape) { (line, false) } else { (body, true) }
}

/// Where a run of bytes of a logical line was written.
#[derive(Clone, Debug)]
struct Piece {
    start: usize,
    line: u32,
    column: u32,
}

/// One instruction as one line of text (§2.4–§2.10), here-documents excluded.
#[derive(Clone, Debug)]
pub struct Logical {
    /// Joined with nothing in between; leading white space of the first line is gone.
    pub text: String,
    /// Then a byte is a column.
    is_ascii: bool,
    pieces: Vec<Piece>,
    /// From 1.
    pub first_line: u32,
    /// The last line that was consumed, dropped lines included.
    pub last_line: u32,
    /// A blank line stood within (lint `NoEmptyContinuation`).
    pub blank_inside: bool,
}

impl Logical {
    /// Where the byte at `offset` was written. An `offset` past the end is the end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let at = self.pieces.partition_point(|piece| piece.start <= offset).max(1) - 1;
        let piece = &self.pieces[at];
        let characters = match self.is_ascii {
            true => offset - piece.start,
            false => self.text.get(piece.start..offset).unwrap_or_default().chars().count(),
        };
        Position { line: piece.line, column: piece.column + characters as u32 }
    }

    /// Where the bytes of `range` were written. An empty range is one column wide, so that it can be seen.
    pub fn span(&self, file: &str, range: Range<usize>) -> Span {
        let start = self.position(range.start);
        let last = self.text.get(range.clone()).and_then(|text| text.char_indices().next_back());
        let mut end = match last {
            // The end of the last character and not the begin of the next, which may be on another line.
            Some((index, _)) => self.position(range.start + index),
            None => start,
        };
        end.column += 1;
        Span { file: file.to_owned(), start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(text: &str) -> Vec<Logical> {
        let mut reader = Reader::new(text, 1);
        let mut lines = Vec::new();
        while let Some(first) = reader.take() {
            if first.comment().is_none() {
                lines.extend(reader.join(first, '\\'));
            }
        }
        lines
    }

    fn texts(text: &str) -> Vec<String> {
        logical(text).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn continuation_joins_with_nothing_between() {
        for (file, lines) in [
            ("RUN echo a\\\nb", vec!["RUN echo ab"]),
            ("RUN echo a \\\n  b", vec!["RUN echo a   b"]),
            ("RUN a \\  \t\n b\nRUN c", vec!["RUN a  b", "RUN c"]),
            ("foo \\\\\nbar", vec!["foo \\\\", "bar"]),
            ("foo \\\\\\\nbar", vec!["foo \\\\\\", "bar"]),
            ("RUN a \\", vec!["RUN a "]),
            ("RUN a \\\n# gone \\\n\n  \n b", vec!["RUN a  b"]),
            ("\\\nRUN a", vec!["RUN a"]),
            ("\u{feff}FROM a\r\nRUN b \\\r\n c\r\n", vec!["FROM a", "RUN b  c"]),
            ("  \tFROM a # not a comment", vec!["FROM a # not a comment"]),
            ("RUN 'a\\\n#b\n c'", vec!["RUN 'a c'"]),
        ] {
            assert_eq!(texts(file), lines, "{file:?}");
        }
    }

    #[test]
    fn blank_lines_inside_are_noted_and_counted() {
        let lines = logical("\nRUN a \\\n\n# x\n  b\nRUN c");
        assert!(lines[0].blank_inside && !lines[1].blank_inside);
        assert_eq!((lines[0].first_line, lines[0].last_line, lines[1].first_line), (2, 5, 6));
    }

    #[test]
    fn positions_survive_joining_and_count_characters() {
        let line = &logical("  RUN é \\\n\n   bad word")[0];
        let at = line.text.find("bad").unwrap();
        assert_eq!(line.span("f", at..at + 3).start, Position { line: 3, column: 4 });
        assert_eq!(line.span("f", at..at + 3).end, Position { line: 3, column: 7 });
        let accent = line.text.find('é').unwrap();
        assert_eq!(line.span("f", accent..accent + 2).start, Position { line: 1, column: 7 });
        assert_eq!(line.span("f", accent..accent + 2).end, Position { line: 1, column: 8 });
        let end = line.text.len();
        assert_eq!(line.position(end + 7), Position { line: 3, column: 12 });
    }

    #[test]
    fn a_line_over_the_limit_is_noted() {
        let text = format!("RUN {}\n{}\n", "a".repeat(MAX_LINE_BYTES - 4), "b".repeat(MAX_LINE_BYTES + 1));
        let mut reader = Reader::new(&text, 1);
        while reader.take().is_some() {}
        assert_eq!(reader.too_long, [2]);
    }
}
