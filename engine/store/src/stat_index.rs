//! Remembers the digests of a directory's files by what the file system says of them, so that unchanged files are not
//! read again.
//!
//! An entry is valid while size, times of modification and change, inode, device and mode are as they were. One that
//! was as young as its own reading is never written down: a change in the same tick of the clock could not be seen.

use std::ops::Range;

use kiln_core::tree::{Xattrs, compare_paths};
use kiln_core::{FileDigest, TreePath};
use rustix::fs::Statx;
use rustix::time::{ClockId, clock_gettime};

use crate::sealed;
use crate::tree_file::{Input, number, text};

const KIND: &str = "context index";
/// Walks that may pass over a file before it is forgotten: other builds of the context leave out other files.
const MAX_MISSED: u64 = 8;
/// Coarser than any tick that a kernel stamps files with.
const TICK_NANOS: i128 = 20_000_000;
/// Of a file system that seems to count whole seconds.
const COARSE_NANOS: i128 = 2_000_000_000;

/// What has to be as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
    inode: u64,
    device: (u32, u32),
    mode: u32,
}

impl Identity {
    pub(crate) fn of(stat: &Statx) -> Self {
        Self {
            size: stat.stx_size,
            mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            inode: stat.stx_ino,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            mode: stat.stx_mode.into(),
        }
    }

    /// Whether a change made after `reading` would show. `reading` is the time just before the first byte was read.
    pub(crate) fn is_settled(&self, reading: i128) -> bool {
        let margin = if (self.mtime.1, self.ctime.1) == (0, 0) { COARSE_NANOS } else { TICK_NANOS };
        let nanos = |(seconds, nanos): (i64, u32)| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        // Modification times can be set to anything; only one about now says something.
        let about_now = (nanos(self.mtime) - reading).abs() <= margin;
        nanos(self.ctime) + margin < reading && !about_now
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i128 {
    let now = clock_gettime(ClockId::Realtime);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) identity: Identity,
    pub(crate) digest: FileDigest,
    pub(crate) xattrs: Option<Box<Xattrs>>,
    missed: u64,
}

impl Known {
    pub(crate) fn new(identity: Identity, digest: FileDigest, xattrs: Option<Box<Xattrs>>) -> Self {
        Self { identity, digest, xattrs, missed: 0 }
    }
}

/// Entries in the order of their paths.
#[derive(Debug, Default)]
pub(crate) struct StatIndex {
    /// All of them one after the other: an allocation per path would cost more than the rest.
    paths: Vec<u8>,
    entries: Vec<(Range<u32>, Known)>,
}

impl StatIndex {
    fn text(&self, (range, _): &(Range<u32>, Known)) -> &[u8] {
        &self.paths[range.start as usize..range.end as usize]
    }

    fn path(&self, at: usize) -> &[u8] {
        self.text(&self.entries[at])
    }

    pub(crate) fn get(&self, path: &TreePath) -> Option<&Known> {
        self.find(0..self.entries.len(), path).map(|(_, known)| known)
    }

    /// The numbers of all that is known below a directory: what lies there need not be looked for elsewhere.
    pub(crate) fn below(&self, directory: &TreePath) -> Range<usize> {
        if directory.is_root() {
            return 0..self.entries.len();
        }
        let directory = directory.as_bytes();
        let start = self.entries.partition_point(|entry| compare_paths(self.text(entry), directory).is_lt());
        let inside = |entry: &(Range<u32>, Known)| {
            let rest = self.text(entry).strip_prefix(directory);
            rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        start..start + self.entries[start..].partition_point(inside)
    }

    /// What is known of `path`, with its number, among those of a range.
    pub(crate) fn find(&self, among: Range<usize>, path: &TreePath) -> Option<(u32, &Known)> {
        let start = among.start;
        let found =
            self.entries[among].binary_search_by(|entry| compare_paths(self.text(entry), path.as_bytes()));
        let at = start + found.ok()?;
        Some((at as u32, &self.entries[at].1))
    }

    /// `None` where there are more bytes of paths than an index can hold: what is left out is read again.
    fn push(&mut self, path: &[u8], known: Known) -> Option<()> {
        let start = u32::try_from(self.paths.len()).ok()?;
        let end = u32::try_from(self.paths.len() + path.len()).ok()?;
        self.paths.extend_from_slice(path);
        self.entries.push((start..end, known));
        Some(())
    }

    /// With `fresh`, which is in order, in place of what was known of its paths. `seen` tells, of what was known, what
    /// the last walk met unchanged; `None` where there was no walk.
    pub(crate) fn renewed(&self, fresh: Vec<(TreePath, Known)>, seen: Option<&[bool]>) -> Self {
        let mut renewed = Self::default();
        let mut fresh = fresh.into_iter().peekable();
        for at in 0..self.entries.len() {
            let path = self.path(at);
            while let Some((path, known)) =
                fresh.next_if(|(p, _)| compare_paths(p.as_bytes(), path) == std::cmp::Ordering::Less)
            {
                renewed.push(path.as_bytes(), known);
            }
            if let Some((path, known)) = fresh.next_if(|(p, _)| p.as_bytes() == path) {
                renewed.push(path.as_bytes(), known);
                continue;
            }
            let mut known = self.entries[at].1.clone();
            known.missed = match seen {
                Some(seen) if !seen[at] => known.missed + 1,
                _ => 0,
            };
            if known.missed <= MAX_MISSED {
                renewed.push(path, known);
            }
        }
        for (path, known) in fresh {
            renewed.push(path.as_bytes(), known);
        }
        renewed
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Sealed, for the directory `root`.
    pub(crate) fn encode(&self, root: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 88);
        text(&mut out, root);
        number(&mut out, self.entries.len() as u64);
        let mut before: &[u8] = &[];
        for (at, (_, known)) in self.entries.iter().enumerate() {
            let path = self.path(at);
            let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
            number(&mut out, shared as u64);
            text(&mut out, &path[shared..]);
            before = path;
            let identity = &known.identity;
            number(&mut out, identity.size);
            for (seconds, nanos) in [identity.mtime, identity.ctime] {
                number(&mut out, seconds as u64);
                number(&mut out, nanos.into());
            }
            number(&mut out, identity.inode);
            number(&mut out, identity.device.0.into());
            number(&mut out, identity.device.1.into());
            number(&mut out, identity.mode.into());
            number(&mut out, known.missed);
            out.extend_from_slice(&known.digest.0);
            let xattrs = known.xattrs.iter().flat_map(|x| x.iter());
            number(&mut out, xattrs.clone().count() as u64);
            for (name, value) in xattrs {
                text(&mut out, name);
                text(&mut out, value);
            }
        }
        sealed::seal(KIND, &out)
    }

    /// `None` if it is torn or is another directory's.
    pub(crate) fn decode(bytes: &[u8], root: &[u8]) -> Option<Self> {
        let mut input = Input(sealed::open(KIND, bytes)?);
        if input.text()? != root {
            return None;
        }
        let count = usize::try_from(input.number()?).ok()?;
        let mut index = Self::default();
        // An entry takes at least 44 bytes.
        index.entries.reserve(count.min(input.0.len() / 44 + 1));
        let mut path: Vec<u8> = Vec::new();
        for at in 0..count {
            let shared = usize::try_from(input.number()?).ok()?;
            let rest = input.text()?;
            if shared > path.len() {
                return None;
            }
            path.truncate(shared);
            path.extend_from_slice(rest);
            if at > 0 && compare_paths(index.path(at - 1), &path) != std::cmp::Ordering::Less {
                return None;
            }
            let size = input.number()?;
            let mtime = (input.number()? as i64, input.small()?);
            let ctime = (input.number()? as i64, input.small()?);
            let identity = Identity {
                size,
                mtime,
                ctime,
                inode: input.number()?,
                device: (input.small()?, input.small()?),
                mode: input.small()?,
            };
            let missed = input.number()?;
            let digest = FileDigest(input.array()?);
            let xattrs: Option<Xattrs> =
                (0..input.number()?).map(|_| Some((input.text()?.into(), input.text()?.into()))).collect();
            let xattrs = Some(xattrs?).filter(|x| !x.is_empty()).map(Box::new);
            index.push(&path, Known { identity, digest, xattrs, missed })?;
        }
        input.0.is_empty().then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(size: u64) -> Known {
        let identity = Identity {
            size,
            mtime: (-5, 1),
            ctime: (1 << 40, 999_999_999),
            inode: u64::MAX,
            device: (8, 1),
            mode: 0o100_644,
        };
        Known::new(identity, FileDigest::of(&size.to_le_bytes()), None)
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn an_index_comes_back_and_belongs_to_one_directory() {
        let fresh = vec![(path("a"), known(1)), (path("a/b"), known(2)), (path("a.b"), known(3))];
        let index = StatIndex::default().renewed(fresh, None);
        let bytes = index.encode(b"/src");
        let again = StatIndex::decode(&bytes, b"/src").unwrap();
        assert_eq!(again.len(), 3);
        assert_eq!(again.get(&path("a/b")).unwrap().identity, known(2).identity);
        assert!(again.get(&path("b")).is_none());
        assert!(StatIndex::decode(&bytes, b"/other").is_none());
        let body = sealed::open(KIND, &bytes).unwrap();
        for cut in 0..body.len() {
            assert!(StatIndex::decode(&sealed::seal(KIND, &body[..cut]), b"/src").is_none());
        }
    }

    #[test]
    fn what_walks_pass_over_is_forgotten_in_time_and_what_is_fresh_replaces() {
        let fresh = vec![(path("a"), known(1)), (path("b"), known(2))];
        let mut index = StatIndex::default().renewed(fresh, None);
        for _ in 0..MAX_MISSED {
            index = index.renewed(Vec::new(), Some(&[true, false]));
        }
        assert_eq!(index.len(), 2);
        index = index.renewed(vec![(path("a"), known(7)), (path("c"), known(3))], Some(&[false, false]));
        assert_eq!(index.len(), 2);
        assert_eq!(index.get(&path("a")).unwrap().identity.size, 7);
        assert!(index.get(&path("b")).is_none());
    }

    #[test]
    fn an_entry_as_young_as_its_reading_is_not_trusted() {
        let at = |nanos: u32| Identity { mtime: (100, 5), ctime: (100, nanos), ..known(0).identity };
        let reading = 100 * 1_000_000_000 + 500_000_000;
        assert!(at(400_000_000).is_settled(reading));
        assert!(!at(490_000_000).is_settled(reading));
        let coarse = Identity { mtime: (99, 0), ctime: (99, 0), ..at(0) };
        assert!(!coarse.is_settled(reading));
        assert!(coarse.is_settled(reading + COARSE_NANOS));
    }
}
