//! What a layer changes: its entries, told as what they do to the tree below.

use kiln_core::merged::{Found, Merged, describe};
use kiln_core::seams::{FileInfo, FileKind};
use kiln_core::{Entry, Kind, Tree, TreePath};
use kiln_plugin::{Change, ChangeKind};

/// Sorted by path. A directory that is below already, with the same owner and mode, is no change: layers name the parents
/// of what they hold. Of what is removed the topmost path is told.
pub(super) fn changes(tree: &Tree, below: &Merged) -> Vec<Change> {
    let mut changes = Vec::with_capacity(tree.len());
    let mut hidden = Vec::new();
    let is_first = below.depth() == 0;
    for (path, entry) in tree.entries() {
        if path.is_root() {
            continue;
        }
        let before = if is_first { None } else { below.get(path) };
        let kind = if before.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        let shown = match &entry.kind {
            Kind::Whiteout => {
                changes.extend(before.map(|_| removed(path)));
                continue;
            }
            Kind::Link(first) => match tree.get(first) {
                Some(entry) => entry,
                None => continue,
            },
            Kind::Directory { opaque } => {
                if let Some(before) = before.filter(Found::is_directory) {
                    if *opaque {
                        hidden.extend(hidden_by(path, tree, below));
                    }
                    if is_as(entry, before.entry) {
                        continue;
                    }
                }
                entry
            }
            _ => entry,
        };
        let content = match &shown.kind {
            Kind::File(file) => file.content.digest,
            _ => None,
        };
        let file = describe(path, &Found { entry: shown, home: None });
        changes.push(Change { kind, file, content });
    }
    if !hidden.is_empty() {
        changes.extend(hidden);
        changes
            .sort_by(|a, b| kiln_core::tree::compare_paths(a.file.path.as_bytes(), b.file.path.as_bytes()));
    }
    changes
}

fn is_as(a: &Entry, b: &Entry) -> bool {
    (a.mode, a.uid, a.gid, &a.xattrs) == (b.mode, b.uid, b.gid, &b.xattrs)
}

/// What an opaque directory takes away.
fn hidden_by(path: &TreePath, tree: &Tree, below: &Merged) -> Vec<Change> {
    let children = below.children(path);
    let gone = |child: &TreePath| tree.get(child).is_none() && tree.below(child).is_empty();
    children.iter().filter(|(child, _)| gone(child)).map(|(child, _)| removed(child)).collect()
}

fn removed(path: &TreePath) -> Change {
    let file = FileInfo {
        path: String::from_utf8_lossy(path.as_bytes()).into_owned(),
        kind: FileKind::Regular,
        size: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        target: String::new(),
    };
    Change { kind: ChangeKind::Removed, file, content: None }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_core::FileDigest;
    use kiln_core::tree::{Content, File, Place};

    use super::*;

    fn entry(text: &str) -> (TreePath, Entry) {
        let (path, kind) = match text {
            text if text.ends_with('/') => (text, Kind::Directory { opaque: false }),
            text if text.ends_with("/!") => (&text[..text.len() - 1], Kind::Directory { opaque: true }),
            text if text.starts_with('-') => (&text[1..], Kind::Whiteout),
            text => match text.split_once('=') {
                Some((path, target)) => (path, Kind::Link(TreePath::clean(target))),
                None => {
                    let content =
                        Content { digest: Some(FileDigest::of(text.as_bytes())), place: Place::Here };
                    (text, Kind::File(File { size: 7, content }))
                }
            },
        };
        (TreePath::clean(path), Entry { kind, ..Entry::directory() })
    }

    fn tree(entries: &str) -> Tree {
        Tree::new(entries.split_whitespace().map(entry).collect())
    }

    fn told(upper: &str, lower: &str) -> String {
        let below = Merged::of_tree(Arc::new(tree(lower)));
        let word = |change: &Change| {
            let kind = match change.kind {
                ChangeKind::Added => '+',
                ChangeKind::Modified => '*',
                ChangeKind::Removed => '-',
            };
            format!("{kind}{}", change.file.path)
        };
        changes(&tree(upper), &below).iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_layer_is_told_as_what_it_does_to_the_tree_below() {
        assert_eq!(told("a/ a/new a/old b/ -c -never", "a/ a/old c"), "+a/new *a/old +b -c");
    }

    #[test]
    fn an_opaque_directory_takes_away_what_it_does_not_hold() {
        assert_eq!(
            told("a/! a/kept a/z/ a/z/new", "a/ a/gone a/kept a/z/ a/z/gone"),
            "-a/gone *a/kept +a/z/new"
        );
    }

    #[test]
    fn a_further_name_is_told_as_the_file() {
        let all = changes(&tree("f g=f"), &Merged::default());
        assert_eq!(all[0].file.size, all[1].file.size);
        assert_eq!(all[0].content, all[1].content);
        assert!(all[1].content.is_some());
    }

    #[test]
    fn another_owner_of_a_directory_is_a_change() {
        let mut upper = tree("a/");
        upper.entries_mut().for_each(|(_, entry)| entry.uid = 5);
        let below = Merged::of_tree(Arc::new(tree("a/")));
        assert_eq!(changes(&upper, &below).len(), 1);
        assert_eq!(changes(&tree("a/"), &below), []);
    }
}
