//! Sections of ELF files, little-endian, of 32 and 64 bits; other programs are passed over.

/// Shorter files are no programs.
pub(crate) const SMALLEST: u64 = 64;

/// A section that is longer is not read.
const MAX_SECTION: u64 = 4 << 20;
const MAX_SECTIONS: usize = 4_096;

/// Some bytes of a file, at an offset; nothing if they are not all there.
pub(crate) type Read<'a> = dyn Fn(u64, usize) -> Option<Vec<u8>> + 'a;

/// The sections of a program, by name.
pub(crate) struct Sections(Vec<(String, u64, u64)>);

/// `None` for what is no such program.
pub(crate) fn sections(read: &Read<'_>) -> Option<Sections> {
    let header = read(0, SMALLEST as usize)?;
    let is_64 = match header.get(..6)? {
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        _ => return None,
    };
    let (offset, entry_at) = if is_64 { (long(&header, 40)?, 58) } else { (word(&header, 32)?, 46) };
    let entry = half(&header, entry_at)? as usize;
    let count = half(&header, entry_at + 2)? as usize;
    let names = half(&header, entry_at + 4)? as usize;
    if offset == 0 || count > MAX_SECTIONS || entry < if is_64 { 64 } else { 40 } || entry > 256 {
        return None;
    }
    let table = read(offset, entry * count)?;
    let place = |index: usize| {
        let row = table.get(index * entry..(index + 1) * entry)?;
        let (start, length) =
            if is_64 { (long(row, 24)?, long(row, 32)?) } else { (word(row, 16)?, word(row, 20)?) };
        Some((word(row, 0)? as usize, start, length))
    };
    let (_, start, length) = place(names)?;
    let texts = read(start, usize::try_from(length.min(MAX_SECTION)).ok()?)?;
    let all = (0..count).filter_map(|index| {
        let (name, start, length) = place(index)?;
        let name = texts.get(name..)?.split(|byte| *byte == 0).next()?;
        Some((String::from_utf8_lossy(name).into_owned(), start, length))
    });
    Some(Sections(all.collect()))
}

/// What is in the section of that name.
pub(crate) fn section(sections: &Sections, name: &str, read: &Read<'_>) -> Option<Vec<u8>> {
    let (_, start, length) = sections.0.iter().find(|(known, ..)| known == name)?;
    if *length > MAX_SECTION {
        return None;
    }
    read(*start, usize::try_from(*length).ok()?)
}

fn half(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of two sections: names, and `.x` with these bytes.
    fn program(content: &[u8]) -> Vec<u8> {
        let names = b"\0.names\0.x\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        let (names_at, content_at) = (file.len() as u64, (file.len() + names.len()) as u64);
        file.extend(names);
        file.extend(content);
        let table = file.len() as u64;
        for (name, start, length) in [(1u32, names_at, names.len()), (8, content_at, content.len())] {
            let mut row = vec![0; 64];
            row[..4].copy_from_slice(&name.to_le_bytes());
            row[24..32].copy_from_slice(&start.to_le_bytes());
            row[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend(row);
        }
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&2u16.to_le_bytes());
        file
    }

    fn look(file: &[u8]) -> Option<Vec<u8>> {
        let read = |offset: u64, length: usize| {
            let start = usize::try_from(offset).ok()?;
            file.get(start..start.checked_add(length)?).map(<[u8]>::to_vec)
        };
        section(&sections(&read)?, ".x", &read)
    }

    #[test]
    fn a_section_is_found_by_its_name() {
        let file = program(b"content");
        assert_eq!(look(&file).as_deref(), Some(&b"content"[..]));
        for end in 0..file.len() {
            assert_eq!(look(&file[..end]), None);
        }
        assert_eq!(look(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn nothing_that_a_file_says_leads_astray() {
        let file = program(b"content");
        for at in 0..file.len() {
            let mut file = file.clone();
            file[at] = 0xff;
            look(&file);
        }
    }
}
