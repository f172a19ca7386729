//! Makes, removes and changes single things in a layer in the making.

use super::draft::{At, NodeId};
use super::wildcard::{expand, is_pattern};
use super::{FileOpError, Work, everything};
use crate::digest::FileDigest;
use crate::graph::Owner;
use crate::merged::{Follow, ResolveError, Way, follow};
use crate::mode::ModeChange;
use crate::tree::{Content, Entry, File, Kind, Place, TreePath};

impl<'b> Work<'_, 'b> {
    /// A directory that exists already is left as it is, whoever would own a new one.
    pub(super) fn make_dir(
        &mut self,
        path: &str,
        mode: u32,
        parents: bool,
        owner: Option<&Owner>,
    ) -> Result<(), FileOpError> {
        let way = follow(&self.draft, &TreePath::clean(path), Follow::Last)?;
        let chain = self.draft.chain(&way.path);
        if way.is_whole {
            return match self.draft.is_directory(chain[way.existing]) {
                true => Ok(()),
                false => Err(FileOpError::NotADirectory { path: way.path }),
            };
        }
        let missing = &chain[way.existing + 1..];
        if missing.len() > 1 && !parents {
            return Err(FileOpError::NoParent { path: way.path });
        }
        let ids = self.ids(owner)?;
        for id in missing {
            let entry = self.new_directory(mode, ids);
            self.draft.set(*id, entry, None);
        }
        Ok(())
    }

    /// A file that exists already is replaced, also behind a link.
    pub(super) fn make_file(
        &mut self,
        path: &str,
        data: &[u8],
        mode: u32,
        owner: Option<&Owner>,
    ) -> Result<(), FileOpError> {
        let (uid, gid) = self.ids(owner)?;
        let way = follow(&self.draft, &TreePath::clean(path), Follow::Last)?;
        let at = self.place_for(way)?;
        let entry = Entry {
            kind: Kind::File(File {
                size: data.len() as u64,
                content: Content { digest: Some(FileDigest::of(data)), place: Place::Inline(data.into()) },
            }),
            mode: mode & 0o7777,
            uid,
            gid,
            mtime: self.now,
            xattrs: None,
        };
        self.draft.set(at, entry, None);
        Ok(())
    }

    /// A file or link that exists already is replaced.
    pub(super) fn make_symlink(
        &mut self,
        path: &str,
        target: &str,
        owner: Option<&Owner>,
    ) -> Result<(), FileOpError> {
        let (uid, gid) = self.ids(owner)?;
        let way = follow(&self.draft, &TreePath::clean(path), Follow::NotLast)?;
        let at = self.place_for(way)?;
        let entry = Entry {
            kind: Kind::Symlink(target.as_bytes().into()),
            mode: 0o777,
            uid,
            gid,
            mtime: self.now,
            xattrs: None,
        };
        self.draft.set(at, entry, None);
        Ok(())
    }

    /// The place at the end of a path: its directory exists, and it is no directory itself.
    fn place_for(&mut self, way: Way<At<'b>>) -> Result<NodeId, FileOpError> {
        let chain = self.draft.chain(&way.path);
        let last = chain[chain.len() - 1];
        if way.existing + 2 < chain.len() {
            return Err(FileOpError::NoParent { path: way.path });
        }
        if !way.is_whole && !self.draft.is_directory(chain[way.existing]) {
            return Err(FileOpError::NoParent { path: way.path });
        }
        match self.draft.is_directory(last) {
            true => Err(FileOpError::IsADirectory { path: way.path }),
            false => Ok(last),
        }
    }

    pub(super) fn remove(
        &mut self,
        path: &str,
        allow_missing: bool,
        allow_wildcard: bool,
    ) -> Result<(), FileOpError> {
        let paths = self.named(path, allow_wildcard, Follow::NotLast)?;
        if paths.is_empty() && !allow_missing {
            return Err(FileOpError::Missing { path: path.to_owned(), what: "removed" });
        }
        for path in paths {
            if path.is_root() {
                return Err(FileOpError::RemoveRoot);
            }
            if let Some(id) = self.draft.chain(&path).pop() {
                self.draft.remove(id);
            }
        }
        Ok(())
    }

    /// Mode and owner of what is there; the mode of a link is never changed.
    pub(super) fn change(
        &mut self,
        path: &str,
        owner: Option<&Owner>,
        mode: &str,
        recursive: bool,
        allow_wildcard: bool,
    ) -> Result<(), FileOpError> {
        let ids = match owner {
            Some(owner) => Some(self.ids(Some(owner))?),
            None => None,
        };
        let mode = match mode {
            "" => None,
            mode => Some(ModeChange::parse(mode)?),
        };
        let paths = self.named(path, allow_wildcard, Follow::Last)?;
        if paths.is_empty() {
            return Err(FileOpError::Missing { path: path.to_owned(), what: "changed" });
        }
        for path in paths {
            let Some(top) = self.draft.chain(&path).pop() else {
                continue;
            };
            let all = match recursive {
                true => everything(&mut self.draft, top),
                false => vec![top],
            };
            for id in all {
                let Some(old) = self.draft.entry(&At::Touched(id)) else {
                    continue;
                };
                let mut new = old.clone();
                if let Some((uid, gid)) = ids {
                    (new.uid, new.gid) = (uid, gid);
                }
                if let Some(mode) = &mode
                    && !matches!(new.kind, Kind::Symlink(_))
                {
                    new.mode = mode.apply(new.mode, new.is_directory());
                }
                if new != old {
                    self.draft.replace(id, new);
                }
            }
        }
        Ok(())
    }

    /// The paths that exist of those that `path` names, without links on the way.
    fn named(
        &mut self,
        path: &str,
        allow_wildcard: bool,
        last: Follow,
    ) -> Result<Vec<TreePath>, FileOpError> {
        if allow_wildcard && is_pattern(path.as_bytes()) {
            let matches = expand(&self.draft, path.as_bytes())
                .map_err(|why| FileOpError::Pattern { pattern: path.to_owned(), why })?;
            return Ok(matches.into_iter().map(|found| found.path).collect());
        }
        match follow(&self.draft, &TreePath::clean(path), last) {
            Ok(way) if way.is_whole => Ok(vec![way.path]),
            Ok(_) | Err(ResolveError::NotADirectory { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
