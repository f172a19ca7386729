//! Reads a tar stream of any origin as entries; see [`read_layer`].

use std::io::{self, Read};

use kiln_core::digest::{DiffId, Digest};
use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Entry, File, Kind, Place, Time, TreePath};
use sha2::Digest as _;

use super::blocks::{Blocks, padding};
use super::content::{Failed, FileContent};
use super::extended::Extended;
use super::header::{self, BLOCK};
use super::refuse::{Limits, ReadLayerError};
use super::seen::{Linked, Misplaced, Seen};
use super::sparse::{self, Piece};
use super::{OPAQUE, WHITEOUT, WHITEOUT_META, pax};

/// What [`read_layer`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerStats {
    /// Of all bytes of the stream, those after the end of the archive included.
    pub diff_id: DiffId,
    pub entries: u64,
    /// Content of regular files.
    pub bytes: u64,
}

/// What [`read_archive`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveStats {
    pub entries: u64,
    /// Content of regular files.
    pub bytes: u64,
}

/// Reads a layer: an uncompressed tar stream in OCI form, where `.wh.<name>` removes a path of lower layers and
/// `.wh..wh..opq` empties a directory of them (image-spec 1.1, layer.md, "Whiteouts"). Entries may come in any order:
/// a whiteout hides only what lower layers put there.
///
/// Reads ustar, PAX, GNU and V7 headers. The sink hears entries in the order of the stream, then the whiteouts. A path
/// may come twice, and the last one counts: a directory comes again when its opaque marker follows it. Parents that
/// the stream does not name are not made up, except as opaque directories. A further name of a file points to the
/// name that came first in the stream, which need not be the first in tree order. Attributes of overlay mounts are
/// dropped.
///
/// # Errors
///
/// After any error, what the sink was given is to be thrown away.
pub fn read_layer(
    stream: impl Read,
    sink: &mut dyn EntrySink,
    limits: &Limits,
) -> Result<LayerStats, ReadLayerError> {
    let reader = Reader::new(stream, Some(sha2::Sha256::new()), limits, sink, Meaning::Layer);
    let (stats, hasher) = reader.run()?;
    let hasher = hasher.expect("it was given above");
    Ok(LayerStats {
        diff_id: DiffId(Digest::from_bytes(hasher.finalize().into())),
        entries: stats.entries,
        bytes: stats.bytes,
    })
}

/// Reads an archive as [`read_layer`] does, except that no name means a whiteout.
pub fn read_archive(
    stream: impl Read,
    sink: &mut dyn EntrySink,
    limits: &Limits,
) -> Result<ArchiveStats, ReadLayerError> {
    let reader = Reader::new(stream, None, limits, sink, Meaning::Archive);
    Ok(reader.run()?.0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Layer,
    Archive,
}

struct Reader<'a, R: Read> {
    blocks: Blocks<'a, R>,
    limits: &'a Limits,
    sink: &'a mut dyn EntrySink,
    meaning: Meaning,
    seen: Seen,
    stats: ArchiveStats,
    name_bytes: u64,
    global: Vec<u8>,
}

impl<'a, R: Read> Reader<'a, R> {
    fn new(
        stream: R,
        hasher: Option<sha2::Sha256>,
        limits: &'a Limits,
        sink: &'a mut dyn EntrySink,
        meaning: Meaning,
    ) -> Self {
        Self {
            blocks: Blocks::new(stream, hasher, limits),
            limits,
            sink,
            meaning,
            seen: Seen::new(),
            stats: ArchiveStats { entries: 0, bytes: 0 },
            name_bytes: 0,
            global: Vec::new(),
        }
    }

    fn run(mut self) -> Result<(ArchiveStats, Option<sha2::Sha256>), ReadLayerError> {
        let mut extended = self.fresh_extended()?;
        while let Some(block) = self.blocks.next_header()? {
            match block[header::TYPE] {
                b'x' => {
                    let data = self.blocks.header_data(&block)?;
                    self.add_records(&mut extended, &data)?;
                }
                b'g' => {
                    self.global = self.blocks.header_data(&block)?;
                    extended = self.fresh_extended()?;
                }
                b'L' => extended.path = Some(header::text(&self.blocks.header_data(&block)?).to_vec()),
                b'K' => extended.link = Some(header::text(&self.blocks.header_data(&block)?).to_vec()),
                // The name of the volume.
                b'V' => {
                    let size = self.blocks.field(&block, header::SIZE, "its size is no number")?;
                    self.blocks.skip_data(size)?;
                }
                _ => {
                    self.entry(&block, std::mem::take(&mut extended))?;
                    extended = self.fresh_extended()?;
                    self.blocks.name_entry(None);
                }
            }
        }
        for (path, entry) in std::mem::replace(&mut self.seen, Seen::new()).finish() {
            self.tell(path, entry)?;
        }
        self.blocks.drain()?;
        Ok((self.stats, self.blocks.into_hasher()))
    }

    /// What the global header says of every entry.
    fn fresh_extended(&mut self) -> Result<Extended, ReadLayerError> {
        let mut extended = Extended::default();
        if !self.global.is_empty() {
            let data = std::mem::take(&mut self.global);
            self.add_records(&mut extended, &data)?;
            self.global = data;
        }
        Ok(extended)
    }

    fn add_records(&self, extended: &mut Extended, data: &[u8]) -> Result<(), ReadLayerError> {
        let broken = |why| ReadLayerError::Broken { path: self.blocks.current_name(), why };
        for (key, value) in pax::records(data).map_err(broken)? {
            extended.add(key, value).map_err(broken)?;
        }
        Ok(())
    }

    fn entry(&mut self, block: &[u8; BLOCK], extended: Extended) -> Result<(), ReadLayerError> {
        let name = extended
            .sparse
            .name
            .clone()
            .or_else(|| extended.path.clone())
            .unwrap_or_else(|| header::path(block));
        self.blocks.name_entry(Some(String::from_utf8_lossy(&name).into_owned()));
        self.count_names(&name)?;
        let header_size = self.blocks.field(block, header::SIZE, "its size is no number")?;
        let mut stored = extended.size.unwrap_or(header_size);

        // A name that ends in a slash was how V7 wrote a directory.
        let kind = match block[header::TYPE] {
            0 | b'0' if name.ends_with(b"/") && stored == 0 => b'5',
            0 | b'7' => b'0',
            kind => kind,
        };
        let mut pieces = None;
        match kind {
            b'0' if extended.sparse.map_is_in_data() => {
                let before = self.blocks.position();
                let map = sparse::map_from_data(|| self.blocks.block())?;
                let map = map.map_err(|why| self.blocks.broken(why))?;
                stored = stored
                    .checked_sub(self.blocks.position() - before)
                    .ok_or_else(|| self.blocks.broken("the map of its pieces is larger than its data"))?;
                pieces = Some(map);
            }
            b'0' => {
                let map = extended.sparse.pieces().transpose();
                pieces = map.map_err(|why| self.blocks.broken(why))?;
            }
            b'S' => pieces = Some(self.old_sparse_map(block)?),
            // These have no data, whatever the size field says; the other readers of the field agree.
            b'1'..=b'6' => stored = 0,
            other => {
                return Err(ReadLayerError::Type {
                    path: self.blocks.current_name(),
                    kind: char::from(other),
                });
            }
        }
        let size = match (&pieces, kind) {
            (None, _) => stored,
            (Some(_), b'S') => self.blocks.field(block, header::SPARSE_SIZE, "its real size is no number")?,
            (Some(_), _) => extended
                .sparse
                .size
                .ok_or_else(|| self.blocks.broken("it is sparse and does not say its size"))?,
        };
        if let Some(pieces) = &pieces {
            sparse::check(pieces, size, stored).map_err(|why| self.blocks.broken(why))?;
        }

        if let Some((path, entry)) = self.interpret(block, extended, kind, &name, size)? {
            let pieces = pieces.unwrap_or_else(|| vec![Piece { offset: 0, length: stored }]);
            self.tell_file(path, entry, &pieces, size, stored)
        } else {
            self.blocks.skip_data(stored)
        }
    }

    fn count_names(&mut self, name: &[u8]) -> Result<(), ReadLayerError> {
        self.stats.entries += 1;
        self.name_bytes += name.len() as u64;
        if self.stats.entries > self.limits.entries {
            return Err(self.blocks.limit("the number of entries", self.limits.entries));
        }
        if self.name_bytes > self.limits.name_bytes {
            return Err(self.blocks.limit("the length of all names", self.limits.name_bytes));
        }
        if name.len() > self.limits.path_bytes {
            return Err(self.blocks.limit("the length of a name", self.limits.path_bytes as u64));
        }
        if name.contains(&0) {
            return Err(self.blocks.broken("its name has a zero byte in it"));
        }
        if name.is_empty() {
            return Err(self.blocks.broken("its name is empty"));
        }
        Ok(())
    }

    fn old_sparse_map(&mut self, block: &[u8; BLOCK]) -> Result<Vec<Piece>, ReadLayerError> {
        let mut pieces = Vec::new();
        sparse::old_pieces(&block[header::SPARSE], &mut pieces).map_err(|why| self.blocks.broken(why))?;
        let mut more = block[header::SPARSE_MORE] != 0;
        while more {
            let block = self.blocks.block()?;
            sparse::old_pieces(&block[..504], &mut pieces).map_err(|why| self.blocks.broken(why))?;
            more = block[504] != 0;
        }
        Ok(pieces)
    }

    /// What the entry is and where it goes; tells the sink of everything but files with content, which it returns.
    fn interpret(
        &mut self,
        block: &[u8; BLOCK],
        extended: Extended,
        kind: u8,
        name: &[u8],
        size: u64,
    ) -> Result<Option<(TreePath, Entry)>, ReadLayerError> {
        let path = match self.seen.locate(name) {
            Ok(path) => path,
            Err(why) => return Err(self.misplaced(why)),
        };
        if self.meaning == Meaning::Layer && self.whiteout(&path)? {
            return Ok(None);
        }
        let link = || {
            let link = extended.link.clone();
            link.unwrap_or_else(|| header::text(&block[header::LINK]).to_vec())
        };
        let device = |given: Option<u64>, range| {
            let number = match given {
                Some(number) => number,
                None => self.blocks.field(block, range, "its device number is no number")?,
            };
            u32::try_from(number).map_err(|_| self.blocks.broken("its device number is too large"))
        };
        let owner = |given: Option<u64>, range| {
            let number = match given {
                Some(number) => number,
                None => self.blocks.field(block, range, "its owner is no number")?,
            };
            // The last one is how system calls say "nobody in particular".
            u32::try_from(number)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| self.blocks.broken("its owner is no valid number"))
        };
        let mode = self.blocks.field(block, header::MODE, "its mode is no number")?;
        let uid = owner(extended.uid, header::UID)?;
        let gid = owner(extended.gid, header::GID)?;
        let mtime = match extended.mtime {
            Some(time) => time,
            None => Time {
                seconds: header::number(&block[header::MTIME])
                    .ok_or_else(|| self.blocks.broken("its modification time is no number"))?,
                nanoseconds: 0,
            },
        };
        let kind = match kind {
            b'0' | b'S' => Kind::File(File { size, content: Content { digest: None, place: Place::Here } }),
            b'1' => match self.hard_link(&path, &link())? {
                None => return Ok(None),
                Some(Linked::File(first)) => Kind::Link(first),
                Some(Linked::Same(mut entry)) => {
                    if let Err(why) = self.seen.add(&path, &mut entry) {
                        return Err(self.misplaced(why));
                    }
                    self.tell(path, *entry)?;
                    return Ok(None);
                }
            },
            b'2' => {
                let target = link();
                if target.is_empty() || target.len() > self.limits.path_bytes || target.contains(&0) {
                    return Err(self
                        .blocks
                        .broken("its target is empty, too long, or has a zero byte in it"));
                }
                Kind::Symlink(target.into())
            }
            b'3' | b'4' => {
                let major = device(extended.major, header::MAJOR)?;
                let minor = device(extended.minor, header::MINOR)?;
                if kind == b'3' {
                    Kind::CharDevice { major, minor }
                } else {
                    Kind::BlockDevice { major, minor }
                }
            }
            b'5' => Kind::Directory { opaque: false },
            _ => Kind::Fifo,
        };
        let mut xattrs = extended.xattrs;
        xattrs.sort();
        let mut entry = Entry {
            kind,
            mode: (mode & 0o7777) as u32,
            uid,
            gid,
            mtime,
            xattrs: (!xattrs.is_empty()).then(|| Box::new(xattrs)),
        };
        if let Err(why) = self.seen.add(&path, &mut entry) {
            return Err(self.misplaced(why));
        }
        if matches!(entry.kind, Kind::File(_)) {
            return Ok(Some((path, entry)));
        }
        self.tell(path, entry)?;
        Ok(None)
    }

    /// What a hard link is; `None` when it is a name that the file has already.
    fn hard_link(&mut self, path: &TreePath, target: &[u8]) -> Result<Option<Linked>, ReadLayerError> {
        let fine = !target.is_empty() && target.len() <= self.limits.path_bytes && !target.contains(&0);
        let found = match self.seen.locate(target) {
            Ok(target) if fine && target != *path => self.seen.link(&target),
            Ok(_) if fine => return Ok(None),
            Ok(_) => Err(Misplaced::LinkTarget),
            Err(why) => Err(why),
        };
        match found {
            Ok(Linked::File(first)) if first == *path => Ok(None),
            Ok(linked) => Ok(Some(linked)),
            Err(Misplaced::LeavesRoot) => Err(self.misplaced(Misplaced::LeavesRoot)),
            Err(_) => Err(ReadLayerError::LinkTarget {
                path: self.blocks.current_name(),
                target: String::from_utf8_lossy(target).into_owned(),
            }),
        }
    }

    /// Takes note of a whiteout; whether the entry was one.
    fn whiteout(&mut self, path: &TreePath) -> Result<bool, ReadLayerError> {
        // Whole directories of AUFS's own may be there; nothing in them is part of the layer.
        let inside_meta = path.parent().is_some_and(|parent| {
            let mut parts = parent.components();
            parts.any(|part| part.starts_with(WHITEOUT_META))
        });
        let name = path.name();
        if !inside_meta && !name.starts_with(WHITEOUT) {
            return Ok(false);
        }
        let parent = path.parent().unwrap_or_default();
        let again = if inside_meta || (name.starts_with(WHITEOUT_META) && name != OPAQUE) {
            None
        } else if name == OPAQUE {
            let again = self.seen.hide_content(&parent);
            again.map(|entry| (parent, entry))
        } else {
            let hidden = &name[WHITEOUT.len()..];
            match hidden {
                b"" | b"." => return Err(self.blocks.broken("it is a whiteout of nothing")),
                b".." => return Err(self.misplaced(Misplaced::LeavesRoot)),
                _ => {}
            }
            let hidden = parent.join(hidden);
            let again = self.seen.hide_path(&hidden);
            again.map(|entry| (hidden, entry))
        };
        if let Some((path, entry)) = again {
            self.tell(path, entry)?;
        }
        Ok(true)
    }

    fn misplaced(&self, why: Misplaced) -> ReadLayerError {
        let path = self.blocks.current_name();
        match why {
            Misplaced::LeavesRoot => ReadLayerError::LeavesRoot { path },
            Misplaced::UnderFile(parent) => ReadLayerError::UnderFile { path, parent: parent.display() },
            Misplaced::TooManyLinks => self.blocks.broken("it lies under a loop of symbolic links"),
            Misplaced::Replaces => ReadLayerError::Replaces { path },
            Misplaced::LinkTarget => self.blocks.broken("its link leads nowhere"),
        }
    }

    fn tell(&mut self, path: TreePath, entry: Entry) -> Result<(), ReadLayerError> {
        let name = path.display();
        self.sink
            .entry(path, entry, &mut io::empty())
            .map_err(|source| ReadLayerError::Sink { path: name, source })
    }

    fn tell_file(
        &mut self,
        path: TreePath,
        entry: Entry,
        pieces: &[Piece],
        size: u64,
        stored: u64,
    ) -> Result<(), ReadLayerError> {
        self.stats.bytes = self.stats.bytes.saturating_add(size);
        if self.stats.bytes > self.limits.content_bytes {
            return Err(self.blocks.limit("the content of all files", self.limits.content_bytes));
        }
        let name = path.display();
        let mut content = FileContent::new(&mut self.blocks, pieces, size);
        let told = self.sink.entry(path, entry, &mut content);
        let (taken, failed) = content.finish();
        match (failed, told) {
            (Some(Failed::Truncated), _) => return Err(self.blocks.truncated()),
            (Some(Failed::Read(source)), _) => return Err(self.blocks.failed(source)),
            (None, Err(source)) => return Err(ReadLayerError::Sink { path: name, source }),
            (None, Ok(())) => {}
        }
        // Whatever the sink did not want.
        self.blocks.skip(stored - taken)?;
        self.blocks.skip(padding(stored))
    }
}
