//! What becomes of an upper directory.

use super::*;

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
fn a_directory_made_before_the_mount_is_in_the_layer_unless_it_is_below_already() {
    let space = space();
    let committed = |below: Vec<Arc<Tree>>| {
        let mut step = space.store.begin_step().unwrap();
        step.make_directory(&path("proc"), TIME).unwrap();
        step.commit(&below).unwrap().1
    };
    assert_eq!(*committed(Vec::new()), tree(vec![("proc", Entry { mtime: TIME, ..Entry::directory() })]));
    assert!(committed(vec![Arc::new(tree(vec![("proc", Entry::directory())]))]).is_empty());
}
