//! ONBUILD: what is stored when it is written, and what is read when it fires (§16).

use std::rc::Rc;

use kiln_sdk::wit::diagnostics::{Diagnostic, Severity, Span};
use kiln_sdk::wit::instruction_types::Statement;

use crate::arguments::{self, LEXICAL};
use crate::parse::{Keywords, Line, OWN, Place, parse};
use crate::scope;
use crate::stages::unknown_instruction;

/// The text that goes into the configuration: all after the keyword, bodies of here-documents included (§16.1).
pub fn stored(line: &Line) -> String {
    let mut text = line.logical.text[line.keyword_range.end..].trim_start().to_owned();
    for heredoc in &line.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.operator.name);
    }
    text
}

/// Reads a stored text as the one instruction that it has to be (§16.2, §16.5), reported at `at`.
///
/// # Errors
///
/// It is not one instruction, or one that may not be a trigger.
pub fn trigger(text: &str, at: &Span, keywords: &Keywords) -> Result<Line, Diagnostic> {
    let wrong = |what: String| {
        Diagnostic::error("bad-trigger", format!("the base image has the trigger `{text}`, {what}"))
            .at(at)
            .help("the base image has to be mended, or another one used")
    };
    let place = Place { file: Rc::from(at.file.as_str()), fixed: Some(at.clone()) };
    let parsed = parse(text, &place, 1, Some('\\'), keywords);
    if let Some(problem) = parsed.problems.into_iter().next() {
        return Err(wrong(format!("and {}", problem.message)));
    }
    let Ok([line]) = <[Line; 1]>::try_from(parsed.lines) else {
        return Err(wrong("which is not one instruction".to_owned()));
    };
    if !may_be_nested(&line, keywords) {
        return Err(wrong(format!("and {} cannot be one", line.keyword)));
    }
    if line.keyword != "ARG" && keywords.get(&line.keyword).is_none() {
        return Err(wrong(format!("and there is no instruction `{}`", line.written_keyword())));
    }
    Ok(line)
}

fn may_be_nested(line: &Line, keywords: &Keywords) -> bool {
    let refuses = |word: &String| word == "no-on-build";
    !matches!(line.keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER")
        && !keywords.get(&line.keyword).is_some_and(|descriptor| descriptor.traits.iter().any(refuses))
}

/// Judges an ONBUILD line where it is written. Gives the statement of the nested instruction for its own judge.
///
/// What would fail only when the trigger fires is a warning: the file at hand can be built (§16.1).
pub fn judge(
    line: &Line,
    escape: char,
    keywords: &Keywords,
    problems: &mut Vec<Diagnostic>,
) -> Option<Statement> {
    // ONBUILD has none of its own.
    if let Some(flag) = line.flags.first() {
        problems.push(arguments::unknown_flag(line, flag, std::iter::empty()));
        return None;
    }
    let nested = line.nested(escape);
    if nested.keyword.is_empty() || line.rest.is_empty() {
        problems.push(
            Diagnostic::error("wrong-argument-count", "ONBUILD needs an instruction")
                .at(&line.keyword_span())
                .help("write `ONBUILD RUN …`, for example"),
        );
        return None;
    }
    if !may_be_nested(&nested, keywords) {
        problems.push(
            Diagnostic::error("bad-onbuild", format!("{} may not come after ONBUILD", nested.keyword))
                .at(&nested.keyword_span())
                .help("write it in the files that are based on this image"),
        );
        return None;
    }
    if OWN.contains(&nested.keyword.as_str()) {
        if let Err(problem) = scope::declared(&nested, escape) {
            problems.push(when_fired(problem));
        }
        return None;
    }
    let Some(descriptor) = keywords.get(&nested.keyword) else {
        problems.push(when_fired(unknown_instruction(&nested, keywords)));
        return None;
    };
    let cut = arguments::cut(&nested, descriptor, escape, None);
    if cut.problems.is_empty() {
        return Some(cut.statement);
    }
    problems.extend(cut.problems.into_iter().map(when_fired));
    None
}

/// A problem that only builds based on this one will have, unless it is one of the text itself.
pub fn when_fired(mut problem: Diagnostic) -> Diagnostic {
    let rule = problem.code.rsplit('/').next().unwrap_or_default();
    if problem.severity == Severity::Error && !LEXICAL.contains(&rule) {
        problem.severity = Severity::Warning;
        problem.message = format!("builds based on this one will fail: {}", problem.message);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::tests::keywords;

    fn line(text: &str) -> Line {
        let place = Place { file: "Dockerfile".into(), fixed: None };
        parse(text, &place, 1, None, &keywords()).lines.remove(0)
    }

    #[test]
    fn section_16_1_the_text_is_stored_as_written() {
        assert_eq!(stored(&line("onbuild   RUN  a \\\n  b ")), "RUN  a   b ");
        assert_eq!(stored(&line("ONBUILD RUN <<A <<B\na\nA\nB\n")), "RUN <<A <<B\na\nA\nB");
        assert_eq!(stored(&line("ONBUILD --x RUN a")), "--x RUN a");
    }

    #[test]
    fn section_16_5_a_trigger_is_one_instruction() {
        let at = Span::on_line("Dockerfile", 3, 1, 5);
        let read = |text| trigger(text, &at, &keywords());
        let found = read("RUN <<A\nx\nA").unwrap();
        assert_eq!((found.heredocs.len(), found.whole()), (1, at.clone()));
        assert!(read("ARG x").is_ok());
        for text in ["", "RUN a\nRUN b", "ONBUILD RUN a", "FROM x", "MAINTAINER x", "NOPE x", "RUN <<A\nx"] {
            assert_eq!(read(text).unwrap_err().code, "bad-trigger", "{text}");
        }
    }

    #[test]
    fn section_16_1_nesting_is_judged_where_it_is_written() {
        for (text, severity) in [
            ("ONBUILD", Some(Severity::Error)),
            ("ONBUILD --x", Some(Severity::Error)),
            ("ONBUILD --x RUN y", Some(Severity::Error)),
            ("ONBUILD FROM x", Some(Severity::Error)),
            ("ONBUILD MAINTAINER x", Some(Severity::Error)),
            ("ONBUILD CMD [1]", Some(Severity::Error)),
            ("ONBUILD --x RUN y", Some(Severity::Error)),
            ("ONBUILD RUNN x", Some(Severity::Warning)),
            ("ONBUILD RUN --x y", Some(Severity::Warning)),
            ("ONBUILD ARG", Some(Severity::Warning)),
            ("ONBUILD RUN x", None),
        ] {
            let mut problems = Vec::new();
            judge(&line(text), '\\', &keywords(), &mut problems);
            assert_eq!(problems.first().map(|problem| problem.severity), severity, "{text}");
        }
    }
}
