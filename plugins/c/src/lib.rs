//! The preset for C and C++: a project directory in, the smallest image that runs its program out.
//!
//! The project is built and installed in one step while the build is planned, in an image with compilers; what it installed is
//! read, and decides the image. Programs that link statically without a complaint are; for the others the shared libraries
//! are found by reading ELF files. Nothing that was built is run.

use kiln_preset::rules;
use kiln_sdk::plugin::{Check, Detect, Eject, Frontend, Outline as OutlineExport, Plugin};
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};
use kiln_sdk::wit::frontend_types::{
    BuildFailure, BuildRequest, BuildResult, Detection, Outline, TargetInfo, TextFile,
};
use kiln_sdk::wit::trees::Tree;

mod eject;
mod image;
mod incremental;
mod installed;
mod outline;
mod plan;
mod project;
mod settings;
mod shared;
mod tools;
mod work;

/// The component.
pub struct C;

kiln_sdk::export_ejecting_frontend!(C);

/// The findings of this preset, beside those that all presets have.
const RULES: [(&str, &str, Severity); 20] = [
    ("c-no-project", "a directory with nothing to build", Severity::Error),
    ("c-context", "a project that cannot be read", Severity::Error),
    ("c-build", "a project that does not build", Severity::Error),
    ("c-no-program", "a project that makes no program", Severity::Error),
    ("c-several-programs", "a project that makes several programs", Severity::Error),
    ("c-program", "what the image starts", Severity::Error),
    ("c-files", "a file that is asked for and not there", Severity::Error),
    ("c-runtime", "the image below the program", Severity::Error),
    ("c-no-symbols", "symbols that were not kept", Severity::Error),
    ("c-dlopen", "libraries that are opened at run time, and that no file names", Severity::Warning),
    ("c-emulated", "a compiler for another machine", Severity::Warning),
    ("c-system", "what builds the project", Severity::Info),
    ("c-builder", "where it is built", Severity::Info),
    ("c-tools", "tools that the builder lacked", Severity::Info),
    ("c-incremental", "whether only what changed is compiled", Severity::Info),
    ("c-uninstalled", "where the program comes from when nothing is installed", Severity::Info),
    ("c-left-out", "what the project installs and nobody misses", Severity::Info),
    ("c-unstripped", "what keeps its symbols", Severity::Info),
    ("c-link", "how the program is linked, and why", Severity::Info),
    ("c-certificates", "why CA certificates come along", Severity::Info),
];

impl Plugin for C {
    fn describe() -> PluginInfo {
        let own = RULES.iter().map(|(code, summary, severity)| match severity {
            Severity::Error => Rule::error(code, summary),
            Severity::Warning => Rule::warning(code, summary),
            _ => Rule::info(code, summary),
        });
        PluginInfo::new(
            plan::NAME,
            env!("CARGO_PKG_VERSION"),
            "builds C and C++ projects into the smallest image that runs them",
        )
        .license("Apache-2.0")
        .options(settings::specs())
        .rules(rules().into_iter().chain(own))
    }
}

impl Frontend for C {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        image::build(&request)
    }
}

impl Check for C {
    fn check(request: BuildRequest) -> Vec<Diagnostic> {
        outline::list(&request).err().map(|failure| failure.diagnostics).unwrap_or_default()
    }
}

impl OutlineExport for C {
    fn list_targets(request: BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
        outline::list(&request)
    }

    fn describe_target(request: BuildRequest) -> Result<Outline, BuildFailure> {
        outline::describe(&request)
    }
}

impl Detect for C {
    fn detect(context: &Tree) -> Detection {
        project::detect(context)
    }
}

impl Eject for C {
    fn eject(request: BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
        eject::eject(&request)
    }
}
