//! Plans a build: which stages are needed, what they begin with, and what their lines make (§9, §10).

use std::cell::RefCell;
use std::collections::BTreeSet;

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::source_types::{ContextInfo, ImageInfo};
use kiln_sdk::wit::types::{HostError, ImageConfig, Pair, Platform};

use crate::assemble::{Assembly, Filling, Root};
use crate::checks;
use crate::epoch;
use crate::eval::{DEFAULT_PATH, Evaluation, StageState, Step, Surroundings};
use crate::findings::{Findings, check};
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::load::{Loaded, read_ignore};
use crate::parse::Keywords;
use crate::platform;
use crate::reference::Reference;
use crate::resolve::{Base, Heads, Named, Sources, Wanted, heads};
use crate::scope::{BuildArgs, Globals, PROXIES, SPECIAL, StageScope, predefined};
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

/// Everything that was evaluated.
pub struct Plan {
    pub assembly: Assembly,
    pub runs: Vec<Run>,
    /// The stage to be built.
    pub target: usize,
}

/// One evaluation of the file, for one platform.
pub struct Run {
    pub heads: Heads,
    /// By stage; nothing for those that were not needed or could not be evaluated.
    pub states: Vec<Option<StageState>>,
    /// The main build context, if anything reads it.
    pub context: Option<Output>,
}

/// The stage that the request asks for (§9.7).
///
/// # Errors
///
/// There is none of that name.
pub fn target(file: &File, name: &str) -> Result<usize, Diagnostic> {
    if name.is_empty() {
        return Ok(file.stages.len().saturating_sub(1));
    }
    file.find(name).ok_or_else(|| {
        Diagnostic::error("unknown-target", format!("there is no stage `{name}` to build")).help(stage_help(
            file,
            name,
            "--target ",
        ))
    })
}

fn stage_help(file: &File, name: &str, before: &str) -> String {
    let names = file.names();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("write `{before}{near}`"),
        None if names.is_empty() => {
            "no stage of this file has a name; give it one with `FROM image AS name`".to_owned()
        }
        None => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("the stages are {}", names.join(", "))
        }
    }
}

/// Plans what `request` asks for. With `all`, every stage is evaluated.
///
/// Nothing when the request names no stage of the file, which has been reported; other problems are in
/// `loaded.findings` and leave holes in the plan.
pub fn plan(host: &dyn Host, request: &BuildRequest, loaded: &mut Loaded, all: bool) -> Option<Plan> {
    let target = match target(&loaded.file, &request.target) {
        Ok(target) => target,
        Err(problem) => {
            loaded.findings.add(problem, None);
            return None;
        }
    };
    let platforms = match request.platforms.as_slice() {
        [] => std::slice::from_ref(&request.build_platform),
        platforms => platforms,
    };
    let mut runs = Vec::new();
    for platform in platforms {
        runs.push(begin(request, loaded, platform, target));
    }
    let mut targets = vec![target];
    if all {
        targets = (0..loaded.file.stages.len()).collect();
    } else if let Some(heads) = runs.first() {
        targets.extend(epoch::stage(&loaded.file, &loaded.build_args, &heads.globals));
    }
    let mut sources = Sources::new(host);
    malformed(host, &loaded.file, &runs, &mut loaded.findings);
    loop {
        sources.gather(host, &loaded.file, &loaded.keywords, &mut runs, &targets);
        let ignore = ignore(host, loaded, &sources, &runs);
        let late = RefCell::new(Vec::new());
        let mut findings = std::mem::take(&mut loaded.findings);
        let before = findings.clone();
        let mut assembly = Assembly::default();
        let mut done = Vec::new();
        for (index, heads) in runs.iter().enumerate() {
            let mut planner = Planner {
                host,
                request,
                file: &loaded.file,
                keywords: &loaded.keywords,
                build_args: &loaded.build_args,
                own_ignore: loaded.ignore.as_ref(),
                ignore: ignore.as_ref(),
                sources: &sources,
                heads,
                run: index,
                late: &late,
                several: platforms.len() > 1,
            };
            done.push(planner.run(&mut assembly, &mut findings));
        }
        let late = late.into_inner();
        if late.is_empty() {
            unused_arguments(&loaded.file, &loaded.build_args, &done, &mut findings);
            loaded.findings = findings;
            let runs = runs
                .into_iter()
                .zip(done)
                .map(|(heads, (states, context))| Run { heads, states, context })
                .collect();
            return Some(Plan { assembly, runs, target });
        }
        // Text that an instruction brought in names what nobody could see before: look it up and begin anew.
        loaded.findings = before;
        for (run, stage, wanted) in late {
            let head = &mut runs[run].stages[stage];
            if !head.wanted.contains(&wanted) {
                head.wanted.push(wanted);
            }
        }
    }
}

fn begin(request: &BuildRequest, loaded: &mut Loaded, platform: &Platform, target: usize) -> Heads {
    let file = &loaded.file;
    let name = match (request.target.as_str(), file.stages.get(target).map(|stage| stage.name())) {
        ("", Some(name)) if !name.is_empty() => name,
        ("", _) => "default".to_owned(),
        (asked, _) => asked.to_owned(),
    };
    let predefined = predefined(&request.build_platform, platform, &name);
    let mut problems = Vec::new();
    let globals = Globals::read(&file.globals, file.escape, &predefined, &loaded.build_args, &mut problems);
    let defaults = Globals::read(&file.globals, file.escape, &predefined, &BuildArgs::new(), &mut Vec::new());
    loaded.findings.extend(problems);
    for (name, at) in &globals.undefined {
        let finding = checks::undefined_variable(name, &StageScope::default(), &globals, at);
        loaded.findings.add(finding, None);
    }
    checks::default_arguments(file, &defaults, &mut loaded.findings);
    let asked = !request.platforms.is_empty();
    let stages = heads(file, &globals, platform, asked, &loaded.keywords, &mut loaded.findings);
    let reachable = vec![false; stages.len()];
    Heads { globals, target: platform.clone(), stages, reachable }
}

/// What FROM names has to be well-formed even where it is not built (§9.7), unless it is a build context.
fn malformed(host: &dyn Host, file: &File, runs: &[Heads], findings: &mut Findings) {
    let contexts: BTreeSet<String> = host.context_names().into_iter().collect();
    for heads in runs {
        for (stage, head) in file.stages.iter().zip(&heads.stages) {
            let Base::Named(name) = &head.base else { continue };
            let Err(problem) = Reference::read(name) else { continue };
            let replaced = contexts.iter().any(|context| {
                let context = context.split("::").next().unwrap_or_default();
                context == name || context == stage.name()
            });
            if replaced {
                continue;
            }
            let at = stage.from.line.span(&stage.from.reference);
            let diagnostic =
                Diagnostic::error("invalid-reference", format!("`{name}` names no image: {problem}")).at(&at);
            let help = match file.find(name) {
                Some(stage) => {
                    format!("write `{}`: names of stages are in lower case", file.stages[stage].name())
                }
                None => "write `name`, `name:tag` or `name@digest`".to_owned(),
            };
            findings.add(diagnostic.help(help), None);
        }
    }
}

/// What the ignore file excludes from a local main context, for the checks.
fn ignore(host: &dyn Host, loaded: &mut Loaded, sources: &Sources, runs: &[Heads]) -> Option<IgnoreFile> {
    let local = runs.iter().any(|heads| is_local(sources, &heads.target));
    if !local {
        return None;
    }
    if loaded.ignore.is_some() {
        return loaded.ignore.clone();
    }
    // Only a COPY or ADD can trip over it.
    let stages = runs.iter().flat_map(|heads| loaded.file.stages.iter().zip(&heads.reachable));
    let mut built = stages.filter(|(_, reachable)| **reachable).flat_map(|(stage, _)| stage.lines.iter());
    if !built.any(|line| matches!(line.keyword.as_str(), "COPY" | "ADD")) {
        return None;
    }
    // A file that cannot be read is the engine's to report: it applies it.
    let bytes = host.context_file(".dockerignore").ok()??;
    read_ignore(".dockerignore", &bytes, &mut loaded.findings)
}

fn is_local(sources: &Sources, platform: &Platform) -> bool {
    sources.context("", platform).is_some_and(|context| context.kind == "local")
}

/// Build arguments that no ARG takes (§8.9).
fn unused_arguments(
    file: &File,
    build_args: &BuildArgs,
    done: &[(Vec<Option<StageState>>, Option<Output>)],
    findings: &mut Findings,
) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for line in file.globals.iter().chain(file.stages.iter().flat_map(|stage| stage.lines.iter())) {
        let line = if line.keyword == "ONBUILD" { line.nested(file.escape) } else { line.clone() };
        if line.keyword == "ARG" {
            let declared = crate::scope::declared(&line, file.escape).unwrap_or_default();
            known.extend(declared.into_iter().map(|declared| declared.name));
        }
    }
    for state in done.iter().flat_map(|(states, _)| states.iter().flatten()) {
        known.extend(state.arguments.iter().map(|argument| argument.declared.name.clone()));
    }
    let platform = Platform::default();
    let predefined = predefined(&platform, &platform, "");
    for name in build_args.keys() {
        let read_by_builder = SPECIAL.contains(&name.as_str())
            || PROXIES.contains(&name.as_str())
            || name.starts_with("BUILDKIT_")
            || predefined.iter().any(|(known, _)| known == name);
        if read_by_builder || known.contains(name) {
            continue;
        }
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("write `--build-arg {near}=…`"),
            None => format!("declare it with `ARG {name}`"),
        };
        let message =
            format!("the build argument `{name}` is not used: no ARG of `{}` declares it", file.name);
        findings.add(Diagnostic::warning("unused-build-arg", message).help(help), None);
    }
}

struct Planner<'p> {
    host: &'p dyn Host,
    request: &'p BuildRequest,
    file: &'p File,
    keywords: &'p Keywords,
    build_args: &'p BuildArgs,
    /// `<file>.dockerignore`, which replaces the one in the context.
    own_ignore: Option<&'p IgnoreFile>,
    /// The one that applies, for the checks.
    ignore: Option<&'p IgnoreFile>,
    sources: &'p Sources,
    heads: &'p Heads,
    run: usize,
    /// Names that were not known before the evaluation: of which run, and stage.
    late: &'p RefCell<Vec<(usize, usize, Wanted)>>,
    /// More than one platform is built.
    several: bool,
}

impl Planner<'_> {
    fn run(
        &mut self,
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> (Vec<Option<StageState>>, Option<Output>) {
        let mut states: Vec<Option<StageState>> = Vec::with_capacity(self.file.stages.len());
        let mut context = None;
        for index in 0..self.file.stages.len() {
            let state = match self.heads.reachable[index] {
                true => self.stage(index, &states, &mut context, assembly, findings),
                false => None,
            };
            states.push(state);
        }
        (states, context)
    }

    fn stage(
        &self,
        index: usize,
        states: &[Option<StageState>],
        context: &mut Option<Output>,
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> Option<StageState> {
        let begin = assembly.ops.len();
        if let Some(info) = self.sources.replacement(self.file, self.heads, index) {
            return Some(self.from_context(index, info, assembly));
        }
        let mut state = self.base(index, states, assembly, findings)?;
        let text = &self.file.stages[index];
        let triggers = std::mem::take(&mut state.config.on_build);
        if state.platform.os != "windows" && !state.config.env.iter().any(|pair| pair.key == "PATH") {
            state.config.env.push(Pair { key: "PATH".to_owned(), value: DEFAULT_PATH.to_owned() });
        }
        // What the image sets holds in each stage anew, over arguments of the stage below.
        for pair in &state.config.env {
            state.scope.environment.set(&pair.key, &pair.value);
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
            Evaluation::new(&around, assembly, findings, &mut fill, state, (text.name(), index));
        evaluation.group.clone_from(&group);
        evaluation.no_cache = self.no_cache(index);
        let end = evaluation.assembly.ops.len();
        if end > begin {
            let title = std::mem::take(&mut evaluation.assembly.ops[begin].name);
            evaluation.steps.push(Step { ops: begin..end, title });
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
            let name = format!("[{before}{:width$}/{}] {}", index + 1, steps.len(), step.title);
            for op in assembly.ops[step.ops.clone()].iter_mut().filter(|op| op.name.is_empty()) {
                op.name.clone_from(&name);
                group.clone_into(&mut op.group);
            }
        }
    }

    fn no_cache(&self, index: usize) -> bool {
        let name = self.file.stages[index].name();
        self.request
            .no_cache
            .iter()
            .any(|asked| asked == "*" || (!name.is_empty() && asked.to_lowercase() == name))
    }

    fn main_context(&self, assembly: &mut Assembly) -> Output {
        let own = self.own_ignore.filter(|_| is_local(self.sources, &self.heads.target));
        assembly.context("", own.map(|ignore| ignore.patterns.clone()), &self.heads.target, Vec::new())
    }

    /// The state of a stage before its first line; nothing when its FROM cannot be followed.
    fn base(
        &self,
        index: usize,
        states: &[Option<StageState>],
        assembly: &mut Assembly,
        findings: &mut Findings,
    ) -> Option<StageState> {
        let head = &self.heads.stages[index];
        let from = &self.file.stages[index].from;
        match &head.base {
            Base::Broken => None,
            Base::Stage(base) => {
                let mut state = states[*base].clone()?;
                if from.platform.is_some() {
                    state.platform = head.platform.clone();
                }
                Some(state)
            }
            Base::Scratch => {
                let config = ImageConfig { working_dir: "/".to_owned(), ..ImageConfig::default() };
                Some(fresh(Root::Empty, config, head.platform.clone()))
            }
            Base::Named(name) => {
                if let Some(info) = self.sources.context(name, &head.platform) {
                    return Some(self.from_context(index, info, assembly));
                }
                let at = from.line.span(&from.reference);
                match self.sources.image(name, &head.platform)? {
                    Ok(image) => Some(self.from_image(index, name, image, assembly, findings)),
                    Err(error) => {
                        findings.add(self.bad_base(name, error, &head.platform, &at), None);
                        None
                    }
                }
            }
        }
    }

    fn from_image(
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
        let mut state = fresh(root, image.config.clone(), platform.clone());
        state.base_name = Reference::read(name).map_or_else(|_| name.to_owned(), |full| full.to_string());
        state.base_digest.clone_from(&image.manifest);
        state
    }

    fn from_context(&self, index: usize, info: &ContextInfo, assembly: &mut Assembly) -> StageState {
        let head = &self.heads.stages[index];
        let line = &self.file.stages[index].from.line;
        let mut platform = head.platform.clone();
        let mut config = ImageConfig::default();
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
        let mut state = fresh(root, config, platform);
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
        let known = match nearest(name, known.filter(|known| *known != name)) {
            Some(near) => format!("write `{near}`, if that is meant"),
            None => "check the name; for a private registry log in first".to_owned(),
        };
        let help = match (error.code.as_str(), later) {
            (_, Some(stage)) => {
                let at = &self.file.stages[stage].from.line;
                format!("a stage `{name}` begins on line {}: it has to come before", at.logical.first_line)
            }
            ("no-platform", _) => "build for a platform that it has, or use another image".to_owned(),
            ("not-found" | "unauthorized", _) => known,
            _ => "try again, or check the connection to the registry".to_owned(),
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
        match wanted.find(self.file) {
            Named::Stage(stage) if stage == index => problem(
                Diagnostic::error("stage-not-before", format!("the stage `{name}` cannot read from itself"))
                    .help("leave `from` out to read the build context, or name an earlier stage"),
            ),
            Named::Stage(stage) if stage > index => {
                let line = &self.file.stages[stage].from.line;
                let message = format!("the stage `{name}` begins only on line {}", line.logical.first_line);
                problem(
                    Diagnostic::error("stage-not-before", message)
                        .label(&line.whole(), "it begins here")
                        .help("move it before this stage: a stage can use only those above it"),
                )
            }
            Named::Stage(stage) => {
                if !self.heads.reachable[stage] {
                    self.late.borrow_mut().push((self.run, index, wanted.clone()));
                }
                // A stage that could not be evaluated has been reported.
                Some(states[stage].as_ref()?.root)
            }
            Named::NoSuchStage => {
                let last = self.file.stages.len() - 1;
                problem(
                    Diagnostic::error("unknown-stage", format!("there is no stage number {name}"))
                        .help(format!("stages are counted from 0 to {last}; better give the stage a name")),
                )
            }
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
                match self.sources.image(name, platform) {
                    Some(Ok(image)) if image.layers == 0 => Some(Root::Empty),
                    Some(Ok(image)) => {
                        Some(Root::At(assembly.image(name, &image.manifest, &image.platform, spans.to_vec())))
                    }
                    Some(Err(error)) => {
                        let taken = format!("no stage is called `{name}`, so it was taken for an image");
                        let message = match error.code.as_str() {
                            "not-found" => format!("{taken}, and there is no such image"),
                            "unauthorized" => format!("{taken}, and the registry does not give it out"),
                            _ => format!("{taken}, and that cannot be looked up"),
                        };
                        let message = format!("{message}: {}", error.message);
                        problem(
                            Diagnostic::error("unknown-stage", message)
                                .help(stage_help(self.file, name, "--from=")),
                        )
                    }
                    None => match Reference::read(name) {
                        Err(why) => {
                            let message =
                                format!("no stage is called `{name}`, and it is no image either: {why}");
                            problem(
                                Diagnostic::error("unknown-stage", message)
                                    .help(stage_help(self.file, name, "--from=")),
                            )
                        }
                        Ok(_) => {
                            self.late.borrow_mut().push((self.run, index, wanted.clone()));
                            None
                        }
                    },
                }
            }
        }
    }
}

fn fresh(root: Root, config: ImageConfig, platform: Platform) -> StageState {
    StageState {
        root,
        config,
        scope: StageScope::default(),
        history: Vec::new(),
        platform,
        base_name: String::new(),
        base_digest: String::new(),
        has_workdir: false,
        arguments: Vec::new(),
        scans: std::collections::BTreeMap::new(),
    }
}
