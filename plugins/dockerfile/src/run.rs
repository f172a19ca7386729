//! Evaluates the reachable stages of a file for one platform: what they begin with, what `from` leads to, how their
//! steps are numbered (§9).

use std::cell::RefCell;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::instruction_types::ConfigChange;
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo};
use kiln_sdk::wit::types::{HostError, ImageConfig, Pair, Platform};

use crate::allowance;
use crate::assemble::{Assembly, Filling, Root};
use crate::checks;
use crate::config::Configuration;
use crate::eval::{DEFAULT_PATH, Evaluation, StageState, Step, Surroundings};
use crate::findings::{Findings, check};
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::parse::Keywords;
use crate::plan::{is_local, stage_help, unknown_stage};
use crate::platform;
use crate::reference::Reference;
use crate::resolve::{Base, Heads, Named, Wanted};
use crate::scope::{BuildArgs, StageScope};
use crate::sources::Sources;
use crate::stages::File;

/// Images that people mean when they mistype one.
const COMMON_IMAGES: [&str; 24] = [
    "alpine",
    "almalinux",
    "amazonlinux",
    "busybox",
    "debian",
    "docker",
    "eclipse-temurin",
    "fedora",
    "golang",
    "httpd",
    "mariadb",
    "mysql",
    "nginx",
    "node",
    "openjdk",
    "php",
    "postgres",
    "python",
    "redis",
    "rockylinux",
    "ruby",
    "rust",
    "scratch",
    "ubuntu",
];

/// One evaluation of the file in progress.
pub struct Planner<'p> {
    pub host: &'p dyn Host,
    pub request: &'p BuildRequest,
    pub file: &'p File,
    pub keywords: &'p Keywords,
    pub build_args: &'p BuildArgs,
    /// `<file>.dockerignore`, which replaces the one in the context.
    pub own_ignore: Option<&'p IgnoreFile>,
    /// The one that applies, for the checks.
    pub ignore: Option<&'p IgnoreFile>,
    pub sources: &'p Sources,
    pub heads: &'p Heads,
    pub run: usize,
    /// The stage to be built.
    pub target: usize,
    /// Names that were not known before the evaluation: of which run, and stage.
    pub late: &'p RefCell<Vec<(usize, usize, Wanted)>>,
    /// More than one platform is built.
    pub several: bool,
}

impl Planner<'_> {
    /// Evaluates the reachable stages in order.
    pub fn run(
        &mut self,
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> (Vec<Option<StageState>>, Option<Output>) {
        let mut states: Vec<Option<StageState>> = Vec::with_capacity(self.file.stages.len());
        let mut context = None;
        let mut readers = self.readers();
        for index in 0..self.file.stages.len() {
            let state = match self.heads.reachable[index] {
                true => self.stage(index, &mut states, &mut readers, &mut context, assembly, findings),
                false => None,
            };
            states.push(state);
        }
        (states, context)
    }

    /// How many stages begin with each stage; that of the target, which is read at the end, counts one more.
    fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.file.stages.len()];
        for (head, reachable) in self.heads.stages.iter().zip(&self.heads.reachable) {
            if let (Base::Stage(base), true) = (&head.base, reachable) {
                readers[*base] += 1;
            }
        }
        if let Some(target) = readers.get_mut(self.target) {
            *target += 1;
        }
        readers
    }

    fn stage(
        &self,
        index: usize,
        states: &mut [Option<StageState>],
        readers: &mut [usize],
        context: &mut Option<Output>,
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> Option<StageState> {
        let begin = assembly.ops.len();
        if let Some(info) = self.sources.replacement(self.file, self.heads, index) {
            return Some(self.on_context(index, info, assembly));
        }
        let mut state = self.base(index, states, readers, assembly, findings)?;
        let text = &self.file.stages[index];
        let states = &*states;
        let triggers = state.config.take_triggers();
        if state.platform.os != "windows" && state.config.env().value("PATH").is_none() {
            state
                .config
                .change(ConfigChange::Env(Pair { key: "PATH".to_owned(), value: DEFAULT_PATH.to_owned() }));
            state.hides_variables = true;
        }
        // What the image sets holds in each stage anew, over arguments of the stage below.
        if std::mem::take(&mut state.hides_variables) {
            for pair in state.config.env().pairs() {
                state.scope.environment.set_to(&pair.key, &pair.value);
            }
        }
        let mut named: Vec<(Wanted, Root)> = Vec::new();
        let mut fill = |assembly: &mut Assembly,
                        findings: &mut Findings,
                        filling: &Filling,
                        spans: &[Span]| match filling {
            Filling::Base => None,
            Filling::Context => {
                let root = *context.get_or_insert_with(|| self.main_context(assembly));
                Some(Root::At(root))
            }
            Filling::Named(hole) => {
                let wanted = Wanted { name: hole.name.clone(), by_number: hole.by_number };
                if let Some((_, root)) = named.iter().find(|(known, _)| *known == wanted) {
                    return Some(*root);
                }
                let root = self.named(index, &wanted, states, spans, assembly, findings)?;
                named.push((wanted, root));
                Some(root)
            }
        };
        let around = Surroundings {
            host: self.host,
            keywords: self.keywords,
            globals: &self.heads.globals,
            build_args: self.build_args,
            build_platform: &self.request.build_platform,
            escape: self.file.escape,
            ignore: self.ignore,
            hostname: self.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").map_or("", String::as_str),
            cache_namespace: self.build_args.get("BUILDKIT_CACHE_MOUNT_NS").map_or("", String::as_str),
        };
        let group = self.file.display(index);
        let mut evaluation =
            Evaluation::new(&around, assembly, findings, &mut fill, state, (text.name.clone(), index));
        evaluation.group.clone_from(&group);
        evaluation.no_cache = self.no_cache(index);
        let end = evaluation.assembly.ops.len();
        if end > begin {
            let title = evaluation.assembly.ops[begin].name.clone();
            evaluation.steps.push(Step { ops: vec![(begin, title)] });
        }
        evaluation.triggers(triggers, &text.from.line.whole());
        evaluation.lines(&text.lines);
        let (state, steps) = evaluation.finish();
        self.number(&group, &state.platform, &steps, assembly);
        Some(state)
    }

    /// `[linux/arm64 build 2/5] RUN make`
    fn number(&self, group: &str, platform: &Platform, steps: &[Step], assembly: &mut Assembly) {
        let mut before = String::new();
        if self.several {
            before = format!("{} ", platform::format(platform));
        }
        if !group.is_empty() {
            before.push_str(group);
            before.push(' ');
        }
        let width = steps.len().to_string().len();
        for (index, step) in steps.iter().enumerate() {
            for (op, title) in &step.ops {
                let op = &mut assembly.ops[*op];
                op.name = format!("[{before}{:width$}/{}] {title}", index + 1, steps.len());
                group.clone_into(&mut op.group);
            }
        }
    }

    fn no_cache(&self, index: usize) -> bool {
        let name = &self.file.stages[index].name;
        self.request
            .no_cache
            .iter()
            .any(|asked| asked == "*" || (!name.is_empty() && asked.to_lowercase() == *name))
    }

    fn main_context(&self, assembly: &mut Assembly) -> Output {
        let own = self.own_ignore.filter(|_| is_local(self.sources, &self.heads.target));
        assembly.context("", own.map(|ignore| ignore.patterns.clone()), &self.heads.target, Vec::new())
    }

    /// The state of a stage before its first line; nothing when its FROM cannot be followed.
    fn base(
        &self,
        index: usize,
        states: &mut [Option<StageState>],
        readers: &mut [usize],
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> Option<StageState> {
        let head = &self.heads.stages[index];
        let from = &self.file.stages[index].from;
        match &head.base {
            Base::Broken => None,
            Base::Stage(base) => {
                readers[*base] -= 1;
                let below = states[*base].as_mut()?;
                let is_last = readers[*base] == 0;
                if !is_last && !below.scope.allowance.spend(below.text_bytes()) {
                    findings.add(allowance::exceeded(&from.line.whole()), None);
                    return None;
                }
                let mut state = if is_last { below.hand_over() } else { below.clone() };
                if from.platform.is_some() {
                    state.platform = head.platform.clone();
                }
                Some(state)
            }
            Base::Scratch => Some(self.fresh(Root::Empty, nothing_but_a_directory(), head.platform.clone())),
            Base::Named(name) => {
                if let Some(info) = self.sources.context(name, &head.platform) {
                    return Some(self.on_context(index, info, assembly));
                }
                let at = from.line.span(&from.reference);
                match self.sources.image(name, &head.platform, head.fixed_platform)? {
                    Ok(image) => Some(self.on_image(index, name, image, assembly, findings)),
                    Err(error) => {
                        findings.add(self.bad_base(name, error, &head.platform, &at), None);
                        None
                    }
                }
            }
        }
    }

    fn on_image(
        &self,
        index: usize,
        name: &str,
        image: &ImageInfo,
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> StageState {
        let head = &self.heads.stages[index];
        let line = &self.file.stages[index].from.line;
        let at = line.span(&self.file.stages[index].from.reference);
        let (wanted, found) = (&head.platform, &image.platform);
        let differs = wanted.os != found.os || wanted.arch != found.arch;
        if differs && head.fixed_platform {
            let message = format!(
                "`{name}` is for {}, and {} is wanted",
                platform::format(found),
                platform::format(wanted)
            );
            let finding = check("InvalidBaseImagePlatform", message).at(&at);
            let local = checks::local_options(line, findings);
            findings.add(
                finding.help("name an image for that platform, or give FROM a `--platform`"),
                local.as_ref(),
            );
        }
        // With nothing asked for, the build follows its base image (§9.12).
        let platform = if head.fixed_platform { wanted } else { found };
        let root = match image.layers {
            0 => Root::Empty,
            _ => Root::At(assembly.image(name, &image.manifest, found, vec![line.whole()])),
        };
        let mut state = self.fresh(root, image.config.clone(), platform.clone());
        state.base_name = Reference::read(name).map_or_else(|_| name.to_owned(), |full| full.to_string());
        state.base.clone_from(&state.base_name);
        state.base_digest.clone_from(&image.manifest);
        state
    }

    fn on_context(&self, index: usize, info: &ContextInfo, assembly: &mut Assembly) -> StageState {
        let head = &self.heads.stages[index];
        let line = &self.file.stages[index].from.line;
        let mut platform = head.platform.clone();
        let mut config = nothing_but_a_directory();
        let mut is_empty = info.kind == "empty";
        if let Some(image) = &info.image {
            config = image.config.clone();
            platform = image.platform.clone();
            is_empty |= image.layers == 0;
        }
        let root = match is_empty {
            true => Root::Empty,
            false => Root::At(assembly.context(&info.name, None, &platform, vec![line.whole()])),
        };
        let mut state = self.fresh(root, config, platform);
        state.base.clone_from(&info.name);
        if let Some(image) = &info.image {
            state.base_name = image.reference.split('@').next().unwrap_or_default().to_owned();
            state.base_digest.clone_from(&image.manifest);
        }
        state
    }

    fn bad_base(&self, name: &str, error: &HostError, platform: &Platform, at: &Span) -> Diagnostic {
        let later = self.file.find(name);
        let names = self.file.names();
        let known = names.iter().map(String::as_str).chain(COMMON_IMAGES);
        let (code, message) = match error.code.as_str() {
            "not-found" => ("image-not-found", format!("there is no image `{name}`")),
            "unauthorized" => (
                "image-unauthorized",
                format!("the registry does not give out `{name}`, or does not have it"),
            ),
            "no-platform" => {
                ("image-no-platform", format!("`{name}` exists, but not for {}", platform::format(platform)))
            }
            _ => ("image-unavailable", format!("`{name}` cannot be looked up")),
        };
        let untagged = name.split([':', '@']).next().unwrap_or(name);
        let near = nearest(name, known.filter(|known| *known != untagged))
            .map(|near| format!("write `{near}`, if that is meant"));
        let help = match (error.code.as_str(), later) {
            (_, Some(stage)) => {
                let at = &self.file.stages[stage].from.line;
                format!("a stage `{name}` begins on line {}: it has to come before", at.logical.first_line)
            }
            ("no-platform", _) => "build for a platform that it has, or use another image".to_owned(),
            ("not-found" | "unauthorized", _) => {
                near.unwrap_or_else(|| "check the name; for a private registry log in first".to_owned())
            }
            // A registry that cannot be reached does not say that the name is wrong, but it may well be.
            _ => {
                let again = "try again, or check the connection to the registry";
                near.map_or_else(|| again.to_owned(), |near| format!("{near}; else {again}"))
            }
        };
        let message =
            if error.message.is_empty() { message } else { format!("{message}: {}", error.message) };
        Diagnostic::error(code, message).at(at).help(help)
    }

    /// What stands for `--from=name` in stage `index` (§9.4, §9.5).
    fn named(
        &self,
        index: usize,
        wanted: &Wanted,
        states: &[Option<StageState>],
        spans: &[Span],
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> Option<Root> {
        let name = &wanted.name;
        let at = spans.first();
        let mut problem = |diagnostic: Diagnostic| {
            let diagnostic = match at {
                Some(at) => diagnostic.at(at),
                None => diagnostic,
            };
            findings.add(diagnostic, None);
            None
        };
        if let Some(diagnostic) = wanted.impossible(self.file, index) {
            return problem(diagnostic);
        }
        match wanted.find(self.file) {
            Named::Stage(stage) => {
                if !self.heads.reachable[stage] {
                    self.late.borrow_mut().push((self.run, index, wanted.clone()));
                }
                // A stage that could not be evaluated has been reported.
                Some(states[stage].as_ref()?.root)
            }
            // Reported above.
            Named::NoSuchStage => None,
            Named::Scratch => Some(Root::Empty),
            Named::Other => {
                let platform = &self.heads.target;
                if let Some(info) = self.sources.context(name, platform) {
                    let is_empty =
                        info.kind == "empty" || info.image.as_ref().is_some_and(|image| image.layers == 0);
                    return Some(match is_empty {
                        true => Root::Empty,
                        false => Root::At(assembly.context(&info.name, None, platform, spans.to_vec())),
                    });
                }
                match self.sources.image(name, platform, self.heads.asked) {
                    Some(Ok(image)) if image.layers == 0 => Some(Root::Empty),
                    Some(Ok(image)) => {
                        Some(Root::At(assembly.image(name, &image.manifest, &image.platform, spans.to_vec())))
                    }
                    Some(Err(error)) => {
                        let taken = format!("no stage is called `{name}`, so it was taken for an image");
                        // A plain word is rather a stage that is not there.
                        let plain = !name.contains(['/', ':', '@', '.']);
                        let (code, message) = match error.code.as_str() {
                            "not-found" => {
                                ("image-not-found", format!("{taken}, and there is no such image"))
                            }
                            "unauthorized" => (
                                "image-unauthorized",
                                format!("{taken}, and the registry does not give it out"),
                            ),
                            "no-platform" => {
                                ("image-no-platform", format!("{taken}, which is not there for the platform"))
                            }
                            _ => ("image-unavailable", format!("{taken}, and that cannot be looked up")),
                        };
                        let message = format!("{message}: {}", error.message);
                        problem(
                            Diagnostic::error(if plain { "unknown-stage" } else { code }, message)
                                .help(stage_help(self.file, name, "--from=")),
                        )
                    }
                    None => match Reference::read(name) {
                        Err(why) => problem(unknown_stage(self.file, name, why)),
                        Ok(_) => {
                            self.late.borrow_mut().push((self.run, index, wanted.clone()));
                            None
                        }
                    },
                }
            }
        }
    }

    fn fresh(&self, root: Root, config: ImageConfig, platform: Platform) -> StageState {
        StageState {
            root,
            config: Configuration::of(config),
            scope: StageScope::within(&self.heads.globals.allowance),
            hides_variables: true,
            history: Vec::new(),
            platform,
            base: String::new(),
            base_name: String::new(),
            base_digest: String::new(),
            has_workdir: false,
            arguments: Vec::new(),
            scans: std::collections::BTreeMap::new(),
        }
    }
}

/// The configuration of what is no image: files alone, or nothing (§10.4).
fn nothing_but_a_directory() -> ImageConfig {
    ImageConfig { working_dir: "/".to_owned(), ..ImageConfig::default() }
}
