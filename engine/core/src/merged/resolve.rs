//! Follows symbolic links inside a merged view, as the kernel would for a process whose root it is.

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

impl Merged {
    /// Follows `path` from the root. Neither an absolute link nor `..` leaves the root; what is missing is kept as it
    /// is spelled, also behind a dangling link.
    pub fn resolve(&self, path: &TreePath, follow: Follow) -> Result<Resolved<'_>, ResolveError> {
        // Last first. The first spot is the root, each further one belongs to a name.
        let mut todo: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut spots: Vec<Spot<'_>> = vec![self.root()];
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
            let here = &spots[spots.len() - 1];
            if !here.is_directory() {
                return Err(ResolveError::NotADirectory {
                    path: path.clone(),
                    at: TreePath::clean(names.join(&b'/')),
                });
            }
            if name == b".." {
                names.pop();
                spots.truncate(names.len() + 1);
                continue;
            }
            let Some(spot) = here.child(&name) else {
                missing.push(name);
                continue;
            };
            match &spot.found.entry.kind {
                Kind::Symlink(target) if follow == Follow::Last || !todo.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ResolveError::Loop { path: path.clone() });
                    }
                    if target.starts_with(b"/") {
                        names.clear();
                        spots.truncate(1);
                    }
                    let parts = target.split(|b| *b == b'/').rev();
                    todo.extend(parts.filter(|p| !matches!(*p, b"" | b".")).map(<[u8]>::to_vec));
                }
                _ => {
                    names.push(name);
                    spots.push(spot);
                }
            }
        }
        let existing = names.len();
        let found = missing.is_empty().then(|| spots[existing].found);
        names.extend(missing);
        Ok(Resolved { path: TreePath::clean(names.join(&b'/')), found, existing })
    }
}
