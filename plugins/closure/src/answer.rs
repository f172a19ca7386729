//! Answers the question of a `derive-op` with the files of the closure.

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{
    CopyAction, FileAction, MakeDirAction, MakeFileAction, MakeSymlinkAction, Output,
};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::HostError;

use crate::RULES;
use crate::files::{Files, Stat};
use crate::request::Request;
use crate::search::{base_name, directory, plain};
use crate::walk::{Closure, Item, Problem, closure};

/// The second half of a derivation with the task of a [`Request`]. The first input is the tree to look at. A second one
/// is the tree that the result is copied onto: directories that are links there stay links, and files go where they lead.
///
/// # Errors
///
/// Every library that is missing, and whatever else makes the closure one that cannot run.
pub fn derive(task: &str, inputs: &[Tree]) -> Result<Derivation, Vec<Diagnostic>> {
    let Some((tree, below)) = inputs.split_first() else {
        return Err(vec![Diagnostic::error("closure-file", "a closure is that of a tree")]);
    };
    let request = Request::read(task);
    let unreadable = |error: HostError| {
        vec![Diagnostic::error("closure-file", format!("the files cannot be read: {}", error.message))]
    };
    let mut found = closure(tree, &request).map_err(unreadable)?;
    let below = below.first().map(|tree| tree as &dyn Files);
    found.items = placed(found.items, &request.into, below).map_err(unreadable)?;
    answer(found)
}

/// Items by the paths where they go: within the directory `into` of the tree `below`, through the links there.
///
/// # Errors
///
/// `below` cannot be read.
pub fn placed(
    items: BTreeMap<String, Item>,
    into: &str,
    below: Option<&dyn Files>,
) -> Result<BTreeMap<String, Item>, HostError> {
    let mut led: BTreeMap<String, String> = BTreeMap::new();
    let mut placed = BTreeMap::new();
    for (path, item) in items {
        let path = plain(&format!("{into}/{path}"));
        let Some(files) = below else {
            placed.insert(path, item);
            continue;
        };
        let asked = directory(&path);
        let real = match led.get(asked) {
            Some(real) => real.clone(),
            None => led.entry(asked.to_owned()).or_insert(through(files, asked)?).clone(),
        };
        placed.insert(plain(&format!("{real}/{}", base_name(&path))), item);
    }
    Ok(placed)
}

/// Where a directory is once the links on the way to it are followed, as far as there are any.
fn through(files: &dyn Files, directory: &str) -> Result<String, HostError> {
    let mut at = String::new();
    for part in directory.split('/').filter(|part| !part.is_empty()) {
        at = format!("{at}/{part}");
        if let Some(Stat::Link(_)) = files.stat(&at)?
            && let Some(real) = files.real_path(&at)?
        {
            at = plain(&real);
        }
    }
    Ok(if at.is_empty() { "/".to_owned() } else { at })
}

fn answer(found: Closure) -> Result<Derivation, Vec<Diagnostic>> {
    let diagnostics: Vec<Diagnostic> = found.problems.into_iter().map(diagnostic).collect();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let mut graph = GraphBuilder::new();
    let input = graph.input(0);
    let root = layer(&mut graph, &found.items, input);
    Ok(Derivation { fragment: graph.finish(), root, diagnostics })
}

/// Items as one layer on nothing, the files among them taken out of `input`.
pub fn layer(graph: &mut GraphBuilder, items: &BTreeMap<String, Item>, input: Output) -> Output {
    let mut actions = Vec::new();
    // A copy makes the directories that it needs.
    let needs_directory = |item: &Item| !matches!(item, Item::File(_));
    let made = items.iter().filter(|(_, item)| needs_directory(item));
    let directories: BTreeSet<&str> = made.map(|(path, _)| directory(path)).collect();
    for path in directories {
        let path = path.to_owned();
        actions.push(FileAction::MakeDir(MakeDirAction { path, mode: 0o755, parents: true, owner: None }));
    }
    actions.extend(items.iter().map(|(path, item)| {
        let path = path.clone();
        match item.clone() {
            Item::File(real) => FileAction::Copy(CopyAction::new(input, vec![real], path)),
            Item::Link(target) => FileAction::MakeSymlink(MakeSymlinkAction { path, target, owner: None }),
            Item::Data(data) => FileAction::MakeFile(MakeFileAction { path, data, mode: 0o644, owner: None }),
        }
    }));
    graph.file(None, actions)
}

fn diagnostic(problem: Problem) -> Diagnostic {
    let is_error = RULES.iter().any(|(code, _, is_error)| *code == problem.code && *is_error);
    let make = if is_error { Diagnostic::error } else { Diagnostic::warning };
    make(problem.code, problem.message).help(problem.help)
}

#[cfg(test)]
mod tests {
    use kiln_sdk::wit::graph::OpKind;

    use super::*;

    #[test]
    fn the_files_are_one_layer_in_the_order_of_their_paths() {
        let items = [
            ("/lib/b", Item::File("/usr/lib/b".to_owned())),
            ("/lib/a", Item::Link("b".to_owned())),
            ("/etc/c", Item::Data(vec![1])),
        ];
        let items = items.map(|(path, item)| (path.to_owned(), item)).into();
        let derived = answer(Closure { items, problems: Vec::new() }).unwrap();
        let OpKind::File(file) = &derived.fragment.ops[derived.root.op as usize].kind else { panic!() };
        assert!(file.base.is_none());
        let paths = file.actions.iter().map(|action| match action {
            FileAction::Copy(copy) => format!("{} of {}", copy.dest, copy.paths[0]),
            FileAction::MakeDir(made) => format!("{}/", made.path),
            FileAction::MakeSymlink(link) => link.path.clone(),
            FileAction::MakeFile(file) => file.path.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(paths.collect::<Vec<_>>(), ["/etc/", "/lib/", "/etc/c", "/lib/a", "/lib/b of /usr/lib/b"]);
    }

    #[test]
    fn files_go_through_the_links_of_the_tree_below() {
        use crate::testing::Tree as Memory;
        let items: BTreeMap<String, Item> = ["/lib/x/a", "/lib64/ld", "/app/b"]
            .map(|path| (path.to_owned(), Item::File(path.to_owned())))
            .into();
        let merged = Memory::new()
            .link("/lib", "usr/lib")
            .link("/lib64", "/usr/lib64")
            .file("/usr/lib/x/old", b"")
            .file("/usr/lib64/old", b"")
            .link("/root/lib", "elsewhere")
            .file("/root/elsewhere/y", b"");
        let paths = |into: &str, below: Option<&dyn Files>| {
            placed(items.clone(), into, below).unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(paths("/", None), ["/app/b", "/lib/x/a", "/lib64/ld"]);
        assert_eq!(paths("", Some(&merged)), ["/app/b", "/usr/lib/x/a", "/usr/lib64/ld"]);
        assert_eq!(paths("/root/", Some(&merged)), ["/root/app/b", "/root/elsewhere/x/a", "/root/lib64/ld"]);
    }

    #[test]
    fn a_warning_lets_the_build_go_on_and_an_error_does_not() {
        let problem =
            |code| Problem { code, message: "m".to_owned(), help: String::new(), lacks: Vec::new() };
        let with = |code| answer(Closure { problems: vec![problem(code)], ..Closure::default() });
        assert_eq!(with("closure-nss").unwrap().diagnostics.len(), 1);
        assert!(with("closure-missing").unwrap_err()[0].is_error());
    }
}
