//! The changeset that leads from one tree to another.

use kiln_core::merged::{Found, Merged};
use kiln_core::{Entry, Kind, Tree, TreePath};

/// What `upper` has beyond `lower`: entries that are not the same there, and whiteouts for what it does not have.
pub(crate) fn difference(lower: &Merged, upper: &Merged) -> Tree {
    let root = TreePath::root();
    let mut entries: Vec<(TreePath, Entry)> = Vec::new();
    for (path, found) in upper.walk(&root) {
        let same = lower.get(&path).is_some_and(|below| identity(&below) == identity(&found));
        if !same {
            entries.push((path.into_owned(), upper.entry(&found)));
        }
    }
    let mut walk = lower.walk(&root);
    while let Some((path, _)) = walk.next() {
        if upper.get(&path).is_none() {
            entries.push((path.into_owned(), Entry { kind: Kind::Whiteout, ..Entry::directory() }));
            // With the directory everything in it goes.
            walk.skip_below();
        }
    }
    let mut tree = Tree::new(entries);
    let parents = missing_parents(&tree, upper);
    tree = Tree::new(tree.into_entries().into_iter().chain(parents).collect());
    tree
}

fn identity(found: &Found<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut entry = found.entry.clone();
    if let Kind::Directory { opaque } = &mut entry.kind {
        *opaque = false;
    }
    entry.write_identity(b"", &mut bytes);
    bytes
}

/// Every entry has its parents, as they are in the upper tree.
fn missing_parents(tree: &Tree, upper: &Merged) -> Vec<(TreePath, Entry)> {
    let mut parents = std::collections::BTreeMap::new();
    for (path, _) in tree.entries() {
        let mut parent = path.parent();
        while let Some(path) = parent.filter(|path| !path.is_root() && tree.get(path).is_none()) {
            parent = path.parent();
            if let Some(found) = upper.get(&path) {
                parents.insert(path, upper.entry(&found));
            }
        }
    }
    parents.into_iter().collect()
}
