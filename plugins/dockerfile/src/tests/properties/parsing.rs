//! Build files as lines (§2–§6): nothing is lost, nothing points out of the file, and nothing grows.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use kiln_sdk::plugin::Instruction;
use kiln_sdk::wit::diagnostics::Span;

use super::texts::build_file;
use crate::arguments;
use crate::onbuild;
use crate::parse::{Keywords, Line, Parsed, Place, parse};
use crate::scope::StageScope;

fn keywords() -> Keywords {
    Keywords::new(kiln_instructions::Instructions::instructions())
}

fn read(text: &str) -> Parsed {
    parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords())
}

/// The physical lines as people see them.
fn physical(text: &str) -> Vec<&str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

/// Places are in the file: columns count characters and may be one behind the last; column 0 is the whole line.
fn lies_inside(span: &Span, lines: &[&str]) -> Result<(), TestCaseError> {
    let (start, end) = (span.start, span.end);
    prop_assert!((start.line, start.column) <= (end.line, end.column.max(start.column)), "{:?}", span);
    for place in [start, end] {
        let line = lines.get(place.line as usize - 1);
        prop_assert!(line.is_some(), "{:?} of {} lines", span, lines.len());
        prop_assert!(place.column as usize <= line.unwrap().chars().count() + 2, "{:?} in {:?}", span, line);
    }
    Ok(())
}

fn ranges(line: &Line) -> Vec<std::ops::Range<usize>> {
    let mut ranges = vec![line.keyword_range.clone(), line.rest.clone()];
    for flag in &line.flags {
        ranges.extend([flag.range.clone(), flag.name_range(), flag.value_range()]);
    }
    ranges
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_line_belongs_to_one_instruction_or_means_nothing(text in build_file()) {
        let lines = physical(&text);
        let parsed = read(&text);
        let mut next = 1;
        let mut counted = 0;
        for line in &parsed.lines {
            let first = line.logical.first_line;
            prop_assert!(first >= next && line.last_line >= first && line.last_line as usize <= lines.len());
            for number in next..first {
                let skipped = lines[number as usize - 1].trim_end_matches('\r').trim_start();
                prop_assert!(skipped.is_empty() || skipped.starts_with('#') || skipped.starts_with(parsed.escape),
                    "line {} is lost: {:?}", number, skipped);
            }
            next = line.last_line + 1;
            counted += line.logical.text.len();
            counted += line.heredocs.iter().map(|heredoc| heredoc.content.len()).sum::<usize>();
            counted += line.comments.iter().map(String::len).sum::<usize>();
        }
        prop_assert!(counted <= text.len());
        prop_assert!(parsed.problems.len() <= 2 * lines.len() + text.matches("<<").count());
    }

    #[test]
    fn everything_that_is_said_points_into_the_file(text in build_file()) {
        let lines = physical(&text);
        let parsed = read(&text);
        for problem in &parsed.problems {
            if let Some(span) = &problem.primary {
                lies_inside(span, &lines)?;
            }
        }
        for line in &parsed.lines {
            lies_inside(&line.whole(), &lines)?;
            for range in ranges(line).into_iter().chain(ranges(&line.nested(parsed.escape))) {
                prop_assert!(line.logical.text.get(range.clone()).is_some(), "{:?} of {:?}", range, line.logical.text);
                lies_inside(&line.span(&range), &lines)?;
            }
            for heredoc in &line.heredocs {
                lies_inside(&line.body_span(heredoc), &lines)?;
                prop_assert!(text.contains(&heredoc.content));
            }
        }
    }

    #[test]
    fn statements_point_into_the_file_and_hold_what_is_there(text in build_file(), expand in any::<bool>()) {
        let lines = physical(&text);
        let parsed = read(&text);
        let keywords = keywords();
        let scope = StageScope::default();
        for line in &parsed.lines {
            let Some(descriptor) = keywords.get(&line.keyword) else { continue };
            let variables = if expand { Some(&scope as &dyn crate::expand::Variables) } else { None };
            let cut = arguments::cut(line, descriptor, parsed.escape, variables);
            let statement = cut.statement;
            let flags = statement.flag_values.iter().flat_map(|flag| &flag.values);
            for argument in statement.arguments.iter().chain(flags) {
                lies_inside(&argument.at, &lines)?;
                prop_assert!(argument.heredoc.is_none_or(|index| (index as usize) < statement.heredocs.len()));
                prop_assert!(argument.value.len() + argument.key.len() <= line.logical.text.len() + "true".len());
            }
            for argument in &statement.arguments {
                prop_assert!(line.logical.text.contains(&argument.original));
            }
            for place in cut.problems.iter().filter_map(|problem| problem.primary.as_ref()) {
                lies_inside(place, &lines)?;
            }
        }
    }

    #[test]
    fn a_stored_trigger_is_read_as_the_instruction_that_was_written(
        begin in select(vec!["RUN ", "run --network=none ", "COPY --chown=1 a ", "ADD -- ", "CMD ", "ENV a=", "  LABEL a="]),
        words in vec(select(vec!["a", " ", "\\\\b", "\\ ", "'b c'", "\"d\"", "é", "\\\n", "\\\n# c\n", "b#", "<<E ", "<<-'F' "]), 0..8),
        // An escape at the end of what is stored would continue the line, in the reference too.
        end in select(vec![" x", "y"]),
        body in select(vec!["", "b\n", "# c\n\\\n\te\n"]),
    ) {
        let keywords = keywords();
        let line: String = words.concat();
        let text = format!("FROM scratch\nONBUILD {begin}{line}{end}\n");
        let operators = crate::heredoc::operators(&format!("{begin}{line}{end}").replace("\\\n# c\n", "").replace("\\\n", ""));
        let bodies: String = operators.iter().map(|operator| format!("{body}{}\n", operator.name)).collect();
        let text = text + &bodies;
        let parsed = read(&text);
        let line = &parsed.lines[1];
        let mut problems = Vec::new();
        onbuild::judge(line, '\\', &keywords, &mut problems);
        prop_assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let nested = line.nested('\\');
        let trigger = onbuild::trigger(&onbuild::stored(line), &line.whole(), &keywords);
        let trigger = trigger.map_err(|problem| TestCaseError::fail(problem.message))?;
        prop_assert_eq!(&trigger.keyword, &nested.keyword);
        prop_assert_eq!(trigger.arguments(), nested.arguments());
        prop_assert_eq!(trigger.flags.len(), nested.flags.len());
        let bodies = |line: &Line| line.heredocs.iter().map(|it| it.content.clone()).collect::<Vec<_>>();
        prop_assert_eq!(bodies(&trigger), bodies(&nested));
    }
}
