//! Evaluates the lines of one stage in order: variables, instructions, what they add to the graph (§8, §9.9, §17.3).

use std::collections::BTreeMap;
use std::rc::Rc;

use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};
use kiln_sdk::wit::graph::{FileAction, Graph, HistoryEntry, Hole, OpKind, Output};
use kiln_sdk::wit::instruction_types::{
    Descriptor, InstructionError, Invocation, Outcome, SourceText, Stage, Statement,
};
use kiln_sdk::wit::types::{ImageConfig, Platform};

use crate::arguments::{self, bad_expansion};
use crate::assemble::{Assembly, Filling, Placed, Root, Stamp};
use crate::checks;
use crate::directives::CheckOptions;
use crate::expand::{self, Mode};
use crate::findings::{Findings, check};
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::lists::{ADDS_ONLY, Lists};
use crate::onbuild;
use crate::parse::{Keywords, Line, OWN, Place, parse};
use crate::scope::{Argument, BuildArgs, Globals, SCANS, StageScope, declared, description};
use crate::stages::unknown_instruction;

/// The tag that history lines of this frontend carry (§17.3).
pub const HISTORY_COMMENT: &str = "kiln.dockerfile.v0";

/// Search path of images that set none (§10.6).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many findings may come with a near name.
const MAX_SUGGESTIONS: usize = 100;

/// How deep text that instructions ask to be read may ask for more.
const MAX_EXPANSION_DEPTH: usize = 8;

/// A stage as it is after some of its lines.
#[derive(Clone, Debug)]
pub struct StageState {
    pub root: Root,
    pub config: ImageConfig,
    pub scope: StageScope,
    /// What this build adds to the history of the base image.
    pub history: Vec<HistoryEntry>,
    pub platform: Platform,
    pub base_name: String,
    pub base_digest: String,
    /// A WORKDIR came before in this chain of stages.
    pub has_workdir: bool,
    /// ARG lines of this chain, for the outline.
    pub arguments: Vec<Argument>,
    /// `BUILDKIT_SBOM_SCAN_*` as set by ARG lines.
    pub scans: BTreeMap<String, String>,
}

/// What a stage is evaluated against.
pub struct Surroundings<'e> {
    pub host: &'e dyn Host,
    pub keywords: &'e Keywords,
    pub globals: &'e Globals,
    pub build_args: &'e BuildArgs,
    pub build_platform: &'e Platform,
    pub escape: char,
    pub ignore: Option<&'e IgnoreFile>,
    pub hostname: &'e str,
    pub cache_namespace: &'e str,
}

/// Answers what stands at the holes of fragments; reports what it does not know, given who asks.
pub type Fill<'f> = dyn FnMut(&mut Assembly, &mut Findings, &Filling, &[Span]) -> Option<Root> + 'f;

/// One stage under evaluation.
pub struct Evaluation<'e, 'f> {
    pub around: &'e Surroundings<'e>,
    pub assembly: &'e mut Assembly,
    pub findings: &'e mut Findings,
    pub fill: &'e mut Fill<'f>,
    pub state: StageState,
    /// What instructions see: made once, for all lines. The `config` in it is the one of this moment, without `lists`;
    /// `state.config` is empty meanwhile.
    invocation: Invocation,
    lists: Lists,
    pub group: String,
    pub no_cache: bool,
    /// Ops made so far and the instruction they are for, in order: they get their titles at the end.
    pub steps: Vec<Step>,
    /// Ops that are part of no step, such as what only a later stage reads.
    unnumbered: Vec<(usize, String)>,
    /// Where the last CMD, ENTRYPOINT and HEALTHCHECK stand.
    last_of: BTreeMap<String, Span>,
    title_prefix: &'static str,
    depth: usize,
}

/// A step as people count them: its ops, each with what it is called.
#[derive(Clone, Debug)]
pub struct Step {
    pub ops: Vec<(usize, String)>,
}

impl<'e, 'f> Evaluation<'e, 'f> {
    pub fn new(
        around: &'e Surroundings<'e>,
        assembly: &'e mut Assembly,
        findings: &'e mut Findings,
        fill: &'e mut Fill<'f>,
        mut state: StageState,
        identity: (String, usize),
    ) -> Self {
        let lists = Lists::of(&mut state.config);
        let stage = Stage {
            name: identity.0,
            index: identity.1 as u32,
            platform: state.platform.clone(),
            build_platform: around.build_platform.clone(),
            config: std::mem::take(&mut state.config),
            environment: Vec::new(),
            args: Vec::new(),
            earlier: Vec::new(),
            has_base: state.root != Root::Empty,
        };
        Evaluation {
            around,
            assembly,
            findings,
            fill,
            state,
            invocation: Invocation { statement: no_statement(), stage, options: Vec::new() },
            lists,
            group: String::new(),
            no_cache: false,
            steps: Vec::new(),
            unnumbered: Vec::new(),
            last_of: BTreeMap::new(),
            title_prefix: "",
            depth: 0,
        }
    }

    pub fn finish(self) -> (StageState, Vec<Step>) {
        let mut config = self.invocation.stage.config;
        self.lists.give(&mut config);
        for (op, title) in self.unnumbered {
            self.assembly.ops[op].name = title;
        }
        (StageState { config, ..self.state }, self.steps)
    }

    /// Runs the triggers of the base, reported at `at` (§16.2).
    pub fn triggers(&mut self, texts: Vec<String>, at: &Span) {
        self.title_prefix = "ONBUILD ";
        for text in texts {
            match onbuild::trigger(&text, at, self.around.keywords) {
                // Triggers are read with the default escape character, whatever this file says.
                Ok(line) => self.line(&line, '\\', None),
                Err(problem) => self.findings.add(problem, None),
            }
        }
        self.title_prefix = "";
    }

    pub fn lines(&mut self, lines: &[Line]) {
        for line in lines {
            let local =
                if line.comments.is_empty() { None } else { checks::local_options(line, self.findings) };
            self.line(line, self.around.escape, local.as_ref());
        }
    }

    fn line(&mut self, line: &Line, escape: char, local: Option<&CheckOptions>) {
        match line.keyword.as_str() {
            "ARG" => self.arg(line, escape, local),
            "ONBUILD" => self.invocation.stage.config.on_build.push(onbuild::stored(line)),
            _ => match self.around.keywords.get(&line.keyword) {
                Some(descriptor) => self.instruction(line, descriptor, escape, local),
                // In the file itself it has been reported; here it stands in text that an instruction brought in.
                None => self.findings.add(unknown_instruction(line, self.around.keywords), None),
            },
        }
        self.remember(&line.keyword);
    }

    fn remember(&mut self, keyword: &str) {
        if let Err(at) =
            self.invocation.stage.earlier.binary_search_by(|earlier| earlier.as_str().cmp(keyword))
        {
            self.invocation.stage.earlier.insert(at, keyword.to_owned());
        }
    }

    fn undefined(&mut self, undefined: Vec<(String, Span)>, local: Option<&CheckOptions>) {
        for (name, at) in undefined {
            // Looking for what was meant takes time, and nobody reads hundreds of suggestions.
            let suggest = self.findings.count() < MAX_SUGGESTIONS;
            let finding =
                checks::undefined_variable(&name, &self.state.scope, self.around.globals, &at, suggest);
            self.findings.add(finding, local);
        }
    }

    /// §8.2
    fn arg(&mut self, line: &Line, escape: char, local: Option<&CheckOptions>) {
        let names = match declared(line, escape) {
            Ok(names) => names,
            Err(problem) => return self.findings.add(problem, None),
        };
        checks::secret_arguments(line, escape, local, self.findings);
        let mut created_by = "ARG".to_owned();
        for argument in names {
            let name = argument.name.as_str();
            let mut value = self.around.build_args.get(name).cloned();
            if let (None, Some(default)) = (&value, &argument.default) {
                match expand::word(default, Mode::arguments(escape), &self.state.scope) {
                    Ok(expanded) => {
                        value = Some(expanded.text);
                        let undefined =
                            expanded.undefined.into_iter().map(|name| (name, argument.at.clone()));
                        self.undefined(undefined.collect(), local);
                    }
                    Err(error) => {
                        self.findings.add(bad_expansion(&error, default, &argument.at), None);
                        continue;
                    }
                }
            }
            let value = value.or_else(|| self.around.globals.environment.value(name).map(str::to_owned));
            self.state.scope.declare(name);
            created_by.push(' ');
            created_by.push_str(name);
            if let Some(value) = &value {
                created_by.push('=');
                created_by.push_str(value);
                if SCANS.contains(&name) {
                    self.state.scans.insert(name.to_owned(), value.clone());
                } else {
                    self.state.scope.environment.set(name, value);
                }
            }
            let description = description(&line.comments, name);
            self.state.arguments.push(Argument { declared: argument, value, description });
        }
        self.history(created_by, None);
    }

    fn history(&mut self, created_by: String, layer: Option<Output>) {
        self.state.history.push(HistoryEntry {
            created_by,
            comment: HISTORY_COMMENT.to_owned(),
            layer: layer.map(|output| output.op),
        });
    }

    fn instruction(
        &mut self,
        line: &Line,
        descriptor: &Descriptor,
        escape: char,
        local: Option<&CheckOptions>,
    ) {
        let cut = arguments::cut(line, descriptor, escape, Some(&self.state.scope));
        self.undefined(cut.undefined, local);
        if !cut.problems.is_empty() {
            return self.findings.extend(cut.problems);
        }
        self.before(&cut.statement, local);
        let has = |name: &str| descriptor.traits.iter().any(|word| word == name);
        let (wants_environment, adds_only) = (has("environment"), has(ADDS_ONLY));
        if !adds_only {
            self.lists.lend(&mut self.invocation.stage.config);
        }
        if wants_environment {
            self.invocation.stage.environment = self.state.scope.environment.lend();
            self.invocation.stage.args = std::mem::take(&mut self.state.scope.args);
        }
        self.invocation.statement = cut.statement;
        let answer = self.around.host.apply(&self.invocation);
        let statement = std::mem::replace(&mut self.invocation.statement, no_statement());
        if wants_environment {
            self.state.scope.environment.take_back(std::mem::take(&mut self.invocation.stage.environment));
            self.state.scope.args = std::mem::take(&mut self.invocation.stage.args);
        }
        if !adds_only {
            self.lists.take_back(&mut self.invocation.stage.config);
        }
        match answer {
            Ok(outcome) => self.outcome(&statement, outcome, adds_only, local),
            Err(InstructionError::Invalid(problems)) => {
                for problem in problems {
                    self.findings.add(problem, local);
                }
            }
            Err(InstructionError::Unknown(message)) => {
                self.findings
                    .add(Diagnostic::error("unknown-instruction", message).at(&line.keyword_span()), None);
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

    fn outcome(
        &mut self,
        statement: &Statement,
        outcome: Outcome,
        adds_only: bool,
        local: Option<&CheckOptions>,
    ) {
        for diagnostic in outcome.diagnostics {
            self.findings.add(diagnostic, local);
        }
        let changed = outcome.root.is_some() || outcome.config.is_some() || !outcome.set_env.is_empty();
        self.ignored_files(statement, &outcome.fragment, local);
        let Some(placed) = self.fragment(statement, outcome.fragment, outcome.root) else { return };
        if outcome.history.is_empty() && changed {
            let layer = if outcome.root.is_some() { self.state.root.output() } else { None };
            self.history(statement.original.trim().to_owned(), layer);
        }
        for entry in outcome.history {
            let layer = entry.layer.and_then(|op| placed.op(op));
            let comment = if entry.comment.is_empty() { HISTORY_COMMENT.to_owned() } else { entry.comment };
            self.state.history.push(HistoryEntry { created_by: entry.created_by, comment, layer });
        }
        if let Some(mut config) = outcome.config {
            let variables = match adds_only {
                true => self.lists.add(&mut config),
                false => self.lists.replace(&mut config),
            };
            for pair in variables {
                self.state.scope.environment.set(&pair.key, &pair.value);
            }
            self.invocation.stage.config = config;
        }
        for pair in outcome.set_env {
            self.state.scope.environment.set(&pair.key, &pair.value);
        }
        for text in outcome.expansion {
            self.expansion(&text, statement);
        }
    }

    /// Puts the ops into the graph and advances the stage. Gives the way to find ops of the fragment again; nothing
    /// when the fragment is malformed, which has been reported.
    fn fragment(&mut self, statement: &Statement, fragment: Graph, root: Option<Output>) -> Option<Placed> {
        let stamp = Stamp {
            platform: &self.state.platform,
            group: &self.group,
            no_cache: self.no_cache,
            at: &statement.at,
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
            let title = format!("{}{}", self.title_prefix, title(&statement.original));
            let main = root.and_then(|root| placed.op(root.op)).map(|op| op as usize);
            let main = main.filter(|op| placed.made.contains(op)).or(placed.made.last().copied());
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

    /// What an op is called that prepares something for the step `title`. The names of steps are told apart by it.
    fn part_title(&self, op: usize, title: &str, original: &str) -> String {
        let op = &self.assembly.ops[op];
        match &op.kind {
            OpKind::Http(http) => format!("download {}", http.url),
            OpKind::Git(git) => format!("fetch {}", git.url),
            _ if !op.name.is_empty() && op.name != original => op.name.clone(),
            OpKind::Exec(exec) => format!("{title}: {}", exec.args.join(" ")),
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
                    let written = statement.arguments.iter().find(|argument| argument.value == *path);
                    let at = written.map_or(&statement.at, |argument| &argument.at);
                    let message =
                        format!("`{path}` is excluded by `{}`, so it is not there to be copied", ignore.name);
                    let finding = check("CopyIgnoredFile", message).at(at);
                    self.findings.add(finding.help("change the ignore file, or do not copy it"), local);
                }
            }
        }
    }

    /// Reads text that an instruction asked to be read in its place.
    fn expansion(&mut self, text: &SourceText, statement: &Statement) {
        if self.depth == MAX_EXPANSION_DEPTH {
            let message =
                format!("{} leads to itself more than {MAX_EXPANSION_DEPTH} times", statement.keyword);
            let problem = Diagnostic::error("expansion-too-deep", message).at(&statement.at);
            return self.findings.add(problem.help("break the circle"), None);
        }
        let place = Place { file: Rc::from(text.file.as_str()), fixed: None };
        let parsed =
            parse(&text.text, &place, text.first_line.max(1), Some(self.around.escape), self.around.keywords);
        self.findings.extend(parsed.problems);
        self.depth += 1;
        for line in &parsed.lines {
            if line.keyword == "FROM" {
                let problem = Diagnostic::error(
                    "from-in-expansion",
                    "a stage cannot begin within text that is read in",
                )
                .at(&line.keyword_span())
                .label(&statement.at, "read in here");
                self.findings.add(problem.help("put the stage into the build file"), None);
                continue;
            }
            if line.keyword == "ONBUILD" {
                let mut problems = Vec::new();
                onbuild::judge(line, self.around.escape, self.around.keywords, &mut problems);
                let wrong = problems.iter().any(Diagnostic::is_error);
                self.findings.extend(problems);
                if wrong {
                    continue;
                }
            }
            if !OWN.contains(&line.keyword.as_str())
                && let Some(descriptor) = self.around.keywords.get(&line.keyword)
            {
                let cut = arguments::cut(line, descriptor, self.around.escape, None);
                let problems = self.around.host.validate(&[cut.statement]);
                if cut.problems.is_empty() && problems.iter().any(Diagnostic::is_error) {
                    self.findings.extend(problems);
                    continue;
                }
            }
            self.lines(std::slice::from_ref(line));
        }
        self.depth -= 1;
    }
}

/// Stands where the next statement will be.
fn no_statement() -> Statement {
    let nowhere = Position { line: 0, column: 0 };
    Statement {
        keyword: String::new(),
        json: false,
        arguments: Vec::new(),
        flag_values: Vec::new(),
        heredocs: Vec::new(),
        original: String::new(),
        at: Span { file: String::new(), start: nowhere, end: nowhere },
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

/// Also a path that begins with a variable of the base image would be: this is judged after expansion.
fn is_absolute(path: &str) -> bool {
    let drive = path.as_bytes();
    path.starts_with(['/', '\\']) || (drive.len() > 2 && drive[0].is_ascii_alphabetic() && drive[1] == b':')
}
