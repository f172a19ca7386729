//! Says what can be built of a project: the image, and symbols where they are kept.

use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, Outline, TargetInfo};

use crate::image::DEBUG;
use crate::plan::Project;
use crate::settings::Settings;

/// The targets of a project.
///
/// # Errors
///
/// There is no project.
pub(crate) fn list(request: &BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
    let settings = Settings::read(request)?;
    let mut reasons = kiln_preset::Reasons::new();
    Project::open(&settings, &mut reasons)?;
    let reason = reasons.sentence("c-system").unwrap_or_default();
    let info = |name: &str, description: String, is_default| TargetInfo {
        name: name.to_owned(),
        description,
        is_default,
        platform: None,
        base: settings.common.runtime.clone().unwrap_or_else(|| "scratch".to_owned()),
        at: None,
    };
    let mut targets = vec![info("", format!("the program: {reason}"), true)];
    if settings.debug_file {
        targets.push(info(DEBUG, "its symbols, for debuggers".to_owned(), false));
    }
    Ok(targets)
}

/// The target of the request.
///
/// # Errors
///
/// There is no project, or no such target.
pub(crate) fn describe(request: &BuildRequest) -> Result<Outline, BuildFailure> {
    let target = list(request)?.into_iter().find(|target| target.name == request.target);
    let Some(target) = target else {
        kiln_preset::check_target(request, "there is `debug` with `--opt c.debug-file=true`")?;
        return Err(Vec::new().into());
    };
    Ok(Outline { target, parameters: Vec::new(), secrets: Vec::new(), ssh: Vec::new(), caches: Vec::new() })
}
