//! What a layer holds, as data: paths, metadata, whiteouts, and for each file a digest and a size.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use crate::digest::{Digest, FileDigest, LayerId};

/// A path inside a tree: components joined by `/`, none of them empty, `.` or `..`; the empty path is the root.
/// Bytes, as file names are. Ordered component by component, so that a directory's whole content follows it. Clones
/// share the bytes: a path of a large tree stands in many places.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Arc<[u8]>);

/// Why bytes are no path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {why}")]
pub struct ParsePathError {
    pub path: String,
    pub why: &'static str,
}

impl TreePath {
    pub fn root() -> Self {
        Self::default()
    }

    /// From `a/b`, `/a/b`, `./a/b/` or `a//b`. A `..` or a zero byte is refused.
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, ParsePathError> {
        let path = path.as_ref();
        let error = |why| ParsePathError { path: String::from_utf8_lossy(path).into_owned(), why };
        let mut clean = Vec::with_capacity(path.len());
        for part in path.split(|b| *b == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(error("has a `..` in it")),
                part if part.contains(&0) => return Err(error("has a zero byte in it")),
                part => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                }
            }
        }
        Ok(Self(clean.into()))
    }

    /// As [`TreePath::parse`], but `..` goes up and stops at the root, as a path inside a container does.
    pub fn clean(path: impl AsRef<[u8]>) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in path.as_ref().split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        Self(parts.join(&b'/').into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// # Panics
    ///
    /// When `name` is not one component.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        assert!(
            !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'),
            "`{}` is not one path component",
            String::from_utf8_lossy(name)
        );
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path.into())
    }

    /// `self` followed by all of `below`.
    pub fn concat(&self, below: &Self) -> Self {
        match (self.is_root(), below.is_root()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self([&self.0[..], b"/", &below.0[..]].concat().into()),
        }
    }

    /// The directory it lies in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].into()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        &self.0[start..]
    }

    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty())
    }

    /// What remains of it below `ancestor`; the root path when they are equal.
    pub fn below(&self, ancestor: &Self) -> Option<Self> {
        if ancestor.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&ancestor.0[..])?;
        match rest {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }

    /// For people: bytes that are no UTF-8 are replaced.
    pub fn display(&self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.0))
    }

    /// As an operating-system path relative to some root.
    pub fn as_os(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }
}

/// Compares two raw paths component by component.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(common), b.get(common)) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(x), Some(y)) => {
            // A separator sorts before every other byte: it ends the component.
            let rank = |b: u8| if b == b'/' { 0 } else { u16::from(b) + 1 };
            rank(*x).cmp(&rank(*y))
        }
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_paths(&self.0, &other.0)
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}

/// Nanoseconds since 1970, possibly before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds`.
    pub nanoseconds: u32,
}

/// Extended attributes, sorted by name.
pub type Xattrs = Vec<(Box<[u8]>, Box<[u8]>)>;

/// One path of a changeset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// `None` for none, which is nearly every file.
    pub xattrs: Option<Box<Xattrs>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `opaque`: nothing of the layers below shows through.
    Directory {
        opaque: bool,
    },
    File(File),
    /// A further name of a file of the same layer: the path of the name that comes first in order and holds the file.
    Link(TreePath),
    Symlink(Box<[u8]>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
    /// The layers below do not have this path. Other fields mean nothing.
    Whiteout,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub size: u64,
    pub content: Content,
}

/// What a file holds and where its bytes can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// `None` only in a context's tree, where a file is read no earlier than something selects it.
    pub digest: Option<FileDigest>,
    pub place: Place,
}

/// Where the bytes of a file lie. Never part of a name or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the layer that has this tree, under the entry's own path.
    Here,
    /// In another layer.
    Layer { layer: LayerId, path: TreePath },
    /// In a local directory that this build reads (by the driver's number), not owned by the store.
    Context { context: u32, path: TreePath },
    /// In memory.
    Inline(Arc<[u8]>),
}

impl Entry {
    /// An empty-handed directory of root's, 0755.
    pub fn directory() -> Self {
        Self {
            kind: Kind::Directory { opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: None,
        }
    }

    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }
}

/// A changeset: entries sorted by path, each path once. The root itself may be among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<(TreePath, Entry)>,
}

impl Tree {
    /// Sorts; of entries with one path the last given stays.
    pub fn new(mut entries: Vec<(TreePath, Entry)>) -> Self {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.reverse();
            entries.dedup_by(|later, kept| later.0 == kept.0);
            entries.reverse();
        }
        Self { entries }
    }

    pub fn entries(&self) -> &[(TreePath, Entry)] {
        &self.entries
    }

    pub fn entries_mut(&mut self) -> impl Iterator<Item = (&TreePath, &mut Entry)> {
        self.entries.iter_mut().map(|(path, entry)| (&*path, entry))
    }

    pub fn into_entries(self) -> Vec<(TreePath, Entry)> {
        self.entries
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.position(path).ok().map(|at| &self.entries[at].1)
    }

    fn position(&self, path: &TreePath) -> Result<usize, usize> {
        self.entries.binary_search_by(|(p, _)| p.cmp(path))
    }

    /// The entries below `path`, itself excluded, in order.
    pub fn below(&self, path: &TreePath) -> &[(TreePath, Entry)] {
        let start = match self.position(path) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        let rest = &self.entries[start..];
        let end =
            if path.is_root() { rest.len() } else { rest.partition_point(|(p, _)| p.below(path).is_some()) };
        &rest[..end]
    }

    /// The layer's name: a digest of every field but times and places.
    ///
    /// # Panics
    ///
    /// When a file has no digest yet: only trees of contexts may hold such files, and those have no name.
    pub fn layer_id(&self) -> LayerId {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        hasher.update(b"kiln tree 1\n");
        let mut record = Vec::with_capacity(256);
        for (path, entry) in &self.entries {
            record.clear();
            entry.write_identity(path.as_bytes(), &mut record);
            hasher.update(&record);
        }
        LayerId(Digest::from_bytes(hasher.finalize().into()))
    }
}

impl Entry {
    /// Appends `path` and every field but time and place, in a form in which no two different entries are equal.
    ///
    /// # Panics
    ///
    /// When it is a file without a digest.
    pub fn write_identity(&self, path: &[u8], to: &mut Vec<u8>) {
        let mut bytes = |value: &[u8]| {
            to.extend_from_slice(&(value.len() as u64).to_le_bytes());
            to.extend_from_slice(value);
        };
        bytes(path);
        match &self.kind {
            Kind::Directory { opaque } => bytes(if *opaque { b"D" } else { b"d" }),
            Kind::File(file) => {
                bytes(b"f");
                bytes(&file.size.to_le_bytes());
                let digest = file.content.digest;
                bytes(
                    &digest.unwrap_or_else(|| panic!("`{}` was not hashed", String::from_utf8_lossy(path))).0,
                );
            }
            Kind::Link(target) => {
                bytes(b"h");
                bytes(target.as_bytes());
            }
            Kind::Symlink(target) => {
                bytes(b"l");
                bytes(target);
            }
            Kind::CharDevice { major, minor } => {
                bytes(b"c");
                bytes(&[major.to_le_bytes(), minor.to_le_bytes()].concat());
            }
            Kind::BlockDevice { major, minor } => {
                bytes(b"b");
                bytes(&[major.to_le_bytes(), minor.to_le_bytes()].concat());
            }
            Kind::Fifo => bytes(b"p"),
            Kind::Socket => bytes(b"s"),
            Kind::Whiteout => return bytes(b"w"),
        }
        bytes(&[self.mode.to_le_bytes(), self.uid.to_le_bytes(), self.gid.to_le_bytes()].concat());
        for (name, value) in self.xattrs.iter().flat_map(|x| x.iter()) {
            bytes(name);
            bytes(value);
        }
        bytes(b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).unwrap()
    }

    #[test]
    fn a_directory_is_followed_by_all_it_holds() {
        let mut paths = ["a.b", "a/b", "a", "a/b/c", "a-", "b"].map(path);
        paths.sort();
        assert_eq!(paths.map(|p| p.display()), ["/a", "/a/b", "/a/b/c", "/a-", "/a.b", "/b"]);
    }

    #[test]
    fn dots_are_refused_by_parse_and_confined_by_clean() {
        assert!(TreePath::parse("a/../b").is_err());
        assert_eq!(TreePath::clean("../../a/../b/./c/"), path("b/c"));
    }

    #[test]
    fn below_takes_what_a_directory_holds_and_not_its_namesakes() {
        let tree = Tree::new(["a", "a/x", "a/x/y", "a.b", "b"].map(|p| (path(p), Entry::directory())).into());
        let below: Vec<_> = tree.below(&path("a")).iter().map(|(p, _)| p.display()).collect();
        assert_eq!(below, ["/a/x", "/a/x/y"]);
        assert_eq!(tree.below(&TreePath::root()).len(), 5);
    }

    #[test]
    fn of_two_entries_with_one_path_the_last_stays() {
        let mut second = Entry::directory();
        second.mode = 0o700;
        let tree = Tree::new(vec![
            (path("b"), Entry::directory()),
            (path("a"), Entry::directory()),
            (path("b"), second),
        ]);
        assert_eq!(tree.len(), 2);
        assert_eq!(tree.get(&path("b")).unwrap().mode, 0o700);
    }

    #[test]
    fn times_and_places_do_not_change_a_layers_name() {
        let file = |place, seconds| Entry {
            kind: Kind::File(File {
                size: 1,
                content: Content { digest: Some(FileDigest::of(b"x")), place },
            }),
            mtime: Time { seconds, nanoseconds: 0 },
            ..Entry::directory()
        };
        let one = Tree::new(vec![(path("f"), file(Place::Here, 1))]);
        let two = Tree::new(vec![(path("f"), file(Place::Inline((*b"x").into()), 2))]);
        assert_eq!(one.layer_id(), two.layer_id());
        let mut three = one.clone();
        three.entries_mut().for_each(|(_, e)| e.uid = 1);
        assert_ne!(one.layer_id(), three.layer_id());
    }
}
