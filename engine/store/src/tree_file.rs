//! Trees as bytes: compact, in order, with a checksum over all of it.
//!
//! ```text
//! "kiln tree 1\n"  BLAKE3 of the rest  [layers]  [entries]
//! layers   count, then 32 bytes each: those that some file's bytes lie in
//! entry    length shared with the path before, rest of the path, kind and flags, mode, uid, gid, time, fields
//! ```
//!
//! Numbers are LEB128, texts a number and as many bytes.

use std::sync::Arc;

use kiln_core::tree::{Content, File, Place, Time, Xattrs};
use kiln_core::{Digest, Entry, FileDigest, Kind, LayerId, Tree, TreePath};

use crate::sealed;

const KIND: &str = "tree";

const DIRECTORY: u8 = 0;
const OPAQUE: u8 = 1;
const FILE_HERE: u8 = 2;
const FILE_ELSEWHERE: u8 = 3;
const FILE_INLINE: u8 = 4;
const LINK: u8 = 5;
const SYMLINK: u8 = 6;
const CHAR_DEVICE: u8 = 7;
const BLOCK_DEVICE: u8 = 8;
const FIFO: u8 = 9;
const SOCKET: u8 = 10;
const WHITEOUT: u8 = 11;
const HAS_XATTRS: u8 = 0x80;

/// `None` for a tree that points into a context: that is good for one build and not to be kept.
pub(crate) fn encode(tree: &Tree) -> Option<Vec<u8>> {
    let mut layers: Vec<LayerId> = Vec::new();
    for (_, entry) in tree.entries() {
        if let Kind::File(file) = &entry.kind {
            match &file.content.place {
                Place::Layer { layer, .. } => layers.push(*layer),
                Place::Context { .. } => return None,
                Place::Here | Place::Inline(_) => {}
            }
        }
    }
    layers.sort_unstable();
    layers.dedup();
    let mut out = Vec::with_capacity(64 + tree.len() * 72);
    number(&mut out, layers.len() as u64);
    for layer in &layers {
        out.extend_from_slice(layer.0.as_bytes());
    }
    number(&mut out, tree.len() as u64);
    let mut before: &[u8] = &[];
    for (path, entry) in tree.entries() {
        let path = path.as_bytes();
        let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
        number(&mut out, shared as u64);
        text(&mut out, &path[shared..]);
        before = path;
        put_entry(&mut out, path, entry, &layers)?;
    }
    Some(sealed::seal(KIND, &out))
}

fn put_entry(out: &mut Vec<u8>, path: &[u8], entry: &Entry, layers: &[LayerId]) -> Option<()> {
    let kind = match &entry.kind {
        Kind::Directory { opaque: false } => DIRECTORY,
        Kind::Directory { opaque: true } => OPAQUE,
        Kind::File(file) => match &file.content.place {
            Place::Here => FILE_HERE,
            Place::Layer { .. } => FILE_ELSEWHERE,
            Place::Inline(_) => FILE_INLINE,
            Place::Context { .. } => return None,
        },
        Kind::Link(_) => LINK,
        Kind::Symlink(_) => SYMLINK,
        Kind::CharDevice { .. } => CHAR_DEVICE,
        Kind::BlockDevice { .. } => BLOCK_DEVICE,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
        Kind::Whiteout => WHITEOUT,
    };
    let has_xattrs = if entry.xattrs.is_some() { HAS_XATTRS } else { 0 };
    out.push(kind | has_xattrs);
    number(out, entry.mode.into());
    number(out, entry.uid.into());
    number(out, entry.gid.into());
    // Zigzag: times before 1970 are small numbers too.
    number(out, ((entry.mtime.seconds << 1) ^ (entry.mtime.seconds >> 63)) as u64);
    number(out, entry.mtime.nanoseconds.into());
    if let Some(xattrs) = &entry.xattrs {
        number(out, xattrs.len() as u64);
        for (name, value) in xattrs.iter() {
            text(out, name);
            text(out, value);
        }
    }
    match &entry.kind {
        Kind::File(file) => {
            number(out, file.size);
            out.extend_from_slice(&file.content.digest?.0);
            match &file.content.place {
                Place::Layer { layer, path: there } => {
                    number(out, layers.binary_search(layer).ok()? as u64);
                    // Mostly the same path; the root is no file, so the empty text can say so.
                    text(out, if there.as_bytes() == path { &[] } else { there.as_bytes() });
                }
                Place::Inline(bytes) => text(out, bytes),
                Place::Here | Place::Context { .. } => {}
            }
        }
        Kind::Link(to) => text(out, to.as_bytes()),
        Kind::Symlink(to) => text(out, to),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            number(out, (*major).into());
            number(out, (*minor).into());
        }
        Kind::Directory { .. } | Kind::Fifo | Kind::Socket | Kind::Whiteout => {}
    }
    Some(())
}

/// `None` for what is torn, of another version or not in order.
pub(crate) fn decode(bytes: &[u8]) -> Option<Tree> {
    let mut input = Input(sealed::open(KIND, bytes)?);
    let layers = input.layers()?;
    let count = input.number()?;
    // The smallest entry takes eight bytes: a count that cannot be true reserves no memory.
    let mut entries = Vec::with_capacity(usize::try_from(count).ok()?.min(input.0.len() / 8 + 1));
    let mut path: Vec<u8> = Vec::new();
    for at in 0..count {
        let shared = usize::try_from(input.number()?).ok()?;
        let rest = input.text()?;
        if shared > path.len() {
            return None;
        }
        path.truncate(shared);
        path.extend_from_slice(rest);
        let parsed = TreePath::parse(&path).ok().filter(|p| p.as_bytes() == path)?;
        if at > 0 && entries.last().is_some_and(|(before, _)| *before >= parsed) {
            return None;
        }
        let entry = input.entry(&parsed, &layers)?;
        entries.push((parsed, entry));
    }
    input.0.is_empty().then(|| Tree::new(entries))
}

/// The layers that files of a tree lie in, without reading its entries.
pub(crate) fn layers_read(bytes: &[u8]) -> Option<Vec<LayerId>> {
    Input(sealed::open(KIND, bytes)?).layers()
}

pub(crate) fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.bytes(length)
    }

    pub(crate) fn array(&mut self) -> Option<[u8; 32]> {
        self.bytes(32)?.try_into().ok()
    }

    fn layers(&mut self) -> Option<Vec<LayerId>> {
        let count = self.number()?;
        (0..count).map(|_| Some(LayerId(Digest::from_bytes(self.array()?)))).collect()
    }

    fn path(&mut self) -> Option<TreePath> {
        TreePath::parse(self.text()?).ok()
    }

    fn entry(&mut self, path: &TreePath, layers: &[LayerId]) -> Option<Entry> {
        let kind = self.byte()?;
        let mode = self.small().filter(|mode| *mode <= 0o7777)?;
        let uid = self.small()?;
        let gid = self.small()?;
        let seconds = self.number()?;
        let mtime = Time {
            seconds: (seconds >> 1) as i64 ^ -((seconds & 1) as i64),
            nanoseconds: self.small().filter(|n| *n < 1_000_000_000)?,
        };
        let xattrs = if kind & HAS_XATTRS == 0 {
            None
        } else {
            let count = self.number()?;
            let xattrs: Option<Xattrs> =
                (0..count).map(|_| Some((self.text()?.into(), self.text()?.into()))).collect();
            Some(Box::new(xattrs?))
        };
        let kind = match kind & !HAS_XATTRS {
            DIRECTORY => Kind::Directory { opaque: false },
            OPAQUE => Kind::Directory { opaque: true },
            kind @ (FILE_HERE | FILE_ELSEWHERE | FILE_INLINE) => {
                let size = self.number()?;
                let digest = Some(FileDigest(self.array()?));
                let place = match kind {
                    FILE_HERE => Place::Here,
                    FILE_INLINE => Place::Inline(Arc::from(self.text()?)),
                    _ => {
                        let layer = *layers.get(usize::try_from(self.number()?).ok()?)?;
                        let there = self.path()?;
                        let path = if there.is_root() { path.clone() } else { there };
                        Place::Layer { layer, path }
                    }
                };
                Kind::File(File { size, content: Content { digest, place } })
            }
            LINK => Kind::Link(self.path()?),
            SYMLINK => Kind::Symlink(self.text()?.into()),
            CHAR_DEVICE => Kind::CharDevice { major: self.small()?, minor: self.small()? },
            BLOCK_DEVICE => Kind::BlockDevice { major: self.small()?, minor: self.small()? },
            FIFO => Kind::Fifo,
            SOCKET => Kind::Socket,
            WHITEOUT => Kind::Whiteout,
            _ => return None,
        };
        Some(Entry { kind, mode, uid, gid, mtime, xattrs })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn everything() -> Tree {
        let entry = |kind| Entry {
            kind,
            mode: 0o6755,
            uid: 70_000,
            gid: 3,
            mtime: Time { seconds: -5, nanoseconds: 999_999_999 },
            xattrs: Some(Box::new(vec![((*b"user.a").into(), (*b"\0\xff").into())])),
        };
        let file = |place| {
            entry(Kind::File(File {
                size: 1 << 40,
                content: Content { digest: Some(FileDigest::of(b"x")), place },
            }))
        };
        let path = |text: &[u8]| TreePath::parse(text).unwrap();
        let layer = LayerId(Digest::of(b"layer"));
        let there = |p: &[u8]| Place::Layer { layer, path: path(p) };
        Tree::new(vec![
            (TreePath::root(), entry(Kind::Directory { opaque: true })),
            (path(b"a"), Entry::directory()),
            (path(b"a/\xff"), file(Place::Here)),
            (path(b"a/b"), file(there(b"a/b"))),
            (path(b"a/c"), file(there(b"x"))),
            (path(b"a/d"), file(Place::Inline((*b"text").into()))),
            (path(b"a/e"), entry(Kind::Link(path(b"a/d")))),
            (path(b"b"), entry(Kind::Symlink((*b"../a").into()))),
            (path(b"c"), entry(Kind::CharDevice { major: 1, minor: 300 })),
            (path(b"d"), entry(Kind::BlockDevice { major: 8, minor: 0 })),
            (path(b"e"), entry(Kind::Fifo)),
            (path(b"f"), entry(Kind::Socket)),
            (path(b"g"), entry(Kind::Whiteout)),
        ])
    }

    #[test]
    fn a_tree_comes_back_as_it_was() {
        let tree = everything();
        let bytes = encode(&tree).unwrap();
        assert_eq!(decode(&bytes).unwrap(), tree);
        assert_eq!(layers_read(&bytes).unwrap(), [LayerId(Digest::of(b"layer"))]);
        assert_eq!(decode(&encode(&Tree::default()).unwrap()).unwrap(), Tree::default());
    }

    #[test]
    fn bytes_that_pass_the_checksum_and_make_no_sense_are_refused() {
        let body = sealed::open(KIND, &encode(&everything()).unwrap()).unwrap().to_vec();
        for cut in 0..body.len() {
            assert!(decode(&sealed::seal(KIND, &body[..cut])).is_none(), "cut at {cut}");
        }
        for at in 0..body.len() {
            for bit in 0..8 {
                let mut changed = body.clone();
                changed[at] ^= 1 << bit;
                // Any answer but a panic.
                if let Some(tree) = decode(&sealed::seal(KIND, &changed)) {
                    assert!(tree.entries().is_sorted_by(|a, b| a.0 < b.0));
                }
            }
        }
    }

    #[test]
    fn a_borrowed_tree_is_not_written() {
        let mut tree = everything();
        for (_, entry) in tree.entries_mut() {
            if let Kind::File(file) = &mut entry.kind {
                file.content.place = Place::Context { context: 0, path: TreePath::root() };
            }
        }
        assert!(encode(&tree).is_none());
    }

    proptest! {
        #[test]
        fn a_damaged_tree_is_refused_or_read_and_panics_nowhere(
            changes in vec((any::<Index>(), any::<u8>()), 1..4),
            end in any::<Index>(),
            kept in any::<bool>(),
        ) {
            let whole = encode(&everything()).unwrap();
            let mut body = sealed::open(KIND, &whole).unwrap().to_vec();
            for (at, byte) in changes {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if !kept {
                body.truncate(end.index(body.len()));
            }
            // With its checksum right again, as only somebody who means it would make it.
            let bytes = sealed::seal(KIND, &body);
            if let Some(tree) = decode(&bytes) {
                prop_assert!(tree.entries().len() <= body.len());
            }
            layers_read(&bytes);
        }
    }
}
