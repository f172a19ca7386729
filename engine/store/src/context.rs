//! Lists a build context, and names its files without reading the unchanged ones again.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use kiln_core::ignore::Ignore;
use kiln_core::tree::Xattrs;
use kiln_core::{Digest, FileDigest, Tree, TreePath};
use rustix::fs::OFlags;

use crate::content::{Hashed, hash_all};
use crate::fault::{At, FsError};
use crate::listing::list;
use crate::stat_index::{Identity, Known, StatIndex, now};
use crate::store::Store;
use crate::temp::Existing;
use crate::walk::{open_below, stat_fd};

/// Times a file is read again that changes under the reader's eyes.
const MAX_READS: usize = 3;

/// A local directory that builds read from, and what is remembered of its files.
#[derive(Debug)]
pub struct ContextIndex {
    store: Store,
    root: PathBuf,
    handle: OwnedFd,
    id: Digest,
    known: OnceLock<StatIndex>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Read in this build. The flag: it may be remembered for the next one.
    /// In the order of paths. One piece of memory, which is given back as a whole once it was written down.
    fresh: Vec<(TreePath, Known, bool)>,
    /// Which of the known entries the last walk met unchanged.
    seen: Option<Vec<bool>>,
    unsaved: bool,
    /// What was read until then is on disk and not here any more.
    saved: bool,
}

impl State {
    /// After something was added: of what was read twice the later counts.
    fn put_in_order(&mut self) {
        if !self.fresh.is_sorted_by(|a, b| a.0 < b.0) {
            self.fresh.sort_by(|a, b| a.0.cmp(&b.0));
            self.fresh.reverse();
            self.fresh.dedup_by(|earlier, later| earlier.0 == later.0);
            self.fresh.reverse();
        }
    }
}

/// What reading a file told: its digest, and those of its attributes that are part of an image.
pub type Named = (FileDigest, Option<Box<Xattrs>>);

/// Why a file of a context could not be named.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("`{}` keeps changing while it is read; build again when nothing writes to it", path.display())]
    Changing { path: PathBuf },
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Store {
    /// What is remembered of the directory `root`. Nothing of it is looked at yet.
    pub fn context(&self, root: &Path) -> Result<ContextIndex, FsError> {
        let root = fs::canonicalize(root).at("resolve", root)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle =
            rustix::fs::open(&root, flags, rustix::fs::Mode::empty()).at("open the directory", &root)?;
        Ok(ContextIndex {
            store: self.clone(),
            id: Digest::of(root.as_os_str().as_bytes()),
            root,
            handle,
            known: OnceLock::new(),
            state: Mutex::default(),
        })
    }
}

impl ContextIndex {
    /// Absolute, with no link in it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Of the root's path: the name under which things are remembered of this context.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    fn file(&self) -> PathBuf {
        self.store.0.root.join("contexts").join(self.id.hex())
    }

    /// One that cannot be read knows nothing.
    fn known(&self) -> &StatIndex {
        self.known.get_or_init(|| {
            let bytes = fs::read(self.file()).unwrap_or_default();
            StatIndex::decode(&bytes, self.root.as_os_str().as_bytes()).unwrap_or_default()
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists everything that `ignore` does not leave out, reading no file.
    ///
    /// `number` is the driver's for this context, for [`Place::Context`]. Owners are root's whoever owns the files.
    /// Files that are known have digests and attributes; the others none. Of several names of one file the first in
    /// order holds it. A directory that is left out is there all the same if something in it is not. Sockets are empty
    /// files (spec/dockerfile.md §12.5). What vanishes during the walk was never there.
    pub fn walk(&self, number: u32, ignore: &Ignore) -> Result<Tree, FsError> {
        let known = self.known();
        let (tree, met) =
            list(self.handle.as_fd(), number, ignore, known).map_err(|e| e.below(&self.root))?;
        let mut seen = vec![false; known.len()];
        for at in met {
            seen[at as usize] = true;
        }
        self.state().seen = Some(seen);
        Ok(tree)
    }

    /// Opens a regular file for its bytes; a path through a link is refused.
    pub fn open(&self, path: &TreePath) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::from(open_below(self.handle.as_fd(), path, flags)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file any more"));
        }
        Ok(file)
    }

    /// The digest of a file as it is now, read only if what is remembered of it does not hold any more.
    pub fn digest(&self, path: &TreePath) -> Result<FileDigest, ContextError> {
        let mut named = self.name_all(std::slice::from_ref(path))?;
        match named.pop() {
            Some((digest, _)) => Ok(digest),
            None => unreachable!("one path has one answer"),
        }
    }

    /// Digests and attributes of many files, several read at a time. The answers come in the order of `paths`.
    pub fn name_all(&self, paths: &[TreePath]) -> Result<Vec<Named>, ContextError> {
        let mut named: Vec<Option<Named>> = Vec::with_capacity(paths.len());
        let mut missing = Vec::new();
        for (at, path) in paths.iter().enumerate() {
            let found = self.remembered(path).at("look at", self.root.join(path.as_os()))?;
            if found.is_none() {
                missing.push(at);
            }
            named.push(found);
        }
        for _ in 0..MAX_READS {
            if missing.is_empty() {
                break;
            }
            let unread: Vec<TreePath> = missing.iter().map(|at| paths[*at].clone()).collect();
            let reading = now();
            let read = hash_all(self.handle.as_fd(), &unread, self.store.mapping());
            let mut again = Vec::new();
            let mut state = self.state();
            for ((at, path), result) in missing.into_iter().zip(unread).zip(read) {
                let Hashed { digest, attributes, before, after } = result.map_err(|e| e.below(&self.root))?;
                let identity = Identity::of(&before);
                if identity != Identity::of(&after) {
                    again.push(at);
                    continue;
                }
                let xattrs = of_a_context(attributes.content);
                let known = Known::new(identity, digest, xattrs.clone());
                // All of a batch counts as read when the first of it was.
                let settled = identity.is_settled(reading);
                state.unsaved |= settled;
                state.fresh.push((path, known, settled));
                named[at] = Some((digest, xattrs));
            }
            state.put_in_order();
            missing = again;
        }
        if let Some(at) = missing.first() {
            return Err(ContextError::Changing { path: self.root.join(paths[*at].as_os()) });
        }
        Ok(named.into_iter().flatten().collect())
    }

    fn remembered(&self, path: &TreePath) -> io::Result<Option<Named>> {
        let state = self.state();
        let fresh =
            state.fresh.binary_search_by(|(known, ..)| known.cmp(path)).ok().map(|at| &state.fresh[at]);
        let fresh = fresh.map(|(_, known, settled)| (known, *settled));
        let Some((known, settled)) = fresh.or_else(|| Some((self.known().get(path)?, true))) else {
            return Ok(None);
        };
        // Read in this build a moment after it was written: it may have been written once more since.
        if !settled {
            return Ok(None);
        }
        let now = open_below(self.handle.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW).and_then(stat_fd)?;
        Ok((Identity::of(&now) == known.identity).then(|| (known.digest, known.xattrs.clone())))
    }

    /// Writes down what was read, for the next build. Nothing is written if nothing was.
    ///
    /// What was written is forgotten here, for it takes much memory: call this once, when most has been read. A file
    /// that is asked for again is read again.
    pub fn save(&self) -> Result<(), FsError> {
        let mut state = self.state();
        if !std::mem::take(&mut state.unsaved) || std::mem::replace(&mut state.saved, true) {
            return Ok(());
        }
        let all = std::mem::take(&mut state.fresh);
        let fresh = all.into_iter().filter(|(.., settled)| *settled).map(|(path, known, _)| (path, known));
        let renewed = self.known().renewed(fresh.collect(), state.seen.as_deref());
        let bytes = renewed.encode(self.root.as_os_str().as_bytes());
        drop(renewed);
        self.store.write_file(&self.file(), &bytes, Existing::Replace)?;
        Ok(())
    }
}

/// What an image takes over from the attributes on somebody's disk: capabilities and what programs put there, not
/// labels and access lists of the machine.
pub(crate) fn of_a_context(xattrs: Option<Box<Xattrs>>) -> Option<Box<Xattrs>> {
    let mut xattrs = xattrs?;
    xattrs.retain(|(name, _)| name.starts_with(b"user.") || **name == *b"security.capability");
    (!xattrs.is_empty()).then_some(xattrs)
}
