//! What a layer has brought so far: finds where an entry goes, and refuses what could not be laid out.

use std::collections::{BTreeMap, HashMap};

use kiln_core::tree::{Entry, Kind, TreePath};

/// How many symbolic links one path may lead through, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Why an entry has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    LeavesRoot,
    /// An ancestor (named) is something else than a directory.
    UnderFile(TreePath),
    TooManyLinks,
    /// It would replace something that other entries of the layer lie in or point to.
    Replaces,
    LinkTarget,
}

struct Node {
    what: What,
    has_children: bool,
}

enum What {
    /// Named only as a part of other paths.
    Implied,
    Directory(Box<Entry>),
    File {
        has_links: bool,
    },
    Link(TreePath),
    Other(Box<Entry>),
}

/// What a whiteout hides of the layers below.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Path,
    Content,
}

/// The paths of one layer.
pub(super) struct Seen {
    nodes: HashMap<TreePath, Node>,
    hidden: BTreeMap<TreePath, Hidden>,
}

impl Seen {
    pub(super) fn new() -> Self {
        let root = Node { what: What::Implied, has_children: false };
        Self { nodes: HashMap::from([(TreePath::root(), root)]), hidden: BTreeMap::new() }
    }

    /// Where an entry of this name goes: `.` and `..` are taken lexically, and symbolic links of this layer that
    /// its directories lead through are followed inside the root. Notes the directories on the way.
    pub(super) fn locate(&mut self, name: &[u8]) -> Result<TreePath, Misplaced> {
        let mut depth = 0usize;
        for part in name.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => depth = depth.checked_sub(1).ok_or(Misplaced::LeavesRoot)?,
                _ => depth += 1,
            }
        }
        let path = TreePath::clean(name);
        let Some(parent) = path.parent() else {
            return Ok(path);
        };
        if let Some(Node { what: What::Directory(_) | What::Implied, has_children }) =
            self.nodes.get_mut(&parent)
        {
            *has_children = true;
            return Ok(path);
        }
        let parent = self.follow(&parent)?;
        Ok(parent.join(path.name()))
    }

    fn follow(&mut self, directory: &TreePath) -> Result<TreePath, Misplaced> {
        let mut todo: Vec<Box<[u8]>> = directory.components().rev().map(Box::from).collect();
        let mut done = TreePath::root();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    done = done.parent().unwrap_or_default();
                    continue;
                }
                _ => {}
            }
            let next = done.join(&part);
            match self.nodes.get(&next).map(|node| &node.what) {
                Some(What::Implied | What::Directory(_)) => done = next,
                None => {
                    self.parent_of(&next).has_children = true;
                    let node = Node { what: What::Implied, has_children: false };
                    self.nodes.insert(next.clone(), node);
                    done = next;
                }
                Some(What::Other(entry)) if matches!(entry.kind, Kind::Symlink(_)) => {
                    let Kind::Symlink(target) = &entry.kind else { unreachable!() };
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Misplaced::TooManyLinks);
                    }
                    if target.starts_with(b"/") {
                        done = TreePath::root();
                    }
                    todo.extend(target.rsplit(|b| *b == b'/').map(Box::from));
                }
                Some(_) => return Err(Misplaced::UnderFile(next)),
            }
        }
        self.node_mut(&done).has_children = true;
        Ok(done)
    }

    fn node_mut(&mut self, path: &TreePath) -> &mut Node {
        self.nodes.get_mut(path).expect("every directory on the way to a node is one itself")
    }

    fn parent_of(&mut self, path: &TreePath) -> &mut Node {
        let parent = path.parent().unwrap_or_default();
        self.node_mut(&parent)
    }

    /// Notes an entry; a directory whose whiteout or opaque marker came before becomes opaque.
    pub(super) fn add(&mut self, path: &TreePath, entry: &mut Entry) -> Result<(), Misplaced> {
        if let Kind::Directory { opaque } = &mut entry.kind {
            *opaque |= self.hidden.contains_key(path);
        }
        let has_children = match self.nodes.get(path) {
            None => false,
            Some(node) => {
                let linked = matches!(node.what, What::File { has_links: true });
                if linked || (node.has_children && !entry.is_directory()) {
                    return Err(Misplaced::Replaces);
                }
                if path.is_root() && !entry.is_directory() {
                    return Err(Misplaced::Replaces);
                }
                node.has_children
            }
        };
        let what = match &entry.kind {
            Kind::Directory { .. } => What::Directory(Box::new(entry.clone())),
            Kind::File(_) => What::File { has_links: false },
            Kind::Link(target) => What::Link(target.clone()),
            _ => What::Other(Box::new(entry.clone())),
        };
        self.nodes.insert(path.clone(), Node { what, has_children });
        Ok(())
    }

    /// What a hard link to `target` is: a further name of the file there, or for other kinds the same again.
    pub(super) fn link(&mut self, target: &TreePath) -> Result<Linked, Misplaced> {
        match self.nodes.get_mut(target).map(|node| &mut node.what) {
            Some(What::File { has_links }) => {
                *has_links = true;
                Ok(Linked::File(target.clone()))
            }
            Some(What::Link(first)) => Ok(Linked::File(first.clone())),
            Some(What::Other(entry)) => Ok(Linked::Same(entry.clone())),
            Some(What::Implied | What::Directory(_)) | None => Err(Misplaced::LinkTarget),
        }
    }

    /// Notes a whiteout of `path`. A directory that came before it is given back, to be told again as opaque.
    pub(super) fn hide_path(&mut self, path: &TreePath) -> Option<Entry> {
        self.hide(path, Hidden::Path)
    }

    /// Notes that `directory` shows nothing of the layers below; as [`Seen::hide_path`].
    pub(super) fn hide_content(&mut self, directory: &TreePath) -> Option<Entry> {
        self.hide(directory, Hidden::Content)
    }

    fn hide(&mut self, path: &TreePath, how: Hidden) -> Option<Entry> {
        let known = self.hidden.entry(path.clone()).or_insert(how);
        if how == Hidden::Content {
            *known = how;
        }
        match self.nodes.get_mut(path).map(|node| &mut node.what) {
            Some(What::Directory(entry)) if entry.kind != (Kind::Directory { opaque: true }) => {
                entry.kind = Kind::Directory { opaque: true };
                Some((**entry).clone())
            }
            _ => None,
        }
    }

    /// What is left to tell at the end: whiteouts of paths that the layer does not have, and opaque directories that
    /// it only implies.
    pub(super) fn finish(self) -> impl Iterator<Item = (TreePath, Entry)> {
        self.hidden.into_iter().filter_map(move |(path, hidden)| {
            let opaque = Kind::Directory { opaque: true };
            let kind = match (self.nodes.get(&path).map(|node| &node.what), hidden) {
                (None, Hidden::Path) => Kind::Whiteout,
                (None, Hidden::Content) | (Some(What::Implied), _) => opaque,
                (Some(_), _) => return None,
            };
            let entry = Entry { kind, ..Entry::directory() };
            Some((path, entry))
        })
    }
}

/// See [`Seen::link`].
pub(super) enum Linked {
    File(TreePath),
    Same(Box<Entry>),
}
