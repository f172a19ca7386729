//! Groups lines into stages and reads FROM (§1, §9.1, §10.1). Expands nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};

use crate::arguments::unknown_flag;
use crate::parse::{Keywords, Line, OWN, Parsed};
use crate::words::{self, FlagWord};

/// A build file, cut into stages.
#[derive(Debug)]
pub struct File {
    /// The name that spans carry.
    pub name: String,
    pub escape: char,
    /// Value of the `check` directive and its line.
    pub check: Option<(String, u32)>,
    /// ARG lines before the first FROM.
    pub globals: Vec<Line>,
    pub stages: Vec<StageText>,
    /// The last stage of each name.
    by_name: BTreeMap<String, usize>,
}

/// One stage as written.
#[derive(Debug)]
pub struct StageText {
    /// In lower case; empty if it has none.
    pub name: String,
    pub from: From,
    pub lines: Vec<Line>,
}

/// `FROM [--platform=p] reference [AS name]`
#[derive(Debug)]
pub struct From {
    pub line: Line,
    pub platform: Option<FlagWord>,
    pub reference: Range<usize>,
    /// `AS` as written, and the name.
    pub name: Option<(Range<usize>, Range<usize>)>,
}

impl StageText {
    fn new(from: From) -> Self {
        let name =
            from.name.as_ref().map(|(_, name)| from.line.text(name).to_lowercase()).unwrap_or_default();
        StageText { name, from, lines: Vec::new() }
    }
}

impl File {
    /// The last stage of a name in any case (§9.3).
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(&name.to_lowercase()).copied()
    }

    /// Names of all stages that have one, in order.
    pub fn names(&self) -> Vec<String> {
        self.stages.iter().map(|stage| stage.name.clone()).filter(|name| !name.is_empty()).collect()
    }

    /// What people call a stage: its name, `stage-N`, or nothing when it is the only one (§9.2).
    pub fn display(&self, index: usize) -> String {
        match self.stages[index].name.as_str() {
            name if !name.is_empty() => name.to_owned(),
            _ if self.stages.len() == 1 => String::new(),
            _ => format!("stage-{index}"),
        }
    }
}

/// Groups what was parsed. Adds to `problems` what is wrong with the order of lines, with keywords and with FROM.
pub fn group(name: &str, parsed: Parsed, keywords: &Keywords, problems: &mut Vec<Diagnostic>) -> File {
    let mut file = File {
        name: name.to_owned(),
        escape: parsed.escape,
        check: parsed.directives.check,
        globals: Vec::new(),
        stages: Vec::new(),
        by_name: BTreeMap::new(),
    };
    let broken = !parsed.problems.is_empty();
    problems.extend(parsed.problems);
    let is_empty = parsed.lines.is_empty();
    let mut begun = false;
    for line in parsed.lines {
        match line.keyword.as_str() {
            "FROM" => {
                begun = true;
                match from(line, problems) {
                    Ok(from) => file.stages.push(StageText::new(from)),
                    // What follows belongs to a stage all the same.
                    Err(line) => file.stages.push(StageText::new(From {
                        reference: line.rest.clone(),
                        platform: None,
                        name: None,
                        line: *line,
                    })),
                }
            }
            keyword if !OWN.contains(&keyword) && keywords.get(keyword).is_none() => {
                problems.push(unknown_instruction(&line, keywords));
            }
            keyword => match file.stages.last_mut() {
                Some(stage) => stage.lines.push(line),
                None if keyword == "ARG" => file.globals.push(line),
                None => problems.push(
                    Diagnostic::error(
                        "instruction-before-from",
                        format!("{keyword} stands before the first FROM"),
                    )
                    .at(&line.keyword_span())
                    .help("begin with `FROM`; only ARG may stand before it"),
                ),
            },
        }
    }
    for (index, stage) in file.stages.iter().enumerate().filter(|(_, stage)| !stage.name.is_empty()) {
        file.by_name.insert(stage.name.clone(), index);
    }
    let start = Span {
        file: name.to_owned(),
        start: Position { line: 1, column: 0 },
        end: Position { line: 1, column: 0 },
    };
    if is_empty && !broken {
        problems.push(
            Diagnostic::error("no-instructions", format!("`{name}` has no instructions"))
                .at(&start)
                .help("begin with `FROM` and an image, or `FROM scratch`"),
        );
    } else if !begun && !broken && problems.is_empty() {
        problems.push(
            Diagnostic::error("no-stages", format!("`{name}` has no FROM, so there is nothing to build"))
                .at(&start)
                .help("add `FROM` and an image, or `FROM scratch`"),
        );
    }
    file
}

/// The error for a keyword that nobody handles.
pub fn unknown_instruction(line: &Line, keywords: &Keywords) -> Diagnostic {
    let written = line.written_keyword();
    if written.is_empty() {
        return Diagnostic::error(
            "unknown-instruction",
            "this line is continued, but there is no instruction on it",
        )
        .at(&line.whole())
        .help("remove it");
    }
    let help = match nearest(written, keywords.names()) {
        Some(near) => format!("write `{near}`"),
        None => "if it continues the line before, end that one with the escape character".to_owned(),
    };
    Diagnostic::error("unknown-instruction", format!("there is no instruction `{written}`"))
        .at(&line.keyword_span())
        .help(help)
}

fn from(line: Line, problems: &mut Vec<Diagnostic>) -> Result<From, Box<Line>> {
    let before = problems.len();
    let mut platform: Option<FlagWord> = None;
    for word in &line.flags {
        if word.name() != "platform" {
            problems.push(unknown_flag(&line, word, ["platform"].into_iter()));
        } else if word.value().is_none() {
            problems.push(
                Diagnostic::error("flag-without-value", "`--platform` needs a value")
                    .at(&line.span(&word.range))
                    .help("write `--platform=linux/amd64`, without a blank"),
            );
        } else if platform.is_some() {
            problems.push(
                Diagnostic::error("duplicate-flag", "`--platform` is given more than once")
                    .at(&line.span(&word.range))
                    .help("keep one of them"),
            );
        } else {
            platform = Some(word.clone());
        }
    }
    let found = words::blanks(&line.logical.text, line.rest.clone());
    let (reference, name) = match found.as_slice() {
        [reference] => (reference.clone(), None),
        [reference, word, name] if line.text(word).eq_ignore_ascii_case("as") => {
            if !is_stage_name(&line.text(name).to_lowercase()) {
                let message = format!("`{}` cannot be the name of a stage", line.text(name));
                problems.push(
                    Diagnostic::error("invalid-stage-name", message)
                        .at(&line.span(name))
                        .help("a name begins with a letter; letters, digits, `-`, `_` and `.` follow"),
                );
            }
            (reference.clone(), Some((word.clone(), name.clone())))
        }
        other => {
            let message = format!("FROM takes one argument or three, and here are {}", other.len());
            let place = match other.get(1) {
                Some(second) => line.span(&(second.start..line.rest.end)),
                None => line.arguments_span(),
            };
            problems.push(
                Diagnostic::error("wrong-argument-count", message)
                    .at(&place)
                    .help("write `FROM image` or `FROM image AS name`"),
            );
            return Err(Box::new(line));
        }
    };
    if problems.len() > before {
        return Err(Box::new(line));
    }
    Ok(From { line, platform, reference, name })
}

/// `[a-z][a-z0-9-_.]*`
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Place, parse, tests::keywords};

    fn read(text: &str) -> (File, Vec<String>) {
        let keywords = keywords();
        let parsed = parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords);
        let mut problems = Vec::new();
        let file = group("Dockerfile", parsed, &keywords, &mut problems);
        (file, problems.into_iter().map(|problem| problem.code).collect())
    }

    #[test]
    fn section_1_order_of_lines() {
        for (text, expected) in [
            ("", vec!["no-instructions"]),
            ("# x\n\n", vec!["no-instructions"]),
            ("ARG a\n", vec!["no-stages"]),
            ("RUN a\nFROM b", vec!["instruction-before-from"]),
            ("ARG a\nFROM b\nRUN c", vec![]),
            ("FROM b\nRUNN c\nCOYP d e", vec!["unknown-instruction", "unknown-instruction"]),
            ("FROM b\n\\\n", vec!["unknown-instruction"]),
        ] {
            assert_eq!(read(text).1, expected, "{text:?}");
        }
    }

    #[test]
    fn section_10_1_from() {
        for (text, expected) in [
            ("FROM a", vec![]),
            ("from a as b", vec![]),
            ("FROM --platform=linux/amd64 a AS b", vec![]),
            ("FROM", vec!["wrong-argument-count"]),
            ("FROM a b", vec!["wrong-argument-count"]),
            ("FROM a b c", vec!["wrong-argument-count"]),
            ("FROM a AS b c", vec!["wrong-argument-count"]),
            ("FROM a AS 1", vec!["invalid-stage-name"]),
            ("FROM a AS b/c", vec!["invalid-stage-name"]),
            ("FROM --platform a", vec!["flag-without-value"]),
            ("FROM --platfrom=x a", vec!["unknown-flag"]),
            ("FROM --platform=x --platform=y a", vec!["duplicate-flag"]),
        ] {
            assert_eq!(read(text).1, expected, "{text}");
        }
    }

    #[test]
    fn section_9_names_are_lower_case_and_the_last_one_counts() {
        let (file, _) = read("FROM a AS Build\nFROM b\nFROM c AS bUILD");
        assert_eq!(file.find("BUILD"), Some(2));
        assert_eq!(file.names(), ["build", "build"]);
        assert_eq!(file.display(1), "stage-1");
        assert_eq!(read("FROM a").0.display(0), "");
    }
}
