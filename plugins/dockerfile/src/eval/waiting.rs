//! Lines that wait to be applied together: a call of a plugin costs more than what most lines ask of it.
//!
//! A line waits as long as nothing that comes after it looks at what it does. That is so for instructions that look at
//! nothing of the stage, and for lines without variables.

use kiln_sdk::wit::instruction_types::{ConfigChange, Statement};

use super::Evaluation;
use crate::directives::CheckOptions;
use crate::onbuild;
use crate::parse::Line;

/// More are of no use, and what they need has to be held until they are applied.
const MOST: usize = 512;

/// Lines in order, read and not applied.
#[derive(Default)]
pub(super) struct Waiting<'l> {
    works: Vec<(Work<'l>, Option<CheckOptions>)>,
    statements: Vec<Statement>,
}

/// What one line will do.
pub(super) enum Work<'l> {
    /// With the escape character of its text.
    Arg(&'l Line, char),
    OnBuild(&'l Line),
    /// The next of the statements.
    Instruction,
}

impl<'l> Waiting<'l> {
    pub(super) fn is_full(&self) -> bool {
        self.works.len() >= MOST
    }

    pub(super) fn add(&mut self, work: Work<'l>, local: Option<CheckOptions>) {
        self.works.push((work, local));
    }

    pub(super) fn add_statement(&mut self, statement: Statement, local: Option<CheckOptions>) {
        self.statements.push(statement);
        self.works.push((Work::Instruction, local));
    }
}

/// Whether what a line means depends on lines before it.
pub(super) fn has_variables(line: &Line) -> bool {
    line.logical.text.contains('$') || line.heredocs.iter().any(|heredoc| heredoc.content.contains('$'))
}

impl Evaluation<'_, '_> {
    /// Applies what waits.
    pub(super) fn go_on(&mut self, waiting: Waiting<'_>) {
        let mut answers = Vec::new();
        let mut statements = waiting.statements;
        if !statements.is_empty() {
            self.stateless.statements = statements;
            answers = self.around.host.apply(&self.stateless);
            statements = std::mem::take(&mut self.stateless.statements);
        }
        let mut answered = statements.iter().zip(answers);
        for (work, local) in waiting.works {
            match work {
                Work::Arg(line, escape) => self.arg(line, escape, local.as_ref()),
                Work::OnBuild(line) => {
                    self.change(ConfigChange::OnBuild(onbuild::stored(line)));
                }
                Work::Instruction => {
                    if let Some((statement, answer)) = answered.next() {
                        self.answer(statement, answer, local.as_ref());
                    }
                }
            }
        }
    }
}
