//! Lays many adjacent layers out as one directory, for overlay takes only so many.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;

use kiln_core::tree::{Content, File as TreeFile, Place};
use kiln_core::{Entry, FileDigest, Kind, LayerId, Stack, Tree, TreePath};

use crate::fault::At;
use crate::lay_out::{Inodes, LayOutError, write_tree};
use crate::layer::LayerDir;
use crate::lock::offset_of;
use crate::stamp::Stamp;
use crate::store::{Checked, Store};
use crate::temp::{Existing, Temp, rename};

impl Store {
    /// One directory that stands for `layers`, base first, at the bottom of a stack: as nothing is below, it has neither
    /// whiteouts nor opaque marks. (The kernel lists a whiteout that lies in a directory of one layer only.) The
    /// layers' directories must exist; files are hard links to theirs where they can be.
    pub fn flatten(&self, layers: &[LayerId]) -> Result<LayerDir, LayOutError> {
        let id = Stack(layers.to_vec()).id();
        self.0.uses.hold(offset_of(&id.0))?;
        let owner = self.0.root.join("flat").join(id.hex());
        let path = owner.join("dir");
        if path.is_dir() {
            let handle = File::open(&owner).at("open", &owner)?;
            if self.was_checked(Checked::Directory, &id.0)
                || Stamp::of(&handle).is_some_and(|stamp| self.durable().covers(stamp))
            {
                self.note_use(&owner);
                return Ok(LayerDir::new(self, path));
            }
            // Made again rather than compared: it costs the same and there is no tree of it.
            self.discard(&path)?;
        }
        let mut trees = Vec::with_capacity(layers.len());
        for layer in layers {
            match self.tree(layer)? {
                Some(tree) => trees.push((*layer, tree)),
                None => return Err(LayOutError::NoDirectory { path: TreePath::root(), layer: *layer }),
            }
        }
        let temp = Temp::directory(&self.0)?;
        let fresh = temp.path().join("dir");
        fs::DirBuilder::new().mode(0o755).create(&fresh).at("create the directory", &fresh)?;
        let nowhere = |_: &Place, _: &TreePath| Err(io::Error::from(io::ErrorKind::NotFound));
        write_tree(self, &fresh, &LayerId(id.0), &merge(&trees), Inodes::Shared, &nowhere)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&owner)
            .at("create the directory", &owner)?;
        let handle = File::open(&owner).at("open", &owner)?;
        Stamp::now().put(&handle).at("stamp", &owner)?;
        rename(&fresh, &path, Existing::Keep)?;
        self.note_checked(Checked::Directory, &id.0);
        Ok(LayerDir::new(self, path))
    }
}

/// Above this many lowers a mount gets slow, about linearly.
pub const MAX_LOWERS: usize = 50;
/// The lowest layers are flattened by so many at a time: a stack that grows finds the directory of its lower part again.
const FLATTENED_AT_ONCE: usize = 40;

impl Store {
    /// Directories to mount for a stack, base first, [`MAX_LOWERS`] at most. `layers` are all to be different, none of
    /// them empty, and laid out.
    pub fn lowers(&self, layers: &[LayerId]) -> Result<Vec<LayerDir>, LayOutError> {
        let mut flat = 0;
        while layers.len() - flat + usize::from(flat > 0) > MAX_LOWERS {
            flat += FLATTENED_AT_ONCE;
        }
        let (low, high) = layers.split_at(flat);
        let mut directories = Vec::with_capacity(1 + high.len());
        if !low.is_empty() {
            directories.push(self.flatten(low)?);
        }
        for layer in high {
            let missing = LayOutError::NoDirectory { path: TreePath::root(), layer: *layer };
            directories.push(self.directory(layer)?.ok_or(missing)?);
        }
        Ok(directories)
    }
}

/// An entry of the merged changeset.
struct Merged {
    entry: Entry,
    /// Of a file: the layer and the path in it that hold it. Names with one holder are one file.
    holder: Option<(LayerId, TreePath, Held)>,
}

/// Size and digest of a file.
type Held = (u64, Option<FileDigest>);

/// What there is once `trees` were applied to nothing, one after the other.
fn merge(trees: &[(LayerId, Arc<Tree>)]) -> Tree {
    let mut merged: BTreeMap<TreePath, Merged> = BTreeMap::new();
    for (layer, tree) in trees {
        for (path, entry) in tree.entries() {
            let mut entry = entry.clone();
            let mut holder = None;
            match &mut entry.kind {
                Kind::Directory { opaque } => {
                    if *opaque {
                        remove_below(&mut merged, path);
                        *opaque = false;
                    }
                }
                kind => {
                    if path.is_root() {
                        continue;
                    }
                    remove_below(&mut merged, path);
                    match kind {
                        Kind::Whiteout => {
                            merged.remove(path);
                            continue;
                        }
                        Kind::File(file) => {
                            holder = Some((*layer, path.clone(), (file.size, file.content.digest)));
                        }
                        Kind::Link(target) => {
                            let file = match tree.get(target).map(|held| &held.kind) {
                                Some(Kind::File(file)) => (file.size, file.content.digest),
                                _ => continue,
                            };
                            holder = Some((*layer, target.clone(), file));
                        }
                        _ => {}
                    }
                }
            }
            merged.insert(path.clone(), Merged { entry, holder });
        }
    }
    let mut first: HashMap<(LayerId, TreePath), TreePath> = HashMap::new();
    let mut entries = Vec::with_capacity(merged.len());
    for (path, Merged { mut entry, holder }) in merged {
        if let Some((layer, held, (size, digest))) = holder {
            entry.kind = match first.get(&(layer, held.clone())) {
                Some(first) => Kind::Link(first.clone()),
                None => {
                    first.insert((layer, held.clone()), path.clone());
                    let place = Place::Layer { layer, path: held };
                    Kind::File(TreeFile { size, content: Content { digest, place } })
                }
            };
        }
        entries.push((path, entry));
    }
    Tree::new(entries)
}

fn remove_below(merged: &mut BTreeMap<TreePath, Merged>, path: &TreePath) {
    let gone: Vec<TreePath> = merged
        .range(path.clone()..)
        .map(|(p, _)| p)
        .skip_while(|p| *p == path)
        .take_while(|p| p.below(path).is_some())
        .cloned()
        .collect();
    for path in gone {
        merged.remove(&path);
    }
}
