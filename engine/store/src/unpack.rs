//! Takes the entries of a tar as they come and makes a layer of them: its tree, and its directory if that is wanted.
//!
//! Paths are resolved in what has come so far, links confined to the root, so that both forms agree; nothing of an
//! entry can reach outside. Of several entries with one path the last counts. Parents that never come are root's, 0755.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Place};
use kiln_core::{Entry, FileDigest, Kind, LayerId, Tree, TreePath};

use crate::attributes::{MAX_BYTES as MAX_ATTRIBUTE_BYTES, admitted};
use crate::content::{BUFFER, copy_hashing};
use crate::fault::FsError;
use crate::scan::whiteout;
use crate::store::Store;
use crate::temp::Temp;
use crate::walk::MAX_PATH;
use crate::writing::Writer;

/// Entries of one layer, parents that were missing included.
pub const MAX_ENTRIES: usize = 4_000_000;
/// One component of a path, as file systems have it.
const MAX_NAME: usize = 255;
/// Links followed for one path, as the kernel has it.
const MAX_FOLLOWED: usize = 40;

/// Why an entry cannot be part of a layer.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("the layer has more than {MAX_ENTRIES} entries")]
    TooMany,
    #[error("the path `{start}…` of {length} bytes is longer than a file system takes")]
    TooLong { start: String, length: usize },
    #[error("`{}` carries more than {MAX_ATTRIBUTE_BYTES} bytes of extended attributes", path.display())]
    TooManyAttributes { path: TreePath },
    #[error("`{}` leads through too many symbolic links", path.display())]
    Loop { path: TreePath },
    #[error("`{}` is a hard link to `{}`, which the layer does not have before it", path.display(), target.display())]
    NoTarget { path: TreePath, target: TreePath },
    #[error("`{}` holds {found} bytes where its header says {expected}", path.display())]
    WrongSize { path: TreePath, expected: u64, found: u64 },
    #[error("could not read the content of `{}`", path.display())]
    Read { path: TreePath, source: io::Error },
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl From<UnpackError> for io::Error {
    fn from(error: UnpackError) -> Self {
        let kind = match &error {
            UnpackError::Fs(e) => e.kind(),
            UnpackError::Read { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// A layer on its way in. Dropped unfinished, what was written is left to the sweep.
#[derive(Debug)]
pub struct Unpacking {
    store: Store,
    /// `None`: it is named by what comes.
    name: Option<LayerId>,
    directory: Option<(Temp, Writer)>,
    /// What each path names, as an index into `nodes`.
    names: BTreeMap<TreePath, usize>,
    nodes: Vec<Node>,
    buffer: Vec<u8>,
}

/// Digest and size of what came, and the file it went to.
type Received = (FileDigest, u64, Option<File>);

#[derive(Debug)]
struct Node {
    entry: Entry,
    /// Nothing said so but that something lies in it: the entry proper may still come.
    assumed: bool,
}

impl Store {
    /// For the entries of a pulled layer, whose name its configuration tells.
    pub fn unpack(&self, layer: LayerId, want_directory: bool) -> Result<Unpacking, FsError> {
        self.unpacking(Some(layer), want_directory)
    }

    /// For the entries of an archive: the layer is named by what they come to.
    pub fn unpack_by_content(&self, want_directory: bool) -> Result<Unpacking, FsError> {
        self.unpacking(None, want_directory)
    }

    fn unpacking(&self, name: Option<LayerId>, want_directory: bool) -> Result<Unpacking, FsError> {
        let directory = if want_directory {
            let temp = Temp::directory(&self.0)?;
            let writer = Writer::new(temp.path(), self.mapping())?;
            Some((temp, writer))
        } else {
            None
        };
        Ok(Unpacking {
            store: self.clone(),
            name,
            directory,
            names: BTreeMap::new(),
            nodes: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }
}

impl EntrySink for Unpacking {
    fn entry(&mut self, path: TreePath, entry: Entry, content: &mut dyn Read) -> io::Result<()> {
        Ok(self.take(path, entry, content)?)
    }
}

impl Unpacking {
    fn take(&mut self, path: TreePath, mut entry: Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        check_length(&path)?;
        let attributes = entry.xattrs.iter().flat_map(|x| x.iter());
        if attributes.map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_ATTRIBUTE_BYTES {
            return Err(UnpackError::TooManyAttributes { path });
        }
        entry.xattrs = admitted(entry.xattrs.take());
        entry.mode &= 0o7777;
        let path = match path.parent() {
            Some(parent) => {
                let parent = self.resolve(&parent)?;
                let path = parent.join(path.name());
                check_length(&path)?;
                self.provide(&parent)?;
                path
            }
            None => path,
        };
        let present = self.names.get(&path).copied();
        match &mut entry.kind {
            Kind::Whiteout => match present {
                // What the layer itself has already hides what is below; a directory only when it says so.
                Some(node) => {
                    if let Kind::Directory { opaque } = &mut self.nodes[node].entry.kind {
                        *opaque = true;
                    }
                }
                None if path.is_root() => {}
                None => self.add(path, whiteout())?,
            },
            Kind::Directory { .. } => self.directory(path, entry, present)?,
            Kind::Link(target) => {
                let target = target.clone();
                let resolved = match target.parent() {
                    Some(parent) => self.resolve(&parent)?.join(target.name()),
                    None => target.clone(),
                };
                let node = self.names.get(&resolved).copied().filter(|node| {
                    let kind = &self.nodes[*node].entry.kind;
                    !matches!(kind, Kind::Directory { .. } | Kind::Whiteout)
                });
                let Some(node) = node else {
                    return Err(UnpackError::NoTarget { path, target });
                };
                if resolved == path {
                    return Ok(());
                }
                self.clear(&path, present)?;
                if let Some((_, writer)) = &mut self.directory
                    && self.nodes[node].entry.kind != Kind::Socket
                {
                    writer.make_link(&resolved, &path)?;
                }
                self.insert(path, node)?;
            }
            Kind::File(file) => {
                self.clear(&path, present)?;
                let expected = file.size;
                let (digest, found, written) = self.receive(&path, content)?;
                if found != expected {
                    return Err(UnpackError::WrongSize { path, expected, found });
                }
                file.content = Content { digest: Some(digest), place: Place::Here };
                if let (Some((_, writer)), Some(written)) = (&self.directory, written) {
                    writer.settle(written.as_fd(), &path, &entry)?;
                }
                self.add(path, entry)?;
            }
            _ => {
                self.clear(&path, present)?;
                if let Some((_, writer)) = &mut self.directory {
                    writer.make_node(&path, &entry)?;
                }
                self.add(path, entry)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: TreePath, entry: Entry, present: Option<usize>) -> Result<(), UnpackError> {
        let says_opaque = entry.kind == (Kind::Directory { opaque: true });
        if let Some(node) = present {
            let node = &mut self.nodes[node];
            if let Kind::Directory { opaque } = node.entry.kind {
                // An opaque mark is an entry of its own in a tar, and tells nothing of the directory that bears it.
                if says_opaque && !node.assumed {
                    node.entry.kind = entry.kind;
                    return Ok(());
                }
                node.entry = Entry { kind: Kind::Directory { opaque: opaque || says_opaque }, ..entry };
                node.assumed = says_opaque;
                return Ok(());
            }
        }
        let over_whiteout = present.is_some_and(|node| self.nodes[node].entry.kind == Kind::Whiteout);
        self.clear(&path, present)?;
        if let Some((_, writer)) = &mut self.directory
            && !path.is_root()
        {
            writer.make_directory(&path)?;
        }
        self.nodes.push(Node {
            entry: Entry { kind: Kind::Directory { opaque: says_opaque || over_whiteout }, ..entry },
            assumed: says_opaque,
        });
        self.insert(path, self.nodes.len() - 1)
    }

    /// Reads a file's bytes, into the directory if there is one.
    fn receive(&mut self, path: &TreePath, content: &mut dyn Read) -> Result<Received, UnpackError> {
        let mut file = match &mut self.directory {
            Some((_, writer)) => Some(writer.create_file(path)?),
            None => None,
        };
        let mut counted = Failing { content, failed: false };
        let received =
            copy_hashing(&mut counted, file.as_mut().map(|f| f as &mut dyn io::Write), &mut self.buffer);
        match received {
            Ok((digest, size)) => Ok((digest, size, file)),
            Err(source) => Err(match (&self.directory, counted.failed) {
                (Some((_, writer)), false) => {
                    UnpackError::Fs(FsError { action: "write the file", path: writer.full(path), source })
                }
                _ => UnpackError::Read { path: path.clone(), source },
            }),
        }
    }

    fn add(&mut self, path: TreePath, entry: Entry) -> Result<(), UnpackError> {
        self.nodes.push(Node { entry, assumed: false });
        self.insert(path, self.nodes.len() - 1)
    }

    fn insert(&mut self, path: TreePath, node: usize) -> Result<(), UnpackError> {
        if self.nodes.len().max(self.names.len()) >= MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        self.names.insert(path, node);
        Ok(())
    }

    /// Where a directory's path leads in what has come so far: links of this layer are followed, and none out of it.
    fn resolve(&self, directory: &TreePath) -> Result<TreePath, UnpackError> {
        let mut done = TreePath::root();
        let mut todo: Vec<Vec<u8>> = directory.components().rev().map(<[u8]>::to_vec).collect();
        let mut followed = 0;
        while let Some(part) = todo.pop() {
            match &part[..] {
                b".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                b"" | b"." => continue,
                _ => {}
            }
            let next = done.join(&part);
            let kind = self.names.get(&next).map(|node| &self.nodes[*node].entry.kind);
            let Some(Kind::Symlink(target)) = kind else {
                done = next;
                continue;
            };
            followed += 1;
            if followed > MAX_FOLLOWED {
                return Err(UnpackError::Loop { path: directory.clone() });
            }
            if target.starts_with(b"/") {
                done = TreePath::root();
            }
            todo.extend(target.split(|b| *b == b'/').rev().map(<[u8]>::to_vec));
            check_length(&done)?;
        }
        Ok(done)
    }

    /// Makes sure that `directory` and all above it are directories.
    fn provide(&mut self, directory: &TreePath) -> Result<(), UnpackError> {
        if directory.is_root() {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut at = directory.clone();
        while !at.is_root() {
            let present = self.names.get(&at).copied();
            let kind = present.map(|node| &self.nodes[node].entry.kind);
            if matches!(kind, Some(Kind::Directory { .. })) {
                break;
            }
            let parent = at.parent().unwrap_or_default();
            missing.push((at, present));
            at = parent;
        }
        for (path, present) in missing.into_iter().rev() {
            self.directory(path.clone(), Entry::directory(), present)?;
            if let Some(node) = self.names.get(&path) {
                self.nodes[*node].assumed = true;
            }
        }
        Ok(())
    }

    /// Takes away what has a name already, with all that is in it.
    fn clear(&mut self, path: &TreePath, present: Option<usize>) -> Result<(), UnpackError> {
        let Some(node) = present else {
            return Ok(());
        };
        let mut gone = vec![(path.clone(), node)];
        if self.nodes[node].entry.is_directory() {
            let below = self.names.range(path.clone()..).skip(1);
            gone.extend(
                below.take_while(|(p, _)| p.below(path).is_some()).map(|(p, node)| (p.clone(), *node)),
            );
        }
        for (path, node) in gone.into_iter().rev() {
            let entry = &self.nodes[node].entry;
            if let Some((_, writer)) = &mut self.directory
                && !matches!(entry.kind, Kind::Whiteout | Kind::Socket)
            {
                writer.remove(&path, entry.is_directory())?;
            }
            self.names.remove(&path);
        }
        Ok(())
    }

    /// Gives the layer its name and publishes what was wanted of it.
    pub fn finish(mut self) -> Result<(LayerId, Arc<Tree>), UnpackError> {
        let mut holders: HashMap<usize, TreePath> = HashMap::new();
        let mut entries = Vec::with_capacity(self.names.len());
        for (path, node) in &self.names {
            let mut entry = self.nodes[*node].entry.clone();
            if matches!(entry.kind, Kind::File(_)) {
                match holders.get(node) {
                    Some(holder) => entry.kind = Kind::Link(holder.clone()),
                    None => {
                        holders.insert(*node, path.clone());
                    }
                }
            }
            entries.push((path.clone(), entry));
        }
        let tree = Tree::new(entries);
        let layer = self.name.unwrap_or_else(|| tree.layer_id());
        let Some((temp, mut writer)) = self.directory.take() else {
            return Ok((layer, self.store.put_tree(&layer, tree.clone())?));
        };
        for (path, entry) in tree.entries() {
            if entry.kind == Kind::Whiteout {
                writer.make_whiteout(path)?;
            }
        }
        let unsaid = (TreePath::root(), Entry::directory());
        let root = if tree.get(&TreePath::root()).is_none() { Some(&unsaid) } else { None };
        for (path, entry) in tree.entries().iter().rev().chain(root) {
            if entry.is_directory() {
                writer.settle_directory(path, entry)?;
            }
        }
        let (_, tree) = self.store.publish_directory(temp.path(), &layer, tree)?;
        Ok((layer, tree))
    }
}

fn check_length(path: &TreePath) -> Result<(), UnpackError> {
    let length = path.as_bytes().len();
    if length > MAX_PATH || path.components().any(|part| part.len() > MAX_NAME) {
        return Err(UnpackError::TooLong { start: path.display().chars().take(80).collect(), length });
    }
    Ok(())
}

/// Tells a source that fails from a disk that does.
struct Failing<'a> {
    content: &'a mut dyn Read,
    failed: bool,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer);
        self.failed = read.is_err();
        read
    }
}
