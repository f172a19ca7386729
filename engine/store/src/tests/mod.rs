//! Every form of a layer made, turned into the others, and compared. Run as root: owners, devices and attributes of
//! files are part of what is compared.

mod context;
mod flat;
mod overlay;
mod prune;
mod step;
mod unpack;

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
    store.put_tree(&layer, tree.clone()).unwrap();
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
fn what_may_be_written_to_later_shares_no_inode_with_a_layer() {
    let space = space();
    let bytes = vec![7; 300_000];
    let (base, base_directory) = lay_out(&space.store, &tree(vec![("f", inline(&bytes))]));
    let place = Place::Layer { layer: base, path: path("f") };
    let to = space.dir.path().join("cache");
    fs::create_dir(&to).unwrap();
    space.store.write_into(&to, &tree(vec![("f", file_at(&bytes, place))]), &nothing_outside).unwrap();
    fs::write(to.join("f"), "changed").unwrap();
    assert_eq!(fs::read(base_directory.join("f")).unwrap(), bytes);
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
    later.put_tree(&torn.layer_id(), torn.clone()).unwrap();
    later.lay_out(&torn.layer_id(), &torn, &nothing_outside).unwrap();
    assert!(later.directory(&torn.layer_id()).unwrap().is_some());
}

#[test]
fn the_user_mapping_has_marks_of_its_own() {
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
