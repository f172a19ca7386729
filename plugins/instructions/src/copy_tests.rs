use kiln_sdk::wit::diagnostics::Severity;
use kiln_sdk::wit::graph::{CopyAction, FileAction, FileOp, Hole, NamedHole, OpKind, Owner};

use crate::testing::{Applied, Line};

/// The copies of the layer in order.
fn copies(applied: &Applied) -> Vec<&CopyAction> {
    let OpKind::File(FileOp { actions, .. }) = applied.layer() else { panic!("{:?}", applied.layer()) };
    let copies = actions.iter().map(|action| match action {
        FileAction::Copy(copy) => copy,
        other => panic!("{other:?}"),
    });
    copies.collect()
}

fn only_copy(applied: &Applied) -> &CopyAction {
    let copies = copies(applied);
    assert_eq!(copies.len(), 1);
    copies[0]
}

#[test]
fn a_source_is_copied_from_the_context_onto_the_stage() {
    let applied = Line::new("COPY app.py /srv/").apply();
    let copy = only_copy(&applied);
    let expected = CopyAction {
        input: copy.input,
        paths: vec!["/app.py".into()],
        dest: "/srv/".into(),
        owner: None,
        mode: String::new(),
        include_patterns: vec![],
        exclude_patterns: vec![],
        follow_symlinks: true,
        contents_only: true,
        create_dest: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        unpack: String::new(),
        keep_parents: false,
    };
    assert_eq!(*copy, expected);
    assert_eq!(applied.op(copy.input).kind, OpKind::Hole(Hole::Context));
    assert!(
        matches!(applied.root(), OpKind::File(FileOp { base: Some(base), .. }) if applied.is_base(*base))
    );
    assert_eq!(applied.history(), ["COPY app.py /srv/ # buildkit"]);
    assert_eq!(applied.outcome.history[0].comment, "kiln.dockerfile.v0");
    assert_eq!(applied.outcome.changes, []);
    applied.finds_nothing();
}

#[test]
fn destinations_are_seen_from_the_working_directory() {
    for (dir, dest, expected) in [
        ("/app", ".", "/app/"),
        ("/app", "x", "/app/x"),
        ("", "x/", "/x/"),
        ("/app", "/y/.", "/y/"),
        ("/a/b", "..", "/a"),
    ] {
        let applied = Line::new(&format!("COPY f {dest}")).in_dir(dir).apply();
        assert_eq!(only_copy(&applied).dest, expected);
        assert_eq!(applied.history(), [format!("COPY f {dest} # buildkit")]);
    }
    assert_eq!(only_copy(&Line::new(r#"COPY ["a b", ""]"#).in_dir("/app").apply()).dest, "/app/");
}

#[test]
fn sources_cannot_leave_their_root() {
    for (source, path) in
        [("../x", "/x"), ("/x/", "/x"), (".", "/"), ("a/../b/*.c", "/b/*.c"), ("[[]x]", "/[[]x]")]
    {
        assert_eq!(only_copy(&Line::new(&format!("COPY {source} /")).apply()).paths, [path]);
    }
}

#[test]
fn sources_of_one_tree_are_one_copy() {
    let applied = Line::new("COPY a b c/ /d/").apply();
    assert_eq!(only_copy(&applied).paths, ["/a", "/b", "/c"]);
    assert_eq!(applied.outcome.history.len(), 1);
    applied.finds_nothing();
    let applied = Line::new("COPY <<a <<b /d").heredoc("<<a", "A").heredoc("<<b", "B").apply();
    assert_eq!(only_copy(&applied).paths, ["/a", "/b"]);
}

#[test]
fn several_sources_for_what_may_be_one_file_are_warned_of() {
    Line::new("COPY a b /x").apply().finds("several-sources");
    Line::new("COPY *.jar /x").apply().finds_nothing();
    let line = |text| Line::new(text).heredoc("<<a", "A");
    let applied = line("COPY <<a b /x").apply();
    let found = applied.finds("several-sources");
    assert_eq!((found.help.as_str(), found.fixes[0].replacement.as_str()), ("write `/x/`", "/x/"));
    line("COPY <<a b /srv").in_dir("/srv/app").apply().finds_nothing();
    line("COPY <<a b ..").in_dir("/srv/app").apply().finds_nothing();
    line("COPY <<a b /x/").apply().finds_nothing();
}

#[test]
fn a_pattern_that_begins_with_a_slash_excludes_nothing() {
    let applied = Line::new("COPY --exclude=/a --exclude=b/c --exclude=!/d . /x/").apply();
    assert_eq!(only_copy(&applied).exclude_patterns, ["b/c"]);
    assert_eq!(applied.finds("no-effect").help, "write `--exclude=a`");
}

#[test]
fn from_names_a_stage_by_name_or_number() {
    for (name, by_number) in
        [("builder", false), ("0", true), ("12", true), ("1a", false), ("alpine:3", false)]
    {
        let applied = Line::new(&format!("COPY --from={name} /out /in")).apply();
        let hole = OpKind::Hole(Hole::Named(NamedHole { name: name.into(), by_number }));
        let op = applied.op(only_copy(&applied).input);
        assert_eq!(op.kind, hole);
        assert_eq!(op.spans[0].start.column, 6, "an unknown name is reported at the flag");
        assert_eq!(applied.history(), ["COPY /out /in # buildkit"]);
    }
    let mut line = Line::new("COPY --from=$IMAGE /out /in");
    line.statement.flag_values[0].values[0].value = "alpine".into();
    let found = line.is_wrong_when_applied("variable-in-from");
    assert_eq!(found.help, "declare a stage, `FROM alpine AS name`, and write `--from=name`");
}

#[test]
fn owner_and_mode_are_for_every_source_and_in_the_history() {
    let applied = Line::new("COPY --chmod=u=rwX,go= --chown=app:0 a b /d/").apply();
    let copy = only_copy(&applied);
    assert_eq!(copy.owner, Some(Owner { user: "app".into(), group: "0".into() }));
    assert_eq!(copy.mode, "u=rwX,go=");
    assert_eq!(applied.history(), ["COPY --chown=app:0 --chmod=u=rwX,go= a b /d/ # buildkit"]);
    Line::new("COPY --chmod=rwx a b").is_wrong_when_applied("invalid-mode");
    Line::new("COPY --chown=a:b:c a b").is_wrong_when_applied("invalid-owner");
    let mut line = Line::new("COPY --chown=$WHO --chmod=$MODE a b");
    for flag in &mut line.statement.flag_values {
        flag.values[0].value = String::new();
    }
    assert_eq!(line.apply().history(), ["COPY a b # buildkit"], "flags that expand to nothing are not there");
}

#[test]
fn parents_and_exclusions_are_passed_on() {
    let applied = Line::new("COPY --parents --exclude=*.log --exclude=!a.log ./x/./y/**/*.c /d").apply();
    let copy = only_copy(&applied);
    assert!(copy.keep_parents);
    assert_eq!(copy.paths, ["./x/./y/**/*.c"]);
    assert_eq!(copy.exclude_patterns, ["*.log", "!a.log"]);
    assert_eq!(copy.dest, "/d/");
    assert_eq!(applied.history(), ["COPY --parents ./x/./y/**/*.c /d # buildkit"]);
    assert!(!only_copy(&Line::new("COPY --parents=false a b").apply()).keep_parents);
}

#[test]
fn a_link_is_a_layer_of_its_own_on_top_of_the_stage() {
    let applied = Line::new("COPY --link --chown=1:root a /b").apply();
    let OpKind::Merge(layers) = applied.root() else { panic!("{:?}", applied.root()) };
    assert!(applied.is_base(layers[0]));
    assert!(matches!(applied.op(layers[1]).kind, OpKind::File(FileOp { base: None, .. })));
    assert_eq!(applied.outcome.history[0].layer, Some(layers[1].op));
    applied.finds_nothing();

    let found = Line::new("COPY --link --chown=app a /b").is_wrong_when_applied("invalid-owner");
    assert!(found.help.contains("--chown=1000:1000"));
}

#[test]
fn a_link_with_a_mode_is_an_ordinary_copy() {
    let applied = Line::new("COPY --link --chmod=755 a /b").apply();
    assert!(matches!(applied.root(), OpKind::File(FileOp { base: Some(_), .. })));
    assert_eq!(applied.finds("link-ignored").severity, Severity::Info);
    Line::new("COPY --link=false --chmod=755 a /b").apply().finds_nothing();
}

#[test]
fn on_nothing_a_copy_is_the_first_layer() {
    for flags in ["", "--link "] {
        let applied = Line::new(&format!("COPY {flags}a /b")).on_nothing().apply();
        assert!(matches!(applied.root(), OpKind::File(FileOp { base: None, .. })), "{flags}");
    }
}

#[test]
fn here_documents_are_files_named_after_their_delimiter() {
    let applied = Line::new("COPY --chmod=600 <<a.txt x <<'b' /d/")
        .heredoc("<<a.txt", "A\n")
        .heredoc("<<'b'", "")
        .apply();
    let copies = copies(&applied);
    let paths: Vec<&str> = copies.iter().map(|copy| copy.paths[0].as_str()).collect();
    assert_eq!(paths, ["/x", "/a.txt"]);
    assert_eq!(copies[1].paths, ["/a.txt", "/b"]);
    let OpKind::File(FileOp { base: None, actions }) = &applied.op(copies[1].input).kind else { panic!() };
    let [FileAction::MakeFile(file), FileAction::MakeFile(_)] = actions.as_slice() else { panic!() };
    assert_eq!((file.path.as_str(), file.data.as_slice(), file.mode), ("/a.txt", b"A\n".as_slice(), 0o644));
    assert_eq!((copies[1].mode.as_str(), copies[1].allow_wildcard), ("600", false));
    assert_eq!(applied.history(), ["COPY --chmod=600 x <<a.txt <<b /d/ # buildkit"]);
}

#[test]
fn here_documents_have_their_place_and_their_names() {
    let line = Line::new("COPY x <<EOF").heredoc("<<EOF", "");
    line.is_wrong(
        "heredoc-destination",
        "`<<EOF` is a here-document, and the last argument is the destination",
    );
    let line = Line::new("COPY <<a/b /x").heredoc("<<a/b", "");
    line.is_wrong("heredoc-name", "the delimiter of `<<a/b` cannot be the name of a file");
}

#[test]
fn source_and_destination_are_both_needed() {
    let message = "COPY needs at least two arguments, a source and the destination";
    Line::new("COPY").is_wrong("argument-count", message);
    Line::new("COPY []").is_wrong("argument-count", message);
    Line::new("COPY a").is_wrong("argument-count", message);
    assert_eq!(Line::new("COPY a").validated("argument-count").help, "say where to: `COPY a /path`");
}

#[test]
fn what_only_add_can_fetch_is_refused_with_the_line_to_write() {
    for source in ["https://host/x", "http://host/x", "git@host:x.git", "https://host/x.git#main"] {
        let found = Line::new(&format!("COPY {source} /x")).is_wrong_when_applied("copy-of-url");
        assert_eq!(found.help, format!("write `ADD {source} /x`"));
    }
    Line::new("COPY github.com/a/b.git /x").apply().finds_nothing();
}

#[test]
fn a_comment_behind_the_line_is_pointed_out() {
    for (text, consequence) in [
        ("app/ /app/   # comment", "`#` is read as a source and `comment` as the destination"),
        ("app/ /app/ # the files", "`#` and `the` are read as sources and `files` as the destination"),
        ("app/ /app/ #comment", "`#comment` is read as the destination"),
    ] {
        let line = Line::new(&format!("COPY {text}"));
        let found = line.validated("trailing-comment");
        assert_eq!(found.severity, Severity::Warning);
        assert_eq!(found.message, format!("`#` does not start a comment here: {consequence}"));
        assert_eq!(found.help, "put the comment on a line of its own, above the instruction");
        assert_eq!(found.primary.map(|at| at.end.column), Some(line.statement.original.len() as u32 + 1));
    }
    assert_eq!(Line::new("COPY #file# /x").validate(), []);
    assert_eq!(Line::new(r##"COPY ["a", "#b"]"##).validate(), []);
}

#[test]
fn a_source_that_expands_to_nothing_is_everything_and_warned_of() {
    let mut line = Line::new("COPY $DIR /x");
    line.statement.arguments[0].value = String::new();
    let applied = line.apply();
    assert_eq!(only_copy(&applied).paths, ["/"]);
    applied.finds("blank-value");
}
