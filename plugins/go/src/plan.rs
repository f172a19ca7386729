//! Decides how a project is built, says why, and puts steps and layers together.

use kiln_preset::{
    Builder, ClosureRequest, Common, Facts, Furniture, Image, Reasons, Shape, Wanted, answer,
    check_build_args, check_target, libraries, platform_text,
};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{ContextSource, CopyAction, FileAction, MakeDirAction, Output};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::Platform;

use crate::bounds;
use crate::context;
use crate::listing::{Listing, Package};
use crate::project::{self, DEFAULT_VERSION, Project};
use crate::settings::{Cgo, Settings, VARIABLES};
use crate::toolchain::{FACTS, Goal, SOURCES, Toolchain};

/// Name of this preset, for options in messages.
pub(crate) const PRESET: &str = "go";

/// Directory of the program in the image.
const PROGRAMS: &str = "/usr/local/bin";

/// Time zones as one file, for builders that have them in no other form.
const ZONEINFO_ZIP: &str = "/usr/share/zoneinfo.zip";

/// Files that say which modules are needed.
pub(crate) const MODULE_FILES: [&str; 4] = ["**/go.mod", "**/go.sum", "go.work", "go.work.sum"];

/// Sources in other languages that `go list` looks at, and dependencies that came along.
const OTHER_SOURCES: [&str; 17] = [
    "vendor/**",
    "**/*.c",
    "**/*.cc",
    "**/*.cpp",
    "**/*.cxx",
    "**/*.m",
    "**/*.h",
    "**/*.hh",
    "**/*.hpp",
    "**/*.hxx",
    "**/*.f",
    "**/*.F",
    "**/*.for",
    "**/*.f90",
    "**/*.s",
    "**/*.S",
    "**/*.syso",
];

/// What was found and decided before anything is compiled.
pub(crate) struct Plan {
    pub(crate) graph: GraphBuilder,
    pub(crate) project: Project,
    pub(crate) settings: Settings,
    pub(crate) reasons: Reasons,
    pub(crate) builder: Builder,
    pub(crate) facts: Facts,
    pub(crate) main: Package,
    pub(crate) is_cgo: bool,
    pub(crate) furniture: Option<Furniture>,
    /// Zip file of time zones in the builder.
    pub(crate) zoneinfo_zip: Option<String>,
    pub(crate) platforms: Vec<Platform>,
    /// The builder with all modules there.
    ready: Output,
    context: Output,
    sources: Output,
}

/// The build that is asked for.
///
/// # Errors
///
/// Everything that makes it none.
pub(crate) fn build(request: &BuildRequest) -> Result<BuildResult, BuildFailure> {
    let mut plan = Plan::new(request)?;
    let platforms = plan.platforms.clone();
    let targets =
        platforms.iter().map(|platform| plan.target(request, platform)).collect::<Result<Vec<_>, _>>()?;
    answer(plan.graph, targets, plan.reasons, request)
}

/// What is wrong before anything is asked of a builder.
pub(crate) fn check(request: &BuildRequest) -> Vec<Diagnostic> {
    match begin(request) {
        Ok((.., reasons)) => reasons.into_diagnostics(),
        Err(failure) => failure.diagnostics,
    }
}

/// The context, what is in it, and what the person wants of it.
pub(crate) fn begin(request: &BuildRequest) -> Result<(Tree, Project, Settings, Reasons), BuildFailure> {
    check_target(request, "choose the program with `--opt go.main=./DIRECTORY`")?;
    if !request.file.is_empty() {
        let message = format!("the Go preset reads no build file, and `{}` is named", request.file);
        return Err(Diagnostic::error("build-file", message)
            .help("leave `-f` out; options take its place")
            .into());
    }
    let settings = Settings::read(request)?;
    let unreadable = |error: kiln_sdk::wit::types::HostError| {
        Diagnostic::error("no-project", format!("the build context cannot be read: {}", error.message))
    };
    let tree = contexts::open(&ContextSource { name: String::new(), ignore: None })
        .map_err(|error| BuildFailure::from(unreadable(error)))?;
    let project = project::find(&tree)?;
    let problems = bounds::outside(&tree, &project).map_err(|error| BuildFailure::from(unreadable(error)))?;
    let problems = [problems, absent(&tree, &settings)].concat();
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let mut reasons = Reasons::new();
    check_build_args(request, |name| VARIABLES.contains(&name), &mut reasons);
    reasons.say("project", project.describe());
    Ok((tree, project, settings, reasons))
}

/// An error for each file that the option `files` names and the context does not have.
fn absent(tree: &Tree, settings: &Settings) -> Vec<Diagnostic> {
    let is_absent = |path: &str| tree.real_path(path).and_then(|path| tree.stat(&path)).is_err();
    let absent = settings.files.iter().filter(|(source, _)| is_absent(source));
    absent
        .map(|(source, _)| {
            let message = format!("the option `files` names `{source}`, which is not in the build context");
            let help = "write it relative to the root of the context; `.dockerignore` must not exclude it, and a link must not lead out";
            Diagnostic::error("no-file", message).help(help)
        })
        .collect()
}

/// The image to build in, and why it is that one.
pub(crate) fn builder_name(project: &Project, settings: &Settings) -> (String, String) {
    if let Some(builder) = &settings.common.builder {
        return (builder.clone(), format!("builder `{builder}`, as the option `builder` says"));
    }
    let (version, why) = match (&settings.version, &project.version) {
        (version, _) if !version.is_empty() => (version.clone(), "as the option `version` says".to_owned()),
        (_, Some((version, line))) => (version.clone(), format!("as {line}")),
        _ => (
            DEFAULT_VERSION.to_owned(),
            "as neither the project nor an option names a version of Go".to_owned(),
        ),
    };
    let name = format!("golang:{version}");
    let why = format!("builder `{name}`, {why}");
    (name, why)
}

impl Plan {
    pub(crate) fn new(request: &BuildRequest) -> Result<Self, BuildFailure> {
        let (tree, project, settings, mut reasons) = begin(request)?;
        let mut graph = GraphBuilder::new();
        let (name, why) = builder_name(&project, &settings);
        reasons.say("builder", why);
        let builder = Builder::open(&mut graph, request, PRESET, &name, &settings.common)?;
        if !settings.common.packages.is_empty() {
            let list = settings.common.packages.join(", ");
            reasons
                .say("packages", format!("{list} installed in the builder, as the option `packages` says"));
        }
        let facts = builder.facts(&graph, &["go"], FACTS)?;
        facts.need("go")?;
        let platforms = request.wanted_platforms();

        let here = builder.platform.clone();
        let context = graph.build_context("");
        graph.set_platform(context, &here);
        graph.rename(context, "context");
        let copy = |graph: &mut GraphBuilder,
                    name: &str,
                    include: &[&str],
                    exclude: &[&str],
                    more: Vec<FileAction>| {
            let words = |patterns: &[&str]| patterns.iter().map(|it| (*it).to_owned()).collect();
            let copy = CopyAction {
                contents_only: true,
                include_patterns: words(include),
                exclude_patterns: words(exclude),
                ..CopyAction::new(context, vec!["/".to_owned()], "/")
            };
            let copied = graph.file(None, [vec![FileAction::Copy(copy)], more].concat());
            graph.set_platform(copied, &here);
            graph.rename(copied, name);
            copied
        };
        let sources = copy(&mut graph, "sources", &[], &[".git"], Vec::new());
        let go = Toolchain::new(&builder, &project, &settings, &facts);

        let mut ready = builder.root;
        if project.is_vendored {
            reasons.say("dependencies", "dependencies from `vendor`, so nothing is downloaded");
        } else if project.has_dependencies {
            let files = copy(&mut graph, "go.mod and go.sum", &MODULE_FILES, &["**/testdata"], Vec::new());
            ready = builder.step(&mut graph, ready, go.download(files), "go mod download");
            reasons.say(
                "dependencies",
                "dependencies downloaded in a step of its own, which runs again only when go.mod, go.sum or go.work change",
            );
        } else {
            reasons.say("dependencies", "nothing to download, as the project requires no other module");
        }

        let headers = context::headers(&tree).map_err(|error| {
            let message = format!("the sources cannot be read: {}", error.message);
            BuildFailure::from(Diagnostic::error("no-project", message))
        })?;
        let shown = match headers {
            Some(headers) => {
                let include = [&MODULE_FILES[..], &OTHER_SOURCES].concat();
                copy(&mut graph, "packages and imports", &include, &["**/testdata"], headers)
            }
            None => sources,
        };
        let may_cgo = settings.cgo != Cgo::Off;
        let asked: Vec<Output> = platforms
            .iter()
            .map(|platform| {
                let goal = Goal { platform, is_cgo: may_cgo };
                let name = format!("go list for {}", platform_text(platform));
                builder.produce(&mut graph, ready, go.list(shown, goal), &name)
            })
            .collect();
        let message = format!("the go command of `{}` cannot list the packages of the project", builder.name);
        let trees = builder.ask(&graph, &asked, "go-list", &message, "")?;
        let mut listings = Vec::new();
        for tree in &trees {
            let text = tree.read_text("packages").map_err(|error| {
                BuildFailure::from(Diagnostic::error("go-list", format!("{message}: {}", error.message)))
            })?;
            listings.push(Listing::read(&text, SOURCES));
        }
        let Some(first) = listings.first() else {
            return Err(Diagnostic::error("go-list", "no platform is wanted").into());
        };
        let main = first.main(&settings.main).map_err(|mut failure| {
            if let (Cgo::Off, Some(first)) = (settings.cgo, failure.diagnostics.first_mut()) {
                first.help.push_str("; files with C are left out, as cgo is switched off");
            }
            failure
        })?;
        let main = main.clone();
        reasons.say(
            "main",
            match settings.main.as_str() {
                "" => {
                    format!("program `{}` from `{}`, the only main package", main.program(), main.directory)
                }
                asked => format!(
                    "program `{}` from `{}`, as the option `main` says `{asked}`",
                    main.program(),
                    main.directory
                ),
            },
        );
        for listing in &listings {
            listing.main(&main.path)?;
        }

        let is_cgo = decide_cgo(&settings, &listings, &main, &facts, &builder, &platforms, &mut reasons)?;
        if !is_cgo && !settings.with.is_empty() {
            reasons.warn(
                "unused-option",
                "the option `with` does nothing, as the program needs no C library",
                "",
            );
        }
        for (source, path) in &settings.files {
            reasons.say("files", format!("`{source}` in the image as `{path}`, as the option `files` says"));
        }
        say_flags(&settings, &platforms, &builder, &mut reasons);
        let (furniture, zoneinfo_zip) = furnish(&settings, first, &main, &facts, &mut reasons)?;
        Ok(Self {
            graph,
            project,
            settings,
            reasons,
            facts,
            main,
            is_cgo,
            furniture,
            zoneinfo_zip,
            platforms,
            ready,
            context,
            sources,
            builder,
        })
    }

    /// The go command for this project.
    pub(crate) fn toolchain(&self) -> Toolchain<'_> {
        Toolchain::new(&self.builder, &self.project, &self.settings, &self.facts)
    }

    /// Where the program is in the image.
    pub(crate) fn program(&self) -> String {
        format!("{PROGRAMS}/{}", self.main.program())
    }

    /// The program in an otherwise empty tree, compiled for a platform.
    pub(crate) fn compiled(&mut self, platform: &Platform) -> Output {
        let goal = Goal { platform, is_cgo: self.is_cgo };
        let (directory, program) = (self.main.directory.clone(), self.main.program().to_owned());
        let exec = self.toolchain().build(self.sources, goal, &directory, &program);
        let name = format!("go build {directory} for {}", platform_text(platform));
        let mut graph = std::mem::take(&mut self.graph);
        let built = self.builder.produce(&mut graph, self.ready, exec, &name);
        let copy = CopyAction::new(built, vec![format!("/{program}")], self.program());
        let copied = graph.copy(None, CopyAction { mode: "0755".to_owned(), ..copy });
        graph.set_platform(copied, platform);
        graph.rename(copied, format!("program {program}"));
        self.graph = graph;
        copied
    }

    /// What libraries the program needs, and the tree in which they are to be found.
    pub(crate) fn closure(&mut self, program: Output, platform: &Platform) -> (ClosureRequest, Output) {
        let request = ClosureRequest {
            files: vec![self.program()],
            with: self.settings.with.clone(),
            architecture: platform.arch.clone(),
            into: String::new(),
        };
        (request, self.graph.merge(vec![self.builder.root, program]))
    }

    fn target(&mut self, request: &BuildRequest, platform: &Platform) -> Result<TargetResult, BuildFailure> {
        let Common { runtime, user, .. } = self.settings.common.clone();
        let runtime = match &runtime {
            Some(name) => Some(Image::find(&mut self.graph, name, platform, "go.runtime")?),
            None => None,
        };
        let mut shape = Shape::new(PRESET, platform, runtime.as_ref(), &user);
        if let Some(furniture) = &self.furniture {
            shape.layer(
                furniture.layer(&mut self.graph, &self.builder),
                "users, certificates, time zones, /tmp",
            );
        }
        if let Some(zip) = &self.zoneinfo_zip {
            let parents =
                MakeDirAction { path: "/usr/share".to_owned(), mode: 0o755, parents: true, owner: None };
            let copy = CopyAction::new(self.builder.root, vec![zip.clone()], ZONEINFO_ZIP);
            let copy = CopyAction { mode: "0644".to_owned(), ..copy };
            let actions = vec![FileAction::MakeDir(parents), FileAction::Copy(copy)];
            let copied = self.graph.file(None, actions);
            self.graph.set_platform(copied, &self.builder.platform);
            shape.layer(copied, "time zones");
            shape.env("ZONEINFO", ZONEINFO_ZIP);
        }
        let program = self.compiled(platform);
        if self.is_cgo {
            let (closure, root) = self.closure(program, platform);
            let below = runtime.as_ref().and_then(|image| image.root);
            shape.layer(libraries(&mut self.graph, &closure, root, below), "shared libraries");
        }
        if let Some(files) = self.files() {
            shape.layer(files, "files of the project");
        }
        shape.layer(program, &format!("go build {}", self.main.directory));
        shape.config.entrypoint = Some(vec![self.program()]);
        Ok(shape.finish(&mut self.graph, request))
    }

    /// What the image gets of the project besides the program, if anything.
    fn files(&mut self) -> Option<Output> {
        let mut actions = Vec::new();
        for (source, path) in &self.settings.files {
            let copy = CopyAction::new(self.context, vec![format!("/{source}")], path.as_str());
            let copy = CopyAction { contents_only: true, follow_symlinks: true, ..copy };
            actions.push(FileAction::Copy(copy));
        }
        if actions.is_empty() {
            return None;
        }
        let copied = self.graph.file(None, actions);
        self.graph.set_platform(copied, &self.builder.platform);
        self.graph.rename(copied, "files of the project");
        Some(copied)
    }

    /// The variable that says where time zones are, if one is needed.
    pub(crate) fn zoneinfo_variable(&self) -> Option<(&'static str, &'static str)> {
        self.zoneinfo_zip.is_some().then_some(("ZONEINFO", ZONEINFO_ZIP))
    }
}

/// Whether the program is linked with C, from what its packages are made of.
fn decide_cgo(
    settings: &Settings,
    listings: &[Listing],
    main: &Package,
    facts: &Facts,
    builder: &Builder,
    platforms: &[Platform],
    reasons: &mut Reasons,
) -> Result<bool, BuildFailure> {
    let used = listings.iter().find_map(|listing| listing.cgo_files(&main.path).first().copied());
    let why = match (settings.cgo, used) {
        (Cgo::Off, _) => {
            reasons.say("cgo", "a static program without C, as cgo is switched off");
            return Ok(false);
        }
        (Cgo::Auto, None) => {
            reasons.say("cgo", "a static program without C (CGO_ENABLED=0), as no package of it uses cgo");
            return Ok(false);
        }
        (_, Some((package, file))) => format!("`{package}` uses cgo in {file}"),
        (Cgo::On, None) => "cgo is switched on".to_owned(),
    };
    let off = "build without it by `--opt go.cgo=off`";
    if settings.variable("CC").is_none() && facts.value("cc-path").is_none() {
        let compiler = facts.value("cc").unwrap_or("gcc");
        let message =
            format!("{why}, and the builder image `{}` has no C compiler (`{compiler}`)", builder.name);
        let help = format!(
            "install one with `--opt go.packages=gcc --opt go.packages=libc6-dev`, choose another image with `--opt go.builder=IMAGE`, or {off}"
        );
        return Err(Diagnostic::error("cgo-compiler", message).help(help).into());
    }
    let (os, arch) = (&builder.platform.os, &builder.platform.arch);
    if let Some(other) = platforms.iter().find(|platform| platform.os != *os || platform.arch != *arch) {
        let (here, there) = (platform_text(&builder.platform), platform_text(other));
        let message =
            format!("{why}, and the C compiler of the builder makes programs for {here}, not for {there}");
        let help = format!("build on a machine of that kind, or {off}");
        return Err(Diagnostic::error("cgo-platform", message).help(help).into());
    }
    reasons.say("cgo", format!("a program linked with C libraries, which the image gets as well, as {why}"));
    Ok(true)
}

/// What is the same in every build, and what the person adds.
fn say_flags(settings: &Settings, platforms: &[Platform], builder: &Builder, reasons: &mut Reasons) {
    let mut flags = "`-trimpath -ldflags='-s -w -buildid='`, so that the program is small and the same wherever it is built".to_owned();
    if !settings.tags.is_empty() {
        flags.push_str(&format!("; tags {}", settings.tags.join(", ")));
    }
    if !settings.ldflags.is_empty() {
        flags.push_str(&format!("; linker flags `{}`", settings.ldflags));
    }
    reasons.say("flags", flags);
    let foreign: Vec<String> = platforms
        .iter()
        .filter(|platform| platform.arch != builder.platform.arch)
        .map(platform_text)
        .collect();
    if !foreign.is_empty() {
        let here = platform_text(&builder.platform);
        reasons.say(
            "cross",
            format!("compiled for {} by the Go of {here}, without emulation", foreign.join(", ")),
        );
    }
    if settings.has_netrc {
        reasons.say("netrc", "modules fetched with the secret `netrc`, which is in no layer");
    }
}

/// What the image has besides the program. On a runtime image, nothing.
fn furnish(
    settings: &Settings,
    listing: &Listing,
    main: &Package,
    facts: &Facts,
    reasons: &mut Reasons,
) -> Result<(Option<Furniture>, Option<String>), BuildFailure> {
    let Common { runtime, user, .. } = &settings.common;
    if let Some(runtime) = runtime {
        reasons.say("runtime", format!("on `{runtime}`, as the option `runtime` says; users, certificates and time zones are those of that image"));
        reasons.say("user", format!("runs as {user}"));
        return Ok((None, None));
    }
    let by_tag = settings.tags.iter().any(|tag| tag == "timetzdata");
    let is_inside = by_tag || listing.imports(&main.path, "time/tzdata");
    let wants_zones = settings.zoneinfo && !is_inside;
    let is_complete = facts.value("zoneinfo").is_some() && facts.value("zoneinfo-backward").is_some();
    // Go's own file has every name, old ones included.
    let zip = facts.value("zoneinfo-zip").filter(|_| wants_zones && !is_complete).map(str::to_owned);
    let wanted = Wanted { certificates: settings.certificates, zoneinfo: wants_zones && zip.is_none() };
    let furniture = Furniture::new(user, facts, wanted, PRESET, reasons)?;
    let mut parts = vec!["/etc/passwd, /etc/group, /etc/nsswitch.conf, /tmp"];
    if furniture.certificates.is_some() {
        parts.push("CA certificates");
    }
    if furniture.zoneinfo.is_some() || zip.is_some() {
        parts.push("time zones");
    }
    reasons.say("runtime", format!("on nothing (`scratch`) but {}", parts.join(", ")));
    if is_inside {
        let why = if by_tag { "the tag `timetzdata` is set" } else { "the program imports `time/tzdata`" };
        reasons
            .say("zoneinfo", format!("no time zones in the image, as {why} and the program has them itself"));
    }
    reasons.say("user", format!("runs as {user}, who owns nothing but a home directory"));
    Ok((Some(furniture), zip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Kind;
    use crate::settings::tests::request;

    fn named(options: &[(&str, &str)], version: Option<(&str, &str)>) -> (String, String) {
        let settings = Settings::read(&request(options, &[])).unwrap();
        let version = version.map(|(version, line)| (version.to_owned(), line.to_owned()));
        let (kind, module) = (Kind::Module, String::new());
        builder_name(
            &Project {
                kind,
                module,
                version,
                has_dependencies: false,
                local_modules: Vec::new(),
                is_vendored: false,
            },
            &settings,
        )
    }

    #[test]
    fn the_builder_is_the_persons_then_the_projects_then_the_presets() {
        let line = Some(("1.22", "go.mod has the line `go 1.22.1`"));
        let check = |options: &[(&str, &str)], line, name: &str, why: &str| {
            let found = named(options, line);
            assert_eq!(found, (name.to_owned(), format!("builder `{name}`, {why}")));
        };
        check(&[("builder", "my/go")], line, "my/go", "as the option `builder` says");
        check(&[("version", "go1.20")], line, "golang:1.20", "as the option `version` says");
        check(&[], line, "golang:1.22", "as go.mod has the line `go 1.22.1`");
        let default = format!("golang:{DEFAULT_VERSION}");
        check(&[], None, &default, "as neither the project nor an option names a version of Go");
    }
}
