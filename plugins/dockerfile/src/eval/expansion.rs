//! Reads the text that an instruction asks to be read in its place.

use std::rc::Rc;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::instruction_types::{SourceText, Statement};

use super::Evaluation;
use crate::allowance;
use crate::arguments;
use crate::checks;
use crate::onbuild;
use crate::parse::{Line, OWN, Place, parse};
use crate::scope;
use crate::stages::unknown_instruction;

/// How deep text may ask for more.
const MAX_DEPTH: usize = 8;

/// How many texts one stage may bring in: eight levels of a few each come to more than anybody can wait for.
const MAX_TEXTS: usize = 1_000;

impl Evaluation<'_, '_> {
    /// Reads `text` as lines of this stage, after the line `statement`.
    pub(super) fn expansion(&mut self, text: &SourceText, statement: &Statement) {
        if let Some(problem) = self.too_much(text, statement) {
            return self.findings.add(problem, None);
        }
        // A trigger stands in no file of this build, and neither does what it brings along (§16.4).
        let is_triggered = !self.title_prefix.is_empty() && text.file == statement.at.file;
        let fixed = is_triggered.then(|| statement.at.clone());
        let place = Place { file: Rc::from(text.file.as_str()), fixed };
        let escape = self.around.escape;
        let parsed = parse(&text.text, &place, text.first_line.max(1), Some(escape), self.around.keywords);
        self.findings.enter(&statement.at);
        self.findings.extend(parsed.problems);
        let mut lines = parsed.lines;
        self.judge(&mut lines);
        self.depth += 1;
        self.lines(&lines);
        self.depth -= 1;
        self.findings.leave();
    }

    fn too_much(&mut self, text: &SourceText, statement: &Statement) -> Option<Diagnostic> {
        let refuse = |message: String, help: &str| {
            Some(Diagnostic::error("expansion-too-deep", message).at(&statement.at).help(help))
        };
        if self.depth == MAX_DEPTH {
            let message = format!("text is read in more than {MAX_DEPTH} levels deep");
            return refuse(message, "break the circle, or nest less");
        }
        self.expansions += 1;
        if self.expansions > MAX_TEXTS {
            let message = format!("more than {MAX_TEXTS} texts are read into this stage");
            return refuse(message, "break the circle, or put several into one");
        }
        if !self.state.scope.allowance.spend(text.text.len()) {
            return Some(allowance::exceeded(&statement.at));
        }
        None
    }

    /// Judges the grammar of lines that were not in the build file, and takes those out that are wrong: what they would
    /// say when they are applied is said already.
    fn judge(&mut self, lines: &mut Vec<Line>) {
        let escape = self.around.escape;
        let keywords = self.around.keywords;
        let mut statements = Vec::new();
        let mut nested = Vec::new();
        lines.retain(|line| {
            let mut problems = Vec::new();
            match line.keyword.as_str() {
                "FROM" => problems.push(
                    Diagnostic::error(
                        "from-in-expansion",
                        "a stage cannot begin within text that is read in",
                    )
                    .at(&line.keyword_span())
                    .help("put the stage into the build file"),
                ),
                "ARG" => problems.extend(scope::declared(line, escape).err()),
                "ONBUILD" => nested.extend(onbuild::judge(line, escape, keywords, &mut problems)),
                keyword => match keywords.get(keyword) {
                    Some(descriptor) => {
                        let cut = arguments::cut(line, descriptor, escape, None);
                        if cut.problems.is_empty() {
                            statements.push(cut.statement);
                        }
                        problems = cut.problems;
                    }
                    None => problems.push(unknown_instruction(line, keywords)),
                },
            }
            let is_wrong = problems.iter().any(Diagnostic::is_error);
            self.findings.extend(problems);
            !is_wrong
        });
        if !nested.is_empty() {
            let judged = self.around.host.validate(&nested);
            self.findings.extend(judged.into_iter().map(onbuild::when_fired));
        }
        if statements.is_empty() {
            return;
        }
        for finding in self.around.host.validate(&statements) {
            let about =
                |line: &Line| finding.primary.as_ref().is_some_and(|place| is_within(place, &line.whole()));
            if finding.is_error() {
                lines.retain(|line| !about(line) || OWN.contains(&line.keyword.as_str()));
                self.findings.add(finding, None);
                continue;
            }
            // The comment above a line silences what is found in it.
            let line = lines.iter().find(|line| about(line));
            let local = line.and_then(|line| checks::local_options(line, self.findings));
            self.findings.add(finding, local.as_ref());
        }
    }
}

fn is_within(place: &Span, whole: &Span) -> bool {
    let lines = whole.start.line..=whole.end.line.max(whole.start.line);
    place.file == whole.file && lines.contains(&place.start.line)
}
