//! Compiles and installs a project in the builder image, in one step, while the build is planned: what came out decides the
//! image.

use kiln_preset::{Builder, Facts, Reasons, epoch, set_pair};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest};
use kiln_sdk::wit::graph::{
    BindMount, CacheMount, CacheSharing, CopyAction, FileAction, MakeDirAction, MakeFileAction,
    MakeSymlinkAction, Mount, MountKind, Output,
};
use kiln_sdk::wit::trees::Tree;

use crate::incremental::Reuse;
use crate::project::System;
use crate::settings::Settings;
use crate::tools::COMPILERS;

/// What runs in the builder.
pub(crate) const SCRIPT: &str = include_str!("build.sh");

/// What stands before the compilers.
pub(crate) const COMPILER: &str = include_str!("compiler.sh");

/// What the step left.
pub(crate) struct Built {
    /// What was installed, as it stands below `/`.
    pub out: Output,
    pub out_tree: Tree,
    /// Both `root`, which has become `out`, and `report`: what is to be said of it, and symbols under `debug`.
    pub result: Output,
    pub result_tree: Tree,
    /// The builder's files with the installed ones on top.
    pub root_tree: Tree,
}

/// Everything on which the result of the step depends, but for the files of the project.
pub(crate) fn dependence(settings: &Settings, system: &System, builder: &str, packages: &[String]) -> String {
    format!(
        "{builder}\n{packages:?}\n{system:?}\n{:?}\n{SCRIPT}{COMPILER}",
        (
            (&settings.link, &settings.libc, &settings.build_type, &settings.preset),
            (&settings.configure, &settings.make, &settings.cflags, &settings.ldflags),
            (settings.test, settings.debug_file),
        ),
    )
}

fn scripts(graph: &mut GraphBuilder, facts: &Facts) -> Output {
    let directory = |path: &str| {
        FileAction::MakeDir(MakeDirAction { path: path.to_owned(), mode: 0o755, parents: true, owner: None })
    };
    let file = |path: &str, text: &str| {
        let (path, data) = (path.to_owned(), text.as_bytes().to_vec());
        FileAction::MakeFile(MakeFileAction { path, data, mode: 0o755, owner: None })
    };
    let mut actions = vec![directory("/bin"), file("/build", SCRIPT), file("/compiler", COMPILER)];
    for name in COMPILERS.iter().filter(|name| facts.tool(name).is_some()) {
        let (path, target) = (format!("/bin/{name}"), "../compiler".to_owned());
        actions.push(FileAction::MakeSymlink(MakeSymlinkAction { path, target, owner: None }));
    }
    let scripts = graph.file(None, actions);
    graph.rename(scripts, "scripts of the preset");
    scripts
}

fn bind(target: &str, input: Option<Output>) -> Mount {
    let kind = MountKind::Bind(BindMount { input, selector: String::new() });
    Mount { target: target.to_owned(), readonly: input.is_some(), kind }
}

/// The step, done.
///
/// # Errors
///
/// It fails: its log has been shown.
pub(crate) fn work(
    graph: &mut GraphBuilder,
    request: &BuildRequest,
    settings: &Settings,
    (builder, facts): (&Builder, &Facts),
    (context, system): (Output, &System),
    reuse: &Reuse,
    reasons: &mut Reasons,
) -> Result<Built, BuildFailure> {
    let scripts = scripts(graph, facts);
    let mut exec = builder.script("");
    exec.args = vec!["/kiln/build".to_owned(), system.word().to_owned()];
    exec.args.extend(settings.configure.iter().cloned());
    exec.args.push("--".to_owned());
    exec.args.extend(settings.make.iter().cloned());
    let flag = |is_set: bool| if is_set { "yes" } else { "" };
    let file = if let System::File(name) = system { name.as_str() } else { "" };
    let mut variables = vec![
        ("SOURCE_DATE_EPOCH", epoch(request)?),
        ("LC_ALL", "C.UTF-8"),
        ("KILN_MODE", &settings.link),
        ("KILN_LIBC", &settings.libc),
        ("KILN_TYPE", &settings.build_type),
        ("KILN_DEBUG", flag(settings.debug_file)),
        ("KILN_TEST", flag(settings.test)),
        ("KILN_PRESET", &settings.preset),
        ("KILN_FILE", file),
    ];
    if !settings.cflags.is_empty() {
        variables.extend([("CFLAGS", settings.cflags.as_str()), ("CXXFLAGS", &settings.cflags)]);
    }
    if !settings.ldflags.is_empty() {
        variables.push(("LDFLAGS", &settings.ldflags));
    }
    for (name, value) in variables {
        set_pair(&mut exec.env, name, value);
    }
    let place = match reuse {
        Reuse::Of(identity) => {
            reasons.say(
                "c-incremental",
                "a one-line change compiles one file: the directory of an earlier build is used again",
            );
            let seed = graph.make_file(None, "/identity", identity.clone().into_bytes(), 0o644);
            graph.rename(seed, "what the build directory belongs to");
            let (id, selector) = ("kiln-c-build".to_owned(), String::new());
            let (sharing, seed) = (CacheSharing::Locked, Some(seed));
            let cache = CacheMount { id, sharing, seed, selector, mode: 0o755, uid: 0, gid: 0 };
            Mount { target: "/work".to_owned(), readonly: false, kind: MountKind::Cache(cache) }
        }
        Reuse::No(why) => {
            reasons.say("c-incremental", format!("everything is compiled at each change, as {why}"));
            bind("/work", None)
        }
    };
    exec.mounts = vec![
        bind("/context", Some(context)),
        bind("/kiln", Some(scripts)),
        place,
        Mount::tmpfs("/tmp"),
        // One directory for all: a step is found again by what is read of it, and that is the same now and later.
        bind("/result", None),
    ];
    let slot = exec.mounts.len() as u32;
    let step = builder.step(graph, builder.root, exec, &format!("building with {}", system.word()));
    let result = Output { slot, ..step };
    let copy = CopyAction::new(result, vec!["/root".to_owned()], "/");
    let out = graph.copy(None, CopyAction { contents_only: true, ..copy });
    graph.rename(out, "what the project installs");
    let root = graph.merge(vec![builder.root, out]);
    let message = "the project does not build";
    let help = "what the tools said is above; `--opt c.packages=…` installs libraries that are missing";
    let mut trees = builder.ask(graph, &[out, result, root], "c-build", message, help)?.into_iter();
    match (trees.next(), trees.next(), trees.next()) {
        (Some(out_tree), Some(result_tree), Some(root_tree)) => {
            Ok(Built { out, out_tree, result, result_tree, root_tree })
        }
        _ => Err(kiln_sdk::wit::diagnostics::Diagnostic::error("c-build", message).into()),
    }
}
