//! Runs one instruction: hands it to the plugin of its keyword and takes over what comes back.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{FileAction, Graph, HistoryEntry, Hole, OpKind, Output};
use kiln_sdk::wit::instruction_types::{Argument, Descriptor, InstructionError, Outcome, Statement};

use super::waiting::{Waiting, Watched};
use super::{Evaluation, HISTORY_COMMENT, Step};
use crate::allowance;
use crate::arguments;
use crate::assemble::{Filling, Placed, Root, Stamp};
use crate::directives::CheckOptions;
use crate::findings::check;
use crate::ignore::clean;
use crate::parse::Line;

impl Evaluation<'_, '_> {
    pub(super) fn instruction(
        &mut self,
        line: &Line,
        descriptor: &Descriptor,
        escape: char,
        local: Option<CheckOptions>,
        waiting: &mut Waiting<'_>,
    ) {
        let watched = Watched::new(&self.state.scope, waiting);
        let mut cut = arguments::cut(line, descriptor, escape, Some(&watched));
        let is_early = watched.is_early();
        let has = |name: &str| descriptor.traits.iter().any(|word| word == name);
        let is_stateless = has("stateless");
        if is_early || !is_stateless || !cut.problems.is_empty() {
            self.go_on(std::mem::take(waiting));
        }
        if is_early {
            cut = arguments::cut(line, descriptor, escape, Some(&self.state.scope));
        }
        self.undefined(cut.undefined, local.as_ref());
        if !cut.problems.is_empty() {
            return self.findings.extend(cut.problems);
        }
        self.before(&cut.statement, local.as_ref());
        if is_stateless {
            return waiting.add_statement(cut.statement, local);
        }
        let wants_environment = has("environment");
        if wants_environment && !self.state.scope.allowance.spend(self.state.scope.environment.bytes()) {
            return self.findings.add(allowance::exceeded(&cut.statement.at), None);
        }
        let stage = &mut self.invocation.stage;
        if wants_environment {
            stage.environment = self.state.scope.environment.lend();
            stage.args = self.state.scope.args.lend();
        }
        if has("config") {
            stage.config = Some(self.state.config.lend());
        }
        self.invocation.statements.push(cut.statement);
        let answer = self.around.host.apply(&self.invocation).pop();
        let statement = self.invocation.statements.pop();
        let stage = &mut self.invocation.stage;
        if wants_environment {
            self.state.scope.environment.take_back(std::mem::take(&mut stage.environment));
            self.state.scope.args.take_back(std::mem::take(&mut stage.args));
        }
        if let Some(config) = stage.config.take() {
            self.state.config.take_back(config);
        }
        if let (Some(statement), Some(answer)) = (statement, answer) {
            self.answer(&statement, answer, local.as_ref());
        }
    }

    /// Takes over what a plugin makes of a statement.
    pub(super) fn answer(
        &mut self,
        statement: &Statement,
        answer: Result<Outcome, InstructionError>,
        local: Option<&CheckOptions>,
    ) {
        match answer {
            Ok(outcome) => self.outcome(statement, outcome, local),
            Err(InstructionError::Invalid(problems)) => {
                for problem in problems {
                    self.findings.add(problem, local);
                }
            }
            Err(InstructionError::Unknown(message)) => {
                self.findings.add(Diagnostic::error("unknown-instruction", message).at(&statement.at), None);
            }
        }
    }

    /// Checks that only this frontend can make, for it knows the chain of stages (§21.6).
    fn before(&mut self, statement: &Statement, local: Option<&CheckOptions>) {
        match statement.keyword.as_str() {
            keyword @ ("CMD" | "ENTRYPOINT" | "HEALTHCHECK") if self.title_prefix.is_empty() => {
                if let Some(earlier) = self.last_of.insert(keyword.to_owned(), statement.at.clone()) {
                    let message = format!("a later {keyword} of this stage replaces this one");
                    let finding = check("MultipleInstructionsDisallowed", message).at(&earlier);
                    self.findings
                        .add(finding.label(&statement.at, "the later one").help("remove one"), local);
                }
            }
            "WORKDIR" => {
                let path = statement.arguments.first();
                if let Some(path) = path.filter(|path| !self.state.has_workdir && !is_absolute(&path.value)) {
                    let message =
                        format!("`{}` is relative to a directory that the base image chooses", path.value);
                    let finding = check("WorkdirRelativePath", message).at(&path.at);
                    self.findings.add(finding.help("begin with an absolute WORKDIR"), local);
                }
                self.state.has_workdir = true;
            }
            _ => {}
        }
    }

    fn outcome(&mut self, statement: &Statement, outcome: Outcome, local: Option<&CheckOptions>) {
        for diagnostic in outcome.diagnostics {
            self.findings.add(diagnostic, local);
        }
        let changed = outcome.root.is_some()
            || outcome.config.is_some()
            || !outcome.changes.is_empty()
            || !outcome.set_env.is_empty();
        self.ignored_files(statement, &outcome.fragment, local);
        let Some(placed) = self.fragment(statement, outcome.fragment, outcome.root) else { return };
        if outcome.history.is_empty() && changed {
            let layer = if outcome.root.is_some() { self.state.root.output() } else { None };
            let created_by = statement.original.trim().to_owned();
            let layer = layer.map(|output| output.op);
            let comment = HISTORY_COMMENT.to_owned();
            self.history(HistoryEntry { created_by, comment, layer }, &statement.at);
        }
        for entry in outcome.history {
            let layer = entry.layer.and_then(|op| placed.op(op));
            let comment = if entry.comment.is_empty() { HISTORY_COMMENT.to_owned() } else { entry.comment };
            self.history(HistoryEntry { created_by: entry.created_by, comment, layer }, &statement.at);
        }
        if let Some(config) = outcome.config {
            for pair in self.state.config.replace(config) {
                self.state.scope.environment.set(pair);
            }
            let (stage, config) = (&mut self.invocation.stage, &self.state.config);
            config.user().clone_into(&mut stage.user);
            config.working_dir().clone_into(&mut stage.working_dir);
            config.shell().clone_into(&mut stage.shell);
        }
        for change in outcome.changes {
            self.change(change);
        }
        for pair in outcome.set_env {
            self.state.hides_variables |= self.state.config.env().value(&pair.key).is_some();
            self.state.scope.environment.set(pair);
        }
        for text in outcome.expansion {
            self.expansion(&text, statement);
        }
    }

    /// Puts the ops into the graph and advances the stage. Gives the way to find ops of the fragment again; nothing
    /// when the fragment is malformed, which has been reported.
    fn fragment(&mut self, statement: &Statement, fragment: Graph, root: Option<Output>) -> Option<Placed> {
        let ways = self.findings.ways(&statement.at);
        let stamp = Stamp {
            platform: &self.state.platform,
            group: &self.group,
            no_cache: self.no_cache,
            at: &statement.at,
            ways: &ways,
            hostname: self.around.hostname,
            cache_namespace: self.around.cache_namespace,
        };
        let (findings, fill, base) = (&mut *self.findings, &mut *self.fill, self.state.root);
        let placed = self.assembly.append(fragment, &stamp, |assembly, filling, spans| match filling {
            Filling::Base => Some(base),
            filling => fill(assembly, findings, filling, spans),
        });
        let malformed = |op: usize| {
            let message =
                format!("the plugin for {} answers with a graph whose op {op} cannot be", statement.keyword);
            Diagnostic::error("bad-fragment", message)
                .at(&statement.at)
                .help("report this to the author of the plugin")
        };
        let placed = match placed {
            Ok(placed) => placed,
            Err(op) => {
                self.findings.add(malformed(op), None);
                return None;
            }
        };
        if let Some(root) = root {
            match placed.root(root) {
                Some(root) => self.state.root = root,
                None => {
                    self.findings.add(malformed(root.op as usize), None);
                    return None;
                }
            }
            self.invocation.stage.has_base = self.state.root != Root::Empty;
        }
        if root.is_some() || !placed.made.is_empty() {
            let title = format!("{}{}{}", self.title_prefix, title(&statement.original), summary(statement));
            let main = self.main_op(&placed, root);
            let named = |op: &usize| match Some(*op) == main {
                true => (*op, title.clone()),
                false => (*op, self.part_title(*op, &title, &statement.original)),
            };
            let ops = placed.made.iter().map(named).collect();
            if root.is_some() {
                self.steps.push(Step { ops });
            } else {
                self.unnumbered.extend(ops);
            }
        }
        Some(placed)
    }

    /// Which op of an instruction carries its text: the one that makes the layer. Of an independent layer that is not
    /// the merge onto the stage.
    fn main_op(&self, placed: &Placed, root: Option<Output>) -> Option<usize> {
        let root = root.and_then(|root| placed.op(root.op)).map(|op| op as usize);
        let root = root.filter(|op| placed.made.contains(op)).or(placed.made.last().copied())?;
        if !matches!(self.assembly.ops[root].kind, OpKind::Merge(_)) {
            return Some(root);
        }
        let makes_layer =
            |op: &&usize| matches!(self.assembly.ops[**op].kind, OpKind::File(_) | OpKind::Exec(_));
        placed.made.iter().rev().find(makes_layer).copied().or(Some(root))
    }

    /// What an op is called that prepares something for the step `title`. The names of steps are told apart by it.
    fn part_title(&self, op: usize, title: &str, original: &str) -> String {
        let op = &self.assembly.ops[op];
        match &op.kind {
            OpKind::Http(http) => format!("download {}", http.url),
            OpKind::Git(git) => format!("fetch {}", git.url),
            _ if !op.name.is_empty() && op.name != original => op.name.clone(),
            OpKind::Exec(exec) => format!("{title}: {}", exec.args.join(" ")),
            OpKind::Merge(_) => "stack layers".to_owned(),
            _ => "prepare files".to_owned(),
        }
    }

    /// §21.6, `CopyIgnoredFile`
    fn ignored_files(&mut self, statement: &Statement, fragment: &Graph, local: Option<&CheckOptions>) {
        let Some(ignore) = self.around.ignore else { return };
        for op in &fragment.ops {
            let OpKind::File(file) = &op.kind else { continue };
            for action in &file.actions {
                let FileAction::Copy(copy) = action else { continue };
                let source = fragment.ops.get(copy.input.op as usize).map(|op| &op.kind);
                if !matches!(source, Some(OpKind::Hole(Hole::Context))) {
                    continue;
                }
                for path in copy.paths.iter().filter(|path| ignore.hides(path)) {
                    let is_it = |argument: &&Argument| clean(&format!("/{}", argument.value)) == clean(path);
                    let argument = statement.arguments.iter().find(is_it);
                    let (at, written) = match argument {
                        Some(argument) => (&argument.at, &argument.value),
                        None => (&statement.at, path),
                    };
                    let message = format!("`{written}` is excluded by `{}`, so it is not there", ignore.name);
                    let finding = check("CopyIgnoredFile", message).at(at);
                    self.findings.add(finding.help("change the ignore file, or do not copy it"), local);
                }
            }
        }
    }
}

/// What people read of an instruction: on one line, runs of white space as one blank.
fn title(original: &str) -> String {
    let mut title = String::with_capacity(original.len());
    for word in original.split_whitespace() {
        if !title.is_empty() {
            title.push(' ');
        }
        title.push_str(word);
    }
    title
}

/// The first line of a here-document that is all there is to a line: `RUN <<EOF` alone says nothing.
fn summary(statement: &Statement) -> String {
    let [argument] = statement.arguments.as_slice() else { return String::new() };
    let Some(heredoc) = argument.heredoc.and_then(|index| statement.heredocs.get(index as usize)) else {
        return String::new();
    };
    let mut lines = heredoc.content.trim().lines();
    match (lines.next(), lines.next()) {
        (Some(first), None) => format!(" ({first})"),
        (Some(first), Some(_)) => format!(" ({first}…)"),
        (None, _) => String::new(),
    }
}

/// Also a path that begins with a variable of the base image would be: this is judged after expansion.
fn is_absolute(path: &str) -> bool {
    let drive = path.as_bytes();
    path.starts_with(['/', '\\']) || (drive.len() > 2 && drive[0].is_ascii_alphabetic() && drive[1] == b':')
}
