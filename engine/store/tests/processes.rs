//! Several processes on one store, some of them killed. Runs itself as its own child processes, hence no test harness.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_core::tree::Place;
use kiln_core::{BlobDigest, CacheKey, Cancel, Digest, Entry, FileDigest, Kind, LayerId, Tree, TreePath};
use kiln_store::{Existing, OwnerMapping, PruneOptions, Store};
use sha2::Digest as _;

/// Gives the reason if it could not be run here.
type Test = fn(&Path) -> Option<String>;

const ROLE: &str = "KILN_STORE_TEST_ROLE";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let root = std::env::args_os().nth(1).expect("a store to work on");
        return child(&role, Path::new(&root));
    }
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let tests: [(&str, Test); 5] = [
        ("what_a_killed_process_leaves_is_whole_or_nothing", |root| {
            killed(root);
            None
        }),
        ("one_process_at_a_time_works_on_a_key", |root| {
            claimed(root);
            None
        }),
        ("of_two_that_publish_one_layer_both_get_the_same", |root| {
            published_twice(root);
            None
        }),
        ("a_user_namespace_has_whiteouts_opaque_marks_and_stand_ins_for_devices", rootless),
        ("what_a_living_process_uses_is_not_pruned_and_a_dead_ones_is", |root| {
            pruned_in_use(root);
            None
        }),
    ];
    for (name, test) in tests {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory on tmpfs");
        match test(&dir.path().join("store")) {
            None => println!("test {name} ... ok"),
            Some(why) => println!("test {name} ... NOT RUN: {why}"),
        }
    }
}

fn open(root: &Path) -> Store {
    Store::open(root, OwnerMapping::Root).expect("a store")
}

fn spawn(role: &str, root: &Path) -> Child {
    let exe = std::env::current_exe().expect("the test itself");
    Command::new(exe)
        .arg(root)
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process")
}

fn child(role: &str, root: &Path) {
    if role == "rootless" {
        return in_a_user_namespace(root);
    }
    let store = open(root);
    match role {
        "busy" => loop {
            for round in 0u32.. {
                work(&store, round);
            }
        },
        "count" => {
            for _ in 0..50 {
                let _claim = store.claim(&CacheKey(Digest::of(b"k")), &Cancel::new(None)).expect("a claim");
                let counter = root.join("tmp/counter");
                let count: u32 =
                    fs::read_to_string(&counter).map_or(0, |text| text.parse().expect("a number"));
                fs::write(&counter, (count + 1).to_string()).expect("a counter");
            }
        }
        "publish" => {
            for round in 0..40 {
                println!("{}", work(&store, round));
            }
        }
        "hold" => {
            let layer = work(&store, 1);
            assert!(store.directory(&layer).expect("a readable store").is_some());
            println!("{layer}");
            // Until the parent goes or kills.
            let _ = std::io::stdin().read(&mut [0]);
        }
        other => panic!("no role `{other}`"),
    }
}

/// One step with a record, and a blob.
fn work(store: &Store, round: u32) -> LayerId {
    let step = store.begin_step().expect("a step");
    for at in 0..20 {
        let directory = step.upper().join(format!("d{}", at % 3));
        fs::create_dir_all(&directory).expect("a directory");
        let mut file = fs::File::create(directory.join(at.to_string())).expect("a file");
        file.write_all(&vec![round as u8; 3000 + at]).expect("space on disk");
    }
    let (layer, _) = step.commit(&[]).expect("a layer");
    store.put_record(&CacheKey(layer.0), layer.hex().as_bytes(), Existing::Replace).expect("a record");
    let mut blob = store.blob_writer().expect("a blob");
    blob.write_all(&vec![round as u8; 100_000]).expect("space on disk");
    let (digest, _) = blob.commit(None).expect("a blob");
    store.set_image(&format!("example.org/{}", round % 5), &digest).expect("a reference");
    layer
}

fn killed(root: &Path) {
    for round in 0..25u64 {
        let mut child = spawn("busy", root);
        std::thread::sleep(Duration::from_millis(3 + round * 7 % 60));
        child.kill().expect("a living child");
        assert_eq!(child.wait().expect("its end").signal(), Some(9));
        let store = open(root);
        check_all(&store, root);
    }
    let store = open(root);
    store.sweep().wait().expect("a swept store");
    assert_eq!(fs::read_dir(root.join("tmp")).expect("tmp").count(), 0);
    // What it had claimed is free.
    work(&store, 3);
}

fn list(directory: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
}

fn hex(path: &Path) -> Digest {
    path.file_name().and_then(|name| Digest::from_hex(name.to_str()?)).expect("a digest")
}

/// Whatever has a final name is what the name says.
fn check_all(store: &Store, root: &Path) {
    for blob in list(&root.join("blobs/sha256")) {
        let bytes = fs::read(&blob).expect("a blob");
        assert_eq!(Digest::from_bytes(sha2::Sha256::digest(&bytes).into()), hex(&blob));
    }
    for shard in list(&root.join("layers")) {
        for path in list(&shard) {
            let layer = LayerId(hex(&path));
            let Some(tree) = store.tree(&layer).expect("a readable store") else {
                assert!(!path.join("dir").exists(), "a directory without its tree");
                continue;
            };
            assert_eq!(tree.layer_id(), layer);
            if store.directory(&layer).expect("a readable store").is_none() {
                continue;
            }
            for (path, entry) in tree.entries() {
                if let Kind::File(file) = &entry.kind {
                    let mut bytes = Vec::new();
                    let mut opened = store.open_content(&Place::Here, &layer, path).expect("a file");
                    opened.read_to_end(&mut bytes).expect("its bytes");
                    assert_eq!(Some(FileDigest::of(&bytes)), file.content.digest);
                }
            }
        }
    }
    for shard in list(&root.join("records")) {
        for path in list(&shard) {
            let key = CacheKey(hex(&path));
            let record = store.record(&key).expect("a readable store").expect("a whole record");
            assert_eq!(record, key.hex().as_bytes());
            assert!(store.directory(&LayerId(key.0)).expect("a readable store").is_some());
        }
    }
    for (_, digest) in store.images().expect("references") {
        assert!(store.has_blob(&digest));
    }
}

fn claimed(root: &Path) {
    open(root);
    let children: Vec<Child> = (0..3).map(|_| spawn("count", root)).collect();
    for mut child in children {
        assert!(child.wait().expect("its end").success());
    }
    assert_eq!(fs::read_to_string(root.join("tmp/counter")).expect("a counter"), "150");
}

fn published_twice(root: &Path) {
    let children: Vec<Child> = (0..3).map(|_| spawn("publish", root)).collect();
    let outputs: Vec<_> = children.into_iter().map(|c| c.wait_with_output().expect("its end")).collect();
    assert!(outputs.iter().all(|output| output.status.success() && output.stdout == outputs[0].stdout));
    assert_eq!(outputs[0].stdout.split(|b| *b == b'\n').count(), 41);
    let store = open(root);
    check_all(&store, root);
    // Times of a directory and its tree are those of one and the same winner.
    for shard in list(&root.join("layers")) {
        for path in list(&shard) {
            let layer = LayerId(hex(&path));
            let tree = store.tree(&layer).expect("a readable store").expect("a tree");
            for (at, entry) in tree.entries() {
                let about =
                    fs::symlink_metadata(path.join("dir").join(at.as_os())).expect("what the tree has");
                let modified = std::os::unix::fs::MetadataExt::mtime_nsec(&about);
                assert_eq!(modified, i64::from(entry.mtime.nanoseconds), "{}", at.display());
            }
        }
    }
}

fn rootless(root: &Path) -> Option<String> {
    let exe = std::env::current_exe().expect("the test itself");
    let mut child = Command::new("unshare");
    child.args(["--user", "--map-root-user", "--mount"]).arg(exe).arg(root);
    match child.env(ROLE, "rootless").output() {
        Ok(output) if output.status.success() => None,
        // Tests before the child's own code: no such program, or no namespaces to be had.
        Ok(output) if !root.exists() => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn in_a_user_namespace(root: &Path) {
    let store = Store::open(root, OwnerMapping::User).expect("a store");
    let path = |text: &str| TreePath::parse(text).expect("a path");
    let null = Entry { kind: Kind::CharDevice { major: 1, minor: 3 }, mode: 0o666, ..Entry::directory() };
    let base = Tree::new(vec![
        (path("a"), Entry::directory()),
        (path("a/old"), null.clone()),
        (path("gone"), null.clone()),
        (path("null"), null.clone()),
    ]);
    let layer = base.layer_id();
    let base = store.put_tree(&layer, base.clone()).expect("a tree");
    let outside = |_: &Place, _: &TreePath| Err(std::io::Error::other("nothing lies outside"));
    let lower = store.lay_out(&layer, &base, &outside).expect("a directory");
    let stand_in = fs::metadata(lower.path().join("null")).expect("a stand-in");
    assert!(stand_in.is_file() && stand_in.len() == 0);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&stand_in) & 0o7777, 0o666);

    let step = store.begin_step().expect("a step");
    let at = root.join("mount");
    fs::create_dir(&at).expect("a mount point");
    let (upper, work) = (step.upper().display(), step.work().display());
    let options = format!("userxattr,lowerdir={},upperdir={upper},workdir={work}", lower.path().display());
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&at).status();
    assert!(mounted.expect("the program mount").success());
    fs::remove_file(at.join("gone")).expect("a whiteout");
    fs::remove_dir_all(at.join("a")).expect("another");
    fs::create_dir(at.join("a")).expect("an opaque directory");
    fs::write(at.join("a/new"), "x").expect("a file");
    assert!(Command::new("umount").arg(&at).status().expect("the program umount").success());
    let (above, tree) = step.commit(&[base]).expect("a layer");
    let kinds: Vec<_> = tree.entries().iter().map(|(path, entry)| (path.display(), &entry.kind)).collect();
    assert_eq!(kinds.len(), 3);
    assert_eq!(kinds[0], ("/a".to_owned(), &Kind::Directory { opaque: true }));
    assert_eq!(kinds[2], ("/gone".to_owned(), &Kind::Whiteout));

    // The same from the tree alone.
    let mut again = Tree::clone(&tree);
    for (_, entry) in again.entries_mut() {
        if let Kind::File(file) = &mut entry.kind {
            file.content.place = Place::Inline((*b"x").into());
        }
        entry.mode |= 0o001;
    }
    let copy = again.layer_id();
    store.put_tree(&copy, again.clone()).expect("a tree");
    let upper = store.lay_out(&copy, &again, &outside).expect("a directory");
    for upper in
        [upper.path(), store.directory(&above).expect("a readable store").expect("a directory").path()]
    {
        let options = format!("userxattr,lowerdir={}:{}", upper.display(), lower.path().display());
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "overlay", "overlay", "-o", &options]).arg(&at).status();
        assert!(mounted.expect("the program mount").success());
        let mut names: Vec<_> =
            list(&at).iter().chain(&list(&at.join("a"))).map(|p| p.display().to_string()).collect();
        names.sort();
        assert_eq!(names, ["a", "a/new", "null"].map(|name| at.join(name).display().to_string()));
        assert!(Command::new("umount").arg(&at).status().expect("the program umount").success());
    }
}

fn pruned_in_use(root: &Path) {
    let mut child = spawn("hold", root);
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("the layer it holds");
    let layer = LayerId(line.trim().parse().expect("a digest"));
    let nothing = |_: &BlobDigest| Vec::new();
    let options = PruneOptions::default();
    open(root).prune(&options, &nothing).expect("a pruned store");
    assert!(open(root).directory(&layer).expect("a readable store").is_some());
    child.kill().expect("a living child");
    child.wait().expect("its end");
    open(root).prune(&options, &nothing).expect("a pruned store");
    assert!(open(root).tree(&layer).expect("a readable store").is_none());
}
