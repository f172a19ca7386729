//! Reads a tar stream of any origin as entries; see [`read_layer`].

use std::io::{self, BufReader, Read};

use kiln_core::digest::{DiffId, Digest};
use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Entry, File, Kind, Place, Time, TreePath};
use sha2::Digest as _;

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

/// Hashes what goes through it, if anybody wants the digest.
struct Hashing<R> {
    stream: R,
    hasher: Option<sha2::Sha256>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

struct Reader<'a, R: Read> {
    stream: BufReader<Hashing<R>>,
    /// Bytes taken from the stream.
    position: u64,
    /// The entry being read, for messages.
    current: Option<String>,
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
            stream: BufReader::with_capacity(128 * 1024, Hashing { stream, hasher }),
            position: 0,
            current: None,
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
        while let Some(block) = self.next_header()? {
            match block[header::TYPE] {
                b'x' => {
                    let data = self.header_data(&block)?;
                    self.add_records(&mut extended, &data)?;
                }
                b'g' => {
                    self.global = self.header_data(&block)?;
                    extended = self.fresh_extended()?;
                }
                b'L' => extended.path = Some(header::text(&self.header_data(&block)?).to_vec()),
                b'K' => extended.link = Some(header::text(&self.header_data(&block)?).to_vec()),
                // The name of the volume.
                b'V' => {
                    let size = self.field(&block, header::SIZE, "its size is no number")?;
                    self.skip_data(size)?;
                }
                _ => {
                    self.entry(&block, std::mem::take(&mut extended))?;
                    extended = self.fresh_extended()?;
                    self.current = None;
                }
            }
        }
        for (path, entry) in std::mem::replace(&mut self.seen, Seen::new()).finish() {
            self.tell(path, entry)?;
        }
        self.drain()?;
        Ok((self.stats, self.stream.into_inner().hasher))
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
        let broken = |why| ReadLayerError::Broken { path: self.current_name(), why };
        for (key, value) in pax::records(data).map_err(broken)? {
            extended.add(key, value).map_err(broken)?;
        }
        Ok(())
    }

    fn current_name(&self) -> String {
        self.current.clone().unwrap_or_else(|| "?".to_owned())
    }

    fn broken(&self, why: &'static str) -> ReadLayerError {
        ReadLayerError::Broken { path: self.current_name(), why }
    }

    fn limit(&self, what: &'static str, limit: u64) -> ReadLayerError {
        ReadLayerError::Limit { path: self.current_name(), what, limit }
    }

    /// The next block that is a header; `None` at the end of the archive: two blocks of zeros, or no more bytes.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadLayerError> {
        let at = self.position;
        let Some(block) = self.block_or_end()? else {
            return Ok(None);
        };
        if block.iter().all(|b| *b == 0) {
            return match self.block_or_end()? {
                Some(second) if second.iter().any(|b| *b != 0) => {
                    Err(ReadLayerError::Header { at: at + BLOCK as u64, why: "one block of zeros is no end" })
                }
                _ => Ok(None),
            };
        }
        if !header::has_valid_checksum(&block) {
            return Err(ReadLayerError::Header { at, why: "its checksum is wrong" });
        }
        self.current = Some(String::from_utf8_lossy(&header::path(&block)).into_owned());
        Ok(Some(block))
    }

    fn block_or_end(&mut self) -> Result<Option<[u8; BLOCK]>, ReadLayerError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.stream.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.truncated()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadLayerError::Read { source }),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ReadLayerError> {
        self.block_or_end()?.ok_or_else(|| self.truncated())
    }

    fn truncated(&self) -> ReadLayerError {
        ReadLayerError::Truncated { entry: self.current.clone() }
    }

    fn field(
        &self,
        block: &[u8; BLOCK],
        range: std::ops::Range<usize>,
        why: &'static str,
    ) -> Result<u64, ReadLayerError> {
        header::number(&block[range])
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| self.broken(why))
    }

    /// The data of a header that only carries metadata for the next one.
    fn header_data(&mut self, block: &[u8; BLOCK]) -> Result<Vec<u8>, ReadLayerError> {
        let size = self.field(block, header::SIZE, "its size is no number")?;
        if size > self.limits.header_bytes {
            return Err(self.limit("an extended header", self.limits.header_bytes));
        }
        let mut data = Vec::new();
        let read = self.stream.by_ref().take(size).read_to_end(&mut data);
        read.map_err(|source| ReadLayerError::Read { source })?;
        if data.len() as u64 != size {
            return Err(self.truncated());
        }
        self.position += size;
        self.skip(padding(size))?;
        Ok(data)
    }

    fn skip_data(&mut self, size: u64) -> Result<(), ReadLayerError> {
        self.skip(size)?;
        self.skip(padding(size))
    }

    fn skip(&mut self, count: u64) -> Result<(), ReadLayerError> {
        let skipped = io::copy(&mut self.stream.by_ref().take(count), &mut io::sink());
        if skipped.map_err(|source| ReadLayerError::Read { source })? != count {
            return Err(self.truncated());
        }
        self.position += count;
        Ok(())
    }

    /// Reads what follows the archive: it is part of the diff ID.
    fn drain(&mut self) -> Result<(), ReadLayerError> {
        let left = self.limits.content_bytes.saturating_sub(self.position);
        let drained = io::copy(&mut self.stream.by_ref().take(left + 1), &mut io::sink())
            .map_err(|source| ReadLayerError::Read { source })?;
        if drained > left {
            return Err(self.limit("the stream", self.limits.content_bytes));
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
        self.current = Some(String::from_utf8_lossy(&name).into_owned());
        self.count_names(&name)?;
        let header_size = self.field(block, header::SIZE, "its size is no number")?;
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
                let before = self.position;
                let map = sparse::map_from_data(|| self.block())?;
                let map = map.map_err(|why| self.broken(why))?;
                stored = stored
                    .checked_sub(self.position - before)
                    .ok_or_else(|| self.broken("the map of its pieces is larger than its data"))?;
                pieces = Some(map);
            }
            b'0' => {
                let map = extended.sparse.pieces().transpose();
                pieces = map.map_err(|why| self.broken(why))?;
            }
            b'S' => pieces = Some(self.old_sparse_map(block)?),
            // These have no data, whatever the size field says; the other readers of the field agree.
            b'1'..=b'6' => stored = 0,
            other => {
                return Err(ReadLayerError::Type { path: self.current_name(), kind: char::from(other) });
            }
        }
        let size = match (&pieces, kind) {
            (None, _) => stored,
            (Some(_), b'S') => self.field(block, header::SPARSE_SIZE, "its real size is no number")?,
            (Some(_), _) => {
                extended.sparse.size.ok_or_else(|| self.broken("it is sparse and does not say its size"))?
            }
        };
        if let Some(pieces) = &pieces {
            sparse::check(pieces, size, stored).map_err(|why| self.broken(why))?;
        }

        if let Some((path, entry)) = self.interpret(block, extended, kind, &name, size)? {
            let pieces = pieces.unwrap_or_else(|| vec![Piece { offset: 0, length: stored }]);
            self.tell_file(path, entry, &pieces, size, stored)
        } else {
            self.skip_data(stored)
        }
    }

    fn count_names(&mut self, name: &[u8]) -> Result<(), ReadLayerError> {
        self.stats.entries += 1;
        self.name_bytes += name.len() as u64;
        if self.stats.entries > self.limits.entries {
            return Err(self.limit("the number of entries", self.limits.entries));
        }
        if self.name_bytes > self.limits.name_bytes {
            return Err(self.limit("the length of all names", self.limits.name_bytes));
        }
        if name.len() > self.limits.path_bytes {
            return Err(self.limit("the length of a name", self.limits.path_bytes as u64));
        }
        if name.contains(&0) {
            return Err(self.broken("its name has a zero byte in it"));
        }
        if name.is_empty() {
            return Err(self.broken("its name is empty"));
        }
        Ok(())
    }

    fn old_sparse_map(&mut self, block: &[u8; BLOCK]) -> Result<Vec<Piece>, ReadLayerError> {
        let mut pieces = Vec::new();
        sparse::old_pieces(&block[header::SPARSE], &mut pieces).map_err(|why| self.broken(why))?;
        let mut more = block[header::SPARSE_MORE] != 0;
        while more {
            let block = self.block()?;
            sparse::old_pieces(&block[..504], &mut pieces).map_err(|why| self.broken(why))?;
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
                None => self.field(block, range, "its device number is no number")?,
            };
            u32::try_from(number).map_err(|_| self.broken("its device number is too large"))
        };
        let owner = |given: Option<u64>, range| {
            let number = match given {
                Some(number) => number,
                None => self.field(block, range, "its owner is no number")?,
            };
            // The last one is how system calls say "nobody in particular".
            u32::try_from(number)
                .ok()
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| self.broken("its owner is no valid number"))
        };
        let mode = self.field(block, header::MODE, "its mode is no number")?;
        let uid = owner(extended.uid, header::UID)?;
        let gid = owner(extended.gid, header::GID)?;
        let mtime = match extended.mtime {
            Some(time) => time,
            None => Time {
                seconds: header::number(&block[header::MTIME])
                    .ok_or_else(|| self.broken("its modification time is no number"))?,
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
                    return Err(self.broken("its target is empty, too long, or has a zero byte in it"));
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
                path: self.current_name(),
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
                b"" | b"." => return Err(self.broken("it is a whiteout of nothing")),
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
        let path = self.current_name();
        match why {
            Misplaced::LeavesRoot => ReadLayerError::LeavesRoot { path },
            Misplaced::UnderFile(parent) => ReadLayerError::UnderFile { path, parent: parent.display() },
            Misplaced::TooManyLinks => self.broken("it lies under a loop of symbolic links"),
            Misplaced::Replaces => ReadLayerError::Replaces { path },
            Misplaced::LinkTarget => self.broken("its link leads nowhere"),
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
            return Err(self.limit("the content of all files", self.limits.content_bytes));
        }
        let name = path.display();
        let mut content = FileContent::new(&mut self.stream, pieces, size);
        let told = self.sink.entry(path, entry, &mut content);
        let (taken, failed) = content.finish();
        self.position += taken;
        match (failed, told) {
            (Some(Failed::Truncated), _) => return Err(self.truncated()),
            (Some(Failed::Read(source)), _) => return Err(ReadLayerError::Read { source }),
            (None, Err(source)) => return Err(ReadLayerError::Sink { path: name, source }),
            (None, Ok(())) => {}
        }
        // Whatever the sink did not want.
        self.skip(stored - taken)?;
        self.skip(padding(stored))
    }
}

fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}
