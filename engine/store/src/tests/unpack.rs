//! What becomes of the entries of a tar, in whatever order they come.

use super::*;

type Came<'a> = Vec<(&'a str, Entry, &'a [u8])>;

fn unpack(store: &Store, came: Came<'_>) -> Result<(Arc<Tree>, Tree), UnpackError> {
    let mut unpacking = store.unpack_by_content(true)?;
    let mut plain = store.unpack_by_content(false)?;
    for (at, entry, bytes) in came {
        let raise = |e: io::Error| *e.into_inner().unwrap().downcast::<UnpackError>().unwrap();
        let mut entry = entry;
        if let Kind::File(file) = &mut entry.kind {
            file.content.digest = None;
        }
        unpacking.entry(path(at), entry.clone(), &mut &bytes[..]).map_err(raise)?;
        plain.entry(path(at), entry, &mut &bytes[..]).map_err(raise)?;
    }
    let (layer, tree) = unpacking.finish()?;
    let (same, _) = plain.finish()?;
    assert_eq!(layer, same);
    let directory = store.directory(&layer)?.unwrap();
    Ok((tree, scanned(directory.path())))
}

#[track_caller]
fn check_unpack(came: Came<'_>, expected: &[&str]) -> Arc<Tree> {
    let space = space();
    let (tree, on_disk) = unpack(&space.store, came).unwrap();
    assert_eq!(names(&tree), expected);
    assert_eq!(names(&on_disk), expected);
    tree
}

#[test]
fn of_entries_with_one_path_the_last_counts() {
    let one = inline(b"one");
    let two = inline(b"twoo");
    check_unpack(
        vec![("a", one.clone(), b"one"), ("a", dir(), b""), ("a/b", two.clone(), b"twoo")],
        &["a/", "a/b"],
    );
    check_unpack(vec![("a", dir(), b""), ("a/b", one.clone(), b"one"), ("a", two.clone(), b"twoo")], &["a"]);
    check_unpack(vec![("a", one.clone(), b"one"), ("a", link("b"), b"")], &["a@"]);
    let mut narrow = dir();
    narrow.mode = 0o700;
    let tree = check_unpack(vec![("a/b", one, b"one"), ("a", narrow, b"")], &["a/", "a/b"]);
    assert_eq!(tree.get(&path("a")).unwrap().mode, 0o700);
}

#[test]
fn a_whiteout_hides_only_what_lower_layers_put_there() {
    let one = inline(b"one");
    check_unpack(vec![("a", whiteout(), b""), ("a", one.clone(), b"one")], &["a"]);
    check_unpack(vec![("a", one.clone(), b"one"), ("a", whiteout(), b"")], &["a"]);
    check_unpack(vec![("a", dir(), b""), ("a", whiteout(), b"")], &["a!"]);
    check_unpack(vec![("a", whiteout(), b""), ("a/b", one.clone(), b"one")], &["a!", "a/b"]);
    check_unpack(vec![("a/b", one, b"one"), ("a/c", whiteout(), b"")], &["a/", "a/b", "a/c-"]);
}

#[test]
fn an_opaque_mark_keeps_the_metadata_of_its_directory_whichever_comes_first() {
    let mut narrow = dir();
    narrow.mode = 0o700;
    for came in [
        vec![("a", narrow.clone(), &b""[..]), ("a", opaque(), b"")],
        vec![("a", opaque(), b""), ("a", narrow.clone(), b"")],
        vec![("a/b", inline(b"x"), b"x"), ("a", opaque(), b""), ("a", narrow, b"")],
    ] {
        let space = space();
        let (tree, _) = unpack(&space.store, came).unwrap();
        let a = tree.get(&path("a")).unwrap();
        assert_eq!((a.mode, &a.kind), (0o700, &Kind::Directory { opaque: true }));
    }
}

#[test]
fn links_of_the_layer_are_followed_and_never_out_of_it() {
    let space = space();
    let outside = space.dir.path().join("victim");
    fs::create_dir(&outside).unwrap();
    let absolute = link(outside.to_str().unwrap());
    let (tree, on_disk) = unpack(
        &space.store,
        vec![
            ("real", dir(), b""),
            ("to-real", link("real"), b""),
            ("to-real/file", inline(b"x"), b"x"),
            ("up", link("../../../.."), b""),
            ("up/etc/file", inline(b"x"), b"x"),
            ("out", absolute, b""),
            ("out/file", inline(b"x"), b"x"),
        ],
    )
    .unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(tree.get(&path("real/file")).is_some());
    assert!(tree.get(&path("etc/file")).is_some());
    assert!(tree.get(&TreePath::clean(outside.join("file").to_str().unwrap())).is_some());
    assert_eq!(names(&tree), names(&on_disk));
    let looping =
        unpack(&space.store, vec![("a", link("b"), b""), ("b", link("a"), b""), ("a/x", inline(b""), b"")]);
    assert!(matches!(looping, Err(UnpackError::Loop { .. })));
}

#[test]
fn a_hard_link_needs_what_it_names_and_outlives_its_replacement() {
    let space = space();
    let to = |target: &str| entry(Kind::Link(path(target)));
    let missing = unpack(&space.store, vec![("a", to("b"), b"")]);
    assert!(matches!(missing, Err(UnpackError::NoTarget { .. })));
    let (tree, on_disk) = unpack(
        &space.store,
        vec![
            ("z", inline(b"old"), b"old"),
            ("a", to("z"), b""),
            ("m", to("a"), b""),
            ("z", inline(b"young"), b"young"),
        ],
    )
    .unwrap();
    assert_eq!(names(&tree), ["a", "m=", "z"]);
    assert_eq!(on_disk, *tree);
}

#[test]
fn what_a_header_says_of_the_size_must_be_true() {
    let space = space();
    let error = unpack(&space.store, vec![("a", inline(b"long"), b"sho")]).unwrap_err();
    assert!(matches!(error, UnpackError::WrongSize { expected: 4, found: 3, .. }));
    let long = "x".repeat(300);
    let error = unpack(&space.store, vec![(&long, dir(), b"")]).unwrap_err();
    assert!(matches!(error, UnpackError::TooLong { length: 300, .. }));
}

#[test]
fn an_empty_pulled_layer_is_known_afterwards() {
    let space = space();
    let layer = LayerId(Digest::of(b"an empty tar"));
    for want_directory in [false, true] {
        let unpacking = space.store.unpack(layer, want_directory).unwrap();
        assert!(unpacking.finish().unwrap().1.is_empty());
        assert!(space.store.tree(&layer).unwrap().is_some());
        assert_eq!(space.store.directory(&layer).unwrap().is_some(), want_directory);
    }
}
