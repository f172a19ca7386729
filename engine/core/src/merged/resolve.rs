//! Follows symbolic links inside a tree, as the kernel would for a process whose root it is.

use super::{Found, Merged, Spot};
use crate::tree::{Kind, TreePath};

/// Links followed on one path before it is taken for a loop, as in the kernel.
pub const MAX_LINKS: usize = 40;

/// What to do with a symbolic link that is the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Last,
    NotLast,
}

/// Where a path leads.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    /// Without links, as far as it exists.
    pub path: TreePath,
    /// What is there; `None` when it, or a directory on the way, is missing.
    pub found: Option<Found<'a>>,
    /// How many components of `path` exist.
    pub existing: usize,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("`{}` leads through more than {MAX_LINKS} symbolic links", .path.display())]
    Loop { path: TreePath },
    #[error("`{}` is not a directory, so `{}` cannot be in it", .at.display(), .path.display())]
    NotADirectory { path: TreePath, at: TreePath },
}

/// Anything that has directories and links in it: a merged view, or a layer in the making.
pub(crate) trait Look {
    type At: Clone;
    fn top(&self) -> Self::At;
    fn down(&self, at: &Self::At, name: &[u8]) -> Option<Self::At>;
    fn kind<'l>(&'l self, at: &'l Self::At) -> &'l Kind;
    /// Of what a directory holds, sorted.
    fn names(&self, at: &Self::At) -> Vec<Vec<u8>>;
}

/// Where a path leads, and the last thing on it that exists.
pub(crate) struct Way<At> {
    pub(crate) path: TreePath,
    /// How many components of `path` exist; `last` is the last of them, or the root.
    pub(crate) existing: usize,
    pub(crate) last: At,
    pub(crate) is_whole: bool,
}

/// Neither an absolute link nor `..` leaves the root. What is missing is kept as it is spelled, also behind a dangling
/// link.
pub(crate) fn follow<L: Look>(look: &L, path: &TreePath, follow: Follow) -> Result<Way<L::At>, ResolveError> {
    // The next one is last. The first place is the root, each further one belongs to a name.
    let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
    let mut places = vec![look.top()];
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut missing: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if !missing.is_empty() {
            match &name[..] {
                b".." => drop(missing.pop()),
                _ => missing.push(name),
            }
            continue;
        }
        let here = &places[names.len()];
        if !matches!(look.kind(here), Kind::Directory { .. }) {
            return Err(ResolveError::NotADirectory {
                path: path.clone(),
                at: TreePath::clean(names.join(&b'/')),
            });
        }
        if name == b".." {
            names.pop();
            places.truncate(names.len() + 1);
            continue;
        }
        let Some(place) = look.down(here, &name) else {
            missing.push(name);
            continue;
        };
        match look.kind(&place) {
            Kind::Symlink(target) if follow == Follow::Last || !todo.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(ResolveError::Loop { path: path.clone() });
                }
                if target.starts_with(b"/") {
                    names.clear();
                    places.truncate(1);
                }
                let parts = target.split(|b| *b == b'/').rev();
                todo.extend(parts.filter(|p| !matches!(*p, b"" | b".")).map(<[u8]>::to_vec));
            }
            _ => {
                names.push(name);
                places.push(place);
            }
        }
    }
    let existing = names.len();
    let is_whole = missing.is_empty();
    names.extend(missing);
    Ok(Way {
        path: TreePath::clean(names.join(&b'/')),
        existing,
        last: places.swap_remove(existing),
        is_whole,
    })
}

impl<'a> Look for &'a Merged {
    type At = Spot<'a>;

    fn top(&self) -> Spot<'a> {
        self.root()
    }

    fn down(&self, at: &Spot<'a>, name: &[u8]) -> Option<Spot<'a>> {
        at.child(name)
    }

    fn kind<'l>(&'l self, at: &'l Spot<'a>) -> &'l Kind {
        &at.found.entry.kind
    }

    fn names(&self, at: &Spot<'a>) -> Vec<Vec<u8>> {
        at.names()
    }
}

impl Merged {
    /// Follows `path` from the root. Neither an absolute link nor `..` leaves the root; what is missing is kept as it
    /// is spelled, also behind a dangling link.
    pub fn resolve(&self, path: &TreePath, last: Follow) -> Result<Resolved<'_>, ResolveError> {
        let way = follow(&self, path, last)?;
        Ok(Resolved { path: way.path, found: way.is_whole.then_some(way.last.found), existing: way.existing })
    }
}
