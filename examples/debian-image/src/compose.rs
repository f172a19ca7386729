//! Fetches lists, decides on packages, and writes down how the image is made of them.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{
    ContextSource, CopyAction, FileAction, HistoryEntry, HttpSource, MakeDirAction, MakeFileAction,
    MakeSymlinkAction, OpKind, Output, Owner,
};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{HostError, ImageConfig, Pair, Platform};
use kiln_sdk::wit::{resolver, solver};

use crate::index::{Index, Package};
use crate::layout;
use crate::place::Text;
use crate::recipe::{Extra, ExtraKind, Pin, Recipe, Source};
use crate::release::Release;
use crate::resolve::{Problem, resolve};
use crate::status;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The image that a file describes, for every platform that is wanted.
///
/// # Errors
///
/// Everything that is wrong with the file, or cannot be had.
pub fn build(request: &BuildRequest, recipe: &Recipe, file: Text<'_>) -> Result<BuildResult, BuildFailure> {
    let mirrors = mirrors(request, recipe, file)?;
    let releases = releases(recipe, &mirrors, file)?;
    let mut graph = GraphBuilder::new();
    let mut targets = Vec::new();
    for platform in request.wanted_platforms() {
        let architecture = architecture(&platform).ok_or_else(|| {
            let message = format!("Debian has no packages for {}/{}", platform.os, platform.arch);
            Diagnostic::error("debian-platform", message)
        })?;
        let texts = lists(recipe, &mirrors, &releases, architecture, file)?;
        let lists = texts.iter().map(|(source, text)| (*source, text.as_str()));
        let index = Index::new(lists, architecture)
            .map_err(|message| Diagnostic::error("debian-malformed", message))?;
        let wanted: Vec<_> = recipe.packages.iter().map(|(wanted, _)| wanted.clone()).collect();
        let packages =
            resolve(&index, architecture, &wanted, recipe.base, recipe.recommends).map_err(|problems| {
                problems.into_iter().map(|one| finding(one, recipe, file)).collect::<Vec<_>>()
            })?;
        targets.push(target(request, recipe, &mirrors, platform, &packages, &mut graph)?);
    }
    let mut result = BuildResult::new(graph.finish(), targets);
    // The pin says when all of this was; a time of the machine would make two builds differ.
    let newest = releases.iter().map(|release| release.date).max().unwrap_or(0);
    result.source_date_epoch =
        request.build_arg("SOURCE_DATE_EPOCH").map_or_else(|| newest.to_string(), str::to_owned);
    for arg in request.build_args.iter().filter(|arg| !is_common(&arg.key)) {
        let message = format!("the build argument `{}` means nothing here", arg.key);
        result.diagnostics.push(Diagnostic::warning("debian-argument", message));
    }
    Ok(result)
}

/// Build arguments that every build may be given.
fn is_common(name: &str) -> bool {
    name == "SOURCE_DATE_EPOCH" || name.to_ascii_lowercase().ends_with("_proxy")
}

fn finding(problem: Problem, recipe: &Recipe, file: Text<'_>) -> Diagnostic {
    let mut help = problem.chain;
    if !problem.help.is_empty() {
        if !help.is_empty() {
            help.push('\n');
        }
        help.push_str(&problem.help);
    }
    let found = Diagnostic::error(problem.code, problem.message).help(help);
    match problem.wanted.and_then(|wanted| recipe.packages.get(wanted)) {
        Some((_, place)) => found.at(&file.span(place)),
        None => found,
    }
}

/// Debian's name for a platform.
fn architecture(platform: &Platform) -> Option<&'static str> {
    Some(match (platform.os.as_str(), platform.arch.as_str(), platform.variant.as_str()) {
        ("linux", "amd64", _) => "amd64",
        ("linux", "arm64", _) => "arm64",
        ("linux", "arm", "v5" | "v6") => "armel",
        ("linux", "arm", _) => "armhf",
        ("linux", "386", _) => "i386",
        ("linux", "mips64le", _) => "mips64el",
        ("linux", "ppc64le", _) => "ppc64el",
        ("linux", "riscv64", _) => "riscv64",
        ("linux", "s390x", _) => "s390x",
        _ => return None,
    })
}

/// The address below which each source lies, without a slash at its end.
fn mirrors(request: &BuildRequest, recipe: &Recipe, file: Text<'_>) -> Result<Vec<String>, BuildFailure> {
    let option = request.option("mirror").filter(|mirror| !mirror.is_empty());
    let mirror = |source: &Source| {
        let mirror = source.mirror.as_deref().or(option).ok_or_else(|| {
            let message = format!("nothing says where `{}` is to be had", source.suite);
            let found = file.error("debian-mirror", message, &source.place);
            found.help("write `mirror = \"https://…\"` there, or build with `--opt mirror=https://…`")
        })?;
        Ok(mirror.trim_end_matches('/').to_owned())
    };
    recipe.sources.iter().map(mirror).collect()
}

fn suite_url(mirror: &str, source: &Source) -> String {
    format!("{mirror}/dists/{}", source.suite)
}

fn fetched(error: &HostError, what: &str, source: &Source, file: Text<'_>) -> BuildFailure {
    file.error("debian-fetch", format!("{what}: {}", error.message), &source.place).into()
}

/// `Release` of every source, checked against its pin.
fn releases(recipe: &Recipe, mirrors: &[String], file: Text<'_>) -> Result<Vec<Release>, BuildFailure> {
    let mut unpinned = Vec::new();
    let mut graph = GraphBuilder::new();
    let mut outputs = Vec::new();
    for (source, mirror) in recipe.sources.iter().zip(mirrors) {
        let url = format!("{}/Release", suite_url(mirror, source));
        let checksum = match &source.pin {
            Pin::Digest(digest) => Some(digest.clone()),
            Pin::Any => None,
            Pin::Missing => {
                unpinned.push(unpinned_source(source, url, file)?);
                continue;
            }
        };
        let output = graph.http(url, checksum);
        graph.rename(output, format!("Release of {}", source.suite));
        outputs.push(output);
    }
    if !unpinned.is_empty() {
        return Err(unpinned.into());
    }
    let first = &recipe.sources[0];
    let trees = solver::solve(&graph.finish(), &outputs)
        .map_err(|error| fetched(&error, "`Release` cannot be had", first, file))?;
    let mut releases = Vec::new();
    for (source, tree) in recipe.sources.iter().zip(trees) {
        let text = read(&tree).map_err(|error| fetched(&error, "`Release` cannot be read", source, file))?;
        let release = Release::parse(&text).map_err(|why| {
            file.error(
                "debian-release",
                format!("`Release` of {} is none: {why}", source.suite),
                &source.place,
            )
        })?;
        releases.push(release);
    }
    Ok(releases)
}

/// What to write, and what that is worth.
fn unpinned_source(source: &Source, url: String, file: Text<'_>) -> Result<Diagnostic, BuildFailure> {
    let asked = HttpSource { url, checksum: None, filename: String::new() };
    let answer = resolver::http(&[asked]).pop();
    let known =
        answer.unwrap_or_else(|| Err(HostError { code: "other".into(), message: "no answer".into() }));
    let digest = known.map_err(|error| fetched(&error, "`Release` cannot be had", source, file))?.checksum;
    let found =
        file.error("debian-pin", format!("nothing says which `{}` is meant", source.suite), &source.place);
    Ok(found.help(format!(
        "write `release = \"{digest}\"`, which is what the mirror has now; nobody has checked its signature: \
         compare it with what another way tells you, or write `release = \"any\"` to believe the mirror every time"
    )))
}

/// The text of every list, with the number of its source.
fn lists(
    recipe: &Recipe,
    mirrors: &[String],
    releases: &[Release],
    architecture: &str,
    file: Text<'_>,
) -> Result<Vec<(usize, String)>, BuildFailure> {
    let mut graph = GraphBuilder::new();
    let (mut outputs, mut sources) = (Vec::new(), Vec::new());
    for (number, source) in recipe.sources.iter().enumerate() {
        for component in &source.components {
            let list = releases[number].packages(component, architecture).ok_or_else(|| {
                let message = format!("`{}` has no `{component}` for {architecture}", source.suite);
                file.error("debian-source", message, &source.place)
                    .help(format!("it has {}", releases[number].offers()))
            })?;
            let url = format!("{}/{}", suite_url(&mirrors[number], source), list.path);
            let http = HttpSource { url, checksum: Some(list.checksum), filename: "Packages.xz".into() };
            let fetched = graph.push(OpKind::Http(http));
            graph.rename(fetched, format!("packages of {} {component} {architecture}", source.suite));
            let copy = CopyAction::new(fetched, vec!["/Packages.xz".into()], "/");
            outputs.push(graph.copy(None, CopyAction { unpack: "compressed".into(), ..copy }));
            sources.push(number);
        }
    }
    let first = &recipe.sources[0];
    let trees = solver::solve(&graph.finish(), &outputs)
        .map_err(|error| fetched(&error, "a list of packages cannot be had", first, file))?;
    let mut texts = Vec::new();
    for (number, tree) in sources.into_iter().zip(trees) {
        let failed =
            |error| fetched(&error, "a list of packages cannot be read", &recipe.sources[number], file);
        texts.push((number, read(&tree).map_err(failed)?));
    }
    Ok(texts)
}

/// The one file of a tree, however long it is.
fn read(tree: &Tree) -> Result<String, HostError> {
    const PIECE: u32 = 16 << 20;
    let missing = || HostError { code: "not-found".into(), message: "nothing came".into() };
    let file = tree.children("")?.into_iter().next().ok_or_else(missing)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.size).unwrap_or(0));
    loop {
        let piece = tree.read(&file.path, u32::try_from(bytes.len()).unwrap_or(u32::MAX), PIECE)?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes)
        .map_err(|_| HostError { code: "other".into(), message: "it is no UTF-8 text".into() })
}

fn target(
    request: &BuildRequest,
    recipe: &Recipe,
    mirrors: &[String],
    platform: Platform,
    packages: &[&Package<'_>],
    graph: &mut GraphBuilder,
) -> Result<TargetResult, BuildFailure> {
    let afresh = request.no_cache.iter().any(|stage| stage == "*");
    let mut inputs = Vec::new();
    let mut paragraphs = Vec::new();
    for package in packages {
        let malformed = |what: &str| {
            let message = format!("the list says no {what} of `{}` {}", package.name, package.version);
            Diagnostic::error("debian-malformed", message)
        };
        let path = package.field("Filename").ok_or_else(|| malformed("`Filename`"))?;
        let digest = package.field("SHA256").ok_or_else(|| malformed("SHA-256"))?;
        let url = format!("{}/{path}", mirrors[package.source]);
        let http =
            HttpSource { url, checksum: Some(format!("sha256:{digest}")), filename: "package.deb".into() };
        let fetched = graph.push(OpKind::Http(http));
        graph.rename(fetched, format!("{} {}", package.name, package.version));
        if afresh {
            graph.no_cache(fetched);
        }
        let members = unpacked(graph, fetched, "/package.deb", "ar");
        inputs.push(unpacked(graph, members, "/control.tar*", "tar"));
        inputs.push(unpacked(graph, members, "/data.tar*", "tar"));
        paragraphs.push(status::paragraph(package, recipe.scripts_later));
    }
    let mut root = graph.derive(layout::task(recipe, &paragraphs), inputs);
    let suites: Vec<&str> = recipe.sources.iter().map(|source| source.suite.as_str()).collect();
    let told = format!("{} packages of {}", packages.len(), suites.join(", "));
    graph.rename(root, format!("composing {told}"));
    let line = |created_by: String, layer: Output| HistoryEntry {
        created_by,
        comment: "debian-image".into(),
        layer: Some(layer.op),
    };
    let mut history = vec![line(told, root)];
    if !recipe.entries.is_empty() {
        root = extras(recipe, root, graph);
        history.push(line("files".to_owned(), root));
    }
    let mut target = TargetResult::new(platform, Some(root), config(request, recipe));
    target.history = history;
    Ok(target)
}

/// What an archive holds.
fn unpacked(graph: &mut GraphBuilder, input: Output, path: &str, unpack: &str) -> Output {
    let copy = CopyAction::new(input, vec![path.to_owned()], "/");
    graph.copy(None, CopyAction { allow_wildcard: true, unpack: unpack.to_owned(), ..copy })
}

fn extras(recipe: &Recipe, base: Output, graph: &mut GraphBuilder) -> Output {
    let copies = |entry: &Extra| matches!(entry.kind, ExtraKind::Copy(_));
    let context = recipe.entries.iter().any(copies).then(|| {
        let context = graph.push(OpKind::Context(ContextSource { name: String::new(), ignore: None }));
        graph.rename(context, "context");
        context
    });
    let mut actions = Vec::new();
    for Extra { path, owner, mode, kind } in &recipe.entries {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let owner = (!owner.is_empty()).then(|| Owner { user: user.to_owned(), group: group.to_owned() });
        if let Some((parent, _)) =
            path.trim_end_matches('/').rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
        {
            let parent = MakeDirAction { path: parent.to_owned(), mode: 0o755, parents: true, owner: None };
            actions.push(FileAction::MakeDir(parent));
        }
        let path = path.clone();
        actions.push(match (kind, context) {
            (ExtraKind::Directory, _) => {
                FileAction::MakeDir(MakeDirAction { path, mode: mode.unwrap_or(0o755), parents: true, owner })
            }
            (ExtraKind::Text(text), _) => {
                let data = text.clone().into_bytes();
                FileAction::MakeFile(MakeFileAction { path, data, mode: mode.unwrap_or(0o644), owner })
            }
            (ExtraKind::Link(target), _) => {
                FileAction::MakeSymlink(MakeSymlinkAction { path, target: target.clone(), owner })
            }
            (ExtraKind::Copy(from), Some(context)) => {
                let mode = mode.map_or_else(String::new, |mode| format!("{mode:o}"));
                let owner = owner.or_else(|| Some(Owner { user: "0".into(), group: "0".into() }));
                let copy = CopyAction::new(context, vec![from.clone()], path);
                FileAction::Copy(CopyAction { contents_only: true, owner, mode, ..copy })
            }
            (ExtraKind::Copy(_), None) => continue,
        });
    }
    let output = graph.file(Some(base), actions);
    graph.rename(output, "files");
    output
}

fn config(request: &BuildRequest, recipe: &Recipe) -> ImageConfig {
    let mut config = recipe.config.clone();
    if config.env.iter().all(|pair| pair.key != "PATH") {
        config.env.insert(0, Pair { key: "PATH".into(), value: PATH.into() });
    }
    for label in &request.labels {
        config.labels.retain(|known| known.key != label.key);
        config.labels.push(label.clone());
    }
    config
}
