//! Reads ar archives, as System V, GNU and BSD tools write them.

use std::io::{self, Read};

use kiln_core::seams::EntrySink;

use super::{ReadArchiveError, Taker, file};
use crate::layer::{ArchiveStats, Limits};

const MAGIC: &[u8; 8] = b"!<arch>\n";
const HEADER: usize = 60;

/// By the first eight bytes.
pub fn is_ar(first: &[u8]) -> bool {
    first.starts_with(MAGIC)
}

/// Reads the members in their order; symbol tables are left out.
///
/// # Errors
///
/// After any error, what the sink was given is to be thrown away.
pub fn read_ar(
    mut stream: impl Read,
    sink: &mut dyn EntrySink,
    limits: &Limits,
) -> Result<ArchiveStats, ReadArchiveError> {
    let mut taker = Taker::new(sink, limits);
    let mut magic = [0; MAGIC.len()];
    fill(&mut stream, &mut magic)?;
    if !is_ar(&magic) {
        return Err(ReadArchiveError::Archive { why: "it is no ar archive" });
    }
    let mut long_names = Vec::new();
    let mut header = [0; HEADER];
    loop {
        // Members begin at even places; some writers leave the last one without its padding.
        match stream.read(&mut header[..1]) {
            Ok(0) => return Ok(taker.stats),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ReadArchiveError::Read { source }),
        }
        fill(&mut stream, &mut header[1..])?;
        if header[58..] != *b"`\n" {
            return Err(ReadArchiveError::Archive { why: "a member does not begin with a header" });
        }
        let field = |from: usize, to: usize, radix: u32| {
            let text = std::str::from_utf8(&header[from..to]).ok()?.trim();
            if text.is_empty() { Some(0) } else { u64::from_str_radix(text, radix).ok() }
        };
        let wrong = |why| ReadArchiveError::Archive { why };
        let mut size = field(48, 58, 10).ok_or_else(|| wrong("the size of a member is no number"))?;
        let padding = size % 2;
        let name = header[..16].trim_ascii_end();
        let name: Vec<u8> = match name {
            b"/" | b"/SYM64/" | b"__.SYMDEF" | b"__.SYMDEF SORTED" => {
                skip(&mut stream, size + padding)?;
                continue;
            }
            b"//" => {
                long_names = small(&mut stream, size, limits)?;
                skip(&mut stream, padding)?;
                continue;
            }
            [b'#', b'1', b'/', length @ ..] => {
                let length = number(length).filter(|length| *length <= size);
                let length = length.ok_or_else(|| wrong("the length of a name is no number"))?;
                size -= length;
                let mut name = small(&mut stream, length, limits)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                name
            }
            [b'/', at @ ..] => {
                let at = number(at).and_then(|at| usize::try_from(at).ok());
                let rest = at.and_then(|at| long_names.get(at..));
                let rest = rest.ok_or_else(|| wrong("a name is not in the table of names"))?;
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                rest[..end].strip_suffix(b"/").unwrap_or(&rest[..end]).to_vec()
            }
            name => name.strip_suffix(b"/").unwrap_or(name).to_vec(),
        };
        let (shown, path) = taker.admit(&name, size)?;
        if path.is_root() {
            return Err(ReadArchiveError::Broken { path: shown, why: "it has no name" });
        }
        let number = |from, to, radix| u32::try_from(field(from, to, radix).unwrap_or(0)).unwrap_or(0);
        let mode = number(40, 48, 8) & 0o7777;
        let seconds = field(16, 28, 10).and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0);
        let mut entry = file(size, if mode == 0 { 0o644 } else { mode }, seconds);
        (entry.uid, entry.gid) = (number(28, 34, 10), number(34, 40, 10));
        let mut content = (&mut stream).take(size);
        taker.take(&shown, path, entry, &mut content)?;
        let left = content.limit();
        skip(&mut stream, left)?;
        // The last one may lack it.
        let padded = io::copy(&mut (&mut stream).take(padding), &mut io::sink());
        padded.map_err(|source| ReadArchiveError::Read { source })?;
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<(), ReadArchiveError> {
    stream.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadArchiveError::Archive { why: "it ends in the middle" },
        _ => ReadArchiveError::Read { source: error },
    })
}

fn skip(stream: &mut impl Read, count: u64) -> Result<(), ReadArchiveError> {
    let skipped = io::copy(&mut stream.take(count), &mut io::sink());
    match skipped.map_err(|source| ReadArchiveError::Read { source })? {
        skipped if skipped == count => Ok(()),
        _ => Err(ReadArchiveError::Archive { why: "it ends in the middle" }),
    }
}

/// Names, which have a limit.
fn small(stream: &mut impl Read, size: u64, limits: &Limits) -> Result<Vec<u8>, ReadArchiveError> {
    if size > limits.header_bytes {
        let (what, limit) = ("the size of the names", limits.header_bytes);
        return Err(ReadArchiveError::Limit { path: String::new(), what, limit });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    fill(stream, &mut bytes)?;
    Ok(bytes)
}
