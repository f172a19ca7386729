//! A host in memory: files, contexts and images as the tests say, instructions as they ship.

use std::cell::RefCell;
use std::collections::BTreeMap;

use kiln_instructions::Instructions;
use kiln_sdk::plugin::Instruction;
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};
use kiln_sdk::wit::frontend_types::{BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{Op, OpKind};
use kiln_sdk::wit::instruction_types::{
    ArgumentForm, Descriptor, HeredocForm, InstructionError, Invocation, Outcome, SourceText, Split, Stage,
    Statement,
};
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, ImageConfig, Pair, Platform};

use crate::answer;
use crate::host::{Host, Remote};

#[derive(Default)]
pub(crate) struct World {
    pub files: BTreeMap<String, Vec<u8>>,
    pub context_files: BTreeMap<String, Vec<u8>>,
    pub contexts: BTreeMap<String, ContextInfo>,
    pub images: BTreeMap<String, ImageInfo>,
    /// What the host was asked for, in order.
    pub calls: RefCell<Vec<String>>,
    /// How many lines each call of the instructions was for.
    pub applied: RefCell<Vec<usize>>,
    pub request: Asked,
}

/// The parts of a request that tests set.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    pub file: String,
    pub target: String,
    pub platforms: Vec<Platform>,
    pub args: Vec<Pair>,
    pub labels: Vec<Pair>,
    pub no_cache: Vec<String>,
}

pub(crate) fn pair(key: &str, value: &str) -> Pair {
    Pair { key: key.to_owned(), value: value.to_owned() }
}

pub(crate) fn platform(text: &str) -> Platform {
    crate::platform::read(text, &Platform::default()).unwrap()
}

impl World {
    /// A directory with `dockerfile`, a local context, and the image `alpine`.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let mut world = World::default();
        world.files.insert("Dockerfile".to_owned(), dockerfile.as_bytes().to_vec());
        world.contexts.insert(String::new(), context("", "local"));
        world.image("alpine", |image| image.config.cmd = Some(vec!["/bin/sh".to_owned()]))
    }

    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.insert(name.to_owned(), text.as_bytes().to_vec());
        self
    }

    pub(crate) fn image(mut self, name: &str, change: impl FnOnce(&mut ImageInfo)) -> Self {
        let env = vec![pair("PATH", "/usr/bin:/bin")];
        let mut image = ImageInfo {
            reference: format!("docker.io/library/{name}:latest@sha256:{}", "1".repeat(64)),
            manifest: format!("sha256:{}", "2".repeat(64)),
            index: None,
            platform: Platform::default(),
            config: ImageConfig { env, ..ImageConfig::default() },
            layers: 1,
            compressed_size: 1,
            created: None,
            annotations: Vec::new(),
        };
        change(&mut image);
        self.images.insert(name.to_owned(), image);
        self
    }

    pub(crate) fn context(mut self, name: &str, kind: &str) -> Self {
        self.contexts.insert(name.to_owned(), context(name, kind));
        self
    }

    pub(crate) fn ask(mut self, change: impl FnOnce(&mut Asked)) -> Self {
        change(&mut self.request);
        self
    }

    pub(crate) fn arg(self, name: &str, value: &str) -> Self {
        self.ask(|request| request.args.push(pair(name, value)))
    }

    pub(crate) fn request(&self) -> BuildRequest {
        let asked = self.request.clone();
        BuildRequest {
            file: asked.file,
            target: asked.target,
            platforms: asked.platforms,
            build_platform: Platform::default(),
            build_args: asked.args,
            labels: asked.labels,
            options: Vec::new(),
            no_cache: asked.no_cache,
            secret_ids: Vec::new(),
            ssh_ids: Vec::new(),
        }
    }

    /// The plan, which has to be there.
    pub(crate) fn build(&self) -> Built {
        match answer::build(self, &self.request()) {
            Ok(result) => {
                for (index, op) in result.graph.ops.iter().enumerate() {
                    assert!(
                        !matches!(op.kind, OpKind::Hole(_)) && op.platform.is_some(),
                        "op {index}: {op:?}"
                    );
                    assert!(!op.name.is_empty(), "op {index} has no name: {op:?}");
                }
                Built(result)
            }
            Err(failure) => panic!("{:#?}", failure.diagnostics),
        }
    }

    /// Codes and messages of the errors, which have to be there.
    pub(crate) fn errors(&self) -> Vec<Diagnostic> {
        match answer::build(self, &self.request()) {
            Ok(result) => panic!("planned: {:?}", Built(result).names()),
            Err(failure) => {
                failure.diagnostics.into_iter().filter(|it| it.severity == Severity::Error).collect()
            }
        }
    }

    pub(crate) fn error_codes(&self) -> Vec<String> {
        self.errors().into_iter().map(|error| error.code).collect()
    }

    /// Codes of all findings, with or without errors.
    pub(crate) fn findings(&self) -> Vec<String> {
        let diagnostics = match answer::build(self, &self.request()) {
            Ok(result) => result.diagnostics,
            Err(failure) => failure.diagnostics,
        };
        diagnostics.into_iter().map(|finding| finding.code).collect()
    }
}

pub(crate) fn context(name: &str, kind: &str) -> ContextInfo {
    ContextInfo {
        name: name.to_owned(),
        kind: kind.to_owned(),
        location: String::new(),
        image: None,
        modified: None,
    }
}

/// A plan and questions to it.
pub(crate) struct Built(pub(crate) BuildResult);

impl Built {
    pub(crate) fn target(&self) -> &TargetResult {
        &self.0.targets[0]
    }

    pub(crate) fn config(&self) -> &ImageConfig {
        &self.target().config
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.graph.ops.iter().map(|op| op.name.as_str()).collect()
    }

    pub(crate) fn history(&self) -> Vec<&str> {
        self.target().history.iter().map(|entry| entry.created_by.as_str()).collect()
    }

    pub(crate) fn op(&self, name: &str) -> &Op {
        let found = self.0.graph.ops.iter().find(|op| op.name.contains(name));
        found.unwrap_or_else(|| panic!("no {name} in {:?}", self.names()))
    }

    pub(crate) fn args(&self, name: &str) -> Vec<&str> {
        match &self.op(name).kind {
            OpKind::Exec(exec) => exec.args.iter().map(String::as_str).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The value of a variable that a command sees.
    pub(crate) fn env(&self, name: &str, variable: &str) -> Option<&str> {
        match &self.op(name).kind {
            OpKind::Exec(exec) => {
                exec.env.iter().find(|pair| pair.key == variable).map(|pair| pair.value.as_str())
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn findings(&self) -> Vec<&str> {
        self.0.diagnostics.iter().map(|finding| finding.code.as_str()).collect()
    }
}

impl Host for World {
    fn build_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.files.get(path).cloned())
    }

    fn context_file(&self, path: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(self.context_files.get(path).cloned())
    }

    fn context_names(&self) -> Vec<String> {
        self.contexts.keys().filter(|name| !name.is_empty()).cloned().collect()
    }

    fn contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        self.calls.borrow_mut().push(format!("contexts {}", names.join(",")));
        names.iter().map(|name| self.contexts.get(name).cloned()).collect()
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        let names: Vec<_> = requests.iter().map(|request| request.source.reference.as_str()).collect();
        let asked = !self.request.platforms.is_empty();
        assert!(requests.iter().all(|request| request.platform.is_some() || !asked));
        self.calls.borrow_mut().push(format!("images {}", names.join(",")));
        let missing = || HostError { code: "not-found".to_owned(), message: "404".to_owned() };
        names.into_iter().map(|name| self.images.get(name).cloned().ok_or_else(missing)).collect()
    }

    fn remote_time(&self, source: &Remote) -> Result<Option<u64>, HostError> {
        Ok(match source {
            Remote::Git(_) => Some(1_600_000_000),
            Remote::Http(_) => Some(1_500_000_000),
        })
    }

    fn known(&self) -> Vec<Descriptor> {
        let mut known = Instructions::instructions();
        known.push(Descriptor {
            keyword: "INCLUDE".to_owned(),
            summary: String::new(),
            usage: String::new(),
            form: ArgumentForm { split: Split::Whole, json: false, expand: true },
            heredocs: HeredocForm::Refused,
            flag_specs: Vec::new(),
            traits: Vec::new(),
        });
        known
    }

    fn validate(&self, statements: &[Statement]) -> Vec<Diagnostic> {
        prefixed(Instructions::validate(statements.to_vec()))
    }

    fn apply(&self, invocation: &Invocation) -> Vec<Result<Outcome, InstructionError>> {
        let Invocation { stage, statements, .. } = invocation;
        self.applied.borrow_mut().push(statements.len());
        statements.iter().map(|statement| self.apply_one(statement, stage)).collect()
    }
}

impl World {
    fn apply_one(&self, statement: &Statement, stage: &Stage) -> Result<Outcome, InstructionError> {
        if statement.keyword == "INCLUDE" {
            let file = statement.arguments[0].value.clone();
            let text = String::from_utf8_lossy(self.files.get(&file).map_or(&[], |it| it)).into_owned();
            let expansion = vec![SourceText { file, first_line: 1, text }];
            return Ok(Outcome { expansion, ..Outcome::default() });
        }
        match Instructions::apply(statement.clone(), stage, &[]) {
            Ok(outcome) => Ok(Outcome { diagnostics: prefixed(outcome.diagnostics), ..outcome }),
            Err(InstructionError::Invalid(list)) => Err(InstructionError::Invalid(prefixed(list))),
            Err(unknown) => Err(unknown),
        }
    }
}

/// As the host hands findings of instructions out.
fn prefixed(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    for diagnostic in &mut diagnostics {
        diagnostic.code = format!("dockerfile/{}", diagnostic.code);
    }
    diagnostics
}
