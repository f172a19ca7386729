//! Answers the question of a `derive-op` with the files of the closure.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{CopyAction, FileAction, MakeFileAction, MakeSymlinkAction};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::HostError;

use crate::RULES;
use crate::request::Request;
use crate::walk::{Closure, Item, Problem, closure};

/// The second half of a derivation with the task of a [`Request`] and one input, the tree to look at.
///
/// # Errors
///
/// Every library that is missing, and whatever else makes the closure one that cannot run.
pub fn derive(task: &str, inputs: &[Tree]) -> Result<Derivation, Vec<Diagnostic>> {
    let [tree] = inputs else {
        return Err(vec![Diagnostic::error("closure-file", "a closure is that of one tree")]);
    };
    let found = closure(tree, &Request::read(task)).map_err(|error| vec![unreadable(&error)])?;
    answer(found)
}

fn unreadable(error: &HostError) -> Diagnostic {
    Diagnostic::error("closure-file", format!("the files cannot be read: {}", error.message))
}

fn answer(found: Closure) -> Result<Derivation, Vec<Diagnostic>> {
    let diagnostics: Vec<Diagnostic> = found.problems.into_iter().map(diagnostic).collect();
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    let mut graph = GraphBuilder::new();
    let input = graph.input(0);
    let actions = found.items.into_iter().map(|(path, item)| match item {
        Item::File(real) => FileAction::Copy(CopyAction::new(input, vec![real], path)),
        Item::Link(target) => FileAction::MakeSymlink(MakeSymlinkAction { path, target, owner: None }),
        Item::Data(data) => FileAction::MakeFile(MakeFileAction { path, data, mode: 0o644, owner: None }),
    });
    let actions = actions.collect();
    let root = graph.file(None, actions);
    Ok(Derivation { fragment: graph.finish(), root, diagnostics })
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
            FileAction::MakeSymlink(link) => link.path.clone(),
            FileAction::MakeFile(file) => file.path.clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(paths.collect::<Vec<_>>(), ["/etc/c", "/lib/a", "/lib/b of /usr/lib/b"]);
    }

    #[test]
    fn a_warning_lets_the_build_go_on_and_an_error_does_not() {
        let problem = |code| Problem { code, message: "m".to_owned(), help: String::new() };
        let with = |code| answer(Closure { problems: vec![problem(code)], ..Closure::default() });
        assert_eq!(with("closure-nss").unwrap().diagnostics.len(), 1);
        assert!(with("closure-missing").unwrap_err()[0].is_error());
    }
}
