//! Each case is a base, a source and actions, all as words; what comes out is the layer, as words.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::graph::CopyAction;
use crate::merged::tests::{merged, path, tree};
use crate::tree::{File, Place};

/// Reads what is in memory; a file that holds one of these names is an archive of the words beside it.
pub(crate) struct Memory;

const ARCHIVES: [(&str, &str); 5] = [
    ("tar:full", "d/@700 d/a=1@600:3:4 d/h=>d/a"),
    ("tar:dir", "d/ d/a=1"),
    ("tar:file", "d=now"),
    ("tar:implied", "lib/a=1"),
    ("gz", "data=1"),
];

fn bytes(content: &Content) -> Vec<u8> {
    match &content.place {
        Place::Inline(bytes) => bytes.to_vec(),
        place => panic!("{place:?} is not in memory"),
    }
}

impl FileWorld for Memory {
    fn read(&mut self, content: &Content, limit: u64) -> Result<Vec<u8>, WorldError> {
        let bytes = bytes(content);
        assert!(bytes.len() as u64 <= limit);
        Ok(bytes)
    }

    fn digest(&mut self, content: &Content, size: u64) -> Result<FileDigest, WorldError> {
        let bytes = bytes(content);
        assert_eq!(bytes.len() as u64, size);
        Ok(FileDigest::of(&bytes))
    }

    fn unpack(
        &mut self,
        content: &Content,
        _: u64,
        _: Unpack,
    ) -> Result<Option<(LayerId, Arc<Tree>)>, WorldError> {
        let bytes = bytes(content);
        let archive = ARCHIVES.iter().find(|(name, _)| name.as_bytes() == bytes);
        Ok(archive.map(|(_, words)| {
            let held = tree(words);
            (held.layer_id(), Arc::new(held))
        }))
    }

    fn excluded(&mut self, _: InputId, path: &TreePath) -> bool {
        path.name() == b"ignored"
    }
}

pub(crate) fn words(tree: &Tree) -> String {
    let word = |(path, entry): &(TreePath, Entry)| {
        let name = String::from_utf8_lossy(path.as_bytes()).into_owned();
        let (text, usual) = match &entry.kind {
            Kind::Directory { opaque: false } => (format!("{name}/"), 0o755),
            Kind::Directory { opaque: true } => (format!("{name}/!"), 0o755),
            Kind::File(File { content, .. }) => {
                assert!(content.digest.is_some(), "{name}");
                (format!("{name}={}", String::from_utf8(bytes(content)).unwrap()), 0o644)
            }
            Kind::Link(first) => (format!("{name}=>{}", String::from_utf8_lossy(first.as_bytes())), 0o644),
            Kind::Symlink(target) => (format!("{name}->{}", String::from_utf8_lossy(target)), 0o777),
            Kind::Whiteout => (format!("-{name}"), 0),
            other => panic!("{other:?}"),
        };
        let owner = match (entry.uid, entry.gid) {
            (0, 0) => String::new(),
            (uid, gid) => format!(":{uid}:{gid}"),
        };
        match (entry.mode == usual, &owner[..]) {
            (true, "") => text,
            (true, owner) => format!("{text}@{owner}"),
            (false, owner) => format!("{text}@{:o}{owner}", entry.mode),
        }
    };
    tree.entries().iter().map(word).collect::<Vec<_>>().join(" ")
}

/// `[--flag[=value]]… source… destination`, with what a Dockerfile's COPY sets.
pub(crate) fn copy(text: &str) -> CopyAction {
    let mut action = CopyAction {
        input: 1,
        paths: Vec::new(),
        dest: String::new(),
        owner: None,
        mode: String::new(),
        include_patterns: Vec::new(),
        exclude_patterns: Vec::new(),
        follow_symlinks: true,
        contents_only: true,
        create_dest: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        unpack: Unpack::Nothing,
        keep_parents: false,
    };
    for word in text.split_whitespace() {
        let (flag, value) = word.split_once('=').unwrap_or((word, ""));
        match flag {
            "--chown" => {
                let (user, group) = value.split_once(':').unwrap_or((value, ""));
                action.owner = Some(Owner { user: user.into(), group: group.into() });
            }
            "--chmod" => action.mode = value.into(),
            "--exclude" => action.exclude_patterns.push(value.into()),
            "--include" => action.include_patterns.push(value.into()),
            "--parents" => action.keep_parents = true,
            "--unpack" => action.unpack = Unpack::Tar,
            "--decompress" => action.unpack = Unpack::Compressed,
            "--whole" => action.contents_only = false,
            "--keep-links" => action.follow_symlinks = false,
            "--no-create" => action.create_dest = false,
            "--must-match" => action.allow_empty_wildcard = false,
            _ => action.paths.push(word.into()),
        }
    }
    action.dest = action.paths.pop().unwrap();
    action
}

const NOW: Time = Time { seconds: 1000, nanoseconds: 0 };

fn run(base: &str, source: &str, actions: &[FileAction]) -> Result<Tree, FileOpError> {
    let base = match base {
        "" => Merged::default(),
        base => merged(&base.split(" | ").collect::<Vec<_>>()),
    };
    let source = Merged::of_tree(Arc::new(tree(source)));
    let op = FileOp { base: Some(0), actions: actions.to_vec() };
    apply(&op, &base, &[base.clone(), source], &mut Memory, NOW)
}

fn outcome(base: &str, source: &str, actions: &[FileAction]) -> String {
    match run(base, source, actions) {
        Ok(layer) => words(&layer),
        Err(error) => format!("error: {error}"),
    }
}

fn check(base: &str, source: &str, action: &str, expected: &str) {
    let result = outcome(base, source, &[FileAction::Copy(copy(action))]);
    assert_eq!(result, expected, "COPY {action}");
}

#[test]
fn a_file_goes_into_a_directory_or_becomes_the_destination() {
    check("", "a=1", "a /x/", "x/ x/a=1");
    check("", "a=1", "a /x/.", "x/ x/a=1");
    check("", "a=1", "a /x", "x=1");
    check("", "a=1", "a /x/y", "x/ x/y=1");
    check("x/@700:5:6", "a=1", "a /x", "x/@700:5:6 x/a=1");
    check("x=old", "a=1", "a /x", "x=1");
    check("", "a=1", "/a /", "a=1");
    check("", "a=1", "../../a /", "a=1");
    check("", "a=1", "a ./", "a=1");
    check("", "d/ d/a=1@4755:7:8", "d/a /", "a=1@4755:7:8");
    check("x=old", "a=1", "a /x/", "error: `/x` exists and is not a directory");
    check("x=old", "a=1", "a /x/y", "error: `/x` is not a directory, so `/x/y` cannot be in it");
}

#[test]
fn a_directory_gives_its_contents() {
    let source = "d/@711:3:3 d/.h=1 d/e/@700 d/e/f=2 d/z/";
    let below = "x/.h=1 x/e/@700 x/e/f=2 x/z/";
    check("", source, "d /x", &format!("x/ {below}"));
    check("", source, "d/ /x/", &format!("x/ {below}"));
    check("x/@1777 x/old=1", source, "d /x", &format!("x/@1777 {below}"));
    check("", source, "d /", ".h=1 e/@700 e/f=2 z/");
    check("x=old", source, "d /x", "error: `/x` exists and is not a directory");
    check("", "a/ a/1=1 b/ b/2=2", "a b /x", "x/ x/1=1 x/2=2");
    check("", "", "/ /x", "x/");
    check("x/", "d/", "d /x", "");
}

#[test]
fn a_directory_as_a_whole_keeps_its_name_and_metadata() {
    check("", "d/@700 d/a=1", "--whole d /x", "x/@700 x/a=1");
    check("x/", "d/@700 d/a=1", "--whole d /x", "x/ x/d/@700 x/d/a=1");
    check(
        "x/ x/d=1",
        "d/",
        "--whole d /x",
        "error: cannot put the directory `/d` where `/x/d` is not a directory",
    );
}

#[test]
fn several_sources_are_handled_in_order() {
    check("", "a=1 b=2", "a b /x/", "x/ x/a=1 x/b=2");
    check("x/", "a=1 b=2", "a b /x", "x/ x/a=1 x/b=2");
    check("", "a/ a/f=1 b/ b/f=2", "a b /x/", "x/ x/f=2");
    check("", "a/ a/f=1 b=2", "a b /x", "x/ x/b=2 x/f=1");
    check("", "a=1 b=2", "a b /x", "x=2");
    check("", "a=1 b=2", "? /x", "x=2");
    check("", "a=1 b=2", "a* c* /x", "x=1");
    check("", "a=1 d/ d/b=2", "d a /x", "x/ x/a=1 x/b=2");
}

#[test]
fn what_is_there_already_does_not_come_into_the_layer() {
    let source = "d/ d/a=1 d/b=2 d/l->a d/s/@700 d/s/c=3";
    check("x/ x/a=1 x/b=2 x/l->a x/s/@700 x/s/c=3", source, "d /x", "");
    check("x/ x/a=1 x/b=0 x/l->b x/s/@700 x/s/c=3", source, "d /x", "x/ x/b=2 x/l->a");
    check("x/ x/a=1@600 x/b=2@:3:4 x/s/ x/s/c=3", source, "d /x", "x/ x/a=1 x/b=2 x/l->a x/s/@700");
    check("x/ x/s/@700", "d/ d/s/@700 d/s/t/", "d /x", "x/ x/s/@700 x/s/t/");
}

#[test]
fn wildcards_name_what_is_there() {
    let source = "a.go=1 b.go=2 .c.go=3 d/ d/e.go=4 d/f/ d/f/g.go=5 l->d";
    check("", source, "*.go /x/", "x/ x/.c.go=3 x/a.go=1 x/b.go=2");
    check("", source, "d/*.go /x/", "x/ x/e.go=4");
    check("", source, "l/*.go /x/", "x/ x/e.go=4");
    check("", source, "*/*/g.go /x/", "x/ x/g.go=5");
    check("", source, "[ab].go /x/", "x/ x/a.go=1 x/b.go=2");
    check("", source, "? /x/", "x/ x/e.go=4 x/f/ x/f/g.go=5");
    check("", source, "nothing* /x/", "");
    check("", source, "no/where/*.go /x/", "");
    check("", source, "--must-match nothing* /x/", "error: nothing matches `nothing*`");
    check("", source, "[a /x/", "error: `[a` is not a pattern: a `[` is not closed");
    check("", "[a]=1 a=2", "[[]a] /x/", "x/ x/[a]=1");
    check("", "a\\*=1 a*=2", "a\\* /x/", "x/ x/a\\*=1");
}

/// Remembers what it is told, and is else what is in memory.
#[derive(Default)]
struct Listener(Vec<String>);

impl FileWorld for Listener {
    fn read(&mut self, content: &Content, limit: u64) -> Result<Vec<u8>, WorldError> {
        Memory.read(content, limit)
    }

    fn digest(&mut self, content: &Content, size: u64) -> Result<FileDigest, WorldError> {
        Memory.digest(content, size)
    }

    fn unpack(
        &mut self,
        content: &Content,
        size: u64,
        kind: Unpack,
    ) -> Result<Option<(LayerId, Arc<Tree>)>, WorldError> {
        Memory.unpack(content, size, kind)
    }

    fn remark(&mut self, remark: Remark) {
        self.0.push(format!("{}: {remark}", remark.code()));
    }
}

#[test]
fn what_is_hardly_meant_is_done_and_told() {
    let told = |action: &str, expected: &str| {
        let op = FileOp { base: Some(0), actions: vec![FileAction::Copy(copy(action))] };
        let source = Merged::of_tree(Arc::new(tree("a=1 b=2")));
        let mut world = Listener::default();
        let layer = apply(&op, &Merged::default(), &[Merged::default(), source], &mut world, NOW).unwrap();
        assert_eq!(words(&layer), expected, "{action}");
        world.0
    };
    let lost =
        "several-onto-file: several files become `/x`, which is not a directory; the last is what stays";
    assert_eq!(told("? /x", "x=2"), [lost]);
    assert_eq!(told("a b /x/", "x/ x/a=1 x/b=2"), [""; 0]);
    assert_eq!(told("a no* /x", "x=1"), [""; 0]);
    let nobody = "unknown-user: no user named `app`: there is no `/etc/passwd`; write a number instead; \
                  the files get another";
    assert_eq!(told("--chown=app:7 a /x", "x=1@:0:7"), [nobody]);
}

#[test]
fn names_of_users_are_nothing_where_there_is_no_tree_below() {
    let op = FileOp { base: None, actions: vec![FileAction::Copy(copy("--chown=app a /x"))] };
    let inputs = [Merged::default(), Merged::of_tree(Arc::new(tree("a=1")))];
    let error = apply(&op, &Merged::default(), &inputs, &mut Memory, NOW).unwrap_err();
    assert_eq!(error.to_string(), "no user named `app`: there is no `/etc/passwd`; write a number instead");
}

#[test]
fn directories_made_for_a_copy_are_not_writable_by_others() {
    check("", "a=1", "--chmod=777 a /x/y/", "x/ x/y/ x/y/a=1@777");
    check("", "d/ d/s/", "--chmod=2770 d /x", "x/@750 x/s/@2770");
}

#[test]
fn links_in_source_paths_are_followed_inside_the_root() {
    let source = "l->d d/ d/a=1 d/in->a f->/d/../../d/a bad->/none up->../../.. loop->loop";
    check("", source, "l /x", "x/ x/a=1 x/in->a");
    check("", source, "l/a /x/", "x/ x/a=1");
    check("", source, "f /x/", "x/ x/f=1");
    check("", source, "--keep-links f /x/", "x/ x/f->/d/../../d/a");
    check("", source, "up/d/a /x/", "x/ x/a=1");
    check("", source, "bad /x/", "error: `bad` was not found: it leads to `/none`, which does not exist");
    check("", source, "loop /x/", "error: `/loop` leads through more than 40 symbolic links");
    check("", source, "d/a/b /x/", "error: `/d/a` is not a directory, so `/d/a/b` cannot be in it");
}

#[test]
fn links_in_destinations_are_followed_inside_the_root() {
    check("lib->usr/lib usr/ usr/lib/", "a=1", "a /lib/", "usr/ usr/lib/ usr/lib/a=1");
    check("l->../../x", "a=1", "a /l", "x=1");
    check("l->/x/y", "a=1", "a /l", "x/ x/y=1");
    check("l->y", "a=1 l=2", "l /d/l", "d/ d/l=2");
    // A link that a copied file meets is replaced, not written through.
    check("d/ d/a->/etc/passwd", "a=1", "a /d/", "d/ d/a=1");
    check(
        "d/ d/s->/etc etc/",
        "r/ r/s/ r/s/f=1",
        "r /d",
        "error: cannot put the directory `/r/s` where `/d/s` is not a directory",
    );
    check("d/ d/s/", "r/ r/s=1", "r /d", "error: cannot replace the directory `/d/s` with the file `/r/s`");
}

#[test]
fn parents_of_new_entries_come_with_the_metadata_they_have_below() {
    check("tmp/@1777:1:2 tmp/d/@750 | tmp/d/x=1", "a=1", "a /tmp/d/", "tmp/@1777:1:2 tmp/d/@750 tmp/d/a=1");
}

#[test]
fn directories_that_exist_get_the_metadata_of_those_copied() {
    check("x/ x/s/@700:1:1", "d/ d/s/@711", "d /x", "x/ x/s/@711");
    check("x/ x/s/@700:1:1", "d/ d/s/@711 d/s/f=1", "--include=s d /x", "x/ x/s/@700:1:1 x/s/f=1");
}

#[test]
fn the_time_of_a_source_directory_goes_to_the_destination() {
    let mut source = tree("d/ d/a=1");
    source.entries_mut().for_each(|(_, entry)| entry.mtime.seconds = 7);
    let inputs = [Merged::default(), Merged::of_tree(Arc::new(source))];
    let op = FileOp { base: None, actions: vec![FileAction::Copy(copy("d /x/y"))] };
    let layer = apply(&op, &inputs[0], &inputs, &mut Memory, NOW).unwrap();
    let times: Vec<_> = layer.entries().iter().map(|(_, e)| e.mtime.seconds).collect();
    assert_eq!(times, [1000, 7, 7]);
}

#[test]
fn owners_are_numbers_or_names_of_the_tree_written_to() {
    let base = "etc/ etc/passwd=app:x:10:20:: etc/group=web:x:30:";
    check("", "d/ d/a=1 d/l->a", "--chown=5 d /x/y", "x/@:5:5 x/y/@:5:5 x/y/a=1@:5:5 x/y/l->a@:5:5");
    check(base, "a=1@640:1:1", "--chown=app a /", "a=1@640:10:20");
    check(base, "a=1", "--chown=app:web a /", "a=1@:10:30");
    check(base, "a=1", "--chown=:web a /", "a=1@:0:30");
    check(base, "a=1@:4:4", "--chown=who a /", "a=1");
    check(base, "a=1", "--chown=who:web a /", "a=1@:0:30");
    check(base, "a=1", "--chown=app:who a /", "a=1@:10:20");
    check("etc/", "a=1@:4:4", "--chown=who a /", "a=1");
    check("etc->e e/ e/passwd=app:x:10:20::", "a=1", "--chown=app a /", "a=1@:10:20");
}

#[test]
fn modes_are_octal_or_symbolic() {
    let source = "d/ d/a=1 d/b=1@700 d/l->a d/s/";
    check("", source, "--chmod=600 d /x/y", "x/@600 x/y/@600 x/y/a=1@600 x/y/b=1@600 x/y/l->a x/y/s/@600");
    check("", "a=1", "--chmod=4711 a /x/y", "x/@711 x/y=1@4711");
    check("", source, "--chmod=go= d /x", "x/ x/a=1@600 x/b=1@700 x/l->a x/s/@700");
    check(
        "",
        source,
        "--chmod=9 d /x",
        "error: `9` is not a mode; write octal digits up to `7777`, or changes such as `u=rwX,go=rX`",
    );
}

#[test]
fn excluded_paths_stay_out_relative_to_each_source() {
    let source = "d/ d/a.go=1 d/a.md=1 d/s/ d/s/b.md=1 d/s/k/ d/s/k/c.go=1 e.md=1";
    check("", source, "--exclude=*.md d /x", "x/ x/a.go=1 x/s/ x/s/b.md=1 x/s/k/ x/s/k/c.go=1");
    check("", source, "--exclude=**/*.md d /x", "x/ x/a.go=1 x/s/ x/s/k/ x/s/k/c.go=1");
    check("", source, "--exclude=s d /x", "x/ x/a.go=1 x/a.md=1");
    check(
        "",
        source,
        "--exclude=s --exclude=!s/k/c.go d /x",
        "x/ x/a.go=1 x/a.md=1 x/s/ x/s/k/ x/s/k/c.go=1",
    );
    // What a wildcard finds is a source like one that is named.
    check("", source, "--exclude=*.md --exclude=s * /x/", "x/ x/a.go=1 x/e.md=1");
    check("", source, "--exclude=s --exclude=d/s d/* /x/", "x/ x/a.go=1 x/a.md=1 x/b.md=1 x/k/ x/k/c.go=1");
    check("", source, "--include=**/*.go d /x", "x/ x/a.go=1 x/s/ x/s/k/ x/s/k/c.go=1");
    check(
        "",
        source,
        "--exclude=[ d /x",
        "error: among the patterns of a copy, line 1: `[` is not a pattern: a `[` is not closed",
    );
}

#[test]
fn parents_of_sources_are_kept_on_request() {
    let source = "a/@700 a/b/ a/b/c.txt=1 a/b/d.md=2 a/e/ a/e/c.txt=3 q->a/b";
    check("", source, "--parents a/b/c.txt /x/", "x/ x/a/@700 x/a/b/ x/a/b/c.txt=1");
    check("", source, "--parents a/./b/c.txt /x", "x/ x/b/ x/b/c.txt=1");
    check("", source, "--parents a/b/./ /x", "x/ x/c.txt=1 x/d.md=2");
    check("", source, "--parents **/*.md /x/", "x/ x/a/@700 x/a/b/ x/a/b/d.md=2");
    check("", source, "--parents ./a/./*/c.txt /x/", "x/ x/b/ x/b/c.txt=1 x/e/ x/e/c.txt=3");
    check("", source, "--parents a/b /x/", "x/ x/a/@700 x/a/b/ x/a/b/c.txt=1 x/a/b/d.md=2");
    check("", source, "--parents --exclude=**/*.md a/b /x/", "x/ x/a/@700 x/a/b/ x/a/b/c.txt=1");
    check("", source, "--parents q/c.txt /x/", "x/ x/q/ x/q/c.txt=1");
    check("x/ x/a/", source, "--parents a/b/c.txt /x/", "x/ x/a/ x/a/b/ x/a/b/c.txt=1");
    check("", source, "--parents none/*.txt /x/", "");
    check("", source, "--parents a/none /x/", "error: `a/none` was not found");
}

#[test]
fn hard_links_within_one_source_stay_links() {
    let source = "d/ d/a=1 d/b=>d/a e=>d/a";
    check("", source, "d /x", "x/ x/a=1 x/b=>x/a");
    check("", source, "d/b /x/", "x/ x/b=1");
    check("", source, "d/a e /x/", "x/ x/a=1 x/e=1");
    check("", source, "--exclude=a d /x", "x/ x/b=1");
    let actions = |second: FileAction| {
        let both = [FileAction::Copy(copy("d /x")), second];
        outcome("", source, &both)
    };
    let removed =
        actions(FileAction::Remove { path: "/x/a".into(), allow_missing: false, allow_wildcard: false });
    assert_eq!(removed, "x/ x/b=1");
    let changed = actions(FileAction::Change {
        path: "/x/a".into(),
        owner: None,
        mode: "600".into(),
        recursive: false,
        allow_wildcard: false,
    });
    assert_eq!(changed, "x/ x/a=1@600 x/b=1");
}

#[test]
fn archives_are_opened_and_united_with_what_is_there() {
    let source = "t=tar:full plain=text";
    check("", source, "--unpack t /x", "x/ x/d/@700 x/d/a=1@600:3:4 x/d/h=>x/d/a@600:3:4");
    check(
        "",
        source,
        "--unpack --chown=9 --chmod=777 t /x/",
        "x/@:9:9 x/d/@700:9:9 x/d/a=1@600:9:9 x/d/h=>x/d/a@600:9:9",
    );
    check(
        "x/ x/d/@711 x/d/old=1",
        source,
        "--unpack t /x",
        "x/ x/d/@700 x/d/a=1@600:3:4 x/d/h=>x/d/a@600:3:4",
    );
    check("", source, "--unpack plain /x/", "x/ x/plain=text");
    check("", source, "t /x/", "x/ x/t=tar:full");
    check("x/ x/d=file", "t=tar:dir", "--unpack t /x", "x/ x/d/ x/d/a=1");
    check("x/ x/d/ x/d/old=1", "t=tar:file", "--unpack t /x", "x/ x/d=now");
    check("lib->usr/lib usr/ usr/lib/@711", "t=tar:implied", "--unpack t /", "usr/ usr/lib/@711 usr/lib/a=1");
    check("", "f.txt.gz=gz", "--decompress f.txt.gz /x/", "x/ x/f.txt=1");
}

#[test]
fn a_missing_source_says_what_is_near() {
    let error = |paths: &str| {
        let action = FileAction::Copy(copy(&format!("{paths} /x/")));
        run("", "go/ go/hello=1 main.go=1 Makefile=1", &[action]).unwrap_err()
    };
    assert_eq!(error("hello").to_string(), "`hello` was not found");
    assert_eq!(error("hello").help(), "there is `/go/hello`");
    assert_eq!(error("mian.go").help(), "there is `/main.go`");
    assert_eq!(error("makefile").help(), "there is `/Makefile`");
    assert_eq!(error("nothing").help(), "");
    assert!(error("ignored").help().contains(".dockerignore"));
}

#[test]
fn missing_parents_are_made_only_on_request() {
    check(
        "",
        "a=1",
        "--no-create a /x/y/z",
        "error: `/x/y/z` cannot be made: the directory it would be in does not exist",
    );
    check("", "a=1", "--no-create a /x", "x=1");
}

fn make_dir(path: &str, parents: bool, user: &str) -> FileAction {
    FileAction::MakeDir {
        path: path.into(),
        mode: 0o755,
        parents,
        owner: Some(Owner { user: user.into(), group: String::new() }),
    }
}

#[test]
fn directories_are_made_with_their_parents_and_existing_ones_are_left() {
    assert_eq!(outcome("", "", &[make_dir("/a/b", true, "5")]), "a/@:5:5 a/b/@:5:5");
    assert_eq!(outcome("a/ a/b/@700", "", &[make_dir("/a/b", true, "5")]), "");
    assert_eq!(outcome("a/@700 l->a", "", &[make_dir("/l/b", false, "")]), "a/@700 a/b/");
    assert!(outcome("", "", &[make_dir("/a/b", false, "")]).starts_with("error: `/a/b` cannot be made"));
    assert_eq!(outcome("a=1", "", &[make_dir("/a", true, "")]), "error: `/a` exists and is not a directory");
    assert_eq!(outcome("", "", &[make_dir("/", true, "5")]), "");
}

#[test]
fn files_and_links_are_made_in_directories_that_exist() {
    let file = |path: &str| FileAction::MakeFile {
        path: path.into(),
        data: b"hi".to_vec(),
        mode: 0o600,
        owner: None,
    };
    let link = |path: &str| FileAction::MakeSymlink { path: path.into(), target: "/t".into(), owner: None };
    assert_eq!(outcome("", "", &[file("/f")]), "f=hi@600");
    assert_eq!(outcome("f=old l->f", "", &[file("/l")]), "f=hi@600");
    assert_eq!(outcome("d/", "", &[file("/d")]), "error: `/d` is a directory");
    assert!(outcome("", "", &[file("/d/f")]).starts_with("error: `/d/f` cannot be made"));
    assert_eq!(outcome("d/", "", &[link("/d/l"), file("/d/m")]), "d/ d/l->/t d/m=hi@600");
    assert_eq!(outcome("l->x", "", &[link("/l")]), "l->/t");
}

fn remove(path: &str) -> FileAction {
    FileAction::Remove { path: path.into(), allow_missing: path.contains("maybe"), allow_wildcard: true }
}

#[test]
fn what_is_removed_leaves_a_whiteout_only_over_something() {
    assert_eq!(outcome("d/@700 d/a=1 d/b=1", "", &[remove("/d/a")]), "d/@700 -d/a");
    assert_eq!(outcome("d/ d/a=1", "", &[remove("/d")]), "-d");
    assert_eq!(outcome("", "", &[make_dir("/d", true, ""), remove("d")]), "");
    assert_eq!(outcome("", "", &[remove("/maybe/there")]), "");
    assert_eq!(outcome("", "", &[remove("/d")]), "error: there is no `/d` to be removed");
    assert_eq!(outcome("", "", &[remove("/")]), "error: the root directory cannot be removed");
    assert_eq!(
        outcome("a.o=1 b.o=1 c=1 l->d d/ d/x.o=1", "", &[remove("/*.o"), remove("/l")]),
        "-a.o -b.o -l"
    );
    // Made anew, nothing of the old one shows.
    assert_eq!(
        outcome("d/@700 d/a=1", "", &[remove("/d"), make_dir("/d", true, ""), make_dir("/d/n", true, "")]),
        "d/! d/n/"
    );
    assert_eq!(outcome("d/", "", &[remove("/d"), make_dir("/d", true, "")]), "");
    assert_eq!(outcome("d/ d/a=1", "f=1", &[remove("/d"), FileAction::Copy(copy("f /d"))]), "d=1");
}

#[test]
fn changes_touch_what_they_change_and_nothing_else() {
    let change = |path: &str, user: &str, mode: &str, recursive: bool| {
        let owner = (!user.is_empty()).then(|| Owner { user: user.into(), group: String::new() });
        FileAction::Change { path: path.into(), owner, mode: mode.into(), recursive, allow_wildcard: true }
    };
    let base = "d/ d/a=1 d/b=1@600 d/l->a d/s/ d/s/c=2";
    assert_eq!(outcome(base, "", &[change("/d", "", "go=", true)]), "d/@700 d/a=1@600 d/s/@700 d/s/c=2@600");
    assert_eq!(outcome(base, "", &[change("/d/l", "7", "", false)]), "d/ d/a=1@:7:7");
    assert_eq!(
        outcome(base, "", &[change("/d/*", "7", "", false)]),
        "d/ d/a=1@:7:7 d/b=1@600:7:7 d/l->a@:7:7 d/s/@:7:7"
    );
    assert_eq!(outcome(base, "", &[change("/", "", "700", false)]), "/@700");
    assert_eq!(outcome(base, "", &[change("/x", "7", "", false)]), "error: there is no `/x` to be changed");
}

#[test]
fn a_file_that_was_not_read_is_hashed_when_it_is_taken() {
    let mut source = tree("a=1 b=2");
    source.entries_mut().for_each(|(_, entry)| {
        if let Kind::File(file) = &mut entry.kind {
            file.content.digest = None;
        }
    });
    let inputs = [Merged::default(), Merged::of_tree(Arc::new(source))];
    let op = FileOp { base: None, actions: vec![FileAction::Copy(copy("a /"))] };
    let layer = apply(&op, &inputs[0], &inputs, &mut Memory, NOW).unwrap();
    assert_eq!(words(&layer), "a=1");
}

#[test]
fn an_input_that_is_not_there_is_an_error() {
    let mut action = copy("a /");
    action.input = 9;
    assert_eq!(run("", "", &[FileAction::Copy(action)]), Err(FileOpError::NoInput(9)));
}

#[test]
fn stubs_give_mounts_something_to_stand_on() {
    let root = merged(&["var/@700 run->var/run etc/ etc/hosts=1 f=1"]);
    let points = [
        (path("proc"), true),
        (path("run/secrets/key"), false),
        (path("etc/hosts"), false),
        (path("etc/resolv.conf"), false),
    ];
    assert_eq!(
        words(&mount_stubs(&root, &points).unwrap()),
        "etc/ etc/resolv.conf=@755 proc/ var/@700 var/run/ var/run/secrets/ var/run/secrets/key=@755"
    );
    assert!(mount_stubs(&root, &points[2..3]).unwrap().is_empty());
    let blocked =
        |point: &str, directory| mount_stubs(&root, &[(path(point), directory)]).unwrap_err().to_string();
    assert_eq!(blocked("f/x", true), "`/f` is not a directory, so `/f/x` cannot be in it");
    assert_eq!(blocked("f", true), "`/f` exists and is not a directory");
    assert_eq!(blocked("etc", false), "`/etc` is a directory");
}

/// Random removals and makings on random bases: what shows afterwards is what a map shows to which the same was done,
/// and the layer has nothing in it that hides nothing, and every entry's parents.
#[test]
fn random_actions_make_layers_in_normal_form() {
    let mut seed = 5_u32;
    let mut next = move |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    for _ in 0..3000 {
        let mut name = || {
            let parts = (0..=next(3)).map(|_| ["a", "b", "c"][next(3) as usize]);
            parts.collect::<Vec<_>>().join("/")
        };
        let mut shown: BTreeMap<String, bool> = BTreeMap::new();
        let mut base = String::new();
        for _ in 0..6 {
            let name = name();
            let above: Vec<String> = name.match_indices('/').map(|(at, _)| name[..at].to_owned()).collect();
            if shown.contains_key(&name) || above.iter().any(|above| shown.get(above) == Some(&false)) {
                continue;
            }
            for directory in above {
                shown.insert(directory.clone(), true);
                base += &format!("{directory}/ ");
            }
            shown.insert(name.clone(), false);
            base += &format!("{name}=old ");
        }
        let mut actions = Vec::new();
        for round in 0..6 {
            let name = name();
            let above: Vec<String> = name.match_indices('/').map(|(at, _)| name[..at].to_owned()).collect();
            let blocked = above.iter().any(|above| shown.get(above) == Some(&false));
            let inside = format!("{name}/");
            match round % 3 {
                0 => {
                    actions.push(remove(&format!("/{name}")));
                    if let Some(FileAction::Remove { allow_missing, .. }) = actions.last_mut() {
                        *allow_missing = true;
                    }
                    shown.retain(|path, _| *path != name && !path.starts_with(&inside));
                }
                1 if !blocked && shown.get(&name) != Some(&false) => {
                    actions.push(make_dir(&name, true, ""));
                    shown.extend(above.into_iter().chain([name]).map(|path| (path, true)));
                }
                2 if !above.iter().any(|above| shown.get(above) != Some(&true))
                    && shown.get(&name) != Some(&true) =>
                {
                    actions.push(FileAction::MakeFile {
                        path: name.clone(),
                        data: b"new".to_vec(),
                        mode: 0o644,
                        owner: None,
                    });
                    shown.insert(name, false);
                }
                _ => {}
            }
        }
        let below = Merged::of_tree(Arc::new(tree(&base)));
        let op = FileOp { base: Some(0), actions };
        let layer = apply(&op, &below, std::slice::from_ref(&below), &mut Memory, NOW).unwrap();
        for (path, entry) in layer.entries() {
            let hidden = below.get(path);
            match entry.kind {
                Kind::Whiteout => assert!(hidden.is_some(), "{base}: {}", words(&layer)),
                Kind::Directory { opaque: true } => {
                    assert!(!below.children(path).is_empty(), "{base}: {}", words(&layer))
                }
                _ => {}
            }
            let parent = path.parent().filter(|parent| !parent.is_root());
            assert!(parent.is_none_or(|parent| layer.get(&parent).is_some()), "{base}: {}", words(&layer));
        }
        let above = below.with_tree(Arc::new(layer));
        let found: BTreeMap<String, bool> = above
            .walk(&TreePath::root())
            .map(|(path, found)| (String::from_utf8(path.as_bytes().to_vec()).unwrap(), found.is_directory()))
            .collect();
        assert_eq!(found, shown, "{base}: {:?}", op.actions);
    }
}
