//! Lines that wait to be applied together: a call of a plugin costs more than what most lines ask of it.
//!
//! A line waits as long as nothing that comes after it looks at what it does: instructions that look at nothing of the
//! stage, and no variable that a waiting line may set.

use std::cell::Cell;

use kiln_sdk::wit::instruction_types::{ConfigChange, Statement};

use super::Evaluation;
use crate::directives::CheckOptions;
use crate::expand::Variables;
use crate::names::Names;
use crate::onbuild;
use crate::parse::Line;
use crate::scope::{Declared, StageScope};

/// More would only need more memory at a time.
const MOST: usize = 128;

/// Lines in order, read and not applied.
#[derive(Default)]
pub(super) struct Waiting<'l> {
    works: Vec<(Work<'l>, Option<CheckOptions>)>,
    statements: Vec<Statement>,
    /// Variables that are declared or set once these lines are applied.
    names: Names,
}

/// What one line will do.
pub(super) enum Work<'l> {
    /// With what it declares, and the escape character of its text.
    Arg(&'l Line, Vec<Declared>, char),
    OnBuild(&'l Line),
    /// The next of the statements.
    Instruction,
}

impl<'l> Waiting<'l> {
    pub(super) fn is_full(&self) -> bool {
        self.works.len() >= MOST
    }

    pub(super) fn add(&mut self, work: Work<'l>, local: Option<CheckOptions>) {
        if let Work::Arg(_, declared, _) = &work {
            for argument in declared {
                self.names.add(&argument.name);
            }
        }
        self.works.push((work, local));
    }

    pub(super) fn add_statement(&mut self, statement: Statement, local: Option<CheckOptions>) {
        for argument in statement.arguments.iter().filter(|argument| !argument.key.is_empty()) {
            self.names.add(&argument.key);
        }
        self.statements.push(statement);
        self.works.push((Work::Instruction, local));
    }
}

/// The variables of a stage as they are before the lines that wait.
pub(super) struct Watched<'s> {
    scope: &'s StageScope,
    names: &'s Names,
    /// Somebody looked at a variable that may be another one once those lines are applied.
    is_early: Cell<bool>,
}

impl<'s> Watched<'s> {
    pub(super) fn new(scope: &'s StageScope, waiting: &'s Waiting<'_>) -> Self {
        Watched { scope, names: &waiting.names, is_early: Cell::new(false) }
    }

    pub(super) fn is_early(&self) -> bool {
        self.is_early.get()
    }

    fn look(&self, name: &str) {
        if self.names.contains(name) {
            self.is_early.set(true);
        }
    }
}

impl Variables for Watched<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.look(name);
        self.scope.value(name)
    }

    fn is_declared(&self, name: &str) -> bool {
        self.look(name);
        self.scope.is_declared(name)
    }

    fn spend(&self, bytes: usize) -> bool {
        self.scope.spend(bytes)
    }
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
                Work::Arg(line, declared, escape) => self.arg(line, declared, escape, local.as_ref()),
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
