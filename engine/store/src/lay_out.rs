//! Makes the directory form of a tree: every file with its bytes, metadata in the order that keeps it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_core::tree::Place;
use kiln_core::{Entry, Kind, LayerId, Tree, TreePath};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::content::{self, BUFFER, Copied};
use crate::fault::{At, FsError};
use crate::layer::LayerDir;
use crate::scan::mtime;
use crate::store::{OwnerMapping, Store};
use crate::temp::Temp;
use crate::walk::{open_below, open_directory, stat_fd, threads};
use crate::writing::Writer;

/// Neighbouring files that one thread writes at once: they share a directory, mostly.
const BATCH: usize = 32;

/// Opens a file that is not the store's, for a place in a context: at its start, for reading.
pub type OpenOutside<'a> = &'a (dyn Fn(&Place, &TreePath) -> io::Result<File> + Sync);

/// Why a tree could not be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayOutError {
    #[error("`{}` changed while it was being used; build again", path.display())]
    Changed { path: TreePath },
    #[error("could not read `{}`", path.display())]
    Read { path: TreePath, source: io::Error },
    #[error("the bytes of `{}` are in layer {layer}, which is not laid out as a directory", path.display())]
    NoDirectory { path: TreePath, layer: LayerId },
    #[error("`{}` has no digest", path.display())]
    NotHashed { path: TreePath },
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Store {
    /// Makes the directory form of `layer` unless there is one. Afterwards the tree says that the bytes are here.
    ///
    /// `tree` is the layer's; bytes in other layers are taken from their directories, which must exist; `outside` is
    /// asked for the rest.
    ///
    /// # Errors
    ///
    /// [`LayOutError::Changed`] names the first file whose bytes are not those of its digest.
    pub fn lay_out(
        &self,
        layer: &LayerId,
        tree: &Tree,
        outside: OpenOutside<'_>,
    ) -> Result<LayerDir, LayOutError> {
        if let Some(directory) = self.directory(layer)? {
            return Ok(directory);
        }
        let temp = Temp::directory(&self.0)?;
        write_tree(self, temp.path(), layer, tree, Inodes::Shared, outside)?;
        Ok(self.publish_directory(temp.path(), layer, tree.clone())?.0)
    }
}

impl Store {
    /// Fills the empty directory `to`, one of the store's that is no layer (a new cache mount), with a whole tree in
    /// which every place is absolute. What is there may be written to later, so all of it is copies.
    pub fn write_into(&self, to: &Path, tree: &Tree, outside: OpenOutside<'_>) -> Result<(), LayOutError> {
        write_tree(self, to, &tree.layer_id(), tree, Inodes::Own, outside)
    }
}

/// Whether files may be further names of files in layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inodes {
    /// For what never changes again.
    Shared,
    Own,
}

/// Fills the empty directory at `to`.
pub(crate) fn write_tree(
    store: &Store,
    to: &Path,
    layer: &LayerId,
    tree: &Tree,
    inodes: Inodes,
    outside: OpenOutside<'_>,
) -> Result<(), LayOutError> {
    let mut writer = Writer::new(to, store.mapping())?;
    let mut files = Vec::new();
    for (path, entry) in tree.entries() {
        match &entry.kind {
            Kind::Directory { .. } if path.is_root() => {}
            Kind::Directory { .. } => writer.make_directory(path)?,
            Kind::File(_) => files.push((path, entry)),
            Kind::Link(_) | Kind::Whiteout => {}
            _ => writer.make_node(path, entry)?,
        }
    }
    write_files(store, to, layer, &files, inodes, outside)?;
    for (path, entry) in tree.entries() {
        match &entry.kind {
            Kind::Link(target) => writer.make_link(target, path)?,
            Kind::Whiteout => writer.make_whiteout(path)?,
            _ => {}
        }
    }
    for (path, entry) in tree.entries().iter().rev() {
        if entry.is_directory() {
            writer.settle_directory(path, entry)?;
        }
    }
    if tree.get(&TreePath::root()).is_none() {
        writer.settle_directory(&TreePath::root(), &Entry::directory())?;
    }
    Ok(())
}

/// Several at a time; their directories exist.
fn write_files(
    store: &Store,
    to: &Path,
    layer: &LayerId,
    files: &[(&TreePath, &Entry)],
    inodes: Inodes,
    outside: OpenOutside<'_>,
) -> Result<(), LayOutError> {
    let joined = Mutex::default();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut laying = Laying {
            store,
            writer: Writer::new(to, store.mapping())?,
            own: layer,
            sources: HashMap::new(),
            inodes,
            joined: &joined,
            outside,
            buffer: vec![0; BUFFER],
        };
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(rest) = files.get(start..).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            for (path, entry) in rest.iter().take(BATCH) {
                if let Err(e) = laying.file(path, entry) {
                    // The others need go no further.
                    next.store(files.len(), Ordering::Relaxed);
                    return Err(e);
                }
            }
        }
    };
    let threads = if files.len() > BATCH { threads() } else { 1 };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            let result = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done = done.and(result);
        }
        done
    })
}

struct Laying<'a> {
    store: &'a Store,
    writer: Writer,
    own: &'a LayerId,
    /// The directories of layers that bytes were taken from, with the one in each that was used last.
    sources: HashMap<LayerId, Source>,
    inodes: Inodes,
    /// Inodes of other layers that have a name here. A second one would be a hard link in the image.
    joined: &'a Mutex<HashSet<u64>>,
    outside: OpenOutside<'a>,
    buffer: Vec<u8>,
}

struct Source {
    root: OwnedFd,
    last: Option<(TreePath, OwnedFd)>,
}

impl Source {
    fn parent(&mut self, path: &TreePath) -> rustix::io::Result<BorrowedFd<'_>> {
        let parent = path.parent().unwrap_or_default();
        if self.last.as_ref().is_none_or(|(last, _)| *last != parent) {
            let fd = open_directory(self.root.as_fd(), &parent)?;
            self.last = Some((parent, fd));
        }
        match &self.last {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => unreachable!("the directory was opened just now"),
        }
    }
}

impl Laying<'_> {
    fn file(&mut self, path: &TreePath, entry: &Entry) -> Result<(), LayOutError> {
        let Kind::File(file) = &entry.kind else {
            unreachable!("only files have bytes");
        };
        let digest = file.content.digest.ok_or_else(|| LayOutError::NotHashed { path: path.clone() })?;
        let read = |source| LayOutError::Read { path: path.clone(), source };
        match &file.content.place {
            Place::Inline(bytes) => {
                let to = self.writer.create_file(path)?;
                (&to).write_all(bytes).at("write the file", self.writer.full(path))?;
                self.writer.settle(to.as_fd(), path, entry)?;
            }
            Place::Here => self.bytes_in_layer(path, entry, *self.own, path)?,
            Place::Layer { layer, path: there } => self.bytes_in_layer(path, entry, *layer, there)?,
            place @ Place::Context { .. } => {
                let from = (self.outside)(place, path).map_err(read)?;
                let to = self.writer.create_file(path)?;
                let copied = content::copy(&from, &to, file.size, &mut self.buffer)
                    .at("copy a file of the context to", self.writer.full(path))?;
                let (found, size) = match copied {
                    Copied::Read(found, size) => (found, size),
                    // The kernel copied: what counts is what has arrived.
                    Copied::Unseen(size) => {
                        io::Seek::rewind(&mut &to).at("read", self.writer.full(path))?;
                        let found = content::hash_file(&to, size, &mut self.buffer);
                        (found.at("read", self.writer.full(path))?, size)
                    }
                };
                if (found, size) != (digest, file.size) {
                    return Err(LayOutError::Changed { path: path.clone() });
                }
                self.writer.settle(to.as_fd(), path, entry)?;
            }
        }
        Ok(())
    }

    /// From the directory of a layer, which never changes: a link where inode and entry would agree in everything, else
    /// a copy.
    fn bytes_in_layer(
        &mut self,
        path: &TreePath,
        entry: &Entry,
        layer: LayerId,
        there: &TreePath,
    ) -> Result<(), LayOutError> {
        let source = match self.sources.entry(layer) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let Some(directory) = self.store.directory(&layer)? else {
                    return Err(LayOutError::NoDirectory { path: path.clone(), layer });
                };
                let root = File::open(directory.path()).at("open the directory", directory.path())?;
                new.insert(Source { root: root.into(), last: None })
            }
        };
        let read = |errno: Errno| LayOutError::Read { path: path.clone(), source: errno.into() };
        let parent = source.parent(there).map_err(read)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let name = TreePath::root().join(there.name());
        let from = File::from(open_below(parent, &name, flags).map_err(read)?);
        let stat = stat_fd(&from).map_err(read)?;
        let Kind::File(file) = &entry.kind else {
            unreachable!("only files have bytes");
        };
        if stat.stx_size != file.size {
            return Err(LayOutError::Changed { path: path.clone() });
        }
        let same = self.inodes == Inodes::Shared
            && u32::from(stat.stx_mode) & 0o7777 == entry.mode
            && (stat.stx_uid, stat.stx_gid) == (entry.uid, entry.gid)
            && mtime(&stat) == entry.mtime
            && attributes_agree(&from, entry, self.store.mapping());
        if same && self.store.mapping() == OwnerMapping::Root && join(self.joined, stat.stx_ino) {
            match self.writer.link_from(parent, there.name(), path) {
                Ok(()) => return Ok(()),
                // Too many names already, or none allowed here: a copy does as well.
                Err(e)
                    if matches!(
                        e.source.raw_os_error().map(Errno::from_raw_os_error),
                        Some(Errno::MLINK | Errno::PERM | Errno::XDEV)
                    ) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let to = self.writer.create_file(path)?;
        content::copy(&from, &to, file.size, &mut self.buffer)
            .at("copy a file of a layer to", self.writer.full(path))?;
        self.writer.settle(to.as_fd(), path, entry)?;
        Ok(())
    }
}

/// Whether an inode has no name here yet; it has one from now on.
fn join(joined: &Mutex<HashSet<u64>>, inode: u64) -> bool {
    joined.lock().unwrap_or_else(PoisonError::into_inner).insert(inode)
}

fn attributes_agree(from: &File, entry: &Entry, mapping: OwnerMapping) -> bool {
    let on = crate::attributes::On::Open(from.as_fd());
    crate::attributes::read(on, mapping)
        .is_ok_and(|found| found.content == entry.xattrs && found.stray.is_empty())
}
