//! Turns what a step left in an overlay's upper directory into a layer, in normal form.
//!
//! Normal form: nothing that hides nothing, nothing that is as it was below, so that equal changes are one layer. The
//! directory is brought to what the tree says, for it may come to lie on other layers than those it was made on.

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::tree::Time;
use kiln_core::{Entry, Kind, LayerId, Tree, TreePath};

use crate::attributes::{self, On};
use crate::below::{Below, Visible};
use crate::fault::{At, FsError};
use crate::scan::{Found, scan, whiteout};
use crate::store::Store;
use crate::temp::Temp;
use crate::walk::{MAX_PATH, open_below, open_directory};
use crate::writing::Writer;

/// Paths that one step may add or change.
pub const MAX_STEP_ENTRIES: usize = 4_000_000;

/// The upper and work directories of one overlay mount. Dropped, what is in them is left to the sweep.
#[derive(Debug)]
pub struct StepDir {
    store: Store,
    temp: Temp,
    upper: PathBuf,
    work: PathBuf,
    root: Entry,
}

/// Why what a step did could not become a layer.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error(
        "the step left {count} files and directories, more than the {MAX_STEP_ENTRIES} that a layer may hold"
    )]
    TooMany { count: usize },
    #[error(
        "the step left a path of {length} bytes, longer than the {MAX_PATH} that can be opened: `{start}…`"
    )]
    TooLong { length: usize, start: String },
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Store {
    /// Empty directories for one step.
    pub fn begin_step(&self) -> Result<StepDir, FsError> {
        let temp = Temp::directory(&self.0)?;
        let upper = temp.path().join("upper");
        let work = temp.path().join("work");
        for path in [&upper, &work] {
            fs::DirBuilder::new().mode(0o755).create(path).at("create the directory", path)?;
        }
        let mut step = StepDir { store: self.clone(), temp, upper, work, root: Entry::directory() };
        step.set_root(&Entry::directory())?;
        Ok(step)
    }
}

impl StepDir {
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Never used for a second mount.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Gives the upper's root what the merged root below has, before the mount: else the step sees a root of ours.
    pub fn set_root(&mut self, entry: &Entry) -> Result<(), FsError> {
        let root = Entry { kind: Kind::Directory { opaque: false }, ..entry.clone() };
        let mut writer = Writer::new(&self.upper, self.store.mapping())?;
        writer.settle_directory(&TreePath::root(), &root)?;
        self.root = root;
        Ok(())
    }

    /// Makes a directory, root's and 0755, in the upper before the mount: as if the step had made it.
    pub fn make_directory(&mut self, path: &TreePath, now: Time) -> Result<(), FsError> {
        let mut writer = Writer::new(&self.upper, self.store.mapping())?;
        writer.make_directory(path)?;
        writer.settle_directory(path, &Entry { mtime: now, ..Entry::directory() })
    }

    /// Makes a layer of what is in the upper now. To be called once the sandbox has been waited for.
    ///
    /// `below` are the trees of the layers that were mounted, base first. A step that changed nothing gives the empty
    /// tree, which has no directory. Where an equal layer is known already, that one is given.
    pub fn commit(self, below: &[Arc<Tree>]) -> Result<(LayerId, Arc<Tree>), CommitError> {
        let mapping = self.store.mapping();
        let Found { entries, strays, linked } = scan(&self.upper, mapping)?;
        if entries.len() > MAX_STEP_ENTRIES {
            return Err(CommitError::TooMany { count: entries.len() });
        }
        if let Some((path, _)) = entries.iter().find(|(path, _)| path.as_bytes().len() > MAX_PATH) {
            return Err(CommitError::TooLong {
                length: path.as_bytes().len(),
                start: path.display().chars().take(80).collect(),
            });
        }
        let normal = normalise(entries, &linked, &self.root, &Below(below));
        let tree = Tree::new(normal.entries);
        if tree.is_empty() {
            return Ok((tree.layer_id(), Arc::new(tree)));
        }
        let mut writer = Writer::new(&self.upper, mapping)?;
        mend(&mut writer, &normal.mends, &strays, &tree, &self.root, mapping)?;
        let layer = tree.layer_id();
        let (_, tree) = self.store.publish_directory(&self.upper, &layer, tree)?;
        drop(self.temp);
        Ok((layer, tree))
    }
}

/// What has to be done to the directory to make it what the tree says.
#[derive(Debug, PartialEq, Eq)]
enum Mend {
    Remove {
        path: TreePath,
        directory: bool,
    },
    /// Something that hid a path, and is not to be in the layer itself.
    Hide(TreePath),
    Unhide(TreePath),
}

#[derive(Debug, Default)]
struct Normal {
    entries: Vec<(TreePath, Entry)>,
    /// Children before their directories.
    mends: Vec<Mend>,
}

/// `entries` are in order and start with the root.
fn normalise(
    entries: Vec<(TreePath, Entry)>,
    linked: &HashSet<TreePath>,
    root: &Entry,
    below: &Below<'_>,
) -> Normal {
    enum Fate {
        Keep,
        /// Unless something in it is kept.
        DropIfEmpty,
        Drop,
        Hide,
    }
    let mut mends = Vec::new();
    let mut open: Vec<(TreePath, Visible)> = Vec::new();
    let mut judged = Vec::with_capacity(entries.len());
    for (path, mut entry) in entries {
        if path.is_root() {
            open.push((path.clone(), below.root()));
            let same = entry.mode == root.mode
                && (entry.uid, entry.gid) == (root.uid, root.gid)
                && entry.xattrs == root.xattrs
                && entry.kind == root.kind;
            judged.push((path, entry, if same { Fate::Drop } else { Fate::Keep }));
            continue;
        }
        while open.last().is_some_and(|(dir, _)| path.below(dir).is_none()) {
            open.pop();
        }
        let visible = open.last().map_or(&[][..], |(_, visible)| visible);
        let (shown, inside) = below.child(visible, &path);
        let fate = match &mut entry.kind {
            Kind::Whiteout if shown.is_none() => Fate::Drop,
            Kind::Whiteout => Fate::Keep,
            Kind::Socket if shown.is_none() => Fate::Drop,
            Kind::Socket => {
                entry = whiteout();
                Fate::Hide
            }
            Kind::Directory { opaque } => {
                if *opaque && !below.shows_anything(&inside, &path) {
                    *opaque = false;
                    mends.push(Mend::Unhide(path.clone()));
                }
                let inside = if *opaque { Visible::new() } else { inside };
                open.push((path.clone(), inside));
                match shown {
                    Some(shown) if is_same_directory(&entry, shown.entry) => Fate::DropIfEmpty,
                    _ => Fate::Keep,
                }
            }
            Kind::Link(_) => Fate::Keep,
            _ => match shown {
                Some(shown) if !linked.contains(&path) && is_same(&entry, below.resolve(shown)) => Fate::Drop,
                _ => Fate::Keep,
            },
        };
        judged.push((path, entry, fate));
    }

    let mut kept = Vec::with_capacity(judged.len());
    let mut needed: HashSet<TreePath> = HashSet::new();
    for (path, entry, fate) in judged.into_iter().rev() {
        let keep = match fate {
            Fate::Keep => true,
            Fate::Hide => {
                mends.push(Mend::Hide(path.clone()));
                true
            }
            Fate::DropIfEmpty => needed.contains(&path),
            Fate::Drop => false,
        };
        if keep {
            needed.extend(path.parent());
            kept.push((path, entry));
        } else if !path.is_root() {
            let directory = entry.is_directory();
            mends.push(Mend::Remove { path, directory });
        }
    }
    kept.reverse();
    Normal { entries: kept, mends }
}

/// Times of directories change with whatever was made and deleted in them, so alone they are no change.
fn is_same_directory(entry: &Entry, below: &Entry) -> bool {
    entry.kind == (Kind::Directory { opaque: false })
        && below.is_directory()
        && (entry.mode, entry.uid, entry.gid) == (below.mode, below.uid, below.gid)
        && entry.xattrs == below.xattrs
}

fn is_same(entry: &Entry, below: &Entry) -> bool {
    let kind = match (&entry.kind, &below.kind) {
        (Kind::File(a), Kind::File(b)) => a.size == b.size && a.content.digest == b.content.digest,
        (a, b) => a == b,
    };
    kind && (entry.mode, entry.uid, entry.gid, entry.mtime) == (below.mode, below.uid, below.gid, below.mtime)
        && entry.xattrs == below.xattrs
}

fn mend(
    writer: &mut Writer,
    mends: &[Mend],
    strays: &[(TreePath, Vec<Box<[u8]>>)],
    tree: &Tree,
    root: &Entry,
    mapping: crate::store::OwnerMapping,
) -> Result<(), FsError> {
    let mut touched: HashSet<TreePath> = HashSet::new();
    for mend in mends {
        match mend {
            Mend::Remove { path, directory } => {
                writer.remove(path, *directory)?;
                touched.extend(path.parent());
            }
            Mend::Hide(path) => {
                writer.remove(path, false)?;
                writer.make_whiteout(path)?;
                touched.extend(path.parent());
            }
            Mend::Unhide(path) => {
                let dir = open_directory(writer.root(), path).at("open the directory", writer.full(path))?;
                attributes::clear_opaque(dir.as_fd(), mapping)
                    .at("clear the opaque mark of", writer.full(path))?;
            }
        }
    }
    for (path, names) in strays {
        let Some(entry) = (if path.is_root() { Some(root) } else { tree.get(path) }) else {
            continue;
        };
        let parent = open_directory(writer.root(), &path.parent().unwrap_or_default())
            .at("open the directory", writer.full(path))?;
        for name in names {
            let removed = if matches!(entry.kind, Kind::File(_) | Kind::Link(_) | Kind::Directory { .. }) {
                let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW;
                open_below(writer.root(), path, flags)
                    .and_then(|fd| attributes::remove(On::Open(fd.as_fd()), name))
            } else {
                attributes::remove(On::Name(parent.as_fd(), path.name()), name)
            };
            removed.at("remove attributes of", writer.full(path))?;
        }
    }
    for path in touched {
        let entry = if path.is_root() { tree.get(&path).or(Some(root)) } else { tree.get(&path) };
        // A directory that is not in the tree has gone itself.
        if let Some(entry) = entry {
            writer.set_times(&path, entry.mtime)?;
        }
    }
    Ok(())
}
