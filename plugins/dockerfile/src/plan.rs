//! Plans a build: which stages are needed, what they begin with, and what their lines make (§9, §10).

use std::cell::RefCell;
use std::collections::BTreeSet;

use kiln_sdk::diagnose::{nearest, quoted};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildRequest;
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::types::Platform;

use crate::allowance::Allowance;
use crate::assemble::Assembly;
use crate::checks;
use crate::epoch;
use crate::eval::StageState;
use crate::findings::Findings;
use crate::host::Host;
use crate::ignore::IgnoreFile;
use crate::load::{Loaded, read_ignore};
use crate::parse::Keywords;
use crate::reference::Reference;
use crate::resolve::{Base, Heads, Named, heads, wanted_by};
use crate::run::Planner;
use crate::scope::{BuildArgs, Globals, PROXIES, SPECIAL, declared, predefined};
use crate::sources::Sources;
use crate::stages::File;

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

/// What to write in place of `name` where a stage is wanted.
pub fn stage_help(file: &File, name: &str, before: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return "give the stage a name: numbers count stages only in `COPY --from`".to_owned();
    }
    let names = file.names();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("write `{before}{near}`"),
        None if names.is_empty() => {
            "no stage of this file has a name; give it one with `FROM image AS name`".to_owned()
        }
        None => format!("the stages are {}", quoted(names)),
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
    let allowance = Allowance::default();
    let mut runs = Vec::new();
    for platform in platforms {
        runs.push(begin(request, loaded, platform, target, &allowance));
    }
    let mut targets = vec![target];
    if all {
        targets = (0..loaded.file.stages.len()).collect();
    } else if let Some(heads) = runs.first() {
        targets.extend(epoch::stage(&loaded.file, &loaded.build_args, &heads.globals));
    }
    let mut sources = Sources::new(host);
    malformed(host, &loaded.file, &loaded.keywords, &runs, &mut loaded.findings);
    loop {
        sources.gather(host, &loaded.file, &loaded.keywords, &mut runs, &targets);
        let ignore = ignore(host, loaded, &sources, &runs);
        let late = RefCell::new(Vec::new());
        let mut findings = std::mem::take(&mut loaded.findings);
        let before = findings.clone();
        let mut assembly = Assembly::default();
        let mut done = Vec::new();
        allowance.refill();
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
                target,
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

fn begin(
    request: &BuildRequest,
    loaded: &mut Loaded,
    platform: &Platform,
    target: usize,
    allowance: &Allowance,
) -> Heads {
    let file = &loaded.file;
    let name = match (request.target.as_str(), file.stages.get(target).map(|stage| stage.name.clone())) {
        ("", Some(name)) if !name.is_empty() => name,
        ("", _) => "default".to_owned(),
        (asked, _) => asked.to_owned(),
    };
    let predefined = predefined(&request.build_platform, platform, &name);
    let mut problems = Vec::new();
    let read = |build_args: &BuildArgs, problems: &mut Vec<Diagnostic>| {
        Globals::read(&file.globals, file.escape, &predefined, build_args, allowance, problems)
    };
    let globals = read(&loaded.build_args, &mut problems);
    let defaults = read(&BuildArgs::new(), &mut Vec::new());
    loaded.findings.extend(problems);
    for (name, at) in &globals.undefined {
        // The check `UndefinedVar` speaks of instructions in stages: this is said, and fails no build.
        let message = format!("`${name}` is not defined here, so it expands to nothing");
        let hint = Diagnostic::warning("undefined-default", message).at(at);
        loaded.findings.add(hint.help(format!("declare it with `ARG {name}=…` before this line")), None);
    }
    checks::default_arguments(file, &defaults, &mut loaded.findings);
    let asked = !request.platforms.is_empty();
    let stages = heads(file, &globals, platform, asked, &loaded.keywords, &mut loaded.findings);
    let reachable = vec![false; stages.len()];
    Heads { globals, target: platform.clone(), asked, stages, reachable }
}

/// What FROM and `--from` name has to be well-formed even where it is not built (§9.7), unless it is a build context.
fn malformed(host: &dyn Host, file: &File, keywords: &Keywords, runs: &[Heads], findings: &mut Findings) {
    let contexts = host.context_names();
    let is_context = |name: &str| contexts.iter().any(|context| context.split("::").next() == Some(name));
    for heads in runs {
        for (stage, head) in file.stages.iter().zip(&heads.stages) {
            if is_context(&stage.name) {
                continue;
            }
            if let Base::Named(name) = &head.base
                && !is_context(name)
                && let Err(why) = Reference::read(name)
            {
                let help = match file.find(name) {
                    Some(stage) => {
                        format!("write `{}`: names of stages are in lower case", file.stages[stage].name)
                    }
                    None => "write `name`, `name:tag` or `name@digest`".to_owned(),
                };
                let problem =
                    Diagnostic::error("invalid-reference", format!("`{name}` names no image: {why}"));
                let at = stage.from.line.span(&stage.from.reference);
                findings.add(problem.at(&at).help(help), None);
            }
            for line in stage.lines.iter().filter(|line| line.keyword != "ONBUILD") {
                for (wanted, at) in wanted_by(line, keywords) {
                    if wanted.find(file) == Named::Other
                        && !is_context(&wanted.name)
                        && let Err(why) = Reference::read(&wanted.name)
                    {
                        findings.add(unknown_stage(file, &wanted.name, why).at(&at), None);
                    }
                }
            }
        }
    }
}

/// The error for a `from` that is neither a stage nor can be an image.
pub fn unknown_stage(file: &File, name: &str, why: &str) -> Diagnostic {
    let message = format!("no stage is called `{name}`, and it is no image either: {why}");
    Diagnostic::error("unknown-stage", message).help(stage_help(file, name, "--from="))
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

/// Whether the main context is a directory, to which ignore files apply.
pub fn is_local(sources: &Sources, platform: &Platform) -> bool {
    sources.context("", platform).is_some_and(|context| context.kind == "local")
}

/// Build arguments that no ARG takes (§8.9).
fn unused_arguments(
    file: &File,
    build_args: &BuildArgs,
    done: &[(Vec<Option<StageState>>, Option<Output>)],
    findings: &mut Findings,
) {
    if build_args.is_empty() {
        return;
    }
    let mut known: BTreeSet<String> = BTreeSet::new();
    for line in file.globals.iter().chain(file.stages.iter().flat_map(|stage| stage.lines.iter())) {
        let arguments = match line.keyword.as_str() {
            "ARG" => declared(line, file.escape),
            "ONBUILD" if line.arguments().get(..3).is_some_and(|word| word.eq_ignore_ascii_case("ARG")) => {
                declared(&line.nested(file.escape), file.escape)
            }
            _ => continue,
        };
        known.extend(arguments.unwrap_or_default().into_iter().map(|declared| declared.name));
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
