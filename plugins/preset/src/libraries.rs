//! The shared libraries of programs, as a layer of their own below the programs.

use kiln_closure::{Files, Item, Request, closure, placed};
use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{CopyAction, Output};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::HostError;

use crate::dockerfile::word;

/// What a component that uses [`libraries`] answers `derive` with.
pub use kiln_closure::derive;

/// Libraries and interpreter of the programs that `request` names, without the programs: these change with every build, and
/// libraries do not.
///
/// `root` is a tree that holds the programs and everything that they could need, such as the builder's files with the
/// programs merged onto them. `below` is the runtime image that the libraries come to lie on, if there is one. What is
/// missing is told when the build gets there.
pub fn libraries(graph: &mut GraphBuilder, request: &Request, root: Output, below: Option<Output>) -> Output {
    let mut inputs = vec![root];
    inputs.extend(below);
    let found = graph.derive(request.task(), inputs);
    graph.rename(found, "shared libraries");
    let programs = request.files.iter().map(|path| format!("{}{path}", request.into));
    let exclude_patterns = programs.map(|path| path.trim_start_matches('/').to_owned()).collect();
    let copy = CopyAction::new(found, vec!["/".to_owned()], "/");
    let only = graph.copy(None, CopyAction { contents_only: true, exclude_patterns, ..copy });
    graph.rename(only, "shared libraries, without the program");
    only
}

/// Shell commands that copy the same files into the directory `into`, for an ejected file. `tree` is solved and holds the
/// programs of `request`; nothing of it is run. `below` is the tree that the directory is copied onto later, if there is
/// one: where that has a link to a directory the files go where it leads, as no copy puts a directory onto a link.
///
/// # Errors
///
/// What the closure has to complain about, and a tree that cannot be read.
pub fn commands(
    tree: &Tree,
    below: Option<&Tree>,
    request: &Request,
    into: &str,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    let unreadable = |error: HostError| {
        vec![Diagnostic::error("closure-file", format!("the files cannot be read: {}", error.message))]
    };
    let found = closure(tree, request).map_err(unreadable)?;
    let is_error =
        |code: &str| kiln_closure::RULES.iter().any(|(known, _, is_error)| *known == code && *is_error);
    let problems: Vec<Diagnostic> = found
        .problems
        .into_iter()
        .filter(|problem| is_error(problem.code))
        .map(|problem| Diagnostic::error(problem.code, problem.message).help(problem.help))
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut commands = Vec::new();
    let mut needs_cache = false;
    let items = placed(found.items, "", below.map(|tree| tree as &dyn Files)).map_err(unreadable)?;
    for (path, item) in &items {
        let to = word(&format!("{into}{path}"));
        let (directory, _) = path.rsplit_once('/').unwrap_or_default();
        let directory = word(&format!("{into}{directory}"));
        match item {
            Item::File(_) if request.files.contains(path) => {}
            Item::File(real) => commands.push(format!("mkdir -p {directory} && cp -p {} {to}", word(real))),
            Item::Link(target) => {
                commands.push(format!("mkdir -p {directory} && ln -sf {} {to}", word(target)))
            }
            // The only data that a closure has is the cache of the dynamic linker.
            Item::Data(_) => needs_cache = true,
        }
    }
    if needs_cache {
        commands.push(format!("mkdir -p {}", word(&format!("{into}/etc"))));
        commands.push(format!("cp -r /etc/ld.so.conf* {}", word(&format!("{into}/etc/"))));
        commands.push(format!("ldconfig -r {}", word(into)));
    }
    Ok(commands)
}
