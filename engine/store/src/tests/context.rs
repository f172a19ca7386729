//! Contexts listed and named, and what is remembered of them.

use super::*;
use crate::ContextIndex;
use kiln_core::ignore::Ignore;
use std::time::Duration;

fn context(space: &Space, make: impl FnOnce(&Path)) -> (std::path::PathBuf, ContextIndex) {
    let root = space.dir.path().join("context");
    if !root.exists() {
        fs::create_dir(&root).unwrap();
    }
    make(&root);
    let index = space.store.context(&root).unwrap();
    (root, index)
}

fn walk(index: &ContextIndex, ignore: &str) -> Tree {
    index.walk(3, &Ignore::parse(ignore.as_bytes()).unwrap()).unwrap()
}

fn digest_of(tree: &Tree, at: &str) -> Option<FileDigest> {
    match &tree.get(&path(at)).unwrap().kind {
        Kind::File(file) => file.content.digest,
        other => panic!("{other:?}"),
    }
}

/// Files that were written long before they are read.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn a_context_belongs_to_root_and_its_odd_files_arrive_as_they_should() {
    let space = space();
    let (_, index) = context(&space, |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/f"), "x").unwrap();
        chown(root.join("d/f"), Some(5), Some(6)).unwrap();
        fs::set_permissions(root.join("d/f"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::hard_link(root.join("d/f"), root.join("a")).unwrap();
        symlink("d/f", root.join("l")).unwrap();
        std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
        mknodat(CWD, root.join("p"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    });
    let tree = walk(&index, "");
    assert_eq!(names(&tree), ["a", "d/", "d/f=", "l@", "p", "s"]);
    let a = tree.get(&path("a")).unwrap();
    assert_eq!((a.uid, a.gid, a.mode), (0, 0, 0o4750));
    assert!(matches!(&a.kind, Kind::File(file) if file.content.place
        == Place::Context { context: 3, path: path("a") }));
    assert_eq!(digest_of(&tree, "s"), Some(FileDigest::of(b"")));
}

#[test]
fn what_is_left_out_is_not_listed_but_the_way_to_what_is_not() {
    let space = space();
    let (_, index) = context(&space, |root| {
        for file in ["a/b/keep", "a/b/drop", "a/c/drop", "n/m/x", "top"] {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
    });
    assert_eq!(names(&walk(&index, "a\n!a/b/keep\nn\n")), ["a/", "a/b/", "a/b/keep", "top"]);
    assert_eq!(names(&walk(&index, "*\n!n/m\n")), ["n/", "n/m/", "n/m/x"]);
    assert_eq!(names(&walk(&index, "*\n")), Vec::<String>::new());
}

#[test]
fn unchanged_files_are_known_next_time_and_changed_ones_are_not() {
    let space = space();
    let (root, index) = context(&space, |root| {
        fs::write(root.join("same"), "1").unwrap();
        fs::write(root.join("changed"), "1").unwrap();
        rustix::fs::setxattr(root.join("same"), "user.note", b"n", XattrFlags::empty()).unwrap();
        settle();
    });
    assert_eq!(digest_of(&walk(&index, ""), "same"), None);
    let named = index.name_all(&[path("same"), path("changed")]).unwrap();
    assert_eq!(named[0].0, FileDigest::of(b"1"));
    assert_eq!(named[0].1.as_ref().unwrap().len(), 1);
    index.save().unwrap();

    fs::write(root.join("changed"), "2").unwrap();
    settle();
    let (_, index) = context(&space, |_| {});
    let tree = walk(&index, "");
    assert_eq!(digest_of(&tree, "same"), Some(FileDigest::of(b"1")));
    assert_eq!(tree.get(&path("same")).unwrap().xattrs.as_ref().unwrap().len(), 1);
    assert_eq!(digest_of(&tree, "changed"), None);
    assert_eq!(index.digest(&path("changed")).unwrap(), FileDigest::of(b"2"));
    index.save().unwrap();
    let (_, index) = context(&space, |_| {});
    let tree = walk(&index, "");
    assert_eq!(digest_of(&tree, "same"), Some(FileDigest::of(b"1")));
    assert_eq!(digest_of(&tree, "changed"), Some(FileDigest::of(b"2")));
}

#[test]
fn a_file_read_in_the_tick_it_was_written_in_is_read_again() {
    let space = space();
    let (root, index) = context(&space, |root| fs::write(root.join("f"), "1").unwrap());
    walk(&index, "");
    assert_eq!(index.digest(&path("f")).unwrap(), FileDigest::of(b"1"));
    index.save().unwrap();
    fs::write(root.join("f"), "2").unwrap();
    assert_eq!(index.digest(&path("f")).unwrap(), FileDigest::of(b"2"));
    let (_, index) = context(&space, |_| {});
    assert_eq!(digest_of(&walk(&index, ""), "f"), None);
}

#[test]
fn a_path_through_a_link_is_not_opened() {
    let space = space();
    let (_, index) = context(&space, |root| symlink("/etc", root.join("out")).unwrap());
    assert!(index.open(&path("out/hostname")).is_err());
    assert!(index.digest(&path("out/hostname")).is_err());
}

#[test]
fn many_directories_are_listed_by_several_threads_as_by_one() {
    let space = space();
    let (_, index) = context(&space, |root| {
        for at in 0..300 {
            let dir = root.join(format!("{}/{}", at % 7, at));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("f"), at.to_string()).unwrap();
        }
        settle();
    });
    let tree = walk(&index, "");
    assert_eq!(tree.len(), 7 + 300 * 2);
    let files: Vec<TreePath> =
        tree.entries().iter().filter(|(_, e)| !e.is_directory()).map(|(p, _)| p.clone()).collect();
    let named = index.name_all(&files).unwrap();
    for (file, (digest, _)) in files.iter().zip(named) {
        let text = file.as_bytes().split(|b| *b == b'/').nth(1).unwrap();
        assert_eq!(digest, FileDigest::of(text));
    }
}
