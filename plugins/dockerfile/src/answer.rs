//! Answers requests: plans, and puts what came out into the shape of the contract.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, Scan, TargetResult};
use kiln_sdk::wit::graph::Graph;
use kiln_sdk::wit::types::Pair;

use crate::arguments::boolean;
use crate::epoch;
use crate::eval::StageState;
use crate::host::Host;
use crate::load::{Loaded, load};
use crate::plan::{Plan, Run, plan};
use crate::scope::{BuildArgs, SCANS};

/// Plans the build of `request`.
///
/// # Errors
///
/// Everything that is wrong, warnings included.
pub fn build(host: &dyn Host, request: &BuildRequest) -> Result<BuildResult, BuildFailure> {
    let mut loaded = load(host, request).map_err(one)?;
    let planned = match loaded.findings.has_error() {
        false => plan(host, request, &mut loaded, false),
        true => None,
    };
    let epoch = match &planned {
        Some(plan) => epoch::read(host, &loaded.file, &loaded.build_args, plan),
        None => Ok(String::new()),
    };
    loaded.findings.extend(epoch.as_ref().err().cloned());
    loaded.findings.enforce();
    let (Some(plan), Ok(source_date_epoch), false) = (planned, epoch, loaded.findings.has_error()) else {
        return Err(BuildFailure { diagnostics: loaded.findings.take() });
    };
    let export_options = export_options(&loaded.build_args);
    let Plan { assembly, runs, target } = plan;
    let mut targets = Vec::with_capacity(runs.len());
    for mut run in runs {
        let scans = scans(&loaded, &run, target);
        // A stage that could not be evaluated has been reported, and then there is an error.
        let Some(state) = run.states[target].take() else { continue };
        targets.push(target_result(state, scans, request, &run));
    }
    Ok(BuildResult {
        graph: Graph { ops: assembly.ops },
        targets,
        source_date_epoch,
        export_options,
        diagnostics: loaded.findings.take(),
    })
}

/// Finds problems without building: in all stages, or in those that the target needs (§22.1).
pub fn check(host: &dyn Host, request: &BuildRequest) -> Vec<Diagnostic> {
    let mut loaded = match load(host, request) {
        Ok(loaded) => loaded,
        Err(problem) => return vec![problem],
    };
    if !loaded.findings.has_error() {
        plan(host, request, &mut loaded, request.target.is_empty());
    }
    loaded.findings.enforce();
    loaded.findings.take()
}

/// A failure with one cause.
pub fn one(problem: Diagnostic) -> BuildFailure {
    BuildFailure { diagnostics: vec![problem] }
}

fn target_result(state: StageState, scans: Vec<Scan>, request: &BuildRequest, run: &Run) -> TargetResult {
    let mut config = state.config.into_whole();
    for label in &request.labels {
        match config.labels.iter_mut().find(|known| known.key == label.key) {
            Some(known) => known.value.clone_from(&label.value),
            None => config.labels.push(label.clone()),
        }
    }
    // Of the platform that was asked for; else of the base image (§17.7).
    let platform = if request.platforms.is_empty() { state.platform } else { run.heads.target.clone() };
    TargetResult {
        platform,
        root: state.root.output(),
        config,
        history: state.history,
        annotations: Vec::new(),
        attestations: Vec::new(),
        scans,
        base_name: state.base_name,
        base_digest: state.base_digest,
    }
}

/// Filesystems that scanners are to see besides the image (§8.8).
fn scans(loaded: &Loaded, run: &Run, target: usize) -> Vec<Scan> {
    let [of_context, of_stage] = SCANS;
    let value = |state: Option<&StageState>, name: &str| {
        let own = state.and_then(|state| state.scans.get(name).cloned());
        let asked = || loaded.build_args.get(name).cloned();
        own.or_else(asked)
            .or_else(|| run.heads.globals.environment.value(name).map(str::to_owned))
            .unwrap_or_default()
    };
    let mut scans = Vec::new();
    for (index, state) in run.states.iter().enumerate() {
        let Some(state) = state else { continue };
        let name = loaded.file.stages[index].name.as_str();
        let asked = value(Some(state), of_stage);
        let listed =
            asked.split(',').any(|listed| !name.is_empty() && listed.trim().eq_ignore_ascii_case(name));
        if index != target
            && (listed || boolean(&asked) == Some(true))
            && let Some(root) = state.root.output()
        {
            scans.push(Scan { name: loaded.file.display(index), root });
        }
    }
    if boolean(&value(run.states[target].as_ref(), of_context)) == Some(true)
        && let Some(root) = run.context
    {
        scans.push(Scan { name: "context".to_owned(), root });
    }
    scans
}

fn export_options(build_args: &BuildArgs) -> Vec<Pair> {
    let is_set = |name: &str| build_args.get(name).is_some_and(|value| boolean(value) == Some(true));
    let pair = |key: &str, value: &str| Pair { key: key.to_owned(), value: value.to_owned() };
    let mut options = Vec::new();
    if is_set("BUILDKIT_MULTI_PLATFORM") {
        options.push(pair("index", "true"));
    }
    if is_set("BUILDKIT_INLINE_CACHE") {
        options.push(pair("inline-cache", "true"));
    }
    if let Some(name) = build_args.get("BUILDKIT_BUILD_NAME") {
        options.push(pair("build-name", name));
    }
    options
}
