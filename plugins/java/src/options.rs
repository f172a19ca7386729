//! The options of the preset, beyond those that all presets have.

use kiln_preset::{Common, bad};
use kiln_sdk::wit::describe::OptionSpec;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildRequest;

use crate::artefact::is_class_name;
use crate::version;

/// What the person said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) common: Common,
    pub(crate) version: Option<u32>,
    pub(crate) wrapper: bool,
    /// Name or directory of the module that the image is of.
    pub(crate) module: Option<String>,
    pub(crate) main_class: Option<String>,
    /// Modules of the JDK that the runtime has besides.
    pub(crate) modules: Vec<String>,
    pub(crate) jvm_flags: Vec<String>,
    pub(crate) tests: bool,
    pub(crate) fonts: bool,
    /// For the build tool, after what is there anyway.
    pub(crate) args: Vec<String>,
}

impl Options {
    pub(crate) fn specs() -> Vec<OptionSpec> {
        let builder = "maven or gradle with the version of Java that the build files ask for";
        let own = [
            OptionSpec::text("version", "version of Java, over that of the build files"),
            OptionSpec::boolean("wrapper", "use mvnw or gradlew where it is there", true),
            OptionSpec::text("module", "name or directory of the module that the image is of"),
            OptionSpec::text("main-class", "class to start"),
            OptionSpec::list(
                "modules",
                "modules of the JDK that the runtime has besides those that are found",
            ),
            OptionSpec::list("jvm-flags", "flags for the JVM, after those for containers"),
            OptionSpec::boolean("tests", "run the tests of the project", false),
            OptionSpec::boolean("fonts", "bring the fonts of the builder along", false),
            OptionSpec::list("args", "arguments for the build tool, such as -Pproduction"),
        ];
        Common::specs(builder).into_iter().chain(own).collect()
    }

    /// # Errors
    ///
    /// Every value that means nothing.
    pub(crate) fn read(request: &BuildRequest) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let given = |name: &str| {
            request.option(name).map(str::trim).filter(|value| !value.is_empty()).map(str::to_owned)
        };

        let list = |name: &str| -> Vec<String> {
            let values = request.option_values(name).map(|value| value.trim().to_owned());
            values.filter(|value| !value.is_empty()).collect()
        };
        let common = Common::read(request).map_err(|found| problems.extend(found)).ok();
        let version = given("version").and_then(|value| {
            let version = version::parse(&value);
            if version.is_none() {
                problems.push(bad("version", &value, "a version of Java, such as 17"));
            }
            version
        });
        let main_class = given("main-class");
        if let Some(class) = main_class.as_deref().filter(|class| !is_class_name(class)) {
            problems.push(bad("main-class", class, "the full name of a class, such as org.example.Main"));
        }
        let modules: Vec<String> = list("modules")
            .iter()
            .flat_map(|value| value.split([',', ' ']))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        for module in modules.iter().filter(|module| !is_class_name(module)) {
            problems.push(bad("modules", module, "the name of a module, such as jdk.localedata"));
        }
        match common {
            Some(common) if problems.is_empty() => Ok(Self {
                common,
                version,
                wrapper: request.is_set("wrapper"),
                module: given("module"),
                main_class,
                modules,
                jvm_flags: list("jvm-flags"),
                tests: request.is_set("tests"),
                fonts: request.is_set("fonts"),
                args: list("args"),
            }),
            _ => Err(problems),
        }
    }
}
