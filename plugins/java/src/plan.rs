//! Decides everything about an image: what builds it, which artefact it is of, how that lies in it and what runs it.

use std::collections::BTreeSet;

use kiln_preset::{Builder, Facts, Image, Reasons, check_build_args, check_target};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest};
use kiln_sdk::wit::graph::{ContextSource, Output};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileKind, HostError, Platform};

use crate::image;
use crate::layout::{Layout, Unpacked, relative};
use crate::left::{Left, classes};
use crate::options::Options;
use crate::project::{self, Found, LOOKED_FOR, Look, Project, ReadError, Tool};
use crate::runtime::{self, Decision, Modules, Question};
use crate::steps::{self, Built, Command};
use crate::version;

/// What the program runs on.
#[derive(Clone, Debug)]
pub(crate) enum Runtime {
    Linked {
        modules: Modules,
        below: Option<Image>,
    },
    /// An image with a runtime, and the path of its `java`.
    Image {
        image: Image,
        java: String,
    },
}

/// Everything that was decided.
pub(crate) struct Plan {
    pub(crate) graph: GraphBuilder,
    pub(crate) reasons: Reasons,
    pub(crate) options: Options,
    pub(crate) command: Command,
    /// Directories of the project that builds write.
    pub(crate) outputs: Vec<String>,
    pub(crate) builder: Builder,
    pub(crate) facts: Facts,
    /// Of the builder.
    pub(crate) version: u32,
    pub(crate) built: Built,
    pub(crate) layout: Layout,
    pub(crate) unpacked: Unpacked,
    /// By platform, in the order they were asked for.
    pub(crate) runtimes: Vec<(Platform, Runtime)>,
}

/// The main context, as the ignore file leaves it.
pub(crate) fn open_context() -> Result<Tree, BuildFailure> {
    let source = ContextSource { name: String::new(), ignore: None };
    contexts::open(&source).map_err(|error| unreadable("the build context", &error))
}

pub(crate) fn unreadable(what: &str, error: &HostError) -> BuildFailure {
    Diagnostic::error("java-unreadable", format!("{what} cannot be read: {}", error.message)).into()
}

/// What kind of project there is, and what its build files say.
pub(crate) fn read_project(context: &Tree) -> Result<Project, BuildFailure> {
    let found = project::find(context).map_err(|error| unreadable("the build context", &error))?;
    let Some(found) = found else {
        let message = "there is no Java project at the top of the build context";
        let help = format!("looked for {LOOKED_FOR}");
        return Err(Diagnostic::error("java-no-project", message).help(help).into());
    };
    project::read(context, found).map_err(|error| match error {
        ReadError::Host(error) => unreadable("a build file", &error),
        ReadError::Wrong(problems) => problems.into(),
    })
}

/// What a person is told about a project when it is found.
pub(crate) fn title(found: &Found) -> String {
    let tool = found.tool.name();
    match found.has_wrapper {
        true => format!("{} found, built by {tool} as `{}` brings it", found.file, found.tool.wrapper()),
        false => format!("{} found, built by {tool}", found.file),
    }
}

/// # Errors
///
/// Whatever is wrong with the project, its build or the options.
pub(crate) fn plan(request: &BuildRequest) -> Result<Plan, BuildFailure> {
    check_target(request, "choose a module with `--opt java.module=NAME`")?;
    let options = Options::read(request)?;
    let mut reasons = Reasons::new();
    check_build_args(request, |_| false, &mut reasons);
    let context = open_context()?;
    let project = read_project(&context)?;
    reasons.say("project", title(&project.found));
    let command = Command::new(&project, &options);
    let wanted = wanted_version(&project, &options, &mut reasons);
    let mut graph = GraphBuilder::new();
    let image = builder_image(&project, &options, wanted, &mut reasons);
    let builder = Builder::open(&mut graph, request, "java", &image, &options.common)?;
    let facts = builder.facts(&graph, &["javac", "jdeps", "jlink", "mvn", "gradle"], runtime::PROBE)?;
    facts.need("javac")?;
    if options.fonts && facts.value("fonts").is_none() {
        let help = "install some with `--opt java.packages=fonts-dejavu-core,fontconfig-config`";
        return Err(Diagnostic::error("java-fonts", "the builder image has no fonts").help(help).into());
    }
    if !command.is_wrapped {
        facts.need(command.program())?;
    }
    if project.found.has_wrapper && !command.is_wrapped {
        let message = format!("`{}` is not used, as the option `wrapper` says", command.tool.wrapper());
        reasons.say("wrapper", message);
    }
    let version = facts.value("version").and_then(version::parse).unwrap_or(wanted);
    if version < wanted {
        let message = format!("the builder image `{image}` has Java {version}, and Java {wanted} is wanted");
        let help =
            "choose another with `--opt java.builder=IMAGE`, or the version with `--opt java.version=`";
        return Err(Diagnostic::error("java-version", message).help(help).into());
    }

    let outputs = outputs(&context, command.tool).map_err(|error| unreadable("the build context", &error))?;
    let built = steps::build(&mut graph, &builder, &command, &outputs, &request.secret_ids);
    let asked = [built.resolved, built.made, built.source];
    let message = format!("{} does not build the project", command.tool.name());
    let trees = builder.ask(&graph, &asked, "java-build", &message, "what it says is above")?;
    let [resolved, made, source] = &trees[..] else {
        return Err(Diagnostic::error("java-build", "the build left nothing").into());
    };
    let left = Left { resolved, made, source };
    say_phases(&command, left.is_complete(), &mut reasons);
    let modules = left.modules()?;
    let program = left.program(&modules, &options)?;
    reasons.say(
        "program",
        format!(
            "the image is of module `{}`: {} ({})",
            modules.get(program.module).map_or("", |module| module.name.as_str()),
            relative(&program.path),
            program.why
        ),
    );
    let layout = left.layout(&program, &modules, &mut reasons)?;
    let mut unpacked = Unpacked::new(built.source);
    let mut plan =
        Decided { graph: &mut graph, builder: &builder, facts: &facts, version, options: &options };
    let references = plan.references(&mut unpacked, &layout)?;
    let runtimes = plan.runtimes(request, &mut unpacked, built, &layout, &references, &mut reasons)?;
    image::say_flags(&mut reasons);
    Ok(Plan {
        graph,
        reasons,
        options,
        command,
        outputs,
        builder,
        facts,
        version,
        built,
        layout,
        unpacked,
        runtimes,
    })
}

fn wanted_version(project: &Project, options: &Options, reasons: &mut Reasons) -> u32 {
    let (version, why) = match (options.version, &project.java) {
        (Some(version), _) => (version, "as the option `version` says".to_owned()),
        (None, Some(wanted)) => (wanted.version, format!("as {} says", wanted.from)),
        (None, None) => {
            (version::DEFAULT, "as no build file names a version that this preset understands".to_owned())
        }
    };
    reasons.say("version", format!("Java {version}, {why}"));
    version
}

fn builder_image(project: &Project, options: &Options, wanted: u32, reasons: &mut Reasons) -> String {
    if let Some(image) = &options.common.builder {
        reasons.say("builder", format!("builder `{image}`, as the option `builder` says"));
        return image.clone();
    }
    let version = version::builder(wanted);
    let image = match project.found.tool {
        Tool::Maven => format!("maven:3-eclipse-temurin-{version}"),
        Tool::Gradle => format!("gradle:jdk{version}"),
    };
    let why = match version == wanted {
        true => format!("{} with Java {version}", project.found.tool.name()),
        false => format!("there is one of Java {version} and none of Java {wanted}, which it can build for"),
    };
    reasons.say("builder", format!("builder `{image}`: {why}"));
    image
}

fn say_phases(command: &Command, is_complete: bool, reasons: &mut Reasons) {
    let tool = command.tool.name();
    let sentence = match is_complete {
        true => format!(
            "dependencies come from a step that sees the build files only; after it {tool} builds offline"
        ),
        false => format!(
            "{tool} could not finish on the build files alone, so it builds with the network: what it needs shows with the sources only"
        ),
    };
    reasons.say("phases", sentence);
    let tests = match (command.tests, command.compiles_tests) {
        (true, _) => "tests run, as the option `tests` says",
        (false, true) => "tests are compiled, as a module needs those of another, and do not run",
        (false, false) => "tests do not run",
    };
    reasons.say("tests", tests);
}

/// Directories that builds write: beside each build file, and what no build reads.
fn outputs(context: &Tree, tool: Tool) -> Result<Vec<String>, HostError> {
    let (files, names): (&[&str], &[&str]) = match tool {
        Tool::Maven => (&["pom.xml", "**/pom.xml"], &["target"]),
        Tool::Gradle => (
            &["**/build.gradle", "**/build.gradle.kts", "**/settings.gradle", "**/settings.gradle.kts"],
            &["build", ".gradle"],
        ),
    };
    let mut outputs: BTreeSet<String> = BTreeSet::from([".git".to_owned()]);
    for path in context.matching(files)? {
        let directory = path.rsplit_once('/').map_or(String::new(), |(directory, _)| format!("{directory}/"));
        outputs.extend(names.iter().map(|name| format!("{directory}{name}")));
    }
    Ok(outputs.into_iter().collect())
}

/// What is known when the runtime is decided about.
struct Decided<'p> {
    graph: &'p mut GraphBuilder,
    builder: &'p Builder,
    facts: &'p Facts,
    version: u32,
    options: &'p Options,
}

impl Decided<'_> {
    /// Classes of the JDK that the project's own classes refer to.
    fn references(
        &mut self,
        unpacked: &mut Unpacked,
        layout: &Layout,
    ) -> Result<BTreeSet<String>, BuildFailure> {
        let outputs: Vec<Output> = layout.own.iter().map(|(path, _)| unpacked.of(self.graph, path)).collect();
        let trees = self.builder.ask(
            self.graph,
            &outputs,
            "java-jar",
            "a jar of the project cannot be unpacked",
            "",
        )?;
        let mut references = BTreeSet::new();
        for (tree, (_, pattern)) in trees.iter().zip(&layout.own) {
            let classes = classes(tree, &[(*pattern).to_owned()])?;
            references.extend(classes.into_iter().flat_map(|class| class.references));
        }
        Ok(references)
    }

    fn runtimes(
        &mut self,
        request: &BuildRequest,
        unpacked: &mut Unpacked,
        built: Built,
        layout: &Layout,
        references: &BTreeSet<String>,
        reasons: &mut Reasons,
    ) -> Result<Vec<(Platform, Runtime)>, BuildFailure> {
        let mut runtimes = Vec::new();
        // Not asked before a platform needs it.
        let mut decision: Option<Result<Modules, String>> = None;
        for platform in request.wanted_platforms() {
            let mut below = None;
            if let Some(name) = &self.options.common.runtime {
                let image = Image::find(self.graph, name, &platform, "java.runtime")?;
                if let Some(java) = self.java_of(&image)? {
                    reasons.say(
                        "runtime",
                        format!("runtime `{name}`, as the option `runtime` says: it has `{java}`"),
                    );
                    runtimes.push((platform, Runtime::Image { image, java }));
                    continue;
                }
                below = Some(image);
            }
            let is_foreign =
                platform.arch != self.builder.platform.arch || platform.os != self.builder.platform.os;
            let linked = if is_foreign {
                Err(format!(
                    "runtimes are linked for {} only",
                    kiln_preset::platform_text(&self.builder.platform)
                ))
            } else if let Some(known) = &decision {
                known.clone()
            } else {
                let decided = self.decide(unpacked, built, layout, references, reasons)?;
                decision.insert(decided).clone()
            };
            runtimes.push(match linked {
                Ok(modules) => {
                    let on = match &below {
                        Some(image) => format!("`{}`, which has no Java", image.name),
                        None => "nothing (`scratch`)".to_owned(),
                    };
                    let count = modules.names.len();
                    reasons.say("runtime", format!("a runtime linked of {count} modules, on {on}"));
                    (platform, Runtime::Linked { modules, below })
                }
                Err(why) => {
                    let name = format!("eclipse-temurin:{}-jre", self.version);
                    reasons.warn(
                        "java-whole-runtime",
                        format!("no runtime is linked, so the image is on all of `{name}`: {why}"),
                        "name an image that has a runtime with `--opt java.runtime=IMAGE`, and this is not said",
                    );
                    let image = Image::find(self.graph, &name, &platform, "java.runtime")?;
                    let java = self.java_of(&image)?.unwrap_or_else(|| "java".to_owned());
                    (platform, Runtime::Image { image, java })
                }
            });
        }
        Ok(runtimes)
    }

    fn decide(
        &mut self,
        unpacked: &mut Unpacked,
        built: Built,
        layout: &Layout,
        references: &BTreeSet<String>,
        reasons: &mut Reasons,
    ) -> Result<Result<Modules, String>, BuildFailure> {
        if let Some(why) = runtime::cannot_link(self.facts, self.version) {
            return Ok(Err(why));
        }
        let mut jars = Vec::new();
        for layer in layout.layers.iter().filter(|layer| layer.title.ends_with("dependencies")) {
            if layout.nested.is_empty() {
                jars.push(unpacked.layer(self.graph, built, &layer.title, &layer.pieces));
            }
        }
        if !layout.nested.is_empty() {
            jars.push(unpacked.layer(self.graph, built, "libraries in the program", &layout.nested));
        }
        let flags = self.options.jvm_flags.iter();
        let question = Question {
            references,
            jars: &jars,
            version: self.version,
            more: &self.options.modules,
            has_agent: flags.clone().any(|flag| flag.starts_with("-javaagent")),
        };
        Ok(match runtime::decide(self.graph, self.builder, self.facts, &question, reasons)? {
            Decision::Modules(modules) => Ok(modules),
            Decision::Refused(line) => {
                Err(format!("`jdeps` cannot decide which modules the program needs ({line})"))
            }
        })
    }

    /// Where an image has `java`: in a directory of its `PATH`, or below its `JAVA_HOME`.
    fn java_of(&self, image: &Image) -> Result<Option<String>, BuildFailure> {
        let Some(root) = image.root else { return Ok(None) };
        let message = format!("the image `{}` cannot be looked into", image.name);
        let trees = self.builder.ask(self.graph, &[root], "java-runtime", &message, "")?;
        let Some(tree) = trees.first() else { return Ok(None) };
        let value =
            |key: &str| image.config.env.iter().find(|pair| pair.key == key).map(|pair| pair.value.clone());
        let path = value("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let home = value("JAVA_HOME").map(|home| format!("{home}/bin"));
        let mut directories = path.split(':').map(str::to_owned).chain(home);
        Ok(directories.find_map(|directory| {
            let path = format!("{}/java", directory.trim_end_matches('/'));
            let real = tree.real_path(&path).ok()?;
            tree.stat(&real).ok().filter(|file| file.kind == FileKind::Regular).map(|_| path)
        }))
    }
}
