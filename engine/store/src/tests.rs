//! Every form of a layer made, turned into the others, and compared. Run as root: owners, devices and attributes of
//! files are part of what is compared.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::sync::Arc;

use kiln_core::seams::EntrySink as _;
use kiln_core::tree::{Content, File, Place, Time};
use kiln_core::{Digest, Entry, FileDigest, Kind, LayerId, Tree, TreePath};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};

use crate::scan::scan;
use crate::{LayOutError, OpenContentError, OwnerMapping, Store, UnpackError};

struct Space {
    dir: tempfile::TempDir,
    store: Store,
}

/// On tmpfs, where making and deleting many files costs nothing that lasts.
fn space() -> Space {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(&dir.path().join("store"), OwnerMapping::Root).unwrap();
    Space { dir, store }
}

fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::parse(text).unwrap()
}

const TIME: Time = Time { seconds: 1_500_000_000, nanoseconds: 123_456_789 };

fn entry(kind: Kind) -> Entry {
    Entry { kind, mtime: TIME, ..Entry::directory() }
}

fn dir() -> Entry {
    entry(Kind::Directory { opaque: false })
}

fn opaque() -> Entry {
    entry(Kind::Directory { opaque: true })
}

fn whiteout() -> Entry {
    crate::scan::whiteout()
}

fn link(target: &str) -> Entry {
    entry(Kind::Symlink(target.as_bytes().into()))
}

fn file_at(bytes: &[u8], place: Place) -> Entry {
    Entry {
        mode: 0o644,
        ..entry(Kind::File(File {
            size: bytes.len() as u64,
            content: Content { digest: Some(FileDigest::of(bytes)), place },
        }))
    }
}

fn inline(bytes: &[u8]) -> Entry {
    file_at(bytes, Place::Inline(bytes.into()))
}

fn tree(entries: Vec<(&str, Entry)>) -> Tree {
    Tree::new(entries.into_iter().map(|(p, e)| (path(p), e)).collect())
}

fn nothing_outside(_: &Place, path: &TreePath) -> io::Result<fs::File> {
    panic!("`{}` was looked for outside", path.display());
}

fn put(store: &Store, tree: &Tree) -> LayerId {
    let layer = tree.layer_id();
    store.put_tree(&layer, tree).unwrap();
    layer
}

fn lay_out(store: &Store, tree: &Tree) -> (LayerId, std::path::PathBuf) {
    let layer = put(store, tree);
    let directory = store.lay_out(&layer, tree, &nothing_outside).unwrap();
    (layer, directory.path().to_owned())
}

/// One of everything that both forms can hold.
fn everything() -> Tree {
    let mut setuid = inline(b"#!program");
    setuid.mode = 0o6755;
    setuid.uid = 70_000;
    setuid.gid = 12;
    // VFS_CAP_REVISION_2 with CAP_NET_BIND_SERVICE, effective.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setuid.xattrs = Some(Box::new(vec![
        ((*b"security.capability").into(), capability.into()),
        ((*b"user.note").into(), (*b"\0\xffbytes").into()),
    ]));
    let mut sticky = dir();
    sticky.mode = 0o3777;
    sticky.uid = 5;
    let mut owned_link = link("../no/such/\u{fe}");
    owned_link.uid = 33;
    owned_link.mode = 0o777;
    let mut linked = inline(b"linked");
    linked.mode = 0o600;
    let further = Entry { kind: Kind::Link(path("d/first")), ..linked.clone() };
    let mut tree = tree(vec![
        ("d", dir()),
        ("d/first", linked),
        ("d/second", further),
        ("empty", inline(b"")),
        ("program", setuid),
        ("tmp", sticky),
        ("link", owned_link),
        ("hidden", whiteout()),
        ("replaced", opaque()),
        ("replaced/new", inline(b"new")),
        ("fifo", entry(Kind::Fifo)),
        ("null", entry(Kind::CharDevice { major: 1, minor: 3 })),
        ("disk", entry(Kind::BlockDevice { major: 7, minor: 200 })),
    ])
    .into_entries();
    tree.push((path(b"not-utf8-\xff\xfe"), inline(b"name")));
    Tree::new(tree)
}

fn here(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (_, entry) in tree.entries_mut() {
        if let Kind::File(file) = &mut entry.kind {
            file.content.place = Place::Here;
        }
    }
    tree
}

fn scanned(directory: &Path) -> Tree {
    let found = scan(directory, OwnerMapping::Root).unwrap();
    assert!(found.strays.is_empty());
    Tree::new(found.entries.into_iter().filter(|(p, _)| !p.is_root()).collect())
}

#[test]
fn a_tree_laid_out_and_scanned_is_the_same_tree() {
    let space = space();
    let tree = everything();
    let (layer, directory) = lay_out(&space.store, &tree);
    assert_eq!(scanned(&directory), here(&tree));
    let kept = Store::open(space.store.root(), OwnerMapping::Root).unwrap();
    assert_eq!(*kept.tree(&layer).unwrap().unwrap(), here(&tree));
    assert!(kept.directory(&layer).unwrap().is_some());
    let about = fs::metadata(directory.join("d/first")).unwrap();
    assert_eq!((about.nlink(), about.mtime_nsec()), (2, 123_456_789));
}

#[test]
fn entries_of_a_tar_make_the_same_layer_in_every_order_and_form() {
    for want_directory in [true, false] {
        let space = space();
        let tree = everything();
        // A hard link comes after what it names; directories may come last.
        let mut entries = tree.entries().to_vec();
        entries.sort_by_key(|(p, e)| (e.is_directory(), matches!(e.kind, Kind::Link(_)), p.clone()));
        entries.rotate_left(3);
        entries.sort_by_key(|(_, e)| matches!(e.kind, Kind::Link(_)));
        let mut unpacking = space.store.unpack_by_content(want_directory).unwrap();
        for (path, entry) in entries {
            let bytes: Vec<u8> = match &entry.kind {
                Kind::File(File { content: Content { place: Place::Inline(bytes), .. }, .. }) => {
                    bytes.to_vec()
                }
                _ => Vec::new(),
            };
            unpacking.entry(path, entry, &mut &bytes[..]).unwrap();
        }
        let (layer, unpacked) = unpacking.finish().unwrap();
        assert_eq!(*unpacked, here(&tree));
        assert_eq!(layer, tree.layer_id());
        let directory = space.store.directory(&layer).unwrap();
        assert_eq!(directory.is_some(), want_directory);
        if let Some(directory) = directory {
            assert_eq!(scanned(directory.path()), here(&tree));
        }
    }
}

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

fn names(tree: &Tree) -> Vec<String> {
    tree.entries()
        .iter()
        .map(|(p, e)| {
            let mark = match &e.kind {
                Kind::Directory { opaque: true } => "!",
                Kind::Directory { opaque: false } => "/",
                Kind::Whiteout => "-",
                Kind::Symlink(_) => "@",
                Kind::Link(_) => "=",
                _ => "",
            };
            format!("{}{mark}", String::from_utf8_lossy(p.as_bytes()))
        })
        .collect()
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

#[test]
fn bytes_of_another_layer_are_linked_once_and_copied_where_anything_differs() {
    let space = space();
    let bytes = vec![7; 300_000];
    let (base, base_directory) = lay_out(&space.store, &tree(vec![("f", inline(&bytes))]));
    let there = |change: &dyn Fn(&mut Entry)| {
        let place = Place::Layer { layer: base, path: path("f") };
        let mut entry = file_at(&bytes, place);
        change(&mut entry);
        entry
    };
    let copied = tree(vec![("a", there(&|_| {})), ("b", there(&|_| {})), ("c", there(&|e| e.mode = 0o600))]);
    let (layer, directory) = lay_out(&space.store, &copied);
    let inode = |p: &Path| fs::metadata(p).unwrap().ino();
    assert_eq!(inode(&directory.join("a")), inode(&base_directory.join("f")));
    assert_ne!(inode(&directory.join("b")), inode(&directory.join("a")));
    assert_ne!(inode(&directory.join("c")), inode(&directory.join("a")));
    assert_eq!(scanned(&directory), here(&copied));
    let mut read = Vec::new();
    let place = Place::Layer { layer, path: path("c") };
    let mut file = space.store.open_content(&place, &base, &path("anything")).unwrap();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
}

#[test]
fn a_context_file_that_changed_is_named() {
    let space = space();
    let outside = space.dir.path().join("f");
    for size in [10, 1 << 20] {
        fs::write(&outside, vec![1; size]).unwrap();
        let place = Place::Context { context: 0, path: path("src/f") };
        let planned = tree(vec![("f", file_at(&vec![2; size], place.clone()))]);
        let layer = put(&space.store, &planned);
        let open = |_: &Place, _: &TreePath| fs::File::open(&outside);
        let error = space.store.lay_out(&layer, &planned, &open).unwrap_err();
        assert!(matches!(error, LayOutError::Changed { path } if path.display() == "/f"));
        assert!(space.store.directory(&layer).unwrap().is_none());

        let right = tree(vec![("f", file_at(&vec![1; size], place))]);
        let layer = put(&space.store, &right);
        let missing = space.store.open_content(&Place::Here, &layer, &path("f"));
        assert!(matches!(missing, Err(OpenContentError::NoDirectory { .. })));
        space.store.lay_out(&layer, &right, &open).unwrap();
        assert!(space.store.open_content(&Place::Here, &layer, &path("f")).is_ok());
        assert_eq!(*space.store.tree(&layer).unwrap().unwrap(), here(&right));
    }
}

#[test]
fn a_borrowed_tree_is_gone_with_its_store_and_an_owned_one_is_not() {
    let space = space();
    let place = Place::Context { context: 0, path: path("f") };
    let borrowed = put(&space.store, &tree(vec![("f", file_at(b"1", place))]));
    let owned = put(&space.store, &tree(vec![("f", inline(b"2"))]));
    assert!(space.store.tree(&borrowed).unwrap().is_some());
    let later = Store::open(space.store.root(), OwnerMapping::Root).unwrap();
    assert!(later.tree(&borrowed).unwrap().is_none());
    assert!(later.tree(&owned).unwrap().is_some());
}

#[test]
fn of_equal_layers_the_first_ones_times_stay_in_tree_and_directory() {
    let space = space();
    let first = tree(vec![("d", dir()), ("d/f", inline(b"x"))]);
    let layer = put(&space.store, &first);
    let step = space.store.begin_step().unwrap();
    fs::create_dir(step.upper().join("d")).unwrap();
    fs::write(step.upper().join("d/f"), "x").unwrap();
    let (same, tree) = step.commit(&[]).unwrap();
    assert_eq!(same, layer);
    assert_eq!(tree.get(&path("d/f")).unwrap().mtime, TIME);
    let directory = space.store.directory(&layer).unwrap().unwrap();
    assert_eq!(scanned(directory.path()), *tree);
}

#[track_caller]
fn commit(space: &Space, below: &[&Tree], make: impl FnOnce(&Path)) -> (LayerId, Arc<Tree>) {
    let step = space.store.begin_step().unwrap();
    make(step.upper());
    let below: Vec<Arc<Tree>> = below.iter().map(|tree| Arc::new((*tree).clone())).collect();
    let (layer, tree) = step.commit(&below).unwrap();
    assert_eq!(tree.layer_id(), layer);
    if !tree.is_empty() {
        let directory = space.store.directory(&layer).unwrap().unwrap();
        assert_eq!(scanned(directory.path()), *tree);
    }
    (layer, tree)
}

fn make_whiteout(at: &Path) {
    mknodat(CWD, at, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
}

fn make_opaque(at: &Path) {
    rustix::fs::setxattr(at, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
}

fn set_time(at: &Path) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(TIME.seconds as u64, TIME.nanoseconds);
    fs::File::open(at).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_step_that_changed_nothing_is_the_empty_layer() {
    let space = space();
    let base = tree(vec![("tmp", dir()), ("tmp/f", inline(b"x"))]);
    let (layer, tree) = commit(&space, &[&base], |_| {});
    assert_eq!((layer, tree.len()), (Tree::default().layer_id(), 0));
    // A directory that something was made and deleted in, a file copied up and left as it was, and a whiteout and an
    // opaque mark that hide nothing.
    let (layer, _) = commit(&space, &[&base], |upper| {
        fs::create_dir(upper.join("tmp")).unwrap();
        fs::write(upper.join("tmp/f"), "x").unwrap();
        set_time(&upper.join("tmp/f"));
        make_whiteout(&upper.join("tmp/gone"));
    });
    assert_eq!(layer, Tree::default().layer_id());
}

#[test]
fn what_hides_nothing_is_dropped_from_tree_and_directory_alike() {
    let space = space();
    let base = tree(vec![("a", dir()), ("a/old", inline(b"x")), ("b", dir()), ("file", inline(b"y"))]);
    let (_, tree) = commit(&space, &[&base], |upper| {
        for name in ["a", "b", "new"] {
            fs::create_dir(upper.join(name)).unwrap();
            make_opaque(&upper.join(name));
            fs::write(upper.join(name).join("f"), "").unwrap();
        }
        make_whiteout(&upper.join("file"));
        make_whiteout(&upper.join("never"));
        make_whiteout(&upper.join("a/old"));
    });
    // In an opaque directory nothing is left to hide.
    assert_eq!(names(&tree), ["a!", "a/f", "b/", "b/f", "file-", "new/", "new/f"]);
}

#[test]
fn looking_down_stops_where_overlay_stops() {
    let space = space();
    let bottom = tree(vec![
        ("a", dir()),
        ("a/x", inline(b"1")),
        ("b", dir()),
        ("b/x", inline(b"1")),
        ("c", dir()),
        ("c/x", inline(b"1")),
    ]);
    let middle = tree(vec![("a", whiteout()), ("b", opaque()), ("c", inline(b"a file"))]);
    let top = tree(vec![("a", dir()), ("c", dir())]);
    let (_, tree) = commit(&space, &[&bottom, &middle, &top], |upper| {
        for name in ["a", "b", "c"] {
            fs::create_dir(upper.join(name)).unwrap();
            make_whiteout(&upper.join(name).join("x"));
        }
    });
    assert!(tree.is_empty(), "{:?}", names(&tree));
}

#[test]
fn files_with_other_times_or_metadata_stay_with_the_directories_they_are_in() {
    let space = space();
    let base = tree(vec![("d", dir()), ("d/touched", inline(b"x")), ("d/same", inline(b"x"))]);
    let (_, tree) = commit(&space, &[&base], |upper| {
        fs::create_dir(upper.join("d")).unwrap();
        for name in ["d/touched", "d/same", "d/more"] {
            fs::write(upper.join(name), "x").unwrap();
        }
        set_time(&upper.join("d/same"));
        fs::set_permissions(upper.join("d/more"), fs::Permissions::from_mode(0o6711)).unwrap();
        chown(upper.join("d"), Some(4), Some(5)).unwrap();
    });
    assert_eq!(names(&tree), ["d/", "d/more", "d/touched"]);
    assert_eq!(tree.get(&path("d")).unwrap().uid, 4);
    assert_eq!(tree.get(&path("d/more")).unwrap().mode, 0o6711);
}

#[test]
fn hard_links_and_odd_files_of_a_step_are_kept_and_sockets_are_not() {
    let space = space();
    let base = tree(vec![("replaced", inline(b"x"))]);
    let (_, tree) = commit(&space, &[&base], |upper| {
        fs::write(upper.join("z"), "x").unwrap();
        fs::hard_link(upper.join("z"), upper.join("a")).unwrap();
        symlink("z", upper.join("l")).unwrap();
        mknodat(CWD, upper.join("p"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for name in ["socket", "replaced"] {
            std::os::unix::net::UnixListener::bind(upper.join(name)).unwrap();
        }
    });
    assert_eq!(names(&tree), ["a", "l@", "p", "replaced-", "z="]);
}

#[test]
fn the_root_counts_only_if_the_step_changed_it() {
    let space = space();
    let given = Entry { mode: 0o1777, uid: 7, ..Entry::directory() };
    let mut step = space.store.begin_step().unwrap();
    step.set_root(&given).unwrap();
    assert_eq!(fs::metadata(step.upper()).unwrap().mode() & 0o7777, 0o1777);
    assert!(step.commit(&[]).unwrap().1.is_empty());
    let mut step = space.store.begin_step().unwrap();
    step.set_root(&given).unwrap();
    fs::set_permissions(step.upper(), fs::Permissions::from_mode(0o700)).unwrap();
    let (layer, tree) = step.commit(&[]).unwrap();
    assert_eq!(tree.get(&TreePath::root()).unwrap().mode, 0o700);
    assert!(space.store.directory(&layer).unwrap().is_some());
}

#[test]
fn overlays_names_do_not_come_in_by_a_step() {
    let space = space();
    let (_, tree) = commit(&space, &[], |upper| {
        fs::write(upper.join("f"), "x").unwrap();
        let set = |name: &str| {
            rustix::fs::setxattr(upper.join("f"), CString::new(name).unwrap(), b"y", XattrFlags::empty())
                .unwrap();
        };
        set("user.overlay.opaque");
        set("trusted.overlay.overlay.redirect");
        set("user.fine");
    });
    let xattrs = tree.get(&path("f")).unwrap().xattrs.as_ref().unwrap();
    assert_eq!(xattrs.len(), 1);
}

#[test]
fn a_directory_torn_before_this_boot_is_a_miss() {
    let space = space();
    let whole = tree(vec![("f", inline(b"whole"))]);
    let torn = tree(vec![("f", inline(b"torn"))]);
    for tree in [&whole, &torn] {
        let (layer, directory) = lay_out(&space.store, tree);
        let old = crate::stamp::Stamp { boot: [3; 16], since: 1 };
        old.put(fs::File::open(space.store.layer_path(&layer)).unwrap()).unwrap();
        if tree == &torn {
            fs::write(directory.join("f"), "to").unwrap();
        }
    }
    let later = Store::open(space.store.root(), OwnerMapping::Root).unwrap();
    assert!(later.directory(&whole.layer_id()).unwrap().is_some());
    assert!(later.directory(&torn.layer_id()).unwrap().is_none());
    // The bytes are still to be had, and the layer is made again.
    later.put_tree(&torn.layer_id(), &torn).unwrap();
    later.lay_out(&torn.layer_id(), &torn, &nothing_outside).unwrap();
    assert!(later.directory(&torn.layer_id()).unwrap().is_some());
}

#[test]
fn without_devices_stand_ins_are_laid_out_and_the_tree_keeps_what_they_stand_for() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = Store::open(&dir.path().join("s"), OwnerMapping::User).unwrap();
    let marked = tree(vec![("d", opaque()), ("d/f", inline(b"x")), ("w", whiteout())]);
    let layer = put(&store, &marked);
    let directory = store.lay_out(&layer, &marked, &nothing_outside).unwrap();
    let found = scan(directory.path(), OwnerMapping::User).unwrap();
    let found: Vec<_> = found.entries.into_iter().filter(|(p, _)| !p.is_root()).collect();
    assert_eq!(found, here(&marked).into_entries());
}

#[test]
fn blobs_are_noted_by_settings() {
    let space = space();
    let layer = put(&space.store, &everything());
    let note = crate::BlobNote {
        blob: kiln_core::BlobDigest(Digest::of(b"blob")),
        size: 5,
        diff_id: kiln_core::DiffId(Digest::of(b"tar")),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
    };
    space.store.note_blob(&layer, "gzip 6", &note).unwrap();
    assert_eq!(space.store.blob_note(&layer, "gzip 6").unwrap(), Some(note));
    assert_eq!(space.store.blob_note(&layer, "gzip 1").unwrap(), None);
}
