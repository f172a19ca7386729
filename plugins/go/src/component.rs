//! The preset as a component: its exports, and what it says about itself.

use kiln_sdk::plugin::{Check, Derive, Detect, Eject, Frontend, Outline as OutlineExport, Plugin};
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{
    ArgumentInfo, BuildFailure, BuildRequest, BuildResult, Detection, Need, Outline, TargetInfo, TextFile,
};
use kiln_sdk::wit::trees::Tree;

use crate::settings::{NETRC, VARIABLES};
use crate::{eject, plan, project, settings};

#[cfg(target_family = "wasm")]
#[global_allocator]
static MEMORY: kiln_sdk::memory::Shelves = kiln_sdk::memory::Shelves::new();

/// The component.
#[derive(Debug)]
pub struct Go;

kiln_sdk::export_full_frontend!(Go);

impl Plugin for Go {
    fn describe() -> PluginInfo {
        PluginInfo::new(
            "go",
            env!("CARGO_PKG_VERSION"),
            "builds a Go program and the smallest image that runs it",
        )
        .license(env!("CARGO_PKG_LICENSE"))
        .options(settings::specs())
        .rules([
            Rule::error("build-file", "a build file, where a project is built"),
            Rule::error("no-project", "a context without a Go project"),
            Rule::error("outside", "a module that lies outside of the build context"),
            Rule::error("no-file", "a file that is asked for and not there"),
            Rule::error("go-list", "a project that the go command cannot read"),
            Rule::error("no-main", "a project without a program"),
            Rule::error("several-mains", "several programs, and none is chosen"),
            Rule::error("unknown-main", "a main package that is not there"),
            Rule::error("cgo-compiler", "C in the program, and no compiler for it"),
            Rule::error("cgo-platform", "C in a program for another platform"),
            Rule::info("project", "what was found"),
            Rule::info("builder", "the image that has the toolchain, and why"),
            Rule::info("packages", "what is installed in it"),
            Rule::info("dependencies", "where modules come from"),
            Rule::info("main", "the program, and why"),
            Rule::info("cgo", "whether C is part of the program, and why"),
            Rule::info("flags", "how it is compiled"),
            Rule::info("cross", "what it is compiled for"),
            Rule::info("netrc", "how private modules are fetched"),
            Rule::info("runtime", "what the image has besides the program"),
            Rule::info("zoneinfo", "why the image has no time zones"),
            Rule::info("user", "who the program runs as"),
        ])
        .rules(kiln_preset::rules())
    }
}

impl Frontend for Go {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        plan::build(&request)
    }
}

impl Check for Go {
    fn check(request: BuildRequest) -> Vec<Diagnostic> {
        plan::check(&request)
    }
}

impl OutlineExport for Go {
    fn list_targets(request: BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
        let (_, project, settings, _) = plan::begin(&request)?;
        let (_, builder) = plan::builder_name(&project, &settings);
        Ok(vec![TargetInfo {
            name: "go".to_owned(),
            description: format!("{}; {builder}", project.describe()),
            is_default: true,
            platform: None,
            base: settings.common.runtime.unwrap_or_else(|| "scratch".to_owned()),
            at: None,
        }])
    }

    fn describe_target(request: BuildRequest) -> Result<Outline, BuildFailure> {
        let targets = Self::list_targets(request.clone())?;
        let argument = |name: &str| ArgumentInfo {
            name: name.to_owned(),
            description: "as `go help environment` says".to_owned(),
            preset: None,
            value: request.build_arg(name).map(str::to_owned),
            at: None,
        };
        let need = |id: &str| Need { id: id.to_owned(), required: false, at: None };
        let Some(target) = targets.into_iter().next() else {
            return Err(Diagnostic::error("no-project", "there is nothing to build").into());
        };
        Ok(Outline {
            target,
            parameters: VARIABLES.map(argument).to_vec(),
            secrets: vec![need(NETRC)],
            ssh: Vec::new(),
            caches: ["kiln-go-mod", "kiln-go-build"].map(need).to_vec(),
        })
    }
}

impl Detect for Go {
    fn detect(context: &Tree) -> Detection {
        project::detect(context)
    }
}

impl Eject for Go {
    fn eject(request: BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
        eject::eject(&request)
    }
}

impl Derive for Go {
    fn derive(task: String, inputs: Vec<Tree>) -> Result<Derivation, Vec<Diagnostic>> {
        kiln_preset::derive(&task, &inputs)
    }
}
