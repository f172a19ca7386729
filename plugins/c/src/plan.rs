//! From a project directory to everything that is known of its image.

use std::collections::BTreeSet;

use kiln_closure::{Elf, ElfError, Files, Request, read};
use kiln_preset::{Builder, Facts, Furniture, Image, Reasons, Wanted, platform_text};
use kiln_sdk::GraphBuilder;
use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest};
use kiln_sdk::wit::graph::{ContextSource, OpKind, Output};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileInfo, HostError, Platform};

use crate::incremental::{Reuse, reuse};
use crate::installed::{Installed, base_name};
use crate::project::{CXX, System, nothing, ways};
use crate::settings::{BUILDER, Settings};
use crate::shared::{Runtime, Shared, on_runtime, shared};
use crate::tools::{TOOLS, missing, needs};
use crate::work::{Built, dependence, work};

/// The name of the component, and of the grants and options that messages name.
pub(crate) const NAME: &str = "c";

/// Files of a project; more than this are no project.
const MAX_FILES: u32 = 200_000;

/// The directory of the project, without what no build reads.
pub(crate) struct Project {
    source: ContextSource,
    tree: Tree,
    pub system: System,
    /// In the order of their paths.
    entries: Vec<FileInfo>,
}

fn unreadable(error: HostError) -> BuildFailure {
    Diagnostic::error("c-context", format!("the project cannot be read: {}", error.message)).into()
}

impl Project {
    /// Looks at the main context.
    ///
    /// # Errors
    ///
    /// Nothing there can be built, or not in the way that is asked for.
    pub(crate) fn open(settings: &Settings, reasons: &mut Reasons) -> Result<Self, BuildFailure> {
        let mut ignore = ignored()?;
        // What git keeps changes with every commit, and no compiler reads it.
        ignore.push(".git".to_owned());
        let source = ContextSource { name: String::new(), ignore: Some(ignore) };
        let tree = contexts::open(&source).map_err(unreadable)?;
        let ways = ways(&tree).map_err(unreadable)?;
        let wanted = |word: &str| settings.system == "auto" || settings.system == word;
        let Some(way) = ways.iter().find(|way| wanted(way.system.word())) else {
            let found = match &ways[..] {
                [] => {
                    let why = nothing(&tree).map_err(unreadable)?;
                    Diagnostic::error("c-no-project", format!("there is nothing to build: {why}"))
                        .help("several source files need something that says how they belong together: a CMakeLists.txt, say")
                }
                ways => {
                    let there: Vec<&str> = ways.iter().map(|way| way.reason.as_str()).collect();
                    let message = format!("there is nothing that {} builds", settings.system);
                    Diagnostic::error("c-no-project", message).help(there.join("; "))
                }
            };
            return Err(found.into());
        };
        reasons.say("c-system", way.reason.clone());
        let entries = tree.glob(&["**".to_owned()], MAX_FILES).map_err(unreadable)?;
        let system = way.system.clone();
        Ok(Self { source, tree, system, entries })
    }

    fn has_cxx(&self) -> bool {
        match &self.system {
            System::File(name) => CXX.iter().any(|ending| name.ends_with(ending)),
            _ => self.entries.iter().any(|entry| CXX.iter().any(|ending| entry.path.ends_with(ending))),
        }
    }
}

/// The lines of `.dockerignore`, if there is one.
fn ignored() -> Result<Vec<String>, BuildFailure> {
    const FILE: &str = ".dockerignore";
    let ignore = Some(vec!["**".to_owned(), format!("!{FILE}")]);
    let tree = contexts::open(&ContextSource { name: String::new(), ignore }).map_err(unreadable)?;
    let text = match tree.read_text(FILE) {
        Ok(text) => text,
        Err(error) if error.code == "not-found" => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// The image of one platform, decided.
pub(crate) struct Plan {
    pub platform: Platform,
    pub builder: Builder,
    /// Installed in the builder: what was asked for, and tools.
    pub packages: Vec<String>,
    pub runtime: Option<Image>,
    /// What the project installed, as it stands below `/`.
    pub out: Output,
    /// What the step left, with symbols in `report/debug`.
    pub result: Output,
    pub installed: Installed,
    /// What the image starts.
    pub program: String,
    pub is_static: bool,
    /// `glibc` or `musl`.
    pub libc: &'static str,
    /// Otherwise the program lay in the build directory.
    pub is_installed: bool,
    pub shared: Shared,
    /// Files that `strip` does not know, by absolute path.
    pub unstripped: Vec<String>,
    /// Absent on a runtime image, which has its own.
    pub furniture: Option<Furniture>,
}

/// Builds the project for `platform`, and decides.
///
/// # Errors
///
/// The builder lacks a tool, the project does not build, it makes no program or several, or a library is missing.
pub(crate) fn plan(
    graph: &mut GraphBuilder,
    request: &BuildRequest,
    settings: &Settings,
    project: &Project,
    platform: &Platform,
    reasons: &mut Reasons,
) -> Result<Plan, BuildFailure> {
    // Compilers of the builder make programs for their own machine, so the builder is one of the image's platform.
    let here = BuildRequest { build_platform: platform.clone(), ..request.clone() };
    let name = settings.common.builder.clone().unwrap_or_else(|| BUILDER.to_owned());
    let why = match settings.common.builder {
        Some(_) => "as asked for",
        None => "the compilers of Debian with the headers that most projects want",
    };
    reasons.say("c-builder", format!("builder `{name}`, {why}"));
    if *platform != request.build_platform {
        let message =
            format!("the compiler runs as {}, which this machine has to emulate", platform_text(platform));
        reasons.warn("c-emulated", message, "");
    }
    let mut builder = Builder::open(graph, &here, NAME, &name, &settings.common)?;
    let mut facts = builder.facts(graph, &TOOLS, "")?;
    let mut packages = settings.common.packages.clone();
    let needs = needs(&project.tree, &project.system, project.has_cxx(), settings).map_err(unreadable)?;
    let lacking = missing(&needs, &facts);
    if !lacking.is_empty() {
        if facts.tool("apt-get").is_none() {
            let missing = lacking.iter().filter_map(|need| facts.need(need.programs[0]).err());
            return Err(missing.flat_map(|failure| failure.diagnostics).collect::<Vec<_>>().into());
        }
        let added: Vec<String> =
            lacking.iter().flat_map(|need| need.packages).map(|name| (*name).to_owned()).collect();
        let lacks = quoted(lacking.iter().map(|need| need.programs[0]));
        let listed = quoted(&added);
        reasons.say("c-tools", format!("{listed} installed, as the builder lacks {lacks}"));
        builder.install(graph, &added).map_err(|mut failure| {
            for found in &mut failure.diagnostics {
                found.message.push_str(&format!(", which lacks {lacks}"));
            }
            failure
        })?;
        facts = builder.facts(graph, &TOOLS, "")?;
        if let Some(need) = missing(&needs, &facts).first() {
            facts.need(need.programs[0])?;
        }
        packages.extend(added);
    }

    let reuse = if settings.incremental {
        let image = Image::find(&mut GraphBuilder::new(), &name, platform, &format!("{NAME}.builder"))?;
        match image.base_digest.as_str() {
            "" => Reuse::No("the builder is a directory".to_owned()),
            digest => {
                let settings = dependence(settings, &project.system, digest, &packages);
                reuse(&project.tree, &project.entries, &project.system, &settings).map_err(unreadable)?
            }
        }
    } else {
        Reuse::No("that was asked for".to_owned())
    };
    let context = graph.push(OpKind::Context(project.source.clone()));
    graph.rename(context, "sources");
    let built =
        work(graph, &here, settings, (&builder, &facts), (context, &project.system), &reuse, reasons)?;
    decide(graph, settings, platform, builder, packages, facts, built, reasons)
}

/// What the image consists of, once everything is built.
#[allow(clippy::too_many_arguments)]
fn decide(
    graph: &mut GraphBuilder,
    settings: &Settings,
    platform: &Platform,
    builder: Builder,
    packages: Vec<String>,
    facts: Facts,
    built: Built,
    reasons: &mut Reasons,
) -> Result<Plan, BuildFailure> {
    let runtime = match &settings.common.runtime {
        Some(name) => Some(Image::find(graph, name, platform, &format!("{NAME}.runtime"))?),
        None => None,
    };
    let entries = built.out_tree.glob(&["**".to_owned()], MAX_FILES).map_err(unreadable)?;
    let uninstalled = noted(&built, "uninstalled")?;
    let mut installed = Installed::sort(&built.out_tree, &entries, runtime.is_some()).map_err(unreadable)?;
    let program = installed.entrypoint(&settings.program, uninstalled.is_none())?;
    if uninstalled.is_some() {
        installed.only(&program);
        let message = "the project installs nothing, so the program is taken from its build directory, and no data with it";
        reasons.say("c-uninstalled", message);
    }
    let why = match settings.program.is_empty() {
        true => "the only one",
        false => "as asked for",
    };
    reasons.say("c-program", format!("the image starts `{program}`, {why}"));
    for (sort, count) in &installed.left_out {
        let files = if *count == 1 { "one file".to_owned() } else { format!("{count} files") };
        reasons.say("c-left-out", format!("left out: {sort} ({files})"));
    }

    let unstripped: Vec<String> =
        noted(&built, "unstripped")?.unwrap_or_default().lines().map(str::to_owned).collect();
    if !unstripped.is_empty() {
        let message = format!("not stripped, as `strip` does not know what it is: {}", quoted(&unstripped));
        reasons.say("c-unstripped", message);
    }

    let elf = elf(&built.out_tree, &program)?;
    let is_static = is_static(&elf);
    let libc = if noted(&built, "libc")?.as_deref() == Some("musl") { "musl" } else { "glibc" };
    let request = request(settings, &installed, platform, &built)?;
    let own = &built.out_tree;
    let is_own = |path: &str| Ok(Files::stat(own, path)?.is_some());
    let shared = match &runtime {
        None => shared(&built.root_tree, request, &settings.files, &is_own, reasons)?,
        Some(image) => {
            let tree = match image.root {
                None => None,
                Some(root) => {
                    let message = "the runtime image cannot be looked at";
                    let root = graph.merge(vec![root, built.out]);
                    builder.ask(graph, &[root], "c-runtime", message, "")?.pop()
                }
            };
            let runtime = Runtime { name: &image.name, files: tree.as_ref().unwrap_or(own) };
            on_runtime(&built.root_tree, runtime, request, &settings.files, &is_own, reasons)?
        }
    };
    // By the names that are asked for, each once; what a link leads to goes without saying.
    let is_asked =
        |name: &&str| shared.askers.contains_key(*name) || settings.with.iter().any(|with| with == name);
    let asked = shared.items.keys().map(|path| base_name(path)).filter(is_asked);
    let libraries: Vec<&str> = asked.collect::<BTreeSet<_>>().into_iter().collect();
    let cause = noted(&built, &format!("dynamic/{}", base_name(&program)))?;
    reasons.say("c-link", linked(&program, is_static, libc, settings, cause.as_deref(), &libraries));

    let furniture = match &runtime {
        Some(image) => {
            let has = [("certificates", settings.certificates == "yes"), ("zoneinfo", settings.zoneinfo)];
            for (option, _) in has.iter().filter(|(_, is_set)| *is_set) {
                let message = format!(
                    "the option `{option}` does nothing, as that is for the runtime image `{}` to have",
                    image.name
                );
                reasons.warn("unused-option", message, "");
            }
            None
        }
        None => {
            let wanted = Wanted {
                certificates: match settings.certificates.as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => shared.trusts.is_some(),
                },
                zoneinfo: settings.zoneinfo,
            };
            if let (Some(path), true) = (&shared.trusts, wanted.certificates) {
                let message = format!("CA certificates come along, as `{path}` asks for those of the system");
                reasons.say("c-certificates", message);
            }
            Some(Furniture::new(&settings.common.user, &facts, wanted, NAME, reasons)?)
        }
    };
    Ok(Plan {
        platform: platform.clone(),
        builder,
        packages,
        runtime,
        out: built.out,
        result: built.result,
        installed,
        program,
        is_static,
        libc,
        is_installed: uninstalled.is_none(),
        shared,
        unstripped,
        furniture,
    })
}

/// What the step wrote down, if it did.
fn noted(built: &Built, name: &str) -> Result<Option<String>, BuildFailure> {
    match built.result_tree.read_text(&format!("report/{name}")) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if matches!(error.code.as_str(), "not-found" | "not-a-directory") => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

fn elf(tree: &Tree, path: &str) -> Result<Elf, BuildFailure> {
    read(tree, path).map_err(|error| match error {
        ElfError::Host(error) => unreadable(error),
        ElfError::NotElf(_) => Diagnostic::error("c-program", format!("`{path}` is no ELF file")).into(),
        ElfError::Malformed(why) => {
            Diagnostic::error("c-program", format!("`{path}` cannot be loaded: {why}")).into()
        }
    })
}

fn is_static(elf: &Elf) -> bool {
    elf.interpreter.is_none() && elf.needed.is_empty()
}

/// Whose closure is wanted.
fn request(
    settings: &Settings,
    installed: &Installed,
    platform: &Platform,
    built: &Built,
) -> Result<Request, BuildFailure> {
    let mut request = Request { architecture: platform.arch.clone(), ..Request::default() };
    let mut is_alone = true;
    for path in installed.programs.iter().chain(&installed.libraries) {
        is_alone &= is_static(&elf(&built.out_tree, path)?);
        request.files.push(path.clone());
    }
    // A program without a dynamic linker opens no library by itself.
    if !is_alone {
        request.with = settings.with.clone();
    }
    Ok(request)
}

/// How the program was linked, and why.
fn linked(
    program: &str,
    is_static: bool,
    libc: &str,
    settings: &Settings,
    cause: Option<&str>,
    libraries: &[&str],
) -> String {
    if is_static {
        let why = match settings.link.as_str() {
            "static" => "as asked for",
            _ => "which works without a warning",
        };
        return format!("`{program}` is linked statically with {libc}, {why}, and needs no other file");
    }
    let why = match (settings.link.as_str(), cause) {
        ("dynamic", _) => "as asked for",
        (_, Some(cause)) => &format!("as {cause}"),
        _ => "as the project says",
    };
    let along = match libraries {
        [] => String::new(),
        all => format!("; with it come {}", all.join(", ")),
    };
    format!("`{program}` is linked dynamically, {why}{along}")
}
