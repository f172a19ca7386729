//! Reads zip archives (APPNOTE 6.3): stored and deflated files, directories and symbolic links, with or without zip64.

use std::io::{self, Read, Seek, SeekFrom};

use kiln_core::seams::EntrySink;
use kiln_core::tree::{Entry, Kind};

use super::{ReadArchiveError, Taker, file};
use crate::document::time::days;
use crate::layer::{ArchiveStats, Limits};

const LOCAL: &[u8; 4] = b"PK\x03\x04";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const LOCATOR_64: &[u8; 4] = b"PK\x06\x07";
/// The end record and the longest comment after it.
const MAX_END: u64 = 22 + 0xffff;
/// What bits of the mode make a link, a directory, a file.
const LINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const TYPE: u32 = 0o170_000;

/// By the first four bytes. Archives with a program before them are not recognised.
pub fn is_zip(first: &[u8]) -> bool {
    first.starts_with(LOCAL) || first.starts_with(END)
}

/// Reads the entries in the order of the archive's directory.
///
/// # Errors
///
/// After any error, what the sink was given is to be thrown away.
pub fn read_zip(
    mut archive: impl Read + Seek,
    sink: &mut dyn EntrySink,
    limits: &Limits,
) -> Result<ArchiveStats, ReadArchiveError> {
    let mut taker = Taker::new(sink, limits);
    let (start, count) = directory(&mut archive)?;
    if count > limits.entries {
        let (what, limit) = ("the number of entries", limits.entries);
        return Err(ReadArchiveError::Limit { path: String::new(), what, limit });
    }
    let mut at = start;
    for _ in 0..count {
        let (member, next) = member(&mut archive, at)?;
        at = next;
        one(&mut archive, &member, &mut taker, limits)?;
    }
    Ok(taker.stats)
}

/// What the directory says of a member.
struct Member {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
    /// Type and permissions; 0 when the archive was not made on Unix.
    mode: u32,
    seconds: i64,
}

fn read_at(archive: &mut (impl Read + Seek), at: u64, size: usize) -> Result<Vec<u8>, ReadArchiveError> {
    let mut bytes = vec![0; size];
    let read = archive.seek(SeekFrom::Start(at)).and_then(|_| archive.read_exact(&mut bytes));
    match read {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ReadArchiveError::Archive { why: "it ends in the middle" })
        }
        Err(source) => Err(ReadArchiveError::Read { source }),
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]))
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | (u32::from(short(bytes, at + 2)) << 16)
}

fn longest(bytes: &[u8], at: usize) -> u64 {
    u64::from(long(bytes, at)) | (u64::from(long(bytes, at + 4)) << 32)
}

/// Where the directory begins, and how many members it has.
fn directory(archive: &mut (impl Read + Seek)) -> Result<(u64, u64), ReadArchiveError> {
    let broken = |why| ReadArchiveError::Archive { why };
    let size = archive.seek(SeekFrom::End(0)).map_err(|source| ReadArchiveError::Read { source })?;
    let tail = size.min(MAX_END);
    let bytes = read_at(archive, size - tail, tail as usize)?;
    // The last one whose comment reaches to the end.
    let fits = |at: &usize| {
        bytes[*at..].starts_with(END) && at + 22 + usize::from(short(&bytes, at + 20)) == bytes.len()
    };
    let end = (0..bytes.len().saturating_sub(21)).rev().find(fits);
    let end = end.ok_or_else(|| broken("it has no directory"))?;
    let record = &bytes[end..];
    let (mut count, mut start) = (u64::from(short(record, 10)), u64::from(long(record, 16)));
    if count == 0xffff || start == 0xffff_ffff {
        let end_at = size - tail + end as u64;
        let locator = end_at.checked_sub(20).map(|at| read_at(archive, at, 20)).transpose()?;
        if let Some(locator) = locator.filter(|locator| locator.starts_with(LOCATOR_64)) {
            let record = read_at(archive, longest(&locator, 8), 56)?;
            if !record.starts_with(END_64) {
                return Err(broken("its directory is not where it says"));
            }
            (count, start) = (longest(&record, 32), longest(&record, 48));
        }
    }
    Ok((start, count))
}

/// The member whose entry in the directory begins at `at`, and where the next one begins.
fn member(archive: &mut (impl Read + Seek), at: u64) -> Result<(Member, u64), ReadArchiveError> {
    let head = read_at(archive, at, 46)?;
    if !head.starts_with(CENTRAL) {
        return Err(ReadArchiveError::Archive { why: "its directory is not in order" });
    }
    let lengths = [28, 30, 32].map(|field| usize::from(short(&head, field)));
    let rest = read_at(archive, at.saturating_add(46), lengths[0] + lengths[1])?;
    let (name, extra) = rest.split_at(lengths[0]);
    let is_unix = head[5] == 3;
    let mut member = Member {
        name: name.to_vec(),
        flags: short(&head, 8),
        method: short(&head, 10),
        crc: long(&head, 16),
        packed: u64::from(long(&head, 20)),
        size: u64::from(long(&head, 24)),
        offset: u64::from(long(&head, 42)),
        mode: if is_unix { long(&head, 38) >> 16 } else { 0 },
        seconds: dos_time(short(&head, 14), short(&head, 12)),
    };
    let mut extra = extra;
    while let [_, _, _, _, rest @ ..] = extra {
        let (kind, length) = (short(extra, 0), usize::from(short(extra, 2)));
        let Some(field) = rest.get(..length) else { break };
        match kind {
            // zip64: what did not fit, in this order.
            0x0001 => {
                let mut at = 0;
                for value in [&mut member.size, &mut member.packed, &mut member.offset] {
                    if *value == 0xffff_ffff && field.len() >= at + 8 {
                        *value = longest(field, at);
                        at += 8;
                    }
                }
            }
            // A time in seconds since 1970.
            0x5455 if field.len() >= 5 && field[0] & 1 == 1 => {
                member.seconds = i64::from(long(field, 1) as i32);
            }
            _ => {}
        }
        extra = &rest[length..];
    }
    let length: usize = lengths.iter().sum();
    Ok((member, at.saturating_add(46 + length as u64)))
}

/// Hands one member on.
fn one(
    archive: &mut (impl Read + Seek),
    member: &Member,
    taker: &mut Taker<'_>,
    limits: &Limits,
) -> Result<(), ReadArchiveError> {
    let (shown, path) = taker.admit(&member.name, member.size)?;
    let broken = |why| ReadArchiveError::Broken { path: shown.clone(), why };
    let is_directory = member.name.ends_with(b"/") || member.mode & TYPE == DIRECTORY;
    let permissions = match (member.mode & 0o7777, is_directory) {
        (0, true) => 0o755,
        (0, false) => 0o644,
        (mode, _) => mode,
    };
    let entry = file(member.size, permissions, member.seconds);
    if is_directory {
        let entry = Entry { kind: Kind::Directory { opaque: false }, ..entry };
        return taker.take(&shown, path, entry, &mut io::empty());
    }
    if path.is_root() {
        return Err(broken("it has no name"));
    }
    if member.flags & 1 != 0 {
        return Err(broken("it is encrypted"));
    }
    let head = read_at(archive, member.offset, 30)?;
    if !head.starts_with(LOCAL) {
        return Err(broken("it is not where the directory says"));
    }
    let before = 30 + u64::from(short(&head, 26)) + u64::from(short(&head, 28));
    archive
        .seek(SeekFrom::Start(member.offset.saturating_add(before)))
        .map_err(|source| ReadArchiveError::Read { source })?;
    let packed = io::BufReader::new(archive.take(member.packed));
    let unpacked: Box<dyn Read + '_> = match member.method {
        0 => Box::new(packed),
        8 => Box::new(flate2::bufread::DeflateDecoder::new(packed)),
        _ => return Err(broken("it is compressed in a way that is not known here")),
    };
    let mut content =
        Checked { inner: unpacked, left: member.size, crc: flate2::Crc::new(), wanted: member.crc };
    match member.mode & TYPE {
        LINK => {
            if member.size > limits.path_bytes as u64 {
                return Err(broken("it is a link to a path that is too long"));
            }
            let mut target = Vec::new();
            content
                .read_to_end(&mut target)
                .map_err(|source| ReadArchiveError::Sink { path: shown.clone(), source })?;
            if target.is_empty() || target.contains(&0) {
                return Err(broken("it is a link to nowhere"));
            }
            let entry = Entry { kind: Kind::Symlink(target.into()), mode: 0o777, ..entry };
            taker.take(&shown, path, entry, &mut io::empty())
        }
        0 | REGULAR => taker.take(&shown, path, entry, &mut content),
        _ => Err(broken("it is of a kind that cannot be unpacked")),
    }
}

/// Exactly the bytes that the directory announces, with their checksum.
struct Checked<R> {
    inner: R,
    left: u64,
    crc: flate2::Crc,
    wanted: u32,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return match self.crc.sum() == self.wanted {
                true => Ok(0),
                false => Err(wrong("its checksum is another")),
            };
        }
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        match self.inner.read(&mut buffer[..room])? {
            0 => Err(wrong("it is shorter than the archive says")),
            count => {
                self.crc.update(&buffer[..count]);
                self.left -= count as u64;
                Ok(count)
            }
        }
    }
}

/// Date and time as DOS has them, in a zone that is not said: UTC is as good as any.
fn dos_time(date: u16, time: u16) -> i64 {
    let part = |value: u16, shift: u32, bits: u32| i64::from((value >> shift) & ((1 << bits) - 1));
    let (year, month, day) =
        (1980 + part(date, 9, 7), part(date, 5, 4).clamp(1, 12), part(date, 0, 5).max(1));
    days(year, month, day) * 86_400 + part(time, 11, 5) * 3600 + part(time, 5, 6) * 60 + part(time, 0, 5) * 2
}
