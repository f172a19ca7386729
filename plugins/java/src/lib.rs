//! The preset for Java: a directory with a project of Maven or Gradle becomes an image that has the program, its libraries and
//! as much of a Java runtime as they need.

mod artefact;
mod class_file;
mod eject;
mod facts;
mod gradle;
mod image;
mod layout;
mod left;
mod manifest;
mod options;
mod plan;
mod pom;
mod project;
mod runtime;
mod steps;
mod version;
mod zip;

use kiln_sdk::plugin::{Check, Derive, Detect, Eject, Frontend, Outline as Outlines, Plugin};
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::describe::{PluginInfo, Rule};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{
    BuildFailure, BuildRequest, BuildResult, Confidence, Detection, Need, Outline, TargetInfo, TextFile,
};
use kiln_sdk::wit::trees::Tree;

use crate::options::Options;

/// The component.
pub struct Java;

impl Plugin for Java {
    fn describe() -> PluginInfo {
        let errors = [
            ("java-build", "a project that its build tool does not build"),
            ("java-fonts", "fonts are wanted, and the builder has none"),
            ("java-jar", "a jar that cannot be read"),
            ("java-jdeps", "a builder in which jdeps cannot be run"),
            ("java-main-class", "a class to start that no artefact has"),
            ("java-module", "a module that the project does not have"),
            ("java-no-program", "a project without anything to start"),
            ("java-no-project", "a directory without build files of Maven or Gradle"),
            ("java-pom", "a pom.xml that is none"),
            ("java-programs", "several programs, of which one has to be chosen"),
            ("java-runtime", "a runtime image that cannot be looked into"),
            ("java-unreadable", "files that cannot be read"),
            ("java-version", "a builder with a Java that is too old"),
        ];
        let infos = [
            ("builder", "the image with the toolchain"),
            ("bundled", "libraries that are in the program's jar already"),
            ("flags", "how the JVM is started"),
            ("layers", "where the layers of the program come from"),
            ("modules", "the modules of the JDK that jdeps finds"),
            ("modules-by-name", "the modules of the JDK that jdeps cannot find"),
            ("native", "libraries that bring shared libraries along"),
            ("phases", "whether the second run of the build tool is offline"),
            ("program", "the artefact that the image is of"),
            ("project", "the kind of project"),
            ("runtime", "what the program runs on"),
            ("tests", "whether tests run"),
            ("version", "the version of Java"),
            ("wrapper", "a wrapper that is not used"),
        ];
        PluginInfo::new("java", env!("CARGO_PKG_VERSION"), "builds images of Maven and Gradle projects")
            .license("Apache-2.0")
            .options(Options::specs())
            .rules(kiln_preset::rules())
            .rules(errors.map(|(code, summary)| Rule::error(code, summary)))
            .rules([Rule::warning(
                "java-whole-runtime",
                "an image with all of a Java runtime, as none can be linked",
            )])
            .rules(infos.map(|(code, summary)| Rule::info(code, summary)))
            .example("A project of several modules", "kiln build --opt java.module=server -t server .")
    }
}

impl Detect for Java {
    fn detect(context: &Tree) -> Detection {
        match project::find(context) {
            Ok(Some(found)) => Detection::because(Confidence::Certain, plan::title(&found)),
            Ok(None) => Detection::because(Confidence::No, format!("no {}", project::LOOKED_FOR)),
            Err(error) => Detection::because(Confidence::No, error.message),
        }
    }
}

impl Frontend for Java {
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        image::build(plan::plan(&request)?, &request)
    }
}

impl Check for Java {
    /// What can be told without building: options and build files.
    fn check(request: BuildRequest) -> Vec<Diagnostic> {
        let mut found = Options::read(&request).err().unwrap_or_default();
        let project = plan::open_context().and_then(|context| plan::read_project(&context));
        found.extend(project.err().map(|failure| failure.diagnostics).unwrap_or_default());
        found
    }
}

impl Outlines for Java {
    fn list_targets(request: BuildRequest) -> Result<Vec<TargetInfo>, BuildFailure> {
        Ok(vec![Self::describe_target(request)?.target])
    }

    fn describe_target(request: BuildRequest) -> Result<Outline, BuildFailure> {
        let context = plan::open_context()?;
        let project = plan::read_project(&context)?;
        let need = |id: &str| Need { id: id.to_owned(), required: false, at: None };
        let (caches, secrets): (&[&str], &[&str]) = match project.found.tool {
            project::Tool::Maven => (&["kiln-java-maven", "kiln-java-mvnw"], &["maven-settings"]),
            project::Tool::Gradle => (&["kiln-java-gradle"], &["gradle-properties"]),
        };
        let target = TargetInfo {
            name: "default".to_owned(),
            description: plan::title(&project.found),
            is_default: true,
            platform: request.platforms.first().cloned(),
            base: request.option("runtime").unwrap_or("scratch").to_owned(),
            at: None,
        };
        Ok(Outline {
            target,
            parameters: Vec::new(),
            secrets: secrets.iter().map(|id| need(id)).collect(),
            ssh: Vec::new(),
            caches: caches.iter().map(|id| need(id)).collect(),
        })
    }
}

impl Eject for Java {
    fn eject(request: BuildRequest) -> Result<Vec<TextFile>, BuildFailure> {
        let plan = plan::plan(&request)?;
        eject::files(plan, &request)
    }
}

impl Derive for Java {
    fn derive(task: String, inputs: Vec<Tree>) -> Result<Derivation, Vec<Diagnostic>> {
        let task = match inputs.first() {
            Some(tree) => runtime::expand(&task, tree),
            None => task,
        };
        let mut derived = kiln_preset::derive(&task, &inputs)?;
        // The C++ library could ask the C library to convert text; the JVM does that by itself.
        derived.diagnostics.retain(|found| found.code != "closure-gconv");
        Ok(derived)
    }
}

kiln_sdk::export_full_frontend!(Java);
