use kiln_sdk::wit::graph::{CopyAction, FileAction, FileOp, GitSource, Hole};

use super::*;
use crate::testing::{Applied, Line};

fn copies(applied: &Applied) -> Vec<&CopyAction> {
    let OpKind::File(FileOp { actions, .. }) = applied.layer() else { panic!("{:?}", applied.layer()) };
    let copies = actions.iter().map(|action| match action {
        FileAction::Copy(copy) => copy,
        other => panic!("{other:?}"),
    });
    copies.collect()
}

fn http(applied: &Applied) -> &HttpSource {
    match &applied.op(copies(applied)[0].input).kind {
        OpKind::Http(source) => source,
        other => panic!("{other:?}"),
    }
}

fn git(applied: &Applied) -> &GitSource {
    match &applied.op(copies(applied)[0].input).kind {
        OpKind::Git(source) => source,
        other => panic!("{other:?}"),
    }
}

const SHA256: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn local_files_are_unpacked_when_they_are_archives() {
    for (flags, unpack) in [("", "tar"), ("--unpack=true ", "tar"), ("--unpack=false ", "")] {
        let applied = Line::new(&format!("ADD {flags}rootfs.tar.xz /")).apply();
        let copy = copies(&applied)[0];
        assert_eq!(copy.unpack, unpack);
        assert!(copy.follow_symlinks && copy.contents_only && copy.create_dest && copy.allow_wildcard);
        assert_eq!(applied.op(copy.input).kind, OpKind::Hole(Hole::Context));
        assert_eq!(applied.history(), ["ADD rootfs.tar.xz / # buildkit"]);
        applied.finds_nothing();
    }
}

#[test]
fn a_download_is_a_file_named_after_the_last_segment() {
    for (url, name) in [
        ("https://host/a/b.tar.gz?x=/y", "b.tar.gz"),
        ("http://host/a%20b#c", "a b"),
        ("https://host/dir/", "dir"),
        ("https://host", "__unnamed__"),
        ("https://host/", "__unnamed__"),
        ("https://host/x[1].txt", "x[1].txt"),
    ] {
        let applied = Line::new(&format!("ADD {url} /d/")).apply();
        let source = http(&applied);
        assert_eq!((source.url.as_str(), source.filename.as_str(), &source.checksum), (url, name, &None));
        let copy = copies(&applied)[0];
        assert_eq!(copy.paths, [format!("/{name}")]);
        assert!(!copy.allow_wildcard && copy.unpack.is_empty());
        assert_eq!(applied.history(), [format!("ADD {url} /d/ # buildkit")]);
    }
    let applied = Line::new("ADD --unpack https://host/x.tgz /").apply();
    assert_eq!(copies(&applied)[0].unpack, "tar");
}

#[test]
fn a_checksum_is_for_one_download_or_repository() {
    let applied = Line::new(&format!("ADD --checksum={SHA256} https://host/x /")).apply();
    assert_eq!(http(&applied).checksum.as_deref(), Some(SHA256));
    assert_eq!(applied.history(), ["ADD https://host/x / # buildkit"]);
    let applied = Line::new("ADD --checksum=ABC1 https://host/x.git /").apply();
    assert_eq!(git(&applied).commit, "abc1");

    for (text, message) in [
        (
            "--checksum=sha256:00 https://host/x /",
            "`sha256:00` is not a digest such as `sha256:` and 64 hexadecimal digits",
        ),
        (
            "--checksum=md5:00 https://host/x /",
            "`md5:00` is not a digest such as `sha256:` and 64 hexadecimal digits",
        ),
        ("--checksum=xyz https://host/x.git /", "`xyz` is not a commit"),
        (&format!("--checksum={SHA256} x /"), "`--checksum` is for downloads and git repositories only"),
        (
            &format!("--checksum={SHA256} https://a/b https://c/d /x/"),
            "`--checksum` is for exactly one source",
        ),
    ] {
        assert_eq!(
            Line::new(&format!("ADD {text}")).is_wrong_when_applied("invalid-checksum").message,
            message
        );
    }
}

#[test]
fn a_repository_is_copied_as_its_contents() {
    let applied = Line::new("ADD --keep-git-dir --chown=1:2 https://host/x.git?tag=v1#:sub /src").apply();
    let expected = GitSource {
        url: "https://host/x.git".into(),
        reference: "refs/tags/v1".into(),
        commit: String::new(),
        fetch_by_commit: false,
        subdir: "sub".into(),
        submodules: true,
        keep_git_dir: true,
        commit_times: false,
    };
    assert_eq!(*git(&applied), expected);
    let copy = copies(&applied)[0];
    assert_eq!((copy.paths.as_slice(), copy.contents_only), (["/".into()].as_slice(), true));
    assert_eq!(applied.history(), ["ADD --chown=1:2 https://host/x.git?tag=v1#:sub /src # buildkit"]);
    applied.finds_nothing();
}

#[test]
fn flags_and_url_of_a_repository_have_to_agree() {
    for text in [
        "--keep-git-dir=false https://host/x.git?keep-git-dir /s",
        "--checksum=aa https://host/x.git?commit=bb /s",
        "https://host/x.git?tag=a&branch=b /s",
        "https://host/x.git?nonsense=1 /s",
    ] {
        Line::new(&format!("ADD {text}")).is_wrong_when_applied("invalid-git-source");
    }
    Line::new("ADD --checksum=AA https://host/x.git?commit=aa /s").apply().finds_nothing();
    Line::new("ADD https://host/x.git?mtime=commit /s").apply().finds("no-effect");
}

#[test]
fn flags_that_no_source_can_heed_are_warned_of() {
    Line::new("ADD --keep-git-dir a /b").apply().finds("no-effect");
    Line::new("ADD --unpack https://host/x.git /b").apply().finds("no-effect");
    Line::new("ADD --unpack https://host/x.git a /b/").apply().finds_nothing();
}

#[test]
fn all_kinds_of_source_make_one_layer() {
    let applied =
        Line::new("ADD --link a https://host/b git@host:c.git <<d /x/").heredoc("<<d", "D\n").apply();
    assert_eq!(copies(&applied).len(), 4);
    assert!(copies(&applied).iter().all(|copy| copy.dest == "/x/"));
    assert_eq!(applied.history(), ["ADD a https://host/b git@host:c.git <<d /x/ # buildkit"]);
    let names: Vec<&str> = applied.outcome.fragment.ops.iter().map(|op| op.name.as_str()).collect();
    assert!(
        names.contains(&"download https://host/b") && names.contains(&"clone git@host:c.git"),
        "{names:?}"
    );
}
