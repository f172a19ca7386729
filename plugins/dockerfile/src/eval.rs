//! Evaluates the lines of one stage in order: variables, instructions, what they add to the graph (§8, §9.9, §17.3).

mod expansion;
mod instruction;
mod waiting;

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::Span;
use kiln_sdk::wit::graph::HistoryEntry;
use kiln_sdk::wit::instruction_types::{ConfigChange, Invocation, Stage};
use kiln_sdk::wit::types::Platform;

use crate::allowance;
use crate::arguments::bad_expansion;
use crate::assemble::{Assembly, Filling, Root};
use crate::checks;
use crate::config::Configuration;
use crate::directives::CheckOptions;
use crate::expand::{self, Mode};
use crate::findings::Findings;
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::onbuild;
use crate::parse::{Keywords, Line};
use crate::scope::{Argument, BuildArgs, Declared, Globals, SCANS, StageScope, declared, description};

use waiting::{Waiting, Work};

/// The tag that history lines of this frontend carry (§17.3).
pub const HISTORY_COMMENT: &str = "kiln.dockerfile.v0";

/// Search path of images that set none (§10.6).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many findings may come with a near name.
const MAX_SUGGESTIONS: usize = 100;

/// A stage as it is after some of its lines.
#[derive(Clone, Debug)]
pub struct StageState {
    pub root: Root,
    pub config: Configuration,
    pub scope: StageScope,
    /// A variable of the image may be another one in `scope`: arguments hide variables until the next stage.
    pub hides_variables: bool,
    /// What this build adds to the history of the base image.
    pub history: Vec<HistoryEntry>,
    pub platform: Platform,
    /// Image or context that this chain of stages begins with; empty for `scratch`.
    pub base: String,
    pub base_name: String,
    pub base_digest: String,
    /// A WORKDIR came before in this chain of stages.
    pub has_workdir: bool,
    /// ARG lines of this chain, for the outline.
    pub arguments: Vec<Argument>,
    /// `BUILDKIT_SBOM_SCAN_*` as set by ARG lines.
    pub scans: BTreeMap<String, String>,
}

impl StageState {
    /// All of it for the one stage that begins with this one. What is long does not stay.
    pub fn hand_over(&mut self) -> StageState {
        StageState {
            config: std::mem::take(&mut self.config),
            scope: std::mem::take(&mut self.scope),
            history: std::mem::take(&mut self.history),
            arguments: std::mem::take(&mut self.arguments),
            platform: self.platform.clone(),
            base: self.base.clone(),
            base_name: self.base_name.clone(),
            base_digest: self.base_digest.clone(),
            scans: self.scans.clone(),
            ..*self
        }
    }

    /// What a stage copies that begins with this one and is not the only one to.
    pub fn text_bytes(&self) -> usize {
        let lines = self.history.iter().map(|entry| entry.created_by.len()).sum::<usize>();
        self.config.env().bytes() + self.scope.environment.bytes() + lines
    }
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
    /// What instructions see, made once for all lines: all of the stage but what is asked for by a trait.
    invocation: Invocation,
    /// What stateless instructions see.
    stateless: Invocation,
    pub group: String,
    pub no_cache: bool,
    /// Ops made so far and the instruction they are for, in order: they get their titles at the end.
    pub steps: Vec<Step>,
    /// Ops that are part of no step, such as what only a later stage reads.
    unnumbered: Vec<(usize, String)>,
    /// Where the last CMD, ENTRYPOINT and HEALTHCHECK stand.
    last_of: BTreeMap<String, Span>,
    title_prefix: &'static str,
    /// How deep the text is nested that is being read.
    depth: usize,
    /// Texts that were read in.
    expansions: usize,
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
        state: StageState,
        identity: (String, usize),
    ) -> Self {
        let blank = Stage {
            name: identity.0,
            index: identity.1 as u32,
            platform: state.platform.clone(),
            build_platform: around.build_platform.clone(),
            base: String::new(),
            user: String::new(),
            working_dir: String::new(),
            shell: Vec::new(),
            config: None,
            environment: Vec::new(),
            args: Vec::new(),
            earlier: Vec::new(),
            has_base: false,
        };
        let stage = Stage {
            base: state.base.clone(),
            user: state.config.user().to_owned(),
            working_dir: state.config.working_dir().to_owned(),
            shell: state.config.shell().to_vec(),
            has_base: state.root != Root::Empty,
            ..blank.clone()
        };
        let invocation = |stage| Invocation { stage, statements: Vec::new(), options: Vec::new() };
        Evaluation {
            around,
            assembly,
            findings,
            fill,
            state,
            invocation: invocation(stage),
            stateless: invocation(blank),
            group: String::new(),
            no_cache: false,
            steps: Vec::new(),
            unnumbered: Vec::new(),
            last_of: BTreeMap::new(),
            title_prefix: "",
            depth: 0,
            expansions: 0,
        }
    }

    pub fn finish(self) -> (StageState, Vec<Step>) {
        for (op, title) in self.unnumbered {
            self.assembly.ops[op].name = title;
        }
        (self.state, self.steps)
    }

    /// Runs the triggers of the base, reported at `at` (§16.2).
    pub fn triggers(&mut self, texts: Vec<String>, at: &Span) {
        self.title_prefix = "ONBUILD ";
        for text in texts {
            match onbuild::trigger(&text, at, self.around.keywords) {
                // Triggers are read with the default escape character, whatever this file says.
                Ok(line) => {
                    let mut waiting = Waiting::default();
                    self.line(&line, '\\', None, &mut waiting);
                    self.go_on(waiting);
                }
                Err(problem) => self.findings.add(problem, None),
            }
        }
        self.title_prefix = "";
    }

    pub fn lines(&mut self, lines: &[Line]) {
        let mut waiting = Waiting::default();
        for line in lines {
            let local =
                if line.comments.is_empty() { None } else { checks::local_options(line, self.findings) };
            self.line(line, self.around.escape, local, &mut waiting);
            // Whatever follows could not be held either, and the first that could not has been reported.
            if self.state.scope.allowance.is_spent() {
                return;
            }
        }
        self.go_on(waiting);
    }

    /// Evaluates a line, or has it wait with others.
    fn line<'l>(
        &mut self,
        line: &'l Line,
        escape: char,
        local: Option<CheckOptions>,
        waiting: &mut Waiting<'l>,
    ) {
        if waiting.is_full() {
            self.go_on(std::mem::take(waiting));
        }
        match line.keyword.as_str() {
            "ARG" => match declared(line, escape) {
                Ok(declared) => waiting.add(Work::Arg(line, declared, escape), local),
                Err(problem) => {
                    self.go_on(std::mem::take(waiting));
                    self.findings.add(problem, None);
                }
            },
            "ONBUILD" => waiting.add(Work::OnBuild(line), local),
            // One that nobody defines was reported where the line was judged.
            keyword => {
                if let Some(descriptor) = self.around.keywords.get(keyword) {
                    self.instruction(line, descriptor, escape, local, waiting);
                }
            }
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
    fn arg(&mut self, line: &Line, declared: Vec<Declared>, escape: char, local: Option<&CheckOptions>) {
        checks::secret_arguments(line, escape, local, self.findings);
        let mut created_by = "ARG".to_owned();
        for argument in declared {
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
            self.state.scope.args.add(name);
            created_by.push(' ');
            created_by.push_str(name);
            if let Some(value) = &value {
                created_by.push('=');
                created_by.push_str(value);
                if SCANS.contains(&name) {
                    self.state.scans.insert(name.to_owned(), value.clone());
                } else {
                    self.state.hides_variables |= self.state.config.env().value(name).is_some();
                    self.state.scope.environment.set_to(name, value);
                }
            }
            let description = description(&line.comments, name);
            self.state.arguments.push(Argument { declared: argument, value, description });
        }
        let comment = HISTORY_COMMENT.to_owned();
        self.history(HistoryEntry { created_by, comment, layer: None }, &line.whole());
    }

    /// Changes the configuration, and what later lines see of it.
    fn change(&mut self, change: ConfigChange) {
        let stage = &mut self.invocation.stage;
        match &change {
            ConfigChange::User(user) => stage.user.clone_from(user),
            ConfigChange::WorkingDir(dir) => stage.working_dir.clone_from(dir),
            ConfigChange::Shell(argv) => stage.shell.clone_from(argv),
            ConfigChange::Env(pair) => self.state.scope.environment.set_to(&pair.key, &pair.value),
            _ => {}
        }
        self.state.config.change(change);
    }

    /// `at` is the instruction that it tells of.
    fn history(&mut self, entry: HistoryEntry, at: &Span) {
        if self.state.scope.allowance.spend(entry.created_by.len()) {
            self.state.history.push(entry);
        } else {
            self.findings.add(allowance::exceeded(at), None);
        }
    }
}
