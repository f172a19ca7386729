//! Reads the directory of a ZIP file, which is what a jar is, and single members of it.

use kiln_sdk::wit::types::HostError;

/// Longest member that is taken out: manifests and lists of layers, which are short.
const MAX_MEMBER_BYTES: usize = 4 << 20;
const MAX_DIRECTORY_BYTES: u32 = 256 << 20;
/// A piece that the host hands out at once.
const PIECE: u32 = 16 << 20;
const END_BYTES: usize = 22;
const ENTRY_BYTES: usize = 46;

/// Bytes that can be read from any offset.
pub(crate) trait Bytes {
    fn size(&self) -> u64;
    /// Up to `max` bytes, fewer at the end only.
    fn read(&self, offset: u32, max: u32) -> Result<Vec<u8>, HostError>;
}

/// Why a file is no jar that can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("it cannot be read: {}", .0.message)]
    Host(HostError),
    #[error("it is no ZIP file")]
    NoZip,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// A member as the directory tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As it is written, `/`-separated; a directory ends with `/`.
    pub(crate) name: String,
    method: u16,
    packed: u32,
    offset: u32,
}

/// The directory of a ZIP file, in the order it is written.
pub(crate) struct Archive<'b> {
    bytes: &'b dyn Bytes,
    pub(crate) members: Vec<Member>,
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn all(bytes: &dyn Bytes, offset: u32, length: u32) -> Result<Vec<u8>, ZipError> {
    let mut read = Vec::new();
    while read.len() < length as usize {
        let done = read.len() as u32;
        let piece = bytes.read(offset + done, (length - done).min(PIECE)).map_err(ZipError::Host)?;
        if piece.is_empty() {
            return Err(ZipError::Damaged("it ends too early"));
        }
        read.extend(piece);
    }
    Ok(read)
}

impl<'b> Archive<'b> {
    /// # Errors
    ///
    /// The file is none of this kind.
    pub(crate) fn open(bytes: &'b dyn Bytes) -> Result<Self, ZipError> {
        let size = u32::try_from(bytes.size()).map_err(|_| ZipError::Damaged("it is larger than 4 GiB"))?;
        // The end is followed by a comment of at most 64 KiB.
        let tail = size.min(END_BYTES as u32 + 0xffff);
        let tail = all(bytes, size - tail, tail)?;
        let end = tail.windows(4).rposition(|it| it == b"PK\x05\x06").ok_or(ZipError::NoZip)?;
        let field = |at| long(&tail, end + at).ok_or(ZipError::Damaged("it ends too early"));
        let (length, offset) = (field(12)?, field(16)?);
        if length > MAX_DIRECTORY_BYTES || offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(ZipError::Damaged("its directory lies outside of it"));
        }
        let directory = all(bytes, offset, length)?;
        Ok(Self { bytes, members: members(&directory)? })
    }

    /// The bytes of a member by name.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are more than a text of some pages.
    pub(crate) fn member(&self, name: &str) -> Result<Option<Vec<u8>>, ZipError> {
        let Some(member) = self.members.iter().find(|member| member.name == name) else { return Ok(None) };
        if member.packed as usize > MAX_MEMBER_BYTES {
            return Err(ZipError::Damaged("a text in it is too long"));
        }
        let header = all(self.bytes, member.offset, 30)?;
        let (Some(0x0403_4b50), Some(name), Some(extra)) =
            (long(&header, 0), short(&header, 26), short(&header, 28))
        else {
            return Err(ZipError::Damaged("a member is not where its directory says"));
        };
        let begin = member
            .offset
            .checked_add(30 + u32::from(name) + u32::from(extra))
            .ok_or(ZipError::Damaged("a member is not where its directory says"))?;
        let packed = all(self.bytes, begin, member.packed)?;
        match member.method {
            0 => Ok(Some(packed)),
            8 => miniz_oxide::inflate::decompress_to_vec_with_limit(&packed, MAX_MEMBER_BYTES)
                .map(Some)
                .map_err(|_| ZipError::Damaged("a text in it does not unpack")),
            _ => Err(ZipError::Damaged("a text in it is packed in an unknown way")),
        }
    }
}

fn members(directory: &[u8]) -> Result<Vec<Member>, ZipError> {
    let mut members = Vec::new();
    let mut rest = directory;
    while !rest.is_empty() {
        let fields = || {
            if long(rest, 0)? != 0x0201_4b50 {
                return None;
            }
            let name = short(rest, 28)? as usize;
            let length = ENTRY_BYTES + name + short(rest, 30)? as usize + short(rest, 32)? as usize;
            let member = Member {
                name: String::from_utf8_lossy(rest.get(ENTRY_BYTES..ENTRY_BYTES + name)?).into_owned(),
                method: short(rest, 10)?,
                packed: long(rest, 20)?,
                offset: long(rest, 42)?,
            };
            Some((member, length))
        };
        let (member, length) = fields().ok_or(ZipError::Damaged("its directory is no list of members"))?;
        members.push(member);
        rest = rest.get(length..).ok_or(ZipError::Damaged("its directory ends too early"))?;
    }
    Ok(members)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Bytes for Vec<u8> {
        fn size(&self) -> u64 {
            self.len() as u64
        }

        fn read(&self, offset: u32, max: u32) -> Result<Vec<u8>, HostError> {
            let from = (offset as usize).min(self.len());
            // Smaller pieces than asked for, as hosts may hand out.
            let to = from.saturating_add((max as usize).min(7)).min(self.len());
            Ok(self[from..to].to_vec())
        }
    }

    /// A ZIP file with these members; what is longer than 20 bytes is packed.
    pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in members {
            let (method, packed) = match data.len() > 20 {
                true => (8_u16, miniz_oxide::deflate::compress_to_vec(data, 6)),
                false => (0, data.to_vec()),
            };
            let offset = file.len() as u32;
            let mut common = vec![20, 0, 0, 0];
            common.extend(method.to_le_bytes());
            common.extend([0; 8]);
            common.extend((packed.len() as u32).to_le_bytes());
            common.extend((data.len() as u32).to_le_bytes());
            common.extend((name.len() as u16).to_le_bytes());
            common.extend([0; 2]);
            file.extend(b"PK\x03\x04");
            file.extend(&common);
            file.extend(name.as_bytes());
            file.extend(packed);
            directory.extend(b"PK\x01\x02\x14\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let offset = file.len() as u32;
        file.extend(&directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((directory.len() as u32).to_le_bytes());
        file.extend(offset.to_le_bytes());
        file.extend(b"\x03\x00end");
        file
    }

    #[test]
    fn members_are_read_packed_and_plain() {
        let long = b"Manifest-Version: 1.0\r\nMain-Class: a.B\r\n";
        let file = zip(&[("META-INF/", b""), ("META-INF/MANIFEST.MF", long), ("a/B.class", b"short")]);
        let archive = Archive::open(&file).unwrap();
        let names: Vec<_> = archive.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["META-INF/", "META-INF/MANIFEST.MF", "a/B.class"]);
        assert_eq!(archive.member("META-INF/MANIFEST.MF").unwrap().unwrap(), long);
        assert_eq!(archive.member("a/B.class").unwrap().unwrap(), b"short");
        assert_eq!(archive.member("b").unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_told_and_never_a_panic() {
        assert!(matches!(Archive::open(&b"no zip at all".to_vec()), Err(ZipError::NoZip)));
        assert!(matches!(Archive::open(&Vec::new()), Err(ZipError::NoZip)));
        let file = zip(&[("META-INF/MANIFEST.MF", b"Main-Class: a.B\nAnd-More: of it\n")]);
        for cut in 0..file.len() {
            let _ = Archive::open(&file[cut..].to_vec()).map(|it| it.member("META-INF/MANIFEST.MF").is_ok());
            let _ = Archive::open(&file[..cut].to_vec()).map(|it| it.member("META-INF/MANIFEST.MF").is_ok());
        }
        for at in 0..file.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = byte;
                let _ = Archive::open(&file).map(|it| it.member("META-INF/MANIFEST.MF").is_ok());
            }
        }
    }
}
