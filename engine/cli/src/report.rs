//! Diagnostics for people: what, where with the line and a caret, and what to do.

use std::fmt::Write as _;

use kiln_core::{Diagnostic, Severity, Span};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A text of a plugin or of a build file, with nothing that a terminal would act on.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// As [`harmless`], in one line: names of steps, cells of tables.
pub fn in_line(text: &str) -> String {
    harmless(text).replace(['\n', '\t'], " ")
}

/// Renders `diagnostic` with excerpts from the files that `source` knows, ending in a newline.
///
/// A range of several lines shows its first line; columns count Unicode scalar values, and control characters of the
/// excerpt are shown as spaces so that the caret stays below what it means.
pub fn render(diagnostic: &Diagnostic, source: &dyn Fn(&str) -> Option<String>, style: Style) -> String {
    let (word, colour) = match diagnostic.severity {
        Severity::Error => ("error", "1;31"),
        Severity::Warning => ("warning", "1;33"),
        Severity::Info => ("info", "1;34"),
        Severity::Hint => ("hint", "1;36"),
    };
    let head = match diagnostic.code.as_str() {
        "" => word.to_owned(),
        code => format!("{word}[{code}]"),
    };
    let head = harmless(&head);
    let message = harmless(&diagnostic.message);
    let mut text = format!("{}: {}\n", style.paint(colour, &head), style.paint("1", &message));
    if let Some(span) = &diagnostic.primary {
        excerpt(&mut text, span, "", source, colour, style);
    }
    for label in &diagnostic.related {
        excerpt(&mut text, &label.at, &label.text, source, "1;34", style);
    }
    for (index, line) in diagnostic.help.lines().enumerate() {
        let lead = if index == 0 { style.paint("1;32", "help") + ":" } else { "     ".to_owned() };
        let _ = writeln!(text, "{lead} {}", harmless(line));
    }
    if !diagnostic.url.is_empty() {
        let _ = writeln!(text, "see: {}", harmless(&diagnostic.url));
    }
    text
}

/// A reason of a frontend's in one line: whose it is, the sentence, and where it comes from.
pub fn reason(diagnostic: &Diagnostic) -> String {
    let whose = diagnostic.code.split_once('/').map_or(&*diagnostic.code, |(plugin, _)| plugin);
    let place = diagnostic.primary.as_ref().map(|at| format!(" ({}:{})", at.file, at.start.line));
    harmless(&format!("{whose}: {}{}\n", diagnostic.message, place.unwrap_or_default()))
}

/// Columns of a line that are shown.
const WIDEST: usize = 200;

fn excerpt(
    text: &mut String,
    span: &Span,
    label: &str,
    source: &dyn Fn(&str) -> Option<String>,
    colour: &str,
    style: Style,
) {
    let number = span.start.line.to_string();
    let margin = " ".repeat(number.len());
    let label = harmless(label);
    let _ = writeln!(text, "{margin}{} {}", style.paint("34", "-->"), harmless(&span.to_string()));
    let Some(line) = source(&span.file).and_then(|file| nth_line(&file, span.start.line)) else {
        if !label.is_empty() {
            let _ = writeln!(text, "{margin} = {label}");
        }
        return;
    };
    let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let length = shown.chars().count();
    let indent = shown.chars().take_while(|c| c.is_whitespace()).count();
    let (from, to) = match (span.start.column, span.end) {
        (0, _) => (indent, length),
        (column, end) if end.line == span.start.line && end.column > column => {
            (column as usize - 1, (end.column as usize - 1).min(length))
        }
        (column, end) if end.line > span.start.line || end.column == 0 => (column as usize - 1, length),
        (column, _) => (column as usize - 1, column as usize),
    };
    let from = from.min(length);
    // Of a very long line what is around the place is enough.
    let start = if length > WIDEST { from.saturating_sub(WIDEST / 4) } else { 0 };
    let shown: String = shown.chars().skip(start).take(WIDEST).collect();
    let (from, to) = (from - start, (to.saturating_sub(start)).min(WIDEST));
    let carets = "^".repeat(to.saturating_sub(from).max(1));
    let bar = style.paint("34", "|");
    let _ = writeln!(text, "{margin} {bar}");
    let _ = writeln!(text, "{} {bar} {}", style.paint("34", &number), shown.trim_end());
    let mark = if label.is_empty() { carets } else { format!("{carets} {label}") };
    let _ = writeln!(text, "{margin} {bar} {}{}", " ".repeat(from), style.paint(colour, &mark));
}

/// Lines of `file` around those of `span`, which are marked, between two rules.
pub fn surroundings(text: &mut String, file: &str, span: &Span) {
    const AROUND: u32 = 2;
    let rule = "-".repeat(20);
    let last = span.end.line.max(span.start.line);
    let _ = writeln!(text, "{rule}");
    for number in span.start.line.saturating_sub(AROUND).max(1)..=last.saturating_add(AROUND) {
        let Some(line) = nth_line(file, number) else { break };
        let marked = (span.start.line..=last).contains(&number);
        let shown: String = line.chars().take(WIDEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = format!("{number:>4} | {} {shown}", if marked { ">>>" } else { "   " });
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{rule}");
}

fn nth_line(file: &str, line: u32) -> Option<String> {
    let file = file.strip_prefix('\u{feff}').unwrap_or(file);
    file.split('\n').nth(line.checked_sub(1)? as usize).map(|line| line.trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Position;

    const PLAIN: Style = Style { colour: false };

    #[test]
    fn what_a_plugin_says_does_not_reach_the_terminal_as_a_command() {
        let found = Diagnostic::error("p/x\x1b", "a\x1b[2Jb\r\0")
            .help("one\n\x1b]0;two\x07")
            .at(Some(Span { file: "D\x1b[1m".into(), ..span(1, 1, 2) }));
        let text = render(&found, &|_| None, PLAIN);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains("[2Jb") && text.contains("two"), "{text}");
    }

    fn span(line: u32, from: u32, to: u32) -> Span {
        Span {
            file: "Dockerfile".into(),
            start: Position { line, column: from },
            end: Position { line, column: to },
        }
    }

    fn file(name: &str) -> Option<String> {
        (name == "Dockerfile").then(|| "FROM a\n\tCOPY --from=b x y\n".to_owned())
    }

    #[test]
    fn a_caret_stands_below_what_is_wrong() {
        let diagnostic = Diagnostic::error("unknown-stage", "no stage named `b`")
            .at(Some(span(2, 14, 15)))
            .help("write `--from=a`");
        assert_eq!(
            render(&diagnostic, &file, PLAIN),
            "error[unknown-stage]: no stage named `b`\n --> Dockerfile:2:14\n  |\n2 |  COPY --from=b x y\n  |              ^\n\
             help: write `--from=a`\n"
        );
    }

    #[test]
    fn a_whole_line_is_marked_without_its_indentation() {
        let diagnostic = Diagnostic::warning("", "odd").at(Some(span(2, 0, 0)));
        assert!(
            render(&diagnostic, &file, PLAIN).ends_with("2 |  COPY --from=b x y\n  |  ^^^^^^^^^^^^^^^^^\n")
        );
    }

    #[test]
    fn of_a_very_long_line_only_a_part_is_shown() {
        let long = |_: &str| Some(format!("RUN {}here{}", "a".repeat(1_000_000), "b".repeat(1_000_000)));
        let mut at = span(1, 1_000_005, 1_000_009);
        let text = render(&Diagnostic::error("x", "y").at(Some(at.clone())), &long, PLAIN);
        assert!(text.len() < 700 && text.contains("here") && text.contains(" ^^^^\n"), "{text}");
        at.start.column = 0;
        assert!(render(&Diagnostic::error("x", "y").at(Some(at)), &long, PLAIN).len() < 700);
    }

    #[test]
    fn places_beyond_the_file_do_not_matter() {
        for at in [span(9, 1, 2), span(1, 400, 500), span(0, 0, 0)] {
            assert!(render(&Diagnostic::error("x", "y").at(Some(at)), &file, PLAIN).contains("Dockerfile"));
        }
    }
}
