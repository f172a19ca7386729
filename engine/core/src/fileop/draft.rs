//! A layer in the making: what a file op has changed so far, over the tree it stands on.

use std::collections::{BTreeMap, HashMap};

use crate::merged::{Look, Merged, Spot};
use crate::tree::{Entry, Kind, Time, Tree, TreePath};

/// Position in [`Draft::nodes`]; the root is 0.
pub(crate) type NodeId = usize;

pub(crate) struct Draft<'b> {
    base: &'b Merged,
    nodes: Vec<Node<'b>>,
    /// The next number that joins hard links to one file.
    next_inode: u32,
}

/// A path that was touched, or lies above one that was.
struct Node<'b> {
    /// What the base shows here, unless something made above hides it.
    base: Option<Box<Spot<'b>>>,
    state: State,
    /// Nothing shows through from below, though it may be there.
    fresh: bool,
    /// The time that a directory of the base gets should it come into the layer.
    time: Option<Time>,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

enum State {
    /// As in the base, where it may be missing.
    Below,
    Made {
        entry: Entry,
        inode: Option<u32>,
    },
    Gone,
}

/// Something that is there.
#[derive(Clone)]
pub(crate) enum At<'b> {
    Touched(NodeId),
    Below(Spot<'b>),
}

impl Node<'_> {
    fn entry(&self) -> Option<&Entry> {
        match &self.state {
            State::Below => self.base.as_ref().map(|spot| spot.found.entry),
            State::Made { entry, .. } => Some(entry),
            State::Gone => None,
        }
    }

    fn is_directory(&self) -> bool {
        self.entry().is_some_and(Entry::is_directory)
    }
}

impl<'b> Draft<'b> {
    pub(crate) fn new(base: &'b Merged) -> Self {
        let root = Node {
            base: Some(Box::new(base.root())),
            state: State::Below,
            fresh: false,
            time: None,
            children: BTreeMap::new(),
        };
        Self { base, nodes: vec![root], next_inode: 0 }
    }

    /// Makes room for `count` entries; returns the first of as many numbers for hard links that nothing has yet.
    pub(crate) fn reserve(&mut self, count: usize) -> u32 {
        self.nodes.reserve(count);
        let first = self.next_inode;
        self.next_inode += count as u32;
        first
    }

    /// The place of a name in a directory, whether or not something is there.
    pub(crate) fn child(&mut self, directory: NodeId, name: &[u8]) -> NodeId {
        let parent = &self.nodes[directory];
        if let Some(child) = parent.children.get(name) {
            return *child;
        }
        let base = match &parent.base {
            Some(spot) if !parent.fresh => spot.child(name).map(Box::new),
            _ => None,
        };
        let id = self.nodes.len();
        self.nodes.push(Node {
            base,
            state: State::Below,
            fresh: false,
            time: None,
            children: BTreeMap::new(),
        });
        self.nodes[directory].children.insert(name.into(), id);
        id
    }

    /// The places of a path without links, the root first.
    pub(crate) fn chain(&mut self, path: &TreePath) -> Vec<NodeId> {
        let mut chain = vec![0];
        for name in path.components() {
            chain.push(self.child(chain[chain.len() - 1], name));
        }
        chain
    }

    /// What is there; the place of a file's content may be relative to its layer.
    pub(crate) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.nodes[id].entry()
    }

    pub(crate) fn is_directory(&self, id: NodeId) -> bool {
        self.nodes[id].is_directory()
    }

    /// What is there, complete.
    pub(crate) fn entry(&self, at: &At<'b>) -> Option<Entry> {
        let spot = match at {
            At::Below(spot) => spot,
            At::Touched(id) => match &self.nodes[*id].state {
                State::Made { entry, .. } => return Some(entry.clone()),
                State::Gone => return None,
                State::Below => self.nodes[*id].base.as_ref()?,
            },
        };
        Some(self.base.entry(&spot.found))
    }

    /// Puts an entry there in place of what there is; a directory keeps what a directory held.
    pub(crate) fn set(&mut self, id: NodeId, entry: Entry, inode: Option<u32>) {
        let node = &mut self.nodes[id];
        let is_there = node.entry().is_some();
        if is_there && !(entry.is_directory() && node.is_directory()) {
            node.fresh = true;
            node.children.clear();
        }
        node.state = State::Made { entry, inode };
    }

    /// Puts other metadata there; what it is, and what else it is a name of, stays.
    pub(crate) fn replace(&mut self, id: NodeId, entry: Entry) {
        let inode = match self.nodes[id].state {
            State::Made { inode, .. } => inode,
            _ => None,
        };
        self.nodes[id].state = State::Made { entry, inode };
    }

    pub(crate) fn remove(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        node.fresh = true;
        node.children.clear();
        node.state = State::Gone;
    }

    /// Gives a directory a time, which is no reason for it to come into the layer.
    pub(crate) fn set_time(&mut self, id: NodeId, time: Time) {
        let node = &mut self.nodes[id];
        match &mut node.state {
            State::Made { entry, .. } => entry.mtime = time,
            State::Below => node.time = Some(time),
            State::Gone => {}
        }
    }

    /// The layer, in normal form: a whiteout or an opaque mark stands only where it hides something, a directory of
    /// the base, with its metadata, only where something below it changed, and nothing that is in the base already.
    /// Times are no difference, because they are in no key: else the layers of a build would hang on when its files
    /// were last written.
    pub(crate) fn into_tree(mut self) -> Tree {
        let mut entries: Vec<(TreePath, Entry)> = Vec::with_capacity(self.nodes.len());
        let mut first_names: HashMap<u32, usize> = HashMap::new();
        // Directories of the base on the way down, of which it is not known yet whether they are needed.
        let mut leading: Vec<(usize, TreePath, NodeId)> = Vec::new();
        let mut todo: Vec<(usize, TreePath, NodeId)> = vec![(0, TreePath::root(), 0)];
        while let Some((depth, path, id)) = todo.pop() {
            while leading.last().is_some_and(|(d, ..)| *d >= depth) {
                leading.pop();
            }
            // Taken out, so that of a large draft the names make room for the paths.
            for (name, child) in std::mem::take(&mut self.nodes[id].children).into_iter().rev() {
                todo.push((depth + 1, path.join(name), child));
            }
            let node = &mut self.nodes[id];
            let (mut entry, inode) = match std::mem::replace(&mut node.state, State::Below) {
                State::Below => {
                    if node.is_directory() && !path.is_root() {
                        leading.push((depth, path, id));
                    }
                    continue;
                }
                State::Gone if node.base.is_none() => continue,
                State::Gone => (Entry { kind: Kind::Whiteout, mode: 0, ..Entry::directory() }, None),
                State::Made { entry, inode } => (entry, inode),
            };
            if let (Kind::Directory { opaque }, Some(base)) = (&mut entry.kind, &node.base) {
                *opaque = node.fresh && base.is_directory() && base.has_children();
            }
            if let Some(base) = &node.base
                && inode.is_none()
                && same_but_time(&entry, &self.base.entry(&base.found))
            {
                if entry.is_directory() && !path.is_root() {
                    node.time = Some(entry.mtime);
                    leading.push((depth, path, id));
                }
                continue;
            }
            for (_, path, id) in leading.drain(..) {
                let node = &self.nodes[id];
                if let Some(spot) = &node.base {
                    let mut entry = self.base.entry(&spot.found);
                    entry.mtime = node.time.unwrap_or(entry.mtime);
                    entries.push((path, entry));
                }
            }
            if let Some(inode) = inode {
                match first_names.get(&inode) {
                    // A later action may have changed one of the names: then they are two files.
                    Some(first) if entries[*first].1 == entry => {
                        entry.kind = Kind::Link(entries[*first].0.clone());
                    }
                    Some(_) => {}
                    None => drop(first_names.insert(inode, entries.len())),
                }
            }
            entries.push((path, entry));
        }
        Tree::new(entries)
    }
}

/// A file whose digest is not known is like no other.
fn same_but_time(a: &Entry, b: &Entry) -> bool {
    let kind = match (&a.kind, &b.kind) {
        (Kind::File(a), Kind::File(b)) => {
            a.size == b.size && a.content.digest.is_some() && a.content.digest == b.content.digest
        }
        (Kind::Directory { opaque }, Kind::Directory { .. }) => !opaque,
        (a, b) => a == b,
    };
    kind && (a.mode, a.uid, a.gid, &a.xattrs) == (b.mode, b.uid, b.gid, &b.xattrs)
}

impl<'b> Look for Draft<'b> {
    type At = At<'b>;

    fn top(&self) -> At<'b> {
        At::Touched(0)
    }

    fn down(&self, at: &At<'b>, name: &[u8]) -> Option<At<'b>> {
        let id = match at {
            At::Below(spot) => return spot.child(name).map(At::Below),
            At::Touched(id) => *id,
        };
        let node = &self.nodes[id];
        match (node.children.get(name), &node.base) {
            (Some(child), _) => self.get(*child).map(|_| At::Touched(*child)),
            (None, Some(spot)) if !node.fresh => spot.child(name).map(At::Below),
            _ => None,
        }
    }

    fn kind<'l>(&'l self, at: &'l At<'b>) -> &'l Kind {
        match at {
            At::Below(spot) => &spot.found.entry.kind,
            At::Touched(id) => self.get(*id).map_or(&Kind::Whiteout, |entry| &entry.kind),
        }
    }

    fn names(&self, at: &At<'b>) -> Vec<Vec<u8>> {
        let node = match at {
            At::Below(spot) => return spot.names(),
            At::Touched(id) => &self.nodes[*id],
        };
        let mut names = match &node.base {
            Some(spot) if !node.fresh => spot.names(),
            _ => Vec::new(),
        };
        names.retain(|name| !node.children.contains_key(&name[..]));
        let present = node.children.iter().filter(|(_, id)| self.get(**id).is_some());
        names.extend(present.map(|(name, _)| name.to_vec()));
        names.sort_unstable();
        names
    }
}
