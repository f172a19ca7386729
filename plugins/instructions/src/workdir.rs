//! WORKDIR: the directory in which the rest of the stage and the container run (§13.1).

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::entry;
use crate::keyword::{Keyword, TEXT};
use crate::ownership::owner;
use crate::path::absolute;
use crate::statement::{comment_in_text, only};

pub(crate) static WORKDIR: Keyword = Keyword {
    name: "WORKDIR",
    summary: "changes the working directory, making it if it is missing",
    usage: "WORKDIR PATH",
    form: TEXT,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &[],
    validate: |statement, findings| {
        only(statement, "a path", findings);
        comment_in_text(statement, "the path", findings);
    },
    apply,
};

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let path = only(statement, "a path", findings)?;
    if path.value.is_empty() {
        let message = format!("`{}` expands to nothing: the working directory stays", path.original);
        findings.push(Diagnostic::warning("blank-value", message).at(&path.at));
    }
    let place = absolute(&stage.working_dir, &path.value);
    // The configuration keeps an absolute path as it is written; only one that had to be joined is cleaned.
    let dir = if path.value.starts_with('/') { path.value.clone() } else { place.clone() };
    let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
    let root = (dir != "/").then(|| {
        let base = stage.has_base.then(|| graph.base());
        let owner = (!stage.user.is_empty()).then(|| owner(&stage.user));
        graph.make_dir(base, place.as_str(), owner)
    });
    let created_by = format!("WORKDIR {dir}");
    Some(Outcome {
        fragment: graph.finish(),
        root,
        changes: vec![ConfigChange::WorkingDir(dir)],
        history: vec![entry(created_by, root.map(|root| root.op))],
        ..Outcome::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;
    use kiln_sdk::wit::graph::{FileAction, FileOp, MakeDirAction, OpKind, Owner};

    #[test]
    fn a_relative_path_is_joined_to_the_one_before_and_cleaned() {
        for (before, text, expected) in [
            ("", "a", "/a"),
            ("/a", "b/../c/", "/a/c"),
            ("/a/", "b", "/a/b"),
            ("/a", "/b", "/b"),
            ("/a", "/b//./c/", "/b//./c/"),
            ("/a", "../..", "/"),
            ("/", "~", "/~"),
        ] {
            let mut line = Line::new(&format!("WORKDIR {text}"));
            line.stage.working_dir = before.into();
            let applied = line.apply();
            assert_eq!(applied.config().working_dir, expected);
            assert_eq!(applied.history(), [format!("WORKDIR {expected}")]);
        }
    }

    #[test]
    fn the_directory_is_made_for_the_user_of_the_stage() {
        let mut line = Line::new("WORKDIR /srv/app");
        line.stage.user = "app:staff".into();
        let applied = line.apply();
        let root = applied.root();
        let OpKind::File(FileOp { base: Some(base), actions }) = root else { panic!("{root:?}") };
        assert!(applied.is_base(*base));
        let owner = Some(Owner { user: "app".into(), group: "staff".into() });
        let made = MakeDirAction { path: "/srv/app".into(), mode: 0o755, parents: true, owner };
        assert_eq!(*actions, [FileAction::MakeDir(made)]);
        assert_eq!(applied.outcome.history[0].layer, applied.outcome.root.map(|root| root.op));
    }

    #[test]
    fn the_root_directory_makes_no_layer() {
        let applied = Line::new("WORKDIR /").apply();
        assert_eq!((applied.outcome.root, applied.outcome.fragment.ops.len()), (None, 0));
        assert_eq!(applied.outcome.history[0].layer, None);
    }

    #[test]
    fn another_spelling_of_the_root_directory_makes_a_layer_without_anything() {
        let applied = Line::new("WORKDIR /a/..").apply();
        assert!(matches!(applied.root(), OpKind::File(FileOp { base: Some(_), .. })));
        assert_eq!(applied.history(), ["WORKDIR /a/.."]);
    }

    #[test]
    fn on_nothing_the_directory_is_the_first_layer() {
        let applied = Line::new("WORKDIR /a").on_nothing().apply();
        assert!(matches!(applied.root(), OpKind::File(FileOp { base: None, .. })));
        Line::new("WORKDIR").is_wrong("argument-count", "WORKDIR needs one argument, a path");
        Line::new("WORKDIR /a # here").validated("trailing-comment");
    }
}
