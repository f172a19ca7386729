//! Evaluates a file op: trees in, one layer's tree out. No file is moved; a copied one says where its bytes lie.

use std::sync::Arc;

use crate::digest::{FileDigest, LayerId};
use crate::graph::{FileAction, FileOp, InputId, Owner, Unpack};
use crate::merged::{Follow, Merged, follow};
use crate::tree::{Content, Entry, Kind, Time, Tree, TreePath};
use crate::users;

mod copy;
mod draft;
mod error;
mod make;
mod pieces;
mod remark;
mod stubs;
#[cfg(test)]
pub(crate) mod tests;
mod wildcard;

pub use error::{FileOpError, WorldError};
pub use remark::Remark;
pub use stubs::mount_stubs;

pub(crate) use pieces::{Form, Piece, hard_links, pieces, whole};

use draft::{At, Draft};

/// A passwd or group file may not be larger, in bytes.
const MAX_ACCOUNT_FILE: u64 = 16 << 20;

/// What a file op needs from files. Every [`Content`] has an absolute place.
pub trait FileWorld {
    /// A file's bytes; one with more than `limit` is an error.
    fn read(&mut self, content: &Content, limit: u64) -> Result<Vec<u8>, WorldError>;
    /// The digest of a file of `size` bytes that has none yet.
    fn digest(&mut self, content: &Content, size: u64) -> Result<FileDigest, WorldError>;
    /// What an archive holds; `None` when it is none, and then it is copied as a file.
    fn unpack(
        &mut self,
        content: &Content,
        size: u64,
        kind: Unpack,
    ) -> Result<Option<(LayerId, Arc<Tree>)>, WorldError>;
    /// Whether `path` is missing from an input only because its ignore rules leave it out.
    fn excluded(&mut self, _input: InputId, _path: &TreePath) -> bool {
        false
    }
    /// Hears what was done, though it is hardly what was meant.
    fn remark(&mut self, _remark: Remark) {}
}

/// Evaluates all actions in order on top of `base` and gives the one layer that holds what they changed.
///
/// `inputs` are the vertex's, by [`InputId`], that of the base included. `now` is the time of whatever is made and not
/// copied. The layer is in normal form: every entry has its parents, with the metadata they have below; nothing hides
/// what is not there. All files have digests and absolute places.
///
/// # Errors
///
/// The first rule of the specification (dockerfile.md, section 12) that an action breaks.
pub fn apply(
    op: &FileOp,
    base: &Merged,
    inputs: &[Merged],
    world: &mut dyn FileWorld,
    now: Time,
) -> Result<Tree, FileOpError> {
    let mut work = Work { draft: Draft::new(base), on_nothing: op.base.is_none(), inputs, world, now };
    for action in &op.actions {
        match action {
            FileAction::Copy(copy) => work.copy(copy)?,
            FileAction::MakeDir { path, mode, parents, owner } => {
                work.make_dir(path, *mode, *parents, owner.as_ref())?
            }
            FileAction::MakeFile { path, data, mode, owner } => {
                work.make_file(path, data, *mode, owner.as_ref())?
            }
            FileAction::MakeSymlink { path, target, owner } => {
                work.make_symlink(path, target, owner.as_ref())?;
            }
            FileAction::Remove { path, allow_missing, allow_wildcard } => {
                work.remove(path, *allow_missing, *allow_wildcard)?
            }
            FileAction::Change { path, owner, mode, recursive, allow_wildcard } => {
                work.change(path, owner.as_ref(), mode, *recursive, *allow_wildcard)?
            }
        }
    }
    let tree = work.draft.into_tree();
    match reserved_name(&tree) {
        None => Ok(tree),
        Some(path) => Err(FileOpError::Reserved { path: path.clone() }),
    }
}

/// Something in a layer that an image cannot hold: in the archives that images are made of, a name that begins with
/// `.wh.` says that a file was removed.
pub fn reserved_name(layer: &Tree) -> Option<&TreePath> {
    let is_whiteout = |entry: &Entry| matches!(entry.kind, Kind::Whiteout);
    let mut entries = layer.entries().iter();
    let reserved = entries.find(|(path, entry)| path.name().starts_with(b".wh.") && !is_whiteout(entry));
    reserved.map(|(path, _)| path)
}

/// A file op being evaluated.
struct Work<'w, 'b> {
    draft: Draft<'b>,
    /// Names of users cannot be looked up: there is no tree below, and the layer may come onto any.
    on_nothing: bool,
    inputs: &'w [Merged],
    world: &'w mut dyn FileWorld,
    now: Time,
}

impl Work<'_, '_> {
    /// Numbers for an owner; 0 and 0 for none.
    fn ids(&mut self, owner: Option<&Owner>) -> Result<(u32, u32), FileOpError> {
        let Some(owner) = owner else {
            return Ok((0, 0));
        };
        let draft = &self.draft;
        let world = &mut *self.world;
        let mut missed = Vec::new();
        let ids = users::owner(owner, &mut |file| read_account_file(draft, world, file), &mut |error| {
            missed.push(error)
        })?;
        if self.on_nothing && !missed.is_empty() {
            return Err(missed.swap_remove(0).into());
        }
        missed.into_iter().for_each(|error| world.remark(Remark::UnknownOwner(error)));
        Ok(ids)
    }

    fn new_directory(&self, mode: u32, (uid, gid): (u32, u32)) -> Entry {
        Entry { mode: mode & 0o7777, uid, gid, mtime: self.now, ..Entry::directory() }
    }
}

/// [`users::ReadFile`] for a layer in the making.
fn read_account_file(
    draft: &Draft<'_>,
    world: &mut dyn FileWorld,
    file: &str,
) -> Result<Option<Vec<u8>>, String> {
    let way = match follow(draft, &TreePath::clean(file), Follow::Last) {
        Ok(way) if way.is_whole => way,
        Ok(_) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    match draft.entry(&way.last).map(|entry| entry.kind) {
        Some(Kind::File(file)) => {
            world.read(&file.content, MAX_ACCOUNT_FILE).map(Some).map_err(|error| error.to_string())
        }
        _ => Err("it is not a regular file".to_owned()),
    }
}

/// The bytes of [`users::PASSWD`] or [`users::GROUP`] in a finished tree, links followed; `None` when there is none.
/// Fits [`users::ReadFile`].
pub fn account_file(root: &Merged, world: &mut dyn FileWorld, file: &str) -> Result<Option<Vec<u8>>, String> {
    read_account_file(&Draft::new(root), world, file)
}

/// All that shows below a place, itself included, with its place made one to change.
fn everything(draft: &mut Draft<'_>, from: draft::NodeId) -> Vec<draft::NodeId> {
    use crate::merged::Look;
    let mut found = Vec::new();
    let mut todo = vec![from];
    while let Some(id) = todo.pop() {
        found.push(id);
        if draft.is_directory(id) {
            for name in draft.names(&At::Touched(id)) {
                todo.push(draft.child(id, &name));
            }
        }
    }
    found
}
