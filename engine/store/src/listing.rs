//! Lists a directory as a context has it: everything that is not left out, and of the files what is known of them.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use kiln_core::ignore::{Descend, Ignore, Level};
use kiln_core::tree::{Content, File, Place};
use kiln_core::{Entry, FileDigest, Kind, Tree, TreePath};
use rustix::fs::{FileType, Statx, readlinkat};
use rustix::io::Errno;

use crate::attributes::{self, On};
use crate::context::of_a_context;
use crate::scan::mtime;
use crate::stat_index::{Identity, StatIndex};
use crate::store::OwnerMapping;
use crate::walk::{self, Gather, Job, More, WalkError, names, on, stat_at, stat_fd};

/// Lists what is below `root`; tells which of the `known` entries were met unchanged, too.
pub(crate) fn list(
    root: BorrowedFd<'_>,
    number: u32,
    ignore: &Ignore,
    known: &StatIndex,
) -> Result<(Tree, Vec<u32>), WalkError> {
    let lister = || Lister { number, known, list: std::marker::PhantomData, found: Found::default() };
    let mut all = Found::default();
    for Lister { found, .. } in walk::walk(root, Some((ignore.top(), false)), lister)? {
        all.add(found);
    }
    let Found { mut entries, tentative, linked, met } = all;
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    drop_empty(&mut entries, &tentative);
    join_links(&mut entries, &linked);
    Ok((Tree::new(entries), met))
}

#[derive(Default)]
struct Found {
    entries: Vec<(TreePath, Entry)>,
    /// Directories that are left out, unless something in them is not.
    tentative: HashSet<TreePath>,
    /// Device and inode of files with further names, somewhere.
    linked: HashMap<TreePath, (u32, u32, u64)>,
    /// Known entries by number.
    met: Vec<u32>,
}

impl Found {
    fn add(&mut self, more: Self) {
        if self.entries.is_empty() {
            *self = more;
        } else {
            self.entries.extend(more.entries);
            self.tentative.extend(more.tentative);
            self.linked.extend(more.linked);
            self.met.extend(more.met);
        }
    }
}

struct Lister<'a> {
    number: u32,
    known: &'a StatIndex,
    /// The rules in a job are those of a list that lives as long.
    list: std::marker::PhantomData<&'a Ignore>,
    found: Found,
}

/// What an ignore list still says in a directory, and whether the directory itself is left out; `None` where it says
/// nothing any more.
type Rules<'a> = Option<(Level<'a>, bool)>;

impl<'a> Gather for Lister<'a> {
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
            let attributes = attributes::read(On::Open(dir.as_fd()), OwnerMapping::Root);
            let attributes = attributes.map_err(|source| WalkError {
                action: "read attributes of",
                path: path.clone(),
                source,
            })?;
            let mut entry = entry(&stat, Kind::Directory { opaque: false });
            entry.xattrs = of_a_context(attributes.content);
            self.found.entries.push((path.clone(), entry));
            if tentative {
                self.found.tentative.insert(path.clone());
            }
        }
        let known = self.known.below(path);
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
                self.child(dir, path, name, &stat, &known)?;
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

fn entry(stat: &Statx, kind: Kind) -> Entry {
    Entry { kind, mode: u32::from(stat.stx_mode) & 0o7777, uid: 0, gid: 0, mtime: mtime(stat), xattrs: None }
}

impl Lister<'_> {
    /// `known` is what the index has of the directory.
    fn child(
        &mut self,
        dir: &OwnedFd,
        path: TreePath,
        name: &CStr,
        stat: &Statx,
        known: &Range<usize>,
    ) -> Result<(), WalkError> {
        let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let mut xattrs = None;
        let file = |size, content| Kind::File(File { size, content });
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => {
                if stat.stx_nlink > 1 {
                    let inode = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
                    self.found.linked.insert(path.clone(), inode);
                }
                let mut digest = None;
                if let Some((at, known)) = self.known.find(known.clone(), &path)
                    && known.identity == Identity::of(stat)
                {
                    self.found.met.push(at);
                    digest = Some(known.digest);
                    xattrs = known.xattrs.clone();
                }
                let place = Place::Context { context: self.number, path: path.clone() };
                file(stat.stx_size, Content { digest, place })
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
        let entry = Entry { xattrs, ..entry(stat, kind) };
        self.found.entries.push((path, entry));
        Ok(())
    }
}

/// Takes out directories that were only looked through.
fn drop_empty(entries: &mut Vec<(TreePath, Entry)>, tentative: &HashSet<TreePath>) {
    if tentative.is_empty() {
        return;
    }
    let mut needed = HashSet::new();
    let mut kept = vec![true; entries.len()];
    for ((path, _), kept) in entries.iter().zip(&mut kept).rev() {
        *kept = !tentative.contains(path) || needed.contains(path);
        if *kept {
            needed.extend(path.parent());
        }
    }
    let mut kept = kept.into_iter();
    entries.retain(|_| kept.next().unwrap_or(true));
}

/// Of several names of one file the first in order holds it.
fn join_links(entries: &mut [(TreePath, Entry)], linked: &HashMap<TreePath, (u32, u32, u64)>) {
    if linked.is_empty() {
        return;
    }
    let mut holders: HashMap<(u32, u32, u64), TreePath> = HashMap::new();
    for (path, entry) in entries {
        let Some(inode) = linked.get(path) else { continue };
        match holders.get(inode) {
            Some(holder) => entry.kind = Kind::Link(holder.clone()),
            None => drop(holders.insert(*inode, path.clone())),
        }
    }
}
