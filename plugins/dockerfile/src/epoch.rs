//! The one time of a build, `SOURCE_DATE_EPOCH` (§23.1).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{FileAction, OpKind, Output};

use crate::assemble::{Assembly, Root};
use crate::host::{Host, Remote};
use crate::plan::{Plan, Run};
use crate::scope::{BuildArgs, Globals};
use crate::sources::Sources;
use crate::stages::File;

const NAME: &str = "SOURCE_DATE_EPOCH";

/// What was asked for: a build argument, or the default of an ARG before the first FROM.
fn asked<'a>(build_args: &'a BuildArgs, globals: &'a Globals) -> Option<&'a str> {
    let value = build_args.get(NAME).map(String::as_str).or_else(|| globals.environment.value(NAME))?;
    let value = value.trim();
    (!value.is_empty()).then_some(value)
}

/// The stage that stands for a time, to be evaluated along with the others.
pub fn stage(file: &File, build_args: &BuildArgs, globals: &Globals) -> Option<usize> {
    let value = asked(build_args, globals)?;
    if value == "context" || value.parse::<i64>().is_ok() {
        return None;
    }
    file.find(value)
}

/// Seconds since 1970 as decimal text; empty when times stay what they are.
///
/// # Errors
///
/// The value is neither a number nor the name of something that has a time.
pub fn read(host: &dyn Host, file: &File, build_args: &BuildArgs, plan: &Plan) -> Result<String, Diagnostic> {
    let Some(run) = plan.runs.first() else { return Ok(String::new()) };
    let Some(value) = asked(build_args, &run.heads.globals) else { return Ok(String::new()) };
    if let Ok(seconds) = value.parse::<i64>() {
        return Ok(seconds.to_string());
    }
    let bad = |why: String| {
        Diagnostic::error("bad-epoch", format!("`{NAME}` is `{value}`, {why}"))
            .help("give seconds since 1970, `context`, or the name of a build context")
    };
    let name = if value == "context" { "" } else { value };
    let mut sources = Sources::new(host);
    sources.look_up(host, &[(run.heads.target.clone(), name.to_owned())]);
    if let Some(context) = sources.context(name, &run.heads.target) {
        return Ok(context.modified.map(|time| time.to_string()).unwrap_or_default());
    }
    if name.is_empty() {
        return Ok(String::new());
    }
    let Some(index) = file.find(name) else {
        return Err(bad("which is no number, no build context and no stage".to_owned()));
    };
    let remote = only_remote(file, index, run, &plan.assembly)
        .ok_or_else(|| bad("and that stage is not made of ARGs and one remote ADD on scratch".to_owned()))?;
    let time = host
        .remote_time(&remote)
        .map_err(|error| bad(format!("whose time cannot be found out: {}", error.message)))?;
    Ok(time.map(|time| time.to_string()).unwrap_or_default())
}

/// What a stage adds, if that is all it does.
fn only_remote(file: &File, index: usize, run: &Run, assembly: &Assembly) -> Option<Remote> {
    let stage = &file.stages[index];
    let mut others = stage.lines.iter().filter(|line| line.keyword != "ARG");
    if others.next()?.keyword != "ADD" || others.next().is_some() {
        return None;
    }
    let Root::At(root) = run.states[index].as_ref()?.root else { return None };
    let mut remotes = Vec::new();
    let mut open = vec![root];
    while let Some(Output { op, .. }) = open.pop() {
        match &assembly.ops.get(op as usize)?.kind {
            OpKind::Git(git) => remotes.push(Remote::Git(git.clone())),
            OpKind::Http(http) => remotes.push(Remote::Http(http.clone())),
            OpKind::File(file) => {
                open.extend(file.base);
                for action in &file.actions {
                    let FileAction::Copy(copy) = action else { return None };
                    open.push(copy.input);
                }
            }
            OpKind::Merge(layers) => open.extend(layers),
            OpKind::Scratch => {}
            // Anything else is no remote ADD on scratch.
            _ => return None,
        }
    }
    let [remote] = <[Remote; 1]>::try_from(remotes).ok()?;
    Some(remote)
}
