//! The forms of a layer: its tree, its directory, and the names of the blobs made of it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use kiln_core::tree::Place;
use kiln_core::{BlobDigest, DiffId, Digest, Entry, Kind, LayerId, Tree};

use crate::blob::USE_GRAIN;
use crate::fault::{At, FsError};
use crate::lock::{Claim, Mode, offset_of};
use crate::scan::scan;
use crate::stamp::Stamp;
use crate::store::{Checked, OwnerMapping, Store};
use crate::temp::{Existing, rename};
use crate::writing::Writer;
use crate::{sealed, tree_file};

/// The directory form of a layer. It cannot be collected while the store that gave it lives.
#[derive(Clone, Debug)]
pub struct LayerDir {
    path: PathBuf,
    _store: Store,
}

impl LayerDir {
    /// Absolute; to be used as a lower of an overlay mount, and never written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn new(store: &Store, path: PathBuf) -> Self {
        Self { path, _store: store.clone() }
    }
}

/// A blob that was made of a layer, or that a layer came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobNote {
    pub blob: BlobDigest,
    /// Of the blob, in bytes.
    pub size: u64,
    pub diff_id: DiffId,
    pub media_type: String,
}

impl Store {
    pub(crate) fn layer_path(&self, layer: &LayerId) -> PathBuf {
        let hex = layer.hex();
        self.0.root.join("layers").join(&hex[..2]).join(hex)
    }

    /// What a layer holds; `None` if it is not known. From then on the layer stays while this store lives.
    pub fn tree(&self, layer: &LayerId) -> Result<Option<Arc<Tree>>, FsError> {
        if let Some(tree) = self.trees().get(layer) {
            return Ok(Some(Arc::clone(tree)));
        }
        if *layer == Tree::default().layer_id() {
            return Ok(Some(Arc::new(Tree::default())));
        }
        self.0.uses.hold(offset_of(&layer.0))?;
        let path = self.layer_path(layer).join("tree");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("read", path),
        };
        let Some(tree) = tree_file::decode(&bytes) else {
            // Torn by a power loss: a miss, and out of the way of the next one.
            self.discard(&path)?;
            return Ok(None);
        };
        self.note_use(&self.layer_path(layer));
        let tree = Arc::new(tree);
        self.trees().insert(*layer, Arc::clone(&tree));
        Ok(Some(tree))
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<LayerId, Arc<Tree>>> {
        self.0.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the collector's order depends on it, so it is written down rarely and may fail.
    pub(crate) fn note_use(&self, path: &Path) {
        let modified = fs::metadata(path).and_then(|about| about.modified());
        if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > USE_GRAIN))
            && let Ok(file) = File::open(path)
        {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Remembers what a layer holds and gives the tree that is valid from now on: of equal layers the first one's
    /// times stay. A tree that points into a context is remembered by this store only, while it lives.
    pub fn put_tree(&self, layer: &LayerId, tree: impl Into<Arc<Tree>>) -> Result<Arc<Tree>, FsError> {
        let tree: Arc<Tree> = tree.into();
        let _publishing = self.publishing(layer)?;
        let known = self.tree(layer)?;
        let tree = match known {
            Some(known) if !reads_here(&known) || reads_here(&tree) => return Ok(known),
            Some(known) if self.layer_path(layer).join("dir").exists() => return Ok(known),
            // The bytes that were there are gone, those of the new one are not.
            Some(known) => Arc::new(with_times_of(&tree, &known)),
            None => tree,
        };
        self.keep_tree(layer, tree)
    }

    /// Excludes others from changing the forms of a layer. Held for moments only.
    fn publishing(&self, layer: &LayerId) -> Result<Claim, FsError> {
        let name = Digest::of(format!("publish {layer}").as_bytes());
        self.lock_briefly(offset_of(&name))
    }

    pub(crate) fn lock_briefly(&self, offset: u64) -> Result<Claim, FsError> {
        let locks = self.0.root.join("locks");
        loop {
            if let Some(claim) = Claim::attempt(&locks, offset, Mode::Exclusive)? {
                return Ok(claim);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn keep_tree(&self, layer: &LayerId, tree: Arc<Tree>) -> Result<Arc<Tree>, FsError> {
        if let Some(bytes) = tree_file::encode(&tree) {
            self.0.uses.hold(offset_of(&layer.0))?;
            let directory = self.make_layer_path(layer)?;
            self.write_file(&directory.join("tree"), &bytes, Existing::Replace)?;
        }
        self.trees().insert(*layer, Arc::clone(&tree));
        Ok(tree)
    }

    fn make_layer_path(&self, layer: &LayerId) -> Result<PathBuf, FsError> {
        let path = self.layer_path(layer);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).at("create the directory", &path)?;
        Ok(path)
    }

    /// The directory form; `None` if there is none, or none that can be trusted.
    pub fn directory(&self, layer: &LayerId) -> Result<Option<LayerDir>, FsError> {
        self.0.uses.hold(offset_of(&layer.0))?;
        let owner = self.layer_path(layer);
        let path = owner.join("dir");
        if !path.is_dir() {
            return Ok(None);
        }
        if !self.was_checked(Checked::Directory, &layer.0) {
            let handle = File::open(&owner).at("open", &owner)?;
            if !Stamp::of(&handle).is_some_and(|stamp| self.durable().covers(stamp)) {
                let now = Stamp::now();
                let whole = match self.tree(layer)? {
                    Some(tree) => is_whole(&tree, &path, self.0.mapping)?,
                    None => false,
                };
                if !whole {
                    self.discard(&path)?;
                    return Ok(None);
                }
                now.put(&handle).at("stamp", &owner)?;
            }
            self.note_checked(Checked::Directory, &layer.0);
        }
        self.note_use(&owner);
        Ok(Some(LayerDir::new(self, path)))
    }

    /// Moves a finished directory to its final name, and writes the tree that says its bytes are there. What is there
    /// already stays, as do the times of a tree that was known before.
    ///
    /// `from` is left where it was if it was not needed.
    pub(crate) fn publish_directory(
        &self,
        from: &Path,
        layer: &LayerId,
        tree: Tree,
    ) -> Result<(LayerDir, Arc<Tree>), FsError> {
        let _publishing = self.publishing(layer)?;
        let known = self.tree(layer)?;
        if let Some(known) = &known
            && let Some(directory) = self.directory(layer)?
        {
            return Ok((directory, Arc::clone(known)));
        }
        let mut tree = tree;
        for (_, entry) in tree.entries_mut() {
            if let Kind::File(file) = &mut entry.kind {
                file.content.place = Place::Here;
            }
        }
        if let Some(known) = &known {
            let timed = with_times_of(&tree, known);
            set_times(from, &tree, &timed, self.0.mapping)?;
            tree = timed;
        }
        // The tree first: one without its directory is a layer whose bytes have gone, which is nothing unusual.
        let tree = self.keep_tree(layer, Arc::new(tree))?;
        let owner = self.make_layer_path(layer)?;
        let path = owner.join("dir");
        let handle = File::open(&owner).at("open", &owner)?;
        Stamp::now().put(&handle).at("stamp", &owner)?;
        if !rename(from, &path, Existing::Keep)? {
            // It has no tree, or the check above would have found it: left by someone killed in between.
            self.discard(&path)?;
            fs::rename(from, &path).at("put in place", &path)?;
        }
        self.note_checked(Checked::Directory, &layer.0);
        Ok((LayerDir::new(self, path), tree))
    }

    /// Opens a file for its bytes. `place` is where an entry at `path` of `layer`'s tree says they are.
    ///
    /// # Errors
    ///
    /// [`OpenContentError::NoDirectory`] if the layer that has the bytes is not laid out;
    /// [`OpenContentError::NotHere`] for bytes that are not the store's: in memory, or in a context.
    pub fn open_content(
        &self,
        place: &Place,
        layer: &LayerId,
        path: &kiln_core::TreePath,
    ) -> Result<File, OpenContentError> {
        let (layer, path) = match place {
            Place::Here => (layer, path),
            Place::Layer { layer, path } => (layer, path),
            Place::Inline(_) | Place::Context { .. } => return Err(OpenContentError::NotHere),
        };
        let Some(directory) = self.directory(layer)? else {
            return Err(OpenContentError::NoDirectory { layer: *layer });
        };
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let root = File::open(directory.path()).at("open the directory", directory.path())?;
        let file = crate::walk::open_below(std::os::fd::AsFd::as_fd(&root), path, flags)
            .at("open", directory.path().join(path.as_os()))?;
        Ok(File::from(file))
    }

    fn note_path(&self, layer: &LayerId, settings: &str) -> PathBuf {
        let name = Digest::of(settings.as_bytes()).short();
        self.layer_path(layer).join(format!("blob-{name}"))
    }

    /// Remembers the blob that `layer` has under `settings`: whatever of compression, times and format version decides
    /// its bytes. The last one noted stays.
    pub fn note_blob(&self, layer: &LayerId, settings: &str, note: &BlobNote) -> Result<(), FsError> {
        self.0.uses.hold(offset_of(&layer.0))?;
        self.make_layer_path(layer)?;
        let text =
            format!("{settings}\n{}\n{}\n{}\n{}\n", note.blob, note.size, note.diff_id, note.media_type);
        let file = sealed::seal("blob note", text.as_bytes());
        self.write_file(&self.note_path(layer, settings), &file, Existing::Replace)?;
        Ok(())
    }

    /// Whether the blob itself is at hand is another question: [`Store::open_blob`].
    pub fn blob_note(&self, layer: &LayerId, settings: &str) -> Result<Option<BlobNote>, FsError> {
        self.0.uses.hold(offset_of(&layer.0))?;
        let path = self.note_path(layer, settings);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("read", path),
        };
        Ok(parse_note(&bytes, settings))
    }
}

/// Why a file's bytes could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenContentError {
    #[error("layer {layer} is not laid out as a directory, so its files cannot be read")]
    NoDirectory { layer: LayerId },
    #[error("the bytes of the file are not in the store")]
    NotHere,
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The blob that a note's file is about.
pub(crate) fn noted_blob(bytes: &[u8]) -> Option<BlobDigest> {
    let text = std::str::from_utf8(sealed::open("blob note", bytes)?).ok()?;
    let lines: Vec<&str> = text.lines().collect();
    // Settings may be of several lines; what follows them is not.
    Some(BlobDigest(lines.get(lines.len().checked_sub(4)?)?.parse().ok()?))
}

fn parse_note(bytes: &[u8], settings: &str) -> Option<BlobNote> {
    let text = std::str::from_utf8(sealed::open("blob note", bytes)?).ok()?;
    let mut lines = text.strip_prefix(settings)?.strip_prefix('\n')?.lines();
    Some(BlobNote {
        blob: BlobDigest(lines.next()?.parse().ok()?),
        size: lines.next()?.parse().ok()?,
        diff_id: DiffId(lines.next()?.parse().ok()?),
        media_type: lines.next()?.to_owned(),
    })
}

fn reads_here(tree: &Tree) -> bool {
    tree.entries()
        .iter()
        .any(|(_, entry)| matches!(&entry.kind, Kind::File(file) if file.content.place == Place::Here))
}

/// `tree` with the times of its equal.
fn with_times_of(tree: &Tree, equal: &Tree) -> Tree {
    let mut tree = tree.clone();
    for (path, entry) in tree.entries_mut() {
        if let Some(other) = equal.get(path) {
            entry.mtime = other.mtime;
        }
    }
    tree
}

fn set_times(directory: &Path, from: &Tree, to: &Tree, mapping: OwnerMapping) -> Result<(), FsError> {
    let mut writer = Writer::new(directory, mapping)?;
    for ((path, before), (_, after)) in from.entries().iter().zip(to.entries()) {
        if before.mtime != after.mtime && !matches!(after.kind, Kind::Whiteout | Kind::Socket) {
            writer.set_times(path, after.mtime)?;
        }
    }
    Ok(())
}

/// Whether a directory holds what its tree says, times apart.
fn is_whole(tree: &Tree, directory: &Path, mapping: OwnerMapping) -> Result<bool, FsError> {
    let found = Tree::new(scan(directory, mapping)?.entries);
    let mut found = found.entries().iter().peekable();
    // The root is always on disk, and in the tree only if the changeset says something of it.
    if tree.get(&kiln_core::TreePath::root()).is_none() {
        found.next();
    }
    for (path, entry) in tree.entries() {
        if entry.kind == Kind::Socket {
            continue;
        }
        match found.next() {
            Some((at, on_disk)) if at == path && stands_for(on_disk, entry, mapping) => {}
            _ => return Ok(false),
        }
    }
    Ok(found.next().is_none())
}

fn stands_for(on_disk: &Entry, entry: &Entry, mapping: OwnerMapping) -> bool {
    let kinds = match (&on_disk.kind, &entry.kind) {
        (Kind::File(a), Kind::File(b)) => a.size == b.size && a.content.digest == b.content.digest,
        (Kind::File(stand_in), Kind::CharDevice { .. } | Kind::BlockDevice { .. }) => {
            mapping == OwnerMapping::User && stand_in.size == 0
        }
        (Kind::Whiteout, Kind::Whiteout) => return true,
        (a, b) => a == b,
    };
    // Some attributes cannot be set everywhere; those that are there must be right.
    let kept = |name: &[u8]| entry.xattrs.iter().flat_map(|x| x.iter()).find(|(n, _)| **n == *name);
    let attributes = on_disk.xattrs.iter().flat_map(|x| x.iter()).all(|found| kept(&found.0) == Some(found));
    kinds
        && attributes
        && (on_disk.mode == entry.mode || matches!(entry.kind, Kind::Symlink(_)))
        && (on_disk.uid, on_disk.gid) == (entry.uid, entry.gid)
}
