//! Random steps on overlay file systems of the kernel's: what was to be seen during a step is to be seen in the layers
//! it left, mounted, flattened, merged as trees, and laid out in another store. Needs root and overlay mounts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use kiln_core::merged::Merged;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

const ROUNDS: u64 = 25;
const STEPS: usize = 7;
const CHANGES: usize = 30;

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    /// Few names, so that they meet; among them directories in directories.
    fn path(&mut self, root: &Path) -> PathBuf {
        let depth = 1 + self.next(3);
        (0..depth).fold(root.to_owned(), |path, _| path.join(["a", "b", "c", "d"][self.next(4)]))
    }
}

struct Mounted(PathBuf);

impl Mounted {
    /// `lowers` base first.
    fn new(at: &Path, lowers: &[PathBuf], step: Option<&crate::StepDir>) -> io::Result<Self> {
        fs::create_dir_all(at)?;
        // Without an upper overlay wants two lowers.
        let empty = ["empty", "empty2"].map(|name| at.with_extension(name));
        for path in &empty {
            fs::create_dir_all(path)?;
        }
        let lowers: Vec<_> = lowers.iter().rev().chain(&empty).collect();
        let lowers: Vec<_> = lowers.iter().map(|path| path.to_str().unwrap()).collect();
        let mut options =
            format!("lowerdir={},redirect_dir=nofollow,metacopy=off,index=off,xino=off", lowers.join(":"));
        if let Some(step) = step {
            let (upper, work) = (step.upper().display(), step.work().display());
            options += &format!(",volatile,upperdir={upper},workdir={work}");
        }
        let options = CString::new(options).unwrap();
        mount("overlay", at, "overlay", MountFlags::empty(), options.as_c_str())?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

/// What may be refused is refused by the kernel, and nothing has changed then.
fn change(random: &mut Random, root: &Path) {
    let path = random.path(root);
    let other = random.path(root);
    let _ = match random.next(12) {
        0..=2 => fs::write(&path, [random.next(3) as u8; 10]),
        3 => fs::create_dir(&path),
        4 => fs::create_dir_all(&path),
        5 => fs::remove_dir_all(&path),
        6 => fs::remove_file(&path),
        7 => fs::rename(&path, &other),
        8 => fs::hard_link(&path, &other),
        9 => symlink("a/b", &path),
        10 => fs::set_permissions(&path, fs::Permissions::from_mode([0o755, 0o4711, 0o700][random.next(3)])),
        _ => chown(&path, Some(random.next(3) as u32), None),
    };
}

/// By path what is to be seen there: kind, metadata and content. Times of directories change with what is in them.
type Seen = BTreeMap<String, String>;

fn seen_on_disk(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let found = scan(root, OwnerMapping::Root).unwrap();
    for (path, entry) in found.entries {
        see(&mut seen, &path, &entry);
    }
    seen.remove("/");
    seen
}

fn see(seen: &mut Seen, path: &TreePath, entry: &Entry) {
    let kind = match &entry.kind {
        Kind::Directory { .. } => "directory".to_owned(),
        Kind::File(file) => format!("file {:?}", file.content.digest),
        // A name of a file, as any other is.
        Kind::Link(target) => seen[&target.display()].split(" mode").next().unwrap().to_owned(),
        Kind::Symlink(target) => format!("link {target:?}"),
        other => panic!("{}: {other:?}", path.display()),
    };
    let time = if entry.is_directory() { None } else { Some(entry.mtime) };
    let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
    seen.insert(path.display(), format!("{kind} mode {mode:o} {uid}:{gid} {time:?}"));
}

fn seen_in_trees(trees: Vec<(LayerId, Arc<Tree>)>) -> Seen {
    let merged = Merged::new(trees);
    let mut seen = Seen::new();
    for (path, found) in merged.walk(&TreePath::root()) {
        see(&mut seen, &path, &merged.entry(&found));
    }
    seen.remove("/");
    seen
}

#[test]
fn what_a_step_saw_is_in_its_layers_in_every_form_root_needed() {
    for seed in 1..=ROUNDS {
        // New ones: of equal layers the first one's times would stay.
        let space = space();
        let other = Store::open(&space.dir.path().join("other"), OwnerMapping::Root).unwrap();
        let at = space.dir.path().join("mount");
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut stack: Vec<(LayerId, Arc<Tree>)> = Vec::new();
        let mut lowers: Vec<PathBuf> = Vec::new();
        for step in 0..STEPS {
            let what = format!("seed {seed}, step {step}");
            let dir = space.store.begin_step().unwrap();
            let mounted = Mounted::new(&at, &lowers, Some(&dir)).unwrap();
            for _ in 0..CHANGES {
                change(&mut random, &at);
            }
            let expected = seen_on_disk(&at);
            drop(mounted);
            let below: Vec<Arc<Tree>> = stack.iter().map(|(_, tree)| Arc::clone(tree)).collect();
            let (layer, tree) = dir.commit(&below).unwrap();
            if tree.is_empty() || stack.iter().any(|(known, _)| *known == layer) {
                // Overlay takes no directory twice.
                break;
            }
            let directory = space.store.directory(&layer).unwrap().unwrap();
            assert_eq!(scanned(directory.path()), *tree, "{what}");
            lowers.push(directory.path().to_owned());
            stack.push((layer, tree));

            let mounted = Mounted::new(&at, &lowers, None).unwrap();
            assert_eq!(seen_on_disk(&at), expected, "{what}, mounted");
            drop(mounted);
            assert_eq!(seen_in_trees(stack.clone()), expected, "{what}, merged");

            let layers: Vec<LayerId> = stack.iter().map(|(layer, _)| *layer).collect();
            let flat = space.store.flatten(&layers).unwrap();
            let mounted = Mounted::new(&at, &[flat.path().to_owned()], None).unwrap();
            assert_eq!(seen_on_disk(&at), expected, "{what}, flattened");
            drop(mounted);
            // The lower half flattened, below the upper half.
            let (lower, upper) = layers.split_at(layers.len() / 2);
            let lower = space.store.flatten(lower).unwrap().path().to_owned();
            let upper = &lowers[lowers.len() - upper.len()..];
            let halves: Vec<PathBuf> = [lower].iter().chain(upper).cloned().collect();
            let mounted = Mounted::new(&at, &halves, None).unwrap();
            assert_eq!(seen_on_disk(&at), expected, "{what}, flattened in part");
            drop(mounted);
        }
        let elsewhere: Vec<PathBuf> =
            stack.iter().map(|(layer, tree)| copy(&space.store, &other, layer, tree)).collect();
        let mounted = Mounted::new(&at, &elsewhere, None).unwrap();
        assert_eq!(seen_on_disk(&at), seen_in_trees(stack), "seed {seed}, in another store");
        drop(mounted);
    }
}

/// Lays a layer out in another store, its bytes brought along.
fn copy(from: &Store, to: &Store, layer: &LayerId, tree: &Tree) -> PathBuf {
    let mut tree = tree.clone();
    for (path, entry) in tree.entries_mut() {
        if let Kind::File(file) = &mut entry.kind {
            let mut bytes = Vec::new();
            from.open_content(&Place::Here, layer, path).unwrap().read_to_end(&mut bytes).unwrap();
            file.content.place = Place::Inline(bytes.into());
        }
    }
    lay_out(to, &tree).1
}
