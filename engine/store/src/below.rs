//! Looks through a stack of trees from above, directory by directory, as overlay would show it.

use std::sync::Arc;

use kiln_core::{Entry, Kind, Tree, TreePath};

/// Trees, base first.
pub(crate) struct Below<'a>(pub(crate) &'a [Arc<Tree>]);

/// Which of the trees show something in one directory, topmost first.
pub(crate) type Visible = Vec<usize>;

impl<'a> Below<'a> {
    pub(crate) fn root(&self) -> Visible {
        let mut visible = Visible::new();
        for (at, tree) in self.0.iter().enumerate().rev() {
            visible.push(at);
            let opaque = Kind::Directory { opaque: true };
            if tree.get(&TreePath::root()).is_some_and(|root| root.kind == opaque) {
                break;
            }
        }
        visible
    }

    /// What is at `path`, which lies in a directory that `visible` is for, and which trees show something in it.
    pub(crate) fn child(&self, visible: &[usize], path: &TreePath) -> (Option<Shown<'a>>, Visible) {
        let mut shown = None;
        let mut inside = Visible::new();
        for &at in visible {
            let Some(entry) = self.0[at].get(path) else {
                continue;
            };
            match entry.kind {
                Kind::Whiteout => break,
                Kind::Directory { opaque } => {
                    shown.get_or_insert(Shown { entry, tree: at });
                    inside.push(at);
                    if opaque {
                        break;
                    }
                }
                _ => {
                    shown.get_or_insert(Shown { entry, tree: at });
                    break;
                }
            }
        }
        (shown, inside)
    }

    /// Whether anything shows in a directory.
    pub(crate) fn shows_anything(&self, visible: &[usize], directory: &TreePath) -> bool {
        visible.iter().any(|&at| {
            self.0[at].below(directory).iter().any(|(path, entry)| {
                path.parent().as_ref() == Some(directory)
                    && entry.kind != Kind::Whiteout
                    && self.child(visible, path).0.is_some()
            })
        })
    }

    /// The entry that holds what `shown` shows, if it is a further name of a file.
    pub(crate) fn resolve(&self, shown: Shown<'a>) -> &'a Entry {
        match &shown.entry.kind {
            Kind::Link(target) => self.0[shown.tree].get(target).unwrap_or(shown.entry),
            _ => shown.entry,
        }
    }
}

/// An entry and the tree it is from.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) entry: &'a Entry,
    tree: usize,
}
