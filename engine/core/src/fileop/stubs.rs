//! Works out what must be in a root so that there is something to mount on.

use super::FileOpError;
use super::draft::Draft;
use crate::digest::FileDigest;
use crate::merged::{Follow, Merged, follow};
use crate::tree::{Content, Entry, File, Kind, Place, Tree, TreePath};

/// The entries that a tree lacks under the given mount points (with `true`, a directory is mounted there), as one more
/// layer on top: empty directories and files, root's, 0755, with copies of the directories above them.
///
/// Links on the way to a mount point are followed inside the root.
///
/// # Errors
///
/// Something that is no directory stands on the way, or what is there is of the other kind.
pub fn mount_stubs(root: &Merged, points: &[(TreePath, bool)]) -> Result<Tree, FileOpError> {
    let mut draft = Draft::new(root);
    for (point, directory) in points {
        let way = follow(&draft, point, Follow::Last)?;
        let chain = draft.chain(&way.path);
        match (way.is_whole, draft.is_directory(chain[way.existing]), *directory) {
            (true, true, true) | (true, false, false) => continue,
            (true, true, false) => return Err(FileOpError::IsADirectory { path: way.path }),
            (true, false, true) => return Err(FileOpError::NotADirectory { path: way.path }),
            (false, ..) => {}
        }
        let (last, above) = match chain[way.existing + 1..].split_last() {
            Some(split) => split,
            None => continue,
        };
        for id in above {
            draft.set(*id, Entry::directory(), None);
        }
        let entry = match directory {
            true => Entry::directory(),
            false => Entry {
                kind: Kind::File(File {
                    size: 0,
                    content: Content {
                        digest: Some(FileDigest::of(b"")),
                        place: Place::Inline(Default::default()),
                    },
                }),
                ..Entry::directory()
            },
        };
        draft.set(*last, entry, None);
    }
    Ok(draft.into_tree())
}
