//! Reads a stack of trees as the one tree that a container on top of them would see. Changes nothing and reads no file.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::digest::LayerId;
use crate::tree::{Content, Entry, Kind, Place, Time, Tree, TreePath};

mod resolve;
mod view;
mod walk;

pub use resolve::{Follow, MAX_LINKS, ResolveError, Resolved};
pub(crate) use resolve::{Look, Way, follow};
pub use view::{ContentReader, MergedView, describe};
pub use walk::{Below, Walk};

/// A stack of trees, base first. Whiteouts, opaque directories and replaced kinds of the upper ones hide what lies
/// below; a directory for which no layer has an entry is root's, 0755.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    id: Option<LayerId>,
    tree: Arc<Tree>,
}

/// What shows at a path.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Never a whiteout or a further name: a hard link is seen as the file it names. Whether a directory is opaque
    /// means nothing here.
    pub entry: &'a Entry,
    /// The layer that holds the entry; `None` for a directory that no layer has an entry for.
    pub home: Option<Home<'a>>,
}

/// Where an entry comes from. Two paths with one home are hard links to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home<'a> {
    /// Position in the stack, counted from the base.
    pub layer: usize,
    /// The path under which that layer's tree holds the entry.
    pub path: &'a TreePath,
    /// It was reached through a further name.
    pub linked: bool,
}

impl Found<'_> {
    pub fn is_directory(&self) -> bool {
        self.entry.is_directory()
    }
}

static IMPLICIT: Entry = Entry {
    kind: Kind::Directory { opaque: false },
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: Time { seconds: 0, nanoseconds: 0 },
    xattrs: None,
};

impl Merged {
    /// Of named layers, base first.
    pub fn new(layers: Vec<(LayerId, Arc<Tree>)>) -> Self {
        let named = |(id, tree)| Layer { id: Some(id), tree };
        Self { layers: layers.into_iter().map(named).collect() }
    }

    /// Of one tree without a name, such as a context's. No place in it may be [`Place::Here`].
    pub fn of_tree(tree: Arc<Tree>) -> Self {
        Self::default().with_tree(tree)
    }

    /// With a tree without a name on top. No place in it may be [`Place::Here`].
    pub fn with_tree(mut self, tree: Arc<Tree>) -> Self {
        self.layers.push(Layer { id: None, tree });
        self
    }

    /// With a named layer on top.
    pub fn with_layer(mut self, id: LayerId, tree: Arc<Tree>) -> Self {
        self.layers.push(Layer { id: Some(id), tree });
        self
    }

    /// The number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// The name of a layer by its position; `None` for a nameless one.
    pub fn layer(&self, position: usize) -> Option<&LayerId> {
        self.layers[position].id.as_ref()
    }

    /// What shows at `path`; links on the way are not followed.
    pub fn get(&self, path: &TreePath) -> Option<Found<'_>> {
        self.spot(path).map(|spot| spot.found)
    }

    /// What a file holds, with its place made absolute; `None` for anything but a regular file.
    pub fn content(&self, found: &Found<'_>) -> Option<Content> {
        let Kind::File(file) = &found.entry.kind else {
            return None;
        };
        let place = match (&file.content.place, found.home) {
            (Place::Here, Some(home)) => match self.layer(home.layer) {
                Some(layer) => Place::Layer { layer: *layer, path: home.path.clone() },
                None => Place::Here,
            },
            (place, _) => place.clone(),
        };
        Some(Content { digest: file.content.digest, place })
    }

    /// The entry with its content's place made absolute and no opaque mark: what a copy of it is.
    pub fn entry(&self, found: &Found<'_>) -> Entry {
        let mut entry = found.entry.clone();
        match &mut entry.kind {
            Kind::Directory { opaque } => *opaque = false,
            Kind::File(file) if file.content.place == Place::Here => {
                if let Some(content) = self.content(found) {
                    file.content = content;
                }
            }
            _ => {}
        }
        entry
    }

    /// The direct children of a directory, sorted by name; nothing when `path` is none.
    pub fn children(&self, path: &TreePath) -> Vec<(Cow<'_, TreePath>, Found<'_>)> {
        let mut walk = self.walk(path);
        let mut children = Vec::new();
        while let Some(child) = walk.next() {
            walk.skip_below();
            children.push(child);
        }
        children
    }

    /// Everything below `path`, in order, in one pass over the layers. Links are not followed.
    pub fn walk(&self, path: &TreePath) -> Walk<'_> {
        Walk::below(self, self.spot(path).as_ref())
    }

    /// As [`Merged::walk`], calling `visit`, which says whether it wants to see what a directory holds.
    pub fn walk_below<'a>(&'a self, path: &TreePath, mut visit: impl FnMut(&TreePath, Found<'a>) -> Below) {
        let mut walk = self.walk(path);
        while let Some((path, found)) = walk.next() {
            match visit(&path, found) {
                Below::Enter => {}
                Below::Skip => walk.skip_below(),
                Below::Stop => return,
            }
        }
    }

    pub(crate) fn root(&self) -> Spot<'_> {
        let mut merger = Merger::new(self);
        for (layer, Layer { tree, .. }) in self.layers.iter().enumerate().rev() {
            let entries = tree.entries();
            let root = entries.first().filter(|(path, _)| path.is_root());
            // Whatever a layer says of its root, it is a directory.
            let exact = root.filter(|(_, entry)| entry.is_directory()).map(|_| 0);
            merger.add(layer, exact, usize::from(root.is_some())..entries.len());
        }
        merger.finish(0).unwrap_or(Spot {
            merged: self,
            found: Found { entry: &IMPLICIT, home: None },
            parts: Vec::new(),
            prefix: 0,
        })
    }

    pub(crate) fn spot(&self, path: &TreePath) -> Option<Spot<'_>> {
        path.components().try_fold(self.root(), |spot, name| spot.child(name))
    }

    fn entries(&self, layer: usize) -> &[(TreePath, Entry)] {
        self.layers[layer].tree.entries()
    }
}

/// A visible path with the part of each layer that shows below it, so that going down looks at no layer in vain.
#[derive(Clone, Debug)]
pub(crate) struct Spot<'a> {
    merged: &'a Merged,
    pub(crate) found: Found<'a>,
    /// Topmost first; empty for anything but a directory.
    parts: Vec<Part>,
    /// Where in a full path the names of its children begin.
    prefix: usize,
}

#[derive(Clone, Debug)]
struct Part {
    layer: usize,
    /// Of the layer's entries: those below the directory.
    entries: Range<usize>,
}

impl<'a> Spot<'a> {
    pub(crate) fn is_directory(&self) -> bool {
        self.found.is_directory()
    }

    pub(crate) fn child(&self, name: &[u8]) -> Option<Spot<'a>> {
        let mut merger = Merger::new(self.merged);
        for part in &self.parts {
            let entries = &self.merged.entries(part.layer)[part.entries.clone()];
            let tail = |at: usize| &entries[at].0.as_bytes()[self.prefix..];
            let at = entries.partition_point(|(path, _)| {
                crate::tree::compare_paths(&path.as_bytes()[self.prefix..], name).is_lt()
            });
            if at == entries.len() || !tail(at).starts_with(name) {
                continue;
            }
            let exact = tail(at).len() == name.len();
            if !exact && tail(at)[name.len()] != b'/' {
                continue;
            }
            let below = below(entries, at + usize::from(exact), self.prefix, name);
            let start = part.entries.start;
            merger.add(part.layer, exact.then_some(start + at), start + below.start..start + below.end);
            if merger.closed {
                break;
            }
        }
        merger.finish(self.prefix + name.len() + 1)
    }

    /// It holds something.
    pub(crate) fn has_children(&self) -> bool {
        Walk::below(self.merged, Some(self)).next().is_some()
    }

    pub(crate) fn walk(&self) -> Walk<'a> {
        Walk::below(self.merged, Some(self))
    }

    /// The names of its children, sorted.
    pub(crate) fn names(&self) -> Vec<Vec<u8>> {
        let mut walk = self.walk();
        let mut names = Vec::new();
        while let Some((path, _)) = walk.next() {
            walk.skip_below();
            names.push(path.name().to_vec());
        }
        names
    }
}

/// The run of entries from `start` on that lie below the child `name` of the directory whose children's names begin
/// at `prefix`.
fn below(entries: &[(TreePath, Entry)], start: usize, prefix: usize, name: &[u8]) -> Range<usize> {
    let inside = |path: &TreePath| {
        let tail = &path.as_bytes()[prefix..];
        tail.len() > name.len() && tail[name.len()] == b'/' && tail.starts_with(name)
    };
    // Most entries are files and hold nothing: one look instead of a search.
    if !entries.get(start).is_some_and(|(path, _)| inside(path)) {
        return start..start;
    }
    start..start + entries[start..].partition_point(|(path, _)| inside(path))
}

/// Puts together what the layers, topmost first, say about one path.
struct Merger<'a> {
    merged: &'a Merged,
    found: Option<Found<'a>>,
    parts: Vec<Part>,
    closed: bool,
}

impl<'a> Merger<'a> {
    fn new(merged: &'a Merged) -> Self {
        Self { merged, found: None, parts: Vec::new(), closed: false }
    }

    /// `exact` is the index of the layer's entry for the path, `below` what the layer has below it.
    fn add(&mut self, layer: usize, exact: Option<usize>, below: Range<usize>) {
        if self.closed {
            return;
        }
        let part = Part { layer, entries: below };
        let Some(exact) = exact else {
            if !part.entries.is_empty() {
                self.parts.push(part);
            }
            return;
        };
        let merged: &'a Merged = self.merged;
        let (path, entry) = &merged.entries(layer)[exact];
        let home = |path, linked| Some(Home { layer, path, linked });
        match &entry.kind {
            Kind::Directory { opaque } => {
                self.closed = *opaque;
                self.parts.push(part);
                self.found.get_or_insert(Found { entry, home: home(path, false) });
            }
            _ => {
                self.closed = true;
                // Below a directory of an upper layer, even an implied one, this is hidden.
                if !self.parts.is_empty() {
                    return;
                }
                self.found = match &entry.kind {
                    Kind::Whiteout => None,
                    Kind::Link(first) => merged
                        .first_name(layer, first)
                        .map(|(path, entry)| Found { entry, home: home(path, true) }),
                    _ => Some(Found { entry, home: home(path, false) }),
                };
            }
        }
    }

    fn finish(self, prefix: usize) -> Option<Spot<'a>> {
        let found = match self.found {
            Some(found) => found,
            None if self.parts.is_empty() => return None,
            None => Found { entry: &IMPLICIT, home: None },
        };
        Some(Spot { merged: self.merged, found, parts: self.parts, prefix })
    }
}

impl Merged {
    /// The entry that a hard link names: never a directory, a whiteout or another link, which no layer may say.
    fn first_name(&self, layer: usize, path: &TreePath) -> Option<&(TreePath, Entry)> {
        let entries = self.entries(layer);
        let at = entries.binary_search_by(|(p, _)| p.cmp(path)).ok()?;
        let named = &entries[at];
        let holds = !matches!(named.1.kind, Kind::Directory { .. } | Kind::Whiteout | Kind::Link(_));
        holds.then_some(named)
    }
}

#[cfg(test)]
pub(crate) mod tests;
