//! Makes the images of what was decided, and that of the symbols.

use kiln_closure::layer;
use kiln_preset::{Image, Reasons, Shape, answer, check_build_args, check_target};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::CopyAction;
use kiln_sdk::wit::types::ImageConfig;

use crate::plan::{NAME, Plan, Project, plan};
use crate::settings::Settings;

/// The target with symbols and nothing else.
pub(crate) const DEBUG: &str = "debug";

/// Where debuggers look for symbols by the identity of a file.
const DEBUG_DIRECTORY: &str = "/usr/lib/debug/.build-id";

/// What `build` answers.
///
/// # Errors
///
/// Whatever keeps the project from becoming an image.
pub(crate) fn build(request: &BuildRequest) -> Result<BuildResult, BuildFailure> {
    let mut reasons = Reasons::new();
    let settings = Settings::read(request)?;
    let wants_symbols = request.target == DEBUG;
    if wants_symbols && !settings.debug_file {
        let found = Diagnostic::error("c-no-symbols", "the program is built without symbols");
        let help = "build it, and them, with `--opt c.debug-file=true`: only then they belong together";
        return Err(found.help(help).into());
    }
    if !wants_symbols {
        check_target(request, "there is `debug`, for symbols")?;
    }
    check_build_args(request, |_| false, &mut reasons);
    let project = Project::open(&settings, &mut reasons)?;
    let mut graph = GraphBuilder::new();
    let mut targets = Vec::new();
    for platform in request.wanted_platforms() {
        let plan = plan(&mut graph, request, &settings, &project, &platform, &mut reasons)?;
        targets.push(match wants_symbols {
            true => symbols(&mut graph, &plan, request),
            false => image(&mut graph, &plan, &settings, request),
        });
    }
    answer(graph, targets, reasons, request)
}

fn image(graph: &mut GraphBuilder, plan: &Plan, settings: &Settings, request: &BuildRequest) -> TargetResult {
    let mut shape = shape(plan, settings);
    if let Some(furniture) = &plan.furniture {
        shape.layer(furniture.layer(graph, &plan.builder), "users, groups and /tmp");
    }
    if !plan.shared.items.is_empty() {
        let libraries = layer(graph, &plan.shared.items, plan.builder.root);
        graph.rename(libraries, "shared libraries");
        shape.layer(libraries, "shared libraries");
    }
    let mut program = plan.out;
    if !plan.installed.excluded.is_empty() {
        let copy = CopyAction::new(plan.out, vec!["/".to_owned()], "/");
        let exclude_patterns = plan.installed.patterns();
        program = graph.copy(None, CopyAction { contents_only: true, exclude_patterns, ..copy });
        graph.rename(program, "program");
    }
    shape.layer(program, &plan.program);
    shape.finish(graph, request)
}

/// The image without its layers.
fn shape(plan: &Plan, settings: &Settings) -> Shape {
    let mut shape = Shape::new(NAME, &plan.platform, plan.runtime.as_ref(), &settings.common.user);
    shape.config.entrypoint = Some(vec![plan.program.clone()]);
    shape
}

/// What the image says of itself.
pub(crate) fn config(plan: &Plan, settings: &Settings, request: &BuildRequest) -> ImageConfig {
    shape(plan, settings).finish(&mut GraphBuilder::new(), request).config
}

fn symbols(graph: &mut GraphBuilder, plan: &Plan, request: &BuildRequest) -> TargetResult {
    let mut shape = Shape::new(NAME, &plan.platform, None::<&Image>, "");
    let copy = CopyAction::new(plan.result, vec!["/report/debug".to_owned()], DEBUG_DIRECTORY);
    let layer = graph.copy(None, CopyAction { contents_only: true, ..copy });
    graph.rename(layer, "symbols");
    shape.layer(layer, "symbols");
    shape.finish(graph, request)
}
