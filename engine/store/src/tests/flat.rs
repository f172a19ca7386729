//! Many layers as one directory.

use super::*;

#[track_caller]
fn check(layers: Vec<Tree>, expected: &[&str]) -> Tree {
    let space = space();
    let ids: Vec<LayerId> = layers.iter().map(|tree| lay_out(&space.store, tree).0).collect();
    let flat = space.store.flatten(&ids).unwrap();
    let found = scanned(flat.path());
    assert_eq!(names(&found), expected);
    assert_eq!(space.store.flatten(&ids).unwrap().path(), flat.path());
    found
}

#[test]
fn what_lies_on_top_shows_and_what_was_deleted_does_not() {
    let mut narrow = dir();
    narrow.mode = 0o700;
    let found = check(
        vec![
            tree(vec![("d", dir()), ("d/gone", inline(b"1")), ("d/kept", inline(b"1")), ("f", inline(b"1"))]),
            tree(vec![("d", narrow), ("d/gone", whiteout()), ("d/new", inline(b"2"))]),
            tree(vec![("f", inline(b"three")), ("never", whiteout())]),
        ],
        &["d/", "d/kept", "d/new", "f"],
    );
    assert_eq!(found.get(&path("d")).unwrap().mode, 0o700);
    assert!(matches!(&found.get(&path("f")).unwrap().kind, Kind::File(file) if file.size == 5));
}

#[test]
fn a_directory_in_place_of_something_else_hides_what_was_below_that() {
    let layers = |middle: Entry| {
        vec![
            tree(vec![("a", dir()), ("a/x", inline(b"1"))]),
            tree(vec![("a", middle)]),
            tree(vec![("a", dir()), ("a/y", inline(b"2"))]),
        ]
    };
    check(layers(whiteout()), &["a/", "a/y"]);
    check(layers(inline(b"file")), &["a/", "a/y"]);
    check(layers(opaque()), &["a/", "a/y"]);
    check(layers(dir()), &["a/", "a/x", "a/y"]);
}

#[test]
fn names_of_one_file_stay_one_file_and_others_do_not_become_one() {
    let linked = inline(b"linked");
    let further = Entry { kind: Kind::Link(path("a")), ..linked.clone() };
    let found = check(
        vec![
            tree(vec![("a", linked), ("b", further.clone()), ("c", further)]),
            tree(vec![("a", inline(b"other"))]),
        ],
        &["a", "b", "c="],
    );
    assert_eq!(found.get(&path("c")).unwrap().kind, Kind::Link(path("b")));

    // Two layers whose files are one inode, for one was linked from the other.
    let space = space();
    let bytes = vec![1; 200_000];
    let (base, _) = lay_out(&space.store, &tree(vec![("f", inline(&bytes))]));
    let place = Place::Layer { layer: base, path: path("f") };
    let (copy, _) = lay_out(&space.store, &tree(vec![("g", file_at(&bytes, place))]));
    let flat = space.store.flatten(&[base, copy]).unwrap();
    assert_eq!(names(&scanned(flat.path())), ["f", "g"]);
}

#[test]
fn a_tall_stack_has_few_lowers_and_finds_them_again_as_it_grows() {
    let space = space();
    let mut layers = Vec::new();
    let mut flat = std::collections::BTreeSet::new();
    for at in 0..129 {
        let bytes = [at as u8; 3];
        layers.push(lay_out(&space.store, &tree(vec![(&format!("f{at}"), inline(&bytes))])).0);
        let lowers = space.store.lowers(&layers).unwrap();
        assert!(lowers.len() <= crate::MAX_LOWERS);
        if at >= crate::MAX_LOWERS {
            flat.insert(lowers[0].path().to_owned());
        }
    }
    assert_eq!(flat.len(), 2);
    let lowers = space.store.lowers(&layers).unwrap();
    assert_eq!(lowers.iter().map(|lower| scanned(lower.path()).len()).sum::<usize>(), 129);
}
