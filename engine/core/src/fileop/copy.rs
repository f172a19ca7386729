//! Puts what a copy takes where it belongs (dockerfile.md, 12.2 to 12.12).

use super::draft::NodeId;
use super::pieces::{Form, Piece, hard_links, pieces, whole};
use super::{FileOpError, Remark, Work};
use crate::graph::{CopyAction, Unpack};
use crate::merged::{Follow, Found, Merged, follow};
use crate::mode::ModeChange;
use crate::tree::{Entry, Kind, TreePath};

/// What a copy changes of what it copies.
struct Changes {
    owner: Option<(u32, u32)>,
    mode: Option<ModeChange>,
}

impl Changes {
    fn apply(&self, entry: &mut Entry) {
        if let Some((uid, gid)) = self.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(mode) = &self.mode
            && !matches!(entry.kind, Kind::Symlink(_))
        {
            entry.mode = mode.apply(entry.mode, entry.is_directory());
        }
    }
}

/// The destination of a copy, without links.
struct Destination {
    path: TreePath,
    /// The root first, the destination last; what is missing among them is yet to be made.
    chain: Vec<NodeId>,
    /// Missing directories are made like this.
    directory: Entry,
}

impl Destination {
    fn last(&self) -> NodeId {
        self.chain[self.chain.len() - 1]
    }
}

impl Work<'_, '_> {
    pub(super) fn copy(&mut self, action: &CopyAction) -> Result<(), FileOpError> {
        let inputs = self.inputs;
        let input = inputs.get(action.input).ok_or(FileOpError::NoInput(action.input))?;
        let changes = Changes {
            owner: match &action.owner {
                Some(owner) => Some(self.ids(Some(owner))?),
                None => None,
            },
            mode: match &action.mode[..] {
                "" => None,
                mode => Some(ModeChange::parse(mode)?),
            },
        };
        let pieces = pieces(action, input, self.world)?;
        if pieces.is_empty() {
            return Ok(());
        }
        // Directories that are made on the way get the mode as `mkdir` would, under a umask of 022.
        let mode = changes.mode.as_ref().and_then(ModeChange::octal).unwrap_or(0o777) & 0o755;
        let directory = self.new_directory(mode, changes.owner.unwrap_or((0, 0)));
        let to = self.destination(action, directory)?;
        let mut onto_dest = 0;
        for piece in &pieces {
            if self.unpacked(action, input, piece, &to, &changes)? {
                continue;
            }
            if says_directory(&action.dest) {
                self.make_missing(&to, to.chain.len())?;
            }
            match piece.form {
                Form::File | Form::Directory => {
                    let target = self.target(&piece.name, &to)?;
                    onto_dest += usize::from(target.0 == to.last());
                    self.put_top(input, piece, &target, &changes)?;
                }
                Form::Contents => {
                    self.make_missing(&to, to.chain.len())?;
                    self.draft.set_time(to.last(), piece.top.entry.mtime);
                    let keep = !action.include_patterns.is_empty();
                    self.put_items(input, piece, to.last(), &to.path, keep, &changes)?;
                }
                Form::Parents => {
                    self.make_missing(&to, to.chain.len())?;
                    self.put_items(input, piece, to.last(), &to.path, true, &changes)?;
                }
            }
        }
        if onto_dest > 1 {
            self.world.remark(Remark::SeveralOntoFile { dest: action.dest.clone() });
        }
        Ok(())
    }

    fn destination(&mut self, action: &CopyAction, directory: Entry) -> Result<Destination, FileOpError> {
        let way = follow(&self.draft, &TreePath::clean(&action.dest), Follow::Last)?;
        let chain = self.draft.chain(&way.path);
        if !action.create_dest && way.existing + 2 < chain.len() {
            return Err(FileOpError::NoParent { path: way.path });
        }
        Ok(Destination { path: way.path, chain, directory })
    }

    /// Makes the first `depth` of the places on the way to a destination directories, where they are missing.
    fn make_missing(&mut self, to: &Destination, depth: usize) -> Result<(), FileOpError> {
        for (index, id) in to.chain[..depth].iter().enumerate() {
            match self.draft.get(*id) {
                Some(entry) if entry.is_directory() => {}
                Some(_) => {
                    let path = to.path.components().take(index).collect::<Vec<_>>();
                    return Err(FileOpError::NotADirectory { path: TreePath::clean(path.join(&b'/')) });
                }
                None => self.draft.set(*id, to.directory.clone(), None),
            }
        }
        Ok(())
    }

    /// Where a file, or a directory as a whole, goes: under its own name in a destination that is a directory, else in
    /// place of the destination.
    fn target(&mut self, name: &[u8], to: &Destination) -> Result<(NodeId, TreePath), FileOpError> {
        if self.draft.is_directory(to.last()) && !name.is_empty() {
            return Ok((self.draft.child(to.last(), name), to.path.join(name)));
        }
        self.make_missing(to, to.chain.len() - 1)?;
        Ok((to.last(), to.path.clone()))
    }

    /// A source as a whole.
    fn put_top(
        &mut self,
        input: &Merged,
        piece: &Piece<'_>,
        (at, path): &(NodeId, TreePath),
        changes: &Changes,
    ) -> Result<(), FileOpError> {
        if piece.form == Form::File {
            let paths = || (path.clone(), piece.path.clone());
            return self.put(input, &piece.top, *at, None, changes, &paths);
        }
        match self.draft.get(*at) {
            None => {
                let mut entry = input.entry(&piece.top);
                changes.apply(&mut entry);
                self.draft.set(*at, entry, None);
            }
            Some(entry) if entry.is_directory() => self.draft.set_time(*at, piece.top.entry.mtime),
            Some(_) => {
                return Err(FileOpError::DirectoryOverFile {
                    path: path.clone(),
                    source_path: piece.path.clone(),
                });
            }
        }
        self.put_items(input, piece, *at, path, false, changes)
    }

    /// What is in a source, into the directory `into` at `path`. With `keep`, directories that are there already keep
    /// their metadata.
    fn put_items(
        &mut self,
        input: &Merged,
        piece: &Piece<'_>,
        into: NodeId,
        path: &TreePath,
        keep: bool,
        changes: &Changes,
    ) -> Result<(), FileOpError> {
        let links = hard_links(piece);
        let first_inode = self.draft.reserve(piece.items.len());
        // The directories on the way to the current item, by depth.
        let mut open = vec![into];
        for (index, item) in piece.items.iter().enumerate() {
            open.truncate(item.depth() + 1);
            let at = self.draft.child(open[open.len() - 1], item.name());
            if !item.found.is_directory() {
                let inode = links.get(&index).map(|first| first_inode + *first as u32);
                let paths = || (path.concat(&item.path()), piece.path.concat(&item.path()));
                self.put(input, &item.found, at, inode, changes, &paths)?;
                continue;
            }
            open.push(at);
            match self.draft.get(at) {
                Some(entry) if !entry.is_directory() => {
                    return Err(FileOpError::DirectoryOverFile {
                        path: path.concat(&item.path()),
                        source_path: piece.path.concat(&item.path()),
                    });
                }
                Some(_) if keep || item.leads => {}
                _ => {
                    let mut entry = input.entry(&item.found);
                    changes.apply(&mut entry);
                    self.draft.set(at, entry, None);
                }
            }
        }
        Ok(())
    }
    /// Anything but a directory. `paths` are where it goes and where it comes from, for messages.
    fn put(
        &mut self,
        input: &Merged,
        found: &Found<'_>,
        at: NodeId,
        inode: Option<u32>,
        changes: &Changes,
        paths: &dyn Fn() -> (TreePath, TreePath),
    ) -> Result<(), FileOpError> {
        if self.draft.is_directory(at) {
            let (path, source_path) = paths();
            return Err(FileOpError::FileOverDirectory { path, source_path });
        }
        let mut entry = input.entry(found);
        changes.apply(&mut entry);
        self.complete(&mut entry, || paths().1)?;
        self.draft.set(at, entry, inode);
        Ok(())
    }

    /// Sees to it that a file has a digest.
    fn complete(&mut self, entry: &mut Entry, path: impl Fn() -> TreePath) -> Result<(), FileOpError> {
        if let Kind::File(file) = &mut entry.kind
            && file.content.digest.is_none()
        {
            let digest = self.world.digest(&file.content, file.size);
            file.content.digest = Some(digest.map_err(|source| FileOpError::Read { path: path(), source })?);
        }
        Ok(())
    }

    /// Opens a source instead of copying it, if that is asked for and it is something to open.
    fn unpacked(
        &mut self,
        action: &CopyAction,
        input: &Merged,
        piece: &Piece<'_>,
        to: &Destination,
        changes: &Changes,
    ) -> Result<bool, FileOpError> {
        if action.unpack == Unpack::Nothing {
            return Ok(false);
        }
        let (Kind::File(file), Some(content)) = (&piece.top.entry.kind, input.content(&piece.top)) else {
            return Ok(false);
        };
        let archive = self.world.unpack(&content, file.size, action.unpack);
        let archive = archive.map_err(|source| FileOpError::Unpack { path: piece.path.clone(), source })?;
        let Some((id, tree)) = archive else {
            return Ok(false);
        };
        let archive = Merged::new(vec![(id, tree)]);
        if action.unpack != Unpack::Compressed {
            // A mode is for what is copied; neither what comes out of an archive nor the way to it takes it.
            let directory = Entry { mode: 0o755, ..to.directory.clone() };
            self.make_missing(
                &Destination { path: to.path.clone(), chain: to.chain.clone(), directory },
                to.chain.len(),
            )?;
            self.merge_archive(&archive, to, changes.owner)?;
            return Ok(true);
        }
        let held = whole(&archive, &TreePath::root());
        let Some(only) = held.items.iter().find(|item| !item.found.is_directory()) else {
            return Ok(false);
        };
        if says_directory(&action.dest) {
            self.make_missing(to, to.chain.len())?;
        }
        let name = without_suffix(&piece.name).to_vec();
        let target = self.target(&name, to)?;
        let mut entry = piece.top.entry.clone();
        entry.kind = archive.entry(&only.found).kind;
        changes.apply(&mut entry);
        self.complete(&mut entry, || piece.path.clone())?;
        if self.draft.is_directory(target.0) {
            return Err(FileOpError::FileOverDirectory { path: target.1, source_path: piece.path.clone() });
        }
        self.draft.set(target.0, entry, None);
        Ok(true)
    }

    /// What an archive holds, over what is there: directories are united, all else is the archive's.
    fn merge_archive(
        &mut self,
        archive: &Merged,
        to: &Destination,
        owner: Option<(u32, u32)>,
    ) -> Result<(), FileOpError> {
        let changes = Changes { owner, mode: None };
        let piece = whole(archive, &TreePath::root());
        let links = hard_links(&piece);
        let first_inode = self.draft.reserve(piece.items.len());
        let mut open = vec![to.last()];
        for (index, item) in piece.items.iter().enumerate() {
            open.truncate(item.depth() + 1);
            let at = self.draft.child(open[open.len() - 1], item.name());
            let mut entry = archive.entry(&item.found);
            changes.apply(&mut entry);
            if !entry.is_directory() {
                self.complete(&mut entry, || piece.path.concat(&item.path()))?;
                let inode = links.get(&index).map(|first| first_inode + *first as u32);
                self.draft.set(at, entry, inode);
                continue;
            }
            // A directory that the archive has no entry for is only a way to what it holds: what is there stays, and
            // a link to a directory leads on.
            if item.found.home.is_none() {
                let way = follow(&self.draft, &to.path.concat(&item.path()), Follow::Last);
                let led = way.ok().filter(|way| way.is_whole).map(|way| way.path);
                if let Some(path) = led {
                    let last = self.draft.chain(&path).pop().unwrap_or(at);
                    if self.draft.is_directory(last) {
                        open.push(last);
                        continue;
                    }
                }
                entry.mtime = self.now;
            }
            self.draft.set(at, entry, None);
            open.push(at);
        }
        Ok(())
    }
}

/// The destination is written as a directory.
fn says_directory(dest: &str) -> bool {
    let last = dest.rsplit('/').next();
    matches!(last, Some("" | "." | "..") | None)
}

/// A name without the suffix of a compression.
fn without_suffix(name: &[u8]) -> &[u8] {
    let known: [&[u8]; 5] = [b".gz", b".bz2", b".xz", b".zst", b".lzma"];
    let stripped = known.iter().find_map(|suffix| name.strip_suffix(*suffix));
    stripped.filter(|rest| !rest.is_empty()).unwrap_or(name)
}
