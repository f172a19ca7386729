//! Brings a layer into the form that somebody needs: its tree, a directory, or the bytes of one file.
//!
//! A layer is made only once, however many threads ask; what can be had from the store is not made again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_core::merged::Merged;
use kiln_core::tree::{Content, Place};
use kiln_core::{
    BlobDigest, Cancel, Event, EventSink, FileDigest, ImageRef, Kind, LayerId, Stack, Tree, TreePath,
};
use kiln_oci::Descriptor;
use kiln_store::{BlobNote, LayerDir, Store};

use crate::context::LocalContext;
use crate::error::BuildError;
use crate::registries::Registries;

/// The name under which the store notes the blob that a pulled layer came as.
pub(crate) const AS_PULLED: &str = "pulled";

/// Where a layer that is not here yet can be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) image: ImageRef,
    pub(crate) blob: Descriptor,
}

/// Layers and files of one command, in whatever form.
pub(crate) struct Forms<'a> {
    pub(crate) store: &'a Store,
    pub(crate) registries: &'a Registries,
    pub(crate) events: &'a dyn EventSink,
    pub(crate) cancel: &'a Cancel,
    origins: Mutex<HashMap<LayerId, Origin>>,
    contexts: Mutex<Vec<Arc<LocalContext>>>,
    /// Layers that will be wanted as directories.
    expected: Mutex<HashSet<LayerId>>,
    /// One lock per layer that somebody works on.
    busy: Mutex<HashMap<LayerId, Arc<Mutex<()>>>>,
}

impl<'a> Forms<'a> {
    pub(crate) fn new(
        store: &'a Store,
        registries: &'a Registries,
        events: &'a dyn EventSink,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            store,
            registries,
            events,
            cancel,
            origins: Mutex::default(),
            contexts: Mutex::default(),
            expected: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// Says where a layer can be fetched when its bytes are wanted.
    pub(crate) fn add_origin(&self, layer: LayerId, origin: Origin) {
        lock(&self.origins).insert(layer, origin);
    }

    /// Says that these layers will be wanted as directories, so that whoever reads one unpacks it at once.
    pub(crate) fn expect_directories(&self, stack: &Stack) {
        lock(&self.expected).extend(&stack.0);
    }

    /// Gives a context its number, the one that places in its tree carry.
    pub(crate) fn add_context(
        &self,
        make: impl FnOnce(u32) -> Result<LocalContext, BuildError>,
    ) -> Result<Arc<LocalContext>, BuildError> {
        let mut contexts = lock(&self.contexts);
        let number =
            u32::try_from(contexts.len()).unwrap_or_else(|_| unreachable!("four thousand million contexts"));
        let context = Arc::new(make(number)?);
        contexts.push(context.clone());
        Ok(context)
    }

    pub(crate) fn contexts(&self) -> Vec<Arc<LocalContext>> {
        lock(&self.contexts).clone()
    }

    pub(crate) fn context(&self, number: u32) -> Arc<LocalContext> {
        lock(&self.contexts)[number as usize].clone()
    }

    /// Keeps a layer that was made here: its names for good, bytes of a context as long as the context stays as it is.
    pub(crate) fn keep(&self, tree: Tree) -> Result<LayerId, BuildError> {
        let layer = tree.layer_id();
        self.store
            .put_tree(&layer, tree)
            .map_err(|error| BuildError::world(format!("could not keep layer {}", layer.0.short()), error))?;
        Ok(layer)
    }

    pub(crate) fn merged(&self, stack: &Stack) -> Result<Merged, BuildError> {
        let layers = stack.0.iter().map(|layer| Ok((*layer, self.tree(layer)?)));
        Ok(Merged::new(layers.collect::<Result<_, BuildError>>()?))
    }

    /// What the layer holds.
    pub(crate) fn tree(&self, layer: &LayerId) -> Result<Arc<Tree>, BuildError> {
        if let Some(tree) = self.stored_tree(layer)? {
            return Ok(tree);
        }
        self.alone(layer, || match self.stored_tree(layer)? {
            Some(tree) => Ok(tree),
            None => self.unpack(layer, lock(&self.expected).contains(layer)),
        })
    }

    fn stored_tree(&self, layer: &LayerId) -> Result<Option<Arc<Tree>>, BuildError> {
        self.store.tree(layer).map_err(|error| BuildError::world("could not read the store", error))
    }

    /// Whether the layer's bytes can be had without running anything.
    pub(crate) fn has_bytes(&self, layer: &LayerId) -> bool {
        lock(&self.origins).contains_key(layer)
            || matches!(self.store.directory(layer), Ok(Some(_)))
            || self.known_blob(layer).is_some()
            || self.is_elsewhere(layer)
    }

    /// All files of the layer lie in memory, in a context of this build, or in other layers whose bytes can be had.
    fn is_elsewhere(&self, layer: &LayerId) -> bool {
        let Ok(Some(tree)) = self.store.tree(layer) else { return false };
        let mut last = None;
        tree.entries().iter().all(|(_, entry)| match &entry.kind {
            Kind::File(file) => match &file.content.place {
                Place::Layer { layer: other, .. } if last == Some(*other) => true,
                Place::Layer { layer: other, .. } => {
                    last = Some(*other);
                    other != layer && self.has_bytes(other)
                }
                Place::Here => false,
                Place::Context { .. } | Place::Inline(_) => true,
            },
            _ => true,
        })
    }

    /// The layer as a directory in overlay's form.
    pub(crate) fn directory(&self, layer: &LayerId) -> Result<LayerDir, BuildError> {
        let look = || {
            self.store.directory(layer).map_err(|error| BuildError::world("could not read the store", error))
        };
        if let Some(directory) = look()? {
            return Ok(directory);
        }
        self.alone(layer, || {
            if let Some(directory) = look()? {
                return Ok(directory);
            }
            if let Some(tree) = self.stored_tree(layer)?
                && self.is_elsewhere(layer)
            {
                return self.lay_out(layer, &tree);
            }
            self.unpack(layer, true)?;
            look()?.ok_or_else(|| lost(layer))
        })
    }

    fn lay_out(&self, layer: &LayerId, tree: &Tree) -> Result<LayerDir, BuildError> {
        self.directories_for(tree)?;
        self.store
            .lay_out(layer, tree, &|place, path| self.open_outside(place, path))
            .map_err(|error| BuildError::world(format!("could not lay out layer {}", layer.0.short()), error))
    }

    /// Makes directories of the layers in which a tree's files lie.
    pub(crate) fn directories_for(&self, tree: &Tree) -> Result<(), BuildError> {
        let mut made = HashSet::new();
        for (_, entry) in tree.entries() {
            if let Kind::File(file) = &entry.kind
                && let Place::Layer { layer, .. } = &file.content.place
                && made.insert(*layer)
            {
                self.directory(layer)?;
            }
        }
        Ok(())
    }

    /// A file of a context, for the store.
    pub(crate) fn open_outside(&self, place: &Place, path: &TreePath) -> std::io::Result<File> {
        match place {
            Place::Context { context, path } => self.context(*context).open(path),
            _ => Err(std::io::Error::other(format!("`{}` does not lie in a context", path.display()))),
        }
    }

    /// Reads the layer's blob into a tree, and into a directory as well if that is wanted.
    fn unpack(&self, layer: &LayerId, directory: bool) -> Result<Arc<Tree>, BuildError> {
        let note = self.blob_of(layer)?.ok_or_else(|| lost(layer))?;
        let what = if directory { "extracting" } else { "reading" };
        self.task(&format!("{what} layer {}", note.blob.0.short()), |_| {
            let blob = self.open_blob(&note.blob)?;
            let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
                BuildError::world(format!("could not unpack layer {}", note.blob), error)
            };
            let (_, stream) =
                kiln_oci::compression::decompress_any(blob).map_err(|error| failed(error.into()))?;
            let mut unpacking = self.store.unpack(*layer, directory).map_err(|error| failed(error.into()))?;
            let stats = kiln_oci::read_layer(
                Interruptible { inner: stream, cancel: self.cancel },
                &mut unpacking,
                &kiln_oci::Limits::default(),
            )
            .map_err(|error| {
                if self.cancel.is_cancelled() { BuildError::Cancelled } else { failed(error.into()) }
            })?;
            if stats.diff_id != note.diff_id {
                return Err(BuildError::plain(
                    format!(
                        "layer {} holds {}, and not {} as its image says",
                        note.blob, stats.diff_id, note.diff_id
                    ),
                    "the image is damaged where it came from; pull it again or from elsewhere",
                ));
            }
            Ok(unpacking.finish().map_err(|error| failed(error.into()))?.1)
        })
    }

    /// A blob of the layer that is in the store.
    fn known_blob(&self, layer: &LayerId) -> Option<BlobNote> {
        let settings = [AS_PULLED, crate::export::PLAIN_BLOB];
        let notes =
            settings.iter().filter_map(|settings| self.store.blob_note(layer, settings).ok().flatten());
        notes.into_iter().find(|note| self.store.has_blob(&note.blob))
    }

    /// A blob of the layer that can be had, fetched if need be.
    pub(crate) fn blob_of(&self, layer: &LayerId) -> Result<Option<BlobNote>, BuildError> {
        if let Some(note) = self.known_blob(layer) {
            return Ok(Some(note));
        }
        let Some(origin) = lock(&self.origins).get(layer).cloned() else { return Ok(None) };
        self.fetch(&origin)?;
        let note = BlobNote {
            blob: origin.blob.digest,
            size: origin.blob.size,
            diff_id: kiln_core::DiffId(layer.0),
            media_type: origin.blob.media_type.clone(),
        };
        self.store
            .note_blob(layer, AS_PULLED, &note)
            .map_err(|error| BuildError::world("could not write to the store", error))?;
        Ok(Some(note))
    }

    /// Fetches a blob of an image unless it is here.
    fn fetch(&self, origin: &Origin) -> Result<(), BuildError> {
        if self.store.has_blob(&origin.blob.digest) {
            return Ok(());
        }
        let what = format!("pulling {} {}", origin.image.familiar(), origin.blob.digest.0.short());
        self.task(&what, |id| {
            let mut writer = self
                .store
                .blob_writer()
                .map_err(|error| BuildError::world("could not write to the store", error))?;
            self.registries.fetch(&origin.image, &origin.blob, &mut writer, &mut |current| {
                self.events.emit(Event::Progress { id, current, total: origin.blob.size });
            })?;
            writer
                .commit(Some(origin.blob.digest))
                .map_err(|error| BuildError::world("could not write to the store", error))?;
            Ok(())
        })
    }

    pub(crate) fn open_blob(&self, blob: &BlobDigest) -> Result<File, BuildError> {
        self.store
            .open_blob(blob)
            .map_err(|error| BuildError::world("could not read the store", error))?
            .map(kiln_store::BlobFile::into_file)
            .ok_or_else(|| {
                BuildError::plain(format!("the store has no blob {blob}"), "build or load the image again")
            })
    }

    /// The bytes of a file: `content` as it stands in the tree of `layer`, under `path`.
    pub(crate) fn open(
        &self,
        layer: Option<&LayerId>,
        path: &TreePath,
        content: &Content,
    ) -> Result<Bytes, BuildError> {
        let (layer, path) = match (&content.place, layer) {
            (Place::Inline(bytes), _) => return Ok(Bytes::Memory(Cursor::new(bytes.clone()))),
            (Place::Context { context, path }, _) => {
                let file = self.context(*context).open(path);
                return file.map(Bytes::File).map_err(|error| {
                    BuildError::world(format!("could not read `{}`", path.display()), error)
                });
            }
            (Place::Layer { layer, path }, _) => (layer, path),
            (Place::Here, Some(layer)) => (layer, path),
            (Place::Here, None) => unreachable!("`{}` lies in a layer without a name", path.display()),
        };
        self.directory(layer)?;
        self.store
            .open_content(&Place::Here, layer, path)
            .map(Bytes::File)
            .map_err(|error| BuildError::world(format!("could not read `{}`", path.display()), error))
    }

    /// As [`Forms::open`], for a file that lies where people change files: what is read is compared with its digest.
    pub(crate) fn open_checked(
        &self,
        layer: Option<&LayerId>,
        path: &TreePath,
        file: &kiln_core::tree::File,
    ) -> Result<Checked, BuildError> {
        let outside = matches!(file.content.place, Place::Context { .. });
        Ok(Checked {
            inner: self.open(layer, path, &file.content)?,
            hash: file.content.digest.filter(|_| outside).map(|expected| (blake3::Hasher::new(), expected)),
        })
    }

    /// Runs `work` as a task of its own in the progress.
    pub(crate) fn task<T, E>(&self, what: &str, work: impl FnOnce(u64) -> Result<T, E>) -> Result<T, E> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.events.emit(Event::Begin { id, what: what.to_owned() });
        let result = work(id);
        self.events.emit(Event::End { id, ok: result.is_ok() });
        result
    }

    /// Runs `work` while no other thread of this build works on the layer.
    fn alone<T>(
        &self,
        layer: &LayerId,
        work: impl FnOnce() -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let turn = lock(&self.busy).entry(*layer).or_default().clone();
        let _turn = lock(&turn);
        work()
    }
}

/// A manifest, index or configuration of the store.
pub(crate) fn read_document(store: &Store, digest: &BlobDigest) -> Result<Vec<u8>, BuildError> {
    store
        .read_blob(digest, kiln_oci::document::MAX_DOCUMENT_BYTES)
        .map_err(|error| BuildError::world("could not read the store", error))?
        .ok_or_else(|| {
            BuildError::plain(format!("the store has no {digest}"), "build, pull or load the image again")
        })
}

/// A file's bytes, wherever they lie.
pub(crate) enum Bytes {
    File(File),
    Memory(Cursor<Arc<[u8]>>),
}

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Bytes {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

/// A file's bytes on their way, compared with what was planned.
pub(crate) struct Checked {
    inner: Bytes,
    hash: Option<(blake3::Hasher, FileDigest)>,
}

impl Checked {
    /// Call when everything was read.
    pub(crate) fn finish(self, path: &TreePath) -> Result<(), BuildError> {
        match self.hash {
            Some((hasher, expected)) if *hasher.finalize().as_bytes() != expected.0 => {
                Err(BuildError::plain(
                    format!("`{}` changed while it was being used", path.display()),
                    "build again",
                ))
            }
            _ => Ok(()),
        }
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some((hasher, _)) = &mut self.hash {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

/// Ends a long read when the build is cancelled.
pub(crate) struct Interruptible<'a, R> {
    pub(crate) inner: R,
    pub(crate) cancel: &'a Cancel,
}

impl<R: Read> Read for Interruptible<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(std::io::Error::other("interrupted"));
        }
        self.inner.read(buffer)
    }
}

impl<R: Seek> Seek for Interruptible<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.inner.seek(to)
    }
}

fn lost(layer: &LayerId) -> BuildError {
    BuildError::plain(
        format!("the store has lost the bytes of layer {}", layer.0.short()),
        "build again with --no-cache, or pull with --pull",
    )
}

/// An error with its causes in one line.
pub(crate) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
