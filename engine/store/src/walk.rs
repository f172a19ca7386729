//! Walks a directory tree, several directories at a time, reading names and metadata only.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};

use kiln_core::TreePath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Statx, StatxFlags, openat2, statx};
use rustix::io::Errno;

/// Directories that one thread reads before it asks for company.
const ALONE: usize = 24;
const LISTING: usize = 32 << 10;
/// Linux's `PATH_MAX` with its zero byte: a longer path cannot be opened in one go.
pub(crate) const MAX_PATH: usize = 4095;

/// Something that happened to one path.
#[derive(Debug)]
pub(crate) struct WalkError {
    pub(crate) action: &'static str,
    pub(crate) path: TreePath,
    pub(crate) source: io::Error,
}

impl WalkError {
    /// With the path as it is on disk.
    pub(crate) fn below(self, root: &std::path::Path) -> crate::fault::FsError {
        crate::fault::FsError { action: self.action, path: root.join(self.path.as_os()), source: self.source }
    }
}

pub(crate) fn on(action: &'static str, path: &TreePath) -> impl FnOnce(Errno) -> WalkError {
    let path = path.clone();
    move |errno| WalkError { action, path, source: errno.into() }
}

/// Half of the machine's processors or two, if it has as many: the disk and the page cache give no more.
pub(crate) fn threads() -> usize {
    let processors = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize);
    (processors / 2).max(2).min(processors).min(8)
}

/// Opens a path below `root` without following a link anywhere in it.
pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    path: &TreePath,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let name: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
    loop {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(root, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename elsewhere while the kernel looked.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &TreePath) -> rustix::io::Result<OwnedFd> {
    open_below(root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

pub(crate) fn stat_at(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(dir, name, flags, StatxFlags::BASIC_STATS)
}

/// What one thread gathers.
pub(crate) trait Gather: Send + Sized {
    /// What is to be known of a directory before it is looked at.
    type State: Send;

    /// Looks at one directory. Directories pushed on `more` are looked at later, by whichever thread is free.
    fn directory(
        &mut self,
        dir: &OwnedFd,
        job: Job<Self::State>,
        more: &mut More<Self>,
    ) -> Result<(), WalkError>;
}

/// A directory to be looked at.
pub(crate) struct Job<S> {
    pub(crate) path: TreePath,
    pub(crate) state: S,
}

pub(crate) type More<G> = Vec<Job<<G as Gather>::State>>;

/// Calls `each` with every name in `dir` but `.` and `..`, in the file system's order.
pub(crate) fn names(
    dir: &OwnedFd,
    path: &TreePath,
    mut each: impl FnMut(&CStr, FileType) -> Result<(), WalkError>,
) -> Result<(), WalkError> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); LISTING];
    let mut listing = RawDir::new(dir, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // Deleted since it was opened, so there is nothing in it. The root must be there.
            Err(Errno::NOENT) if !path.is_root() => break,
            Err(e) => return Err(on("list the directory", path)(e)),
        };
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            each(entry.file_name(), entry.file_type())?;
        }
    }
    Ok(())
}

struct Queue<S> {
    waiting: Vec<Job<S>>,
    /// Threads that may still push.
    busy: usize,
    failed: bool,
}

/// Visits every directory from `root` down, with as many threads as pay. Gives what each thread gathered.
pub(crate) fn walk<G: Gather>(
    root: BorrowedFd<'_>,
    top: G::State,
    make: impl Fn() -> G + Sync,
) -> Result<Vec<G>, WalkError> {
    let mut first = make();
    let mut waiting = vec![Job { path: TreePath::root(), state: top }];
    let threads = threads();
    let mut seen = 0;
    while let Some(job) = waiting.pop() {
        visit(root, job, &mut first, &mut waiting)?;
        seen += 1;
        if threads > 1 && seen >= ALONE && waiting.len() > 1 {
            break;
        }
    }
    if waiting.is_empty() {
        return Ok(vec![first]);
    }
    let queue = Mutex::new(Queue { waiting, busy: threads, failed: false });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut gather = make();
                    work(root, &mut gather, &queue, &changed).map(|()| gather)
                })
            })
            .collect();
        let own = work(root, &mut first, &queue, &changed).map(|()| first);
        std::iter::once(own)
            .chain(
                others.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))),
            )
            .collect()
    })
}

fn visit<G: Gather>(
    root: BorrowedFd<'_>,
    job: Job<G::State>,
    gather: &mut G,
    more: &mut More<G>,
) -> Result<(), WalkError> {
    let dir = match open_directory(root, &job.path) {
        Ok(dir) => dir,
        // Gone or replaced since it was listed: as if it had not been seen. The root must be there.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !job.path.is_root() => return Ok(()),
        Err(e) => return Err(on("open the directory", &job.path)(e)),
    };
    gather.directory(&dir, job, more)
}

fn work<G: Gather>(
    root: BorrowedFd<'_>,
    gather: &mut G,
    queue: &Mutex<Queue<G::State>>,
    changed: &Condvar,
) -> Result<(), WalkError> {
    let mut more = Vec::new();
    let mut locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if locked.failed {
            return Ok(());
        }
        if let Some(job) = locked.waiting.pop() {
            drop(locked);
            let visited = visit(root, job, gather, &mut more);
            locked = queue.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(e) = visited {
                locked.failed = true;
                changed.notify_all();
                return Err(e);
            }
            if !more.is_empty() {
                locked.waiting.append(&mut more);
                changed.notify_all();
            }
            continue;
        }
        locked.busy -= 1;
        if locked.busy == 0 {
            changed.notify_all();
            return Ok(());
        }
        locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
        while locked.waiting.is_empty() && locked.busy > 0 && !locked.failed {
            locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
        }
        if locked.waiting.is_empty() || locked.failed {
            return Ok(());
        }
        locked.busy += 1;
    }
}

pub(crate) fn stat_fd(fd: impl AsFd) -> rustix::io::Result<Statx> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}
