//! Lists a build context, and names its files without reading the unchanged ones again.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use kiln_core::ignore::{Descend, Ignore, Level};
use kiln_core::tree::{Content, File as TreeFile, Place, Xattrs};
use kiln_core::{Digest, Entry, FileDigest, Kind, Tree, TreePath};
use rustix::fs::{FileType, OFlags, Statx, readlinkat};
use rustix::io::Errno;

use crate::attributes::{self, On};
use crate::content::{Hashed, hash_all};
use crate::fault::{At, FsError};
use crate::scan::mtime;
use crate::stat_index::{Identity, Known, StatIndex, now};
use crate::store::Store;
use crate::temp::Existing;
use crate::walk::{self, Gather, Job, More, WalkError, names, on, open_below, stat_at, stat_fd};

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
    fresh: BTreeMap<TreePath, (Known, bool)>,
    /// Which of the known entries the last walk met unchanged.
    seen: Option<Vec<bool>>,
    unsaved: bool,
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
        let lister = || Listing(Lister { number, items: Vec::new() }, std::marker::PhantomData);
        let top = ignore.top();
        let (listers, known) = std::thread::scope(|scope| {
            // Only a thread's start is paid for an index that is small, and a large one is read meanwhile.
            let loading = scope.spawn(|| self.known());
            let listers = walk::walk(self.handle.as_fd(), Some((top, false)), lister);
            let known = loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (listers, known)
        });
        let mut items: Vec<Item> = Vec::new();
        for Listing(lister, _) in listers.map_err(|e| e.below(&self.root))? {
            if items.is_empty() {
                items = lister.items;
            } else {
                items.extend(lister.items);
            }
        }
        items.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        drop_empty(&mut items);
        join_links(&mut items);

        let mut seen = vec![false; known.len()];
        let mut cursor = known.cursor();
        let mut entries = Vec::with_capacity(items.len());
        for mut item in items {
            if let (Kind::File(file), Some(identity)) = (&mut item.entry.kind, &item.identity)
                && let Some((at, known)) = cursor.find(&item.path)
                && known.identity == *identity
            {
                seen[at] = true;
                file.content.digest = Some(known.digest);
                item.entry.xattrs = known.xattrs.clone();
            }
            entries.push((item.path, item.entry));
        }
        self.state().seen = Some(seen);
        Ok(Tree::new(entries))
    }

    /// Opens a file for its bytes; a path through a link is refused.
    pub fn open(&self, path: &TreePath) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(File::from(open_below(self.handle.as_fd(), path, flags)?))
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
                state.fresh.insert(path, (known, settled));
                named[at] = Some((digest, xattrs));
            }
            missing = again;
        }
        if let Some(at) = missing.first() {
            return Err(ContextError::Changing { path: self.root.join(paths[*at].as_os()) });
        }
        Ok(named.into_iter().flatten().collect())
    }

    fn remembered(&self, path: &TreePath) -> io::Result<Option<Named>> {
        let state = self.state();
        let fresh = state.fresh.get(path).map(|(known, settled)| (known, *settled));
        let Some((known, settled)) = fresh.or_else(|| Some((self.known().get(path)?, true))) else {
            return Ok(None);
        };
        // Read in this build a moment after it was written: it may have been written once more since.
        if !settled {
            return Ok(None);
        }
        let now =
            walk::open_below(self.handle.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW).and_then(stat_fd)?;
        Ok((Identity::of(&now) == known.identity).then(|| (known.digest, known.xattrs.clone())))
    }

    /// Writes down what was read, for the next build. Nothing is written if nothing was.
    pub fn save(&self) -> Result<(), FsError> {
        let mut state = self.state();
        if !state.unsaved {
            return Ok(());
        }
        let settled = state.fresh.iter().filter(|(_, (_, settled))| *settled);
        let fresh = settled.map(|(path, (known, _))| (path.clone(), known.clone())).collect();
        let renewed = self.known().renewed(fresh, state.seen.as_deref());
        let bytes = renewed.encode(self.root.as_os_str().as_bytes());
        self.store.write_file(&self.file(), &bytes, Existing::Replace)?;
        state.unsaved = false;
        Ok(())
    }
}

struct Item {
    path: TreePath,
    entry: Entry,
    /// Of a regular file.
    identity: Option<Identity>,
    /// Of a file with further names, somewhere.
    inode: Option<(u32, u32, u64)>,
    /// A directory that is left out, unless something in it is not.
    tentative: bool,
}

struct Lister {
    number: u32,
    items: Vec<Item>,
}

/// What an ignore list still says in a directory, and whether the directory itself is left out; `None` where it says
/// nothing any more.
type Rules<'a> = Option<(Level<'a>, bool)>;

/// A lister with the lifetime of the list it goes by.
struct Listing<'a>(Lister, std::marker::PhantomData<&'a Ignore>);

impl<'a> Gather for Listing<'a> {
    type State = Rules<'a>;

    fn directory(
        &mut self,
        dir: &OwnedFd,
        job: Job<Rules<'a>>,
        more: &mut More<Self>,
    ) -> Result<(), WalkError> {
        let (level, tentative) = match &job.state {
            Some((level, left_out)) => (Some(level), *left_out),
            None => (None, false),
        };
        let path = &job.path;
        if !path.is_root() {
            let stat = stat_fd(dir).map_err(on("look at", path))?;
            let attributes = attributes::read(On::Open(dir.as_fd()), crate::OwnerMapping::Root);
            let attributes = attributes.map_err(|source| WalkError {
                action: "read attributes of",
                path: path.clone(),
                source,
            })?;
            let mut entry = self.0.entry(&stat, Kind::Directory { opaque: false });
            entry.xattrs = of_a_context(attributes.content);
            let path = path.clone();
            self.0.items.push(Item { path, entry, identity: None, inode: None, tentative });
        }
        names(dir, path, |name, kind| {
            let path = path.join(name.to_bytes());
            if kind == FileType::Directory {
                enter(level, path, more);
                return Ok(());
            }
            // A type that the listing does not tell may be a directory's.
            if kind != FileType::Unknown && level.is_some_and(|level| level.excludes(&path)) {
                return Ok(());
            }
            let stat = match stat_at(dir, name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(e) => return Err(on("look at", &path)(e)),
            };
            if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory {
                enter(level, path, more);
            } else if kind != FileType::Unknown || !level.is_some_and(|level| level.excludes(&path)) {
                self.0.child(dir, path, name, &stat)?;
            }
            Ok(())
        })
    }
}

fn enter<'a>(level: Option<&Level<'a>>, path: TreePath, more: &mut Vec<Job<Rules<'a>>>) {
    let state = match level.map(|level| level.enter(&path)) {
        None | Some((false, Descend::No)) => None,
        Some((true, Descend::No)) => return,
        Some((left_out, Descend::Yes(level))) => Some((level, left_out)),
    };
    more.push(Job { path, state });
}

impl Lister {
    fn entry(&self, stat: &Statx, kind: Kind) -> Entry {
        Entry {
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: 0,
            gid: 0,
            mtime: mtime(stat),
            xattrs: None,
        }
    }

    fn child(&mut self, dir: &OwnedFd, path: TreePath, name: &CStr, stat: &Statx) -> Result<(), WalkError> {
        let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let mut identity = None;
        let mut inode = None;
        let file = |size, content| Kind::File(TreeFile { size, content });
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => {
                identity = Some(Identity::of(stat));
                if stat.stx_nlink > 1 {
                    inode = Some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino));
                }
                let place = Place::Context { context: self.number, path: path.clone() };
                file(stat.stx_size, Content { digest: None, place })
            }
            FileType::Symlink => match readlinkat(dir, name, Vec::new()) {
                Ok(target) => Kind::Symlink(target.into_bytes().into()),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
                Err(e) => return Err(on("read the link", &path)(e)),
            },
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            FileType::Fifo => Kind::Fifo,
            _ => {
                let place = Place::Inline(Arc::from([]));
                file(0, Content { digest: Some(FileDigest::of(&[])), place })
            }
        };
        let entry = self.entry(stat, kind);
        self.items.push(Item { path, entry, identity, inode, tentative: false });
        Ok(())
    }
}

/// Takes out directories that were only looked through.
fn drop_empty(items: &mut Vec<Item>) {
    if !items.iter().any(|item| item.tentative) {
        return;
    }
    let mut needed = std::collections::HashSet::new();
    let mut kept = vec![true; items.len()];
    for (item, kept) in items.iter().zip(&mut kept).rev() {
        *kept = !item.tentative || needed.contains(&item.path);
        if *kept {
            needed.extend(item.path.parent());
        }
    }
    let mut kept = kept.into_iter();
    items.retain(|_| kept.next().unwrap_or(true));
}

/// Of several names of one file the first in order holds it.
fn join_links(items: &mut [Item]) {
    let mut holders: HashMap<(u32, u32, u64), TreePath> = HashMap::new();
    for item in items {
        let Some(inode) = item.inode else { continue };
        match holders.get(&inode) {
            Some(holder) => {
                item.entry.kind = Kind::Link(holder.clone());
                item.identity = None;
            }
            None => drop(holders.insert(inode, item.path.clone())),
        }
    }
}

/// What an image takes over from the attributes on somebody's disk: capabilities and what programs put there, not
/// labels and access lists of the machine.
fn of_a_context(xattrs: Option<Box<Xattrs>>) -> Option<Box<Xattrs>> {
    let mut xattrs = xattrs?;
    xattrs.retain(|(name, _)| name.starts_with(b"user.") || **name == *b"security.capability");
    (!xattrs.is_empty()).then_some(xattrs)
}
