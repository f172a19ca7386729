//! A tree of files as the search sees it.

use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileKind, HostError};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stat {
    File,
    Directory,
    /// With its target, verbatim.
    Link(String),
    Other,
}

/// Read access to one tree. Paths are absolute; links in all parts but the last are followed.
pub trait Files {
    /// `None` when there is nothing.
    fn stat(&self, path: &str) -> Result<Option<Stat>, HostError>;

    /// The path with every link followed. `None` when it leads nowhere.
    fn real_path(&self, path: &str) -> Result<Option<String>, HostError>;

    /// Up to `max` bytes from `offset`; fewer only at the end of the file.
    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError>;

    /// Paths of regular files and links that match a pattern, sorted.
    fn matching(&self, pattern: &str) -> Result<Vec<String>, HostError>;

    /// Names in a directory, sorted; none when it is not there.
    fn names(&self, directory: &str) -> Result<Vec<String>, HostError>;
}

/// How many files a pattern may stand for.
const MATCHES: u32 = 10_000;

/// What is read in one call at most, so that a host need not hold more at a time.
const AT_ONCE: u32 = 4 << 20;

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn known<T>(answer: Result<T, HostError>) -> Result<Option<T>, HostError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.code.as_str(), "not-found" | "not-a-directory") => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files for Tree {
    fn stat(&self, path: &str) -> Result<Option<Stat>, HostError> {
        Ok(known(Tree::stat(self, relative(path)))?.map(|info| match info.kind {
            FileKind::Regular => Stat::File,
            FileKind::Directory => Stat::Directory,
            FileKind::Symlink => Stat::Link(info.target),
            _ => Stat::Other,
        }))
    }

    fn real_path(&self, path: &str) -> Result<Option<String>, HostError> {
        let real = known(Tree::real_path(self, relative(path)))?;
        Ok(real.map(|real| format!("/{}", relative(&real))))
    }

    fn read(&self, path: &str, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
        let mut bytes = Vec::new();
        while bytes.len() < max as usize {
            let missing = (max - bytes.len() as u32).min(AT_ONCE);
            let Some(at) = offset.checked_add(bytes.len() as u32) else { break };
            let more = Tree::read(self, relative(path), at, missing)?;
            if more.is_empty() {
                break;
            }
            bytes.extend(more);
        }
        Ok(bytes)
    }

    fn matching(&self, pattern: &str) -> Result<Vec<String>, HostError> {
        let found = self.glob(&[relative(pattern).to_owned()], MATCHES)?;
        let fits =
            found.into_iter().filter(|info| matches!(info.kind, FileKind::Regular | FileKind::Symlink));
        Ok(fits.map(|info| format!("/{}", relative(&info.path))).collect())
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, HostError> {
        let children = known(self.children(relative(directory)))?.unwrap_or_default();
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(children.into_iter().map(|info| name(&info.path)).collect())
    }
}
