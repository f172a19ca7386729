//! Cuts the text of a build file into instructions (§2, §4, §6). Knows keywords only as names and shapes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};
use kiln_sdk::wit::instruction_types::{Descriptor, HeredocForm};

use crate::directives::{DirectiveError, Directives};
use crate::heredoc::{self, Heredoc};
use crate::json;
use crate::lines::{Logical, MAX_LINE_BYTES, Reader};
use crate::words::{self, FlagWord};

/// The instructions that plugins handle, by keyword.
#[derive(Debug, Default)]
pub struct Keywords {
    by_name: BTreeMap<String, Descriptor>,
}

/// The instructions that are this frontend's own.
pub const OWN: [&str; 3] = ["ARG", "FROM", "ONBUILD"];

impl Keywords {
    pub fn new(descriptors: Vec<Descriptor>) -> Self {
        Keywords { by_name: descriptors.into_iter().map(|it| (it.keyword.clone(), it)).collect() }
    }

    /// Of a keyword in upper case.
    pub fn get(&self, keyword: &str) -> Option<&Descriptor> {
        self.by_name.get(keyword)
    }

    /// All keywords, this frontend's own included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str).chain(OWN)
    }
}

/// Where a text comes from, for messages.
#[derive(Clone, Debug)]
pub struct Place {
    pub file: Rc<str>,
    /// Everything in the text is reported here: for triggers, which stand in no file of this build (§16.4).
    pub fixed: Option<Span>,
}

/// One instruction of a build file.
#[derive(Clone, Debug)]
pub struct Line {
    pub logical: Logical,
    place: Place,
    /// In upper case.
    pub keyword: String,
    /// Parts of `logical.text`.
    pub keyword_range: Range<usize>,
    pub flags: Vec<FlagWord>,
    pub rest: Range<usize>,
    pub heredocs: Vec<Heredoc>,
    /// Comments since the instruction before (§2.11), without `#`.
    pub comments: Vec<String>,
    pub last_line: u32,
}

impl Line {
    /// Reads `text` as keyword, flags and the rest.
    fn cut(logical: Logical, place: Place, escape: char) -> Self {
        let (keyword_range, rest) = words::keyword(&logical.text);
        let (flags, rest) = words::flags(&logical.text, rest, escape);
        Line {
            keyword: logical.text[keyword_range.clone()].to_uppercase(),
            last_line: logical.last_line,
            keyword_range,
            flags,
            rest,
            heredocs: Vec::new(),
            comments: Vec::new(),
            logical,
            place,
        }
    }

    pub fn text(&self, range: &Range<usize>) -> &str {
        &self.logical.text[range.clone()]
    }

    /// Flags excluded, trimmed.
    pub fn arguments(&self) -> &str {
        self.text(&self.rest)
    }

    /// The keyword as written.
    pub fn written_keyword(&self) -> &str {
        self.text(&self.keyword_range)
    }

    pub fn span(&self, range: &Range<usize>) -> Span {
        match &self.place.fixed {
            Some(span) => span.clone(),
            None => self.logical.span(&self.place.file, range.clone()),
        }
    }

    pub fn keyword_span(&self) -> Span {
        self.span(&self.keyword_range)
    }

    /// The arguments, or the keyword when there are none.
    pub fn arguments_span(&self) -> Span {
        if self.rest.is_empty() { self.keyword_span() } else { self.span(&self.rest) }
    }

    /// From the first line through the last, here-documents included (§2.10).
    pub fn whole(&self) -> Span {
        match &self.place.fixed {
            Some(span) => span.clone(),
            None => Span {
                file: String::from(&*self.place.file),
                start: self.logical.position(0),
                end: Position { line: self.last_line, column: 0 },
            },
        }
    }

    /// The body of a here-document.
    pub fn body_span(&self, heredoc: &Heredoc) -> Span {
        match &self.place.fixed {
            Some(span) => span.clone(),
            None => Span {
                file: String::from(&*self.place.file),
                start: Position { line: heredoc.first_line, column: 1 },
                end: Position { line: heredoc.end_line, column: 1 },
            },
        }
    }

    /// The instruction after ONBUILD (§16.1), as if it stood alone at its place.
    pub fn nested(&self, escape: char) -> Line {
        let text = &self.logical.text;
        // ONBUILD has no flags of its own: what looks like one belongs to no instruction.
        let start = self.flags.first().map_or(self.rest.start, |flag| flag.range.start);
        let end = self.rest.end.max(start);
        let (keyword, _) = words::keyword(&text[start..end]);
        let keyword_range = start + keyword.start..start + keyword.end;
        let (flags, rest) = words::flags(text, keyword_range.end..end, escape);
        Line {
            keyword: text[keyword_range.clone()].to_uppercase(),
            keyword_range,
            flags,
            rest,
            ..self.clone()
        }
    }
}

/// Instructions in one file. Ten times as many as anybody was seen to write.
const MAX_INSTRUCTIONS: usize = 30_000;

/// Comments in a row of which anything is kept.
const MAX_COMMENTS: usize = 1_000;

/// Code of the finding that a file has too many instructions; then the rest of it was not read.
pub const TOO_MANY: &str = "too-many-instructions";

/// What could be read of a text.
#[derive(Debug)]
pub struct Parsed {
    pub lines: Vec<Line>,
    pub directives: Directives,
    pub escape: char,
    pub problems: Vec<Diagnostic>,
}

/// Cuts `text`, which begins on line `first_line` of its file.
///
/// Directives are looked for when `escape` is not given. What is wrong is in `problems`, and the lines that could be
/// read are there all the same.
pub fn parse(
    text: &str,
    place: &Place,
    first_line: u32,
    escape: Option<char>,
    keywords: &Keywords,
) -> Parsed {
    let mut reader = Reader::new(text, first_line);
    let mut parsed = Parsed {
        lines: Vec::new(),
        directives: Directives::default(),
        escape: escape.unwrap_or('\\'),
        problems: Vec::new(),
    };
    let whole_line = |line| match &place.fixed {
        Some(span) => span.clone(),
        None => Span {
            file: String::from(&*place.file),
            start: Position { line, column: 0 },
            end: Position { line, column: 0 },
        },
    };
    let mut comments = Vec::new();
    while let Some(first) = reader.take() {
        if escape.is_none() {
            match parsed.directives.take(&first) {
                Ok(false) => {}
                Ok(true) => {
                    parsed.escape = parsed.directives.escape.unwrap_or(parsed.escape);
                    continue;
                }
                Err(error) => {
                    parsed.problems.push(bad_directive(&error).at(&whole_line(first.number)));
                    continue;
                }
            }
        }
        if let Some(comment) = first.comment() {
            if comment.is_empty() {
                comments.clear();
            } else if comments.len() < MAX_COMMENTS {
                comments.push(comment.to_owned());
            }
            continue;
        }
        let Some(logical) = reader.join(first, parsed.escape) else { continue };
        if parsed.lines.len() == MAX_INSTRUCTIONS {
            let message = format!("the file has more than {MAX_INSTRUCTIONS} instructions");
            let problem = Diagnostic::error(TOO_MANY, message).at(&whole_line(logical.first_line));
            // Nothing else that is wrong matters.
            parsed.problems = vec![problem];
            return parsed;
        }
        let mut line = Line::cut(logical, place.clone(), parsed.escape);
        line.comments = std::mem::take(&mut comments);
        if takes_heredocs(&line, parsed.escape, keywords) {
            for operator in heredoc::operators(&line.logical.text) {
                match heredoc::body(operator, &mut reader) {
                    Ok(heredoc) => line.heredocs.push(heredoc),
                    Err(operator) => parsed.problems.push(unterminated(&line, &operator)),
                }
            }
            line.last_line = reader.line();
        }
        parsed.lines.push(line);
    }
    for number in reader.too_long {
        let message = format!("this line is longer than {MAX_LINE_BYTES} bytes");
        parsed.problems.push(
            Diagnostic::error("line-too-long", message)
                .at(&whole_line(number))
                .help("break it with a continuation, or put the text into a file and COPY it"),
        );
    }
    parsed
}

/// Whether `<<` means something in a line (§6.1).
fn takes_heredocs(line: &Line, escape: char, keywords: &Keywords) -> bool {
    if !line.logical.text.contains("<<") {
        return false;
    }
    if line.keyword == "ONBUILD" {
        let nested = line.nested(escape);
        return nested.keyword != "ONBUILD" && takes_heredocs(&nested, escape, keywords);
    }
    let Some(descriptor) = keywords.get(&line.keyword) else { return false };
    let is_json = || descriptor.form.json && json::read(line.arguments()) != json::Array::NotArray;
    !matches!(descriptor.heredocs, HeredocForm::Refused) && !is_json()
}

fn bad_directive(error: &DirectiveError) -> Diagnostic {
    match error {
        DirectiveError::Repeated(name) => {
            Diagnostic::error("repeated-directive", format!("the directive `{name}` is given more than once"))
                .help("keep one of the lines")
        }
        DirectiveError::BadEscape(value) => {
            Diagnostic::error("bad-directive", format!("`{value}` cannot be the escape character"))
                .help("write `# escape=\\` or ``# escape=` ``")
        }
    }
}

fn unterminated(line: &Line, operator: &heredoc::Operator) -> Diagnostic {
    let name = &operator.name;
    let at = line.logical.text.find(&operator.written).map(|start| start..start + operator.written.len());
    let place = at.map_or_else(|| line.whole(), |range| line.span(&range));
    let dash = if operator.strip_tabs { ", tabs before it aside" } else { "" };
    Diagnostic::error("unterminated-heredoc", format!("the here-document `{name}` does not end"))
        .at(&place)
        .help(format!("end it with a line that holds `{name}` and nothing else{dash}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use kiln_sdk::wit::instruction_types::{ArgumentForm, Split};

    pub fn keywords() -> Keywords {
        let descriptor = |keyword: &str, heredocs| Descriptor {
            keyword: keyword.to_owned(),
            summary: String::new(),
            usage: String::new(),
            form: ArgumentForm { split: Split::Whole, json: true, expand: false },
            heredocs,
            flag_specs: Vec::new(),
            traits: Vec::new(),
        };
        Keywords::new(vec![
            descriptor("RUN", HeredocForm::Verbatim),
            descriptor("COPY", HeredocForm::Expanded),
            descriptor("CMD", HeredocForm::Refused),
        ])
    }

    fn read(text: &str) -> Parsed {
        parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords())
    }

    fn codes(text: &str) -> Vec<String> {
        read(text).problems.into_iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn section_2_11_comments_attach_to_the_next_instruction() {
        let parsed = read("# syntax=x\n# one\n\n#two \n#\n# three\n\nFROM a\nRUN b\n");
        assert_eq!(parsed.lines[0].comments, ["three"]);
        assert!(parsed.lines[1].comments.is_empty());
    }

    #[test]
    fn section_6_bodies_belong_to_their_instruction() {
        let parsed = read(
            "RUN cat <<A <<B\na\nA\nRUN b\nB\nCOPY <<X /x\n# no comment \\\nX\nCMD cat <<EOF\nRUN [\"<<Z\"]\n",
        );
        let found: Vec<_> = parsed
            .lines
            .iter()
            .map(|line| {
                (
                    line.keyword.as_str(),
                    line.heredocs.iter().map(|it| it.content.as_str()).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("RUN", vec!["a\n", "RUN b\n"]),
                ("COPY", vec!["# no comment \\\n"]),
                ("CMD", vec![]),
                ("RUN", vec![])
            ]
        );
        let whole = parsed.lines[0].whole();
        assert_eq!((whole.start.line, whole.end.line), (1, 5));
    }

    #[test]
    fn section_6_1_heredocs_work_under_onbuild() {
        let parsed = read("ONBUILD RUN --x=y <<EOF\nbody\nEOF\nONBUILD ONBUILD RUN <<EOF\nCMD x");
        assert_eq!(parsed.lines.len(), 3);
        assert_eq!(parsed.lines[0].heredocs[0].content, "body\n");
        let nested = parsed.lines[0].nested('\\');
        assert_eq!((nested.keyword.as_str(), nested.arguments(), nested.flags.len()), ("RUN", "<<EOF", 1));
    }

    #[test]
    fn section_24_lexical_errors_are_found_together() {
        let text = format!("# escape=x\n# escape=`\nFROM a\nRUN {}\nRUN <<EOF\n", "x".repeat(70_000));
        assert_eq!(codes(&text), ["bad-directive", "unterminated-heredoc", "line-too-long"]);
        assert_eq!(codes("# escape=`\n# escape=`\n"), ["repeated-directive"]);
    }

    #[test]
    fn section_3_2_the_escape_directive_takes_effect() {
        let parsed = read("# escape=`\nFROM a`\nb\nRUN c \\\nRUN d");
        let texts: Vec<_> = parsed.lines.iter().map(|line| line.logical.text.as_str()).collect();
        assert_eq!(texts, ["FROM ab", "RUN c \\", "RUN d"]);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let parts = [
            "RUN", "COPY", "ONBUILD", " ", "\\", "\n", "<<", "E", "#", "--a=", "\"", "é", "\r\n", "[", "]",
            "\t",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize
        };
        for _ in 0..5_000 {
            let text: String = (0..random() % 40).map(|_| parts[random() % parts.len()]).collect();
            for line in read(&text).lines {
                let _ = (
                    line.whole(),
                    line.arguments_span(),
                    line.keyword_span(),
                    line.nested('\\').arguments_span(),
                );
            }
        }
    }
}
