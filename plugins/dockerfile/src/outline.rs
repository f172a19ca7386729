//! Answers what can be built and what can be passed in (§22).

use std::collections::BTreeMap;

use kiln_sdk::wit::frontend_types::{ArgumentInfo, BuildFailure, BuildRequest, Need, Outline, TargetInfo};
use kiln_sdk::wit::graph::{ClientMount, MountKind, OpKind};

use crate::answer::one;
use crate::host::Host;
use crate::load::{Loaded, load};
use crate::plan::{Plan, plan, target};
use crate::platform;
use crate::scope::{Argument, description};

/// All stages of the file.
///
/// # Errors
///
/// The file is wrong.
pub fn list_targets(host: &dyn Host, request: &BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
    let loaded = read(host, request)?;
    Ok((0..loaded.file.stages.len()).map(|index| target_info(&loaded, index)).collect())
}

/// What the target of the request and the stages below it use.
///
/// # Errors
///
/// The file is wrong, or has no such target.
pub fn describe_target(host: &dyn Host, request: &BuildRequest) -> Result<Outline, BuildFailure> {
    let mut loaded = read(host, request)?;
    let index = target(&loaded.file, &request.target).map_err(one)?;
    let planned = plan(host, request, &mut loaded, false);
    let Some(plan) = planned.filter(|_| !loaded.findings.has_error()) else {
        return Err(BuildFailure { diagnostics: loaded.findings.take() });
    };
    let (secrets, ssh, caches) = needs(&plan);
    Ok(Outline {
        target: target_info(&loaded, index),
        parameters: parameters(&loaded, &plan),
        secrets,
        ssh,
        caches,
    })
}

fn read(host: &dyn Host, request: &BuildRequest) -> Result<Loaded, BuildFailure> {
    let loaded = load(host, request).map_err(one)?;
    match loaded.findings.has_error() {
        true => Err(BuildFailure { diagnostics: loaded.findings.take() }),
        false => Ok(loaded),
    }
}

fn target_info(loaded: &Loaded, index: usize) -> TargetInfo {
    let file = &loaded.file;
    let from = &file.stages[index].from;
    let name = file.stages[index].name.clone();
    let asked = from.platform.as_ref().and_then(|flag| flag.value());
    TargetInfo {
        description: if name.is_empty() { String::new() } else { description(&from.line.comments, &name) },
        name,
        is_default: index + 1 == file.stages.len(),
        platform: asked.and_then(|text| platform::read(text, &Default::default())),
        base: from.line.text(&from.reference).to_owned(),
        at: Some(from.line.whole()),
    }
}

/// Arguments of the stages that were evaluated, and those before the first FROM that they or their FROM lines use.
fn parameters(loaded: &Loaded, plan: &Plan) -> Vec<ArgumentInfo> {
    let Some(run) = plan.runs.first() else { return Vec::new() };
    let mut found: BTreeMap<&str, &Argument> = BTreeMap::new();
    for argument in run.states.iter().flatten().flat_map(|state| &state.arguments) {
        let known = found.entry(&argument.declared.name).or_insert(argument);
        // Of several lines the one that says most.
        if known.declared.default.is_none() && argument.declared.default.is_some() {
            *known = argument;
        }
    }
    for argument in &run.heads.globals.arguments {
        let name = argument.declared.name.as_str();
        let mentions =
            |text: &str| text.contains(&format!("${name}")) || text.contains(&format!("${{{name}"));
        let mut from =
            loaded.file.stages.iter().zip(&run.heads.reachable).filter(|(_, reachable)| **reachable);
        let in_from = from.any(|(stage, _)| mentions(&stage.from.line.logical.text));
        let redeclared = found.get(name).is_some_and(|known| known.declared.default.is_none());
        if in_from || redeclared {
            found.insert(name, argument);
        }
    }
    let info = |argument: &Argument| ArgumentInfo {
        name: argument.declared.name.clone(),
        description: argument.description.clone(),
        preset: argument.declared.default.clone(),
        value: argument.value.clone(),
        at: Some(argument.declared.at.clone()),
    };
    found.into_values().map(info).collect()
}

fn needs(plan: &Plan) -> (Vec<Need>, Vec<Need>, Vec<Need>) {
    let (mut secrets, mut ssh, mut caches) = (Vec::new(), Vec::new(), Vec::new());
    for op in &plan.assembly.ops {
        let OpKind::Exec(exec) = &op.kind else { continue };
        let at = op.spans.first().cloned();
        let client =
            |mount: &ClientMount| Need { id: mount.id.clone(), required: mount.required, at: at.clone() };
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret(secret) => add(&mut secrets, client(secret)),
                MountKind::Ssh(agent) => add(&mut ssh, client(agent)),
                MountKind::Cache(cache) => {
                    add(&mut caches, Need { id: cache.id.clone(), required: false, at: at.clone() });
                }
                MountKind::Bind(_) | MountKind::Tmpfs(_) => {}
            }
        }
        for secret in &exec.secret_env {
            add(&mut secrets, Need { id: secret.id.clone(), required: secret.required, at: at.clone() });
        }
    }
    (secrets, ssh, caches)
}

/// Each id once; required if any use requires it.
fn add(needs: &mut Vec<Need>, need: Need) {
    match needs.iter_mut().find(|known| known.id == need.id) {
        Some(known) => known.required |= need.required,
        None => needs.push(need),
    }
}
