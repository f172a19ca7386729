//! The 512-byte header block: its fields, its numbers and its checksum, as bytes.

use std::ops::Range;

pub(crate) const BLOCK: usize = 512;

pub(super) const NAME: Range<usize> = 0..100;
pub(super) const MODE: Range<usize> = 100..108;
pub(super) const UID: Range<usize> = 108..116;
pub(super) const GID: Range<usize> = 116..124;
pub(super) const SIZE: Range<usize> = 124..136;
pub(super) const MTIME: Range<usize> = 136..148;
pub(super) const CHECKSUM: Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: Range<usize> = 157..257;
pub(super) const MAGIC: Range<usize> = 257..265;
pub(super) const MAJOR: Range<usize> = 329..337;
pub(super) const MINOR: Range<usize> = 337..345;
pub(super) const PREFIX: Range<usize> = 345..500;
/// In old GNU sparse headers: four pieces of two numbers, a flag that more follow, the size of the whole.
pub(super) const SPARSE: Range<usize> = 386..482;
pub(super) const SPARSE_MORE: usize = 482;
pub(super) const SPARSE_SIZE: Range<usize> = 483..495;

/// The text up to the first zero byte.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number: octal digits between blanks, empty for 0, or two's complement big-endian after a set first bit.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // The bit that says "binary" is dropped and the next one is the sign.
        let first = i128::from(((field[0] << 1) as i8) >> 1);
        let mut value = first;
        for byte in &field[1..] {
            value = value << 8 | i128::from(*byte);
            if i64::try_from(value).is_err() {
                return None;
            }
        }
        return i64::try_from(value).ok();
    }
    let digits = text(field).trim_ascii();
    let mut value = 0i64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(value)
}

/// Whether the block is a header: its sum is the one it states, counted over unsigned or (some old programs) signed
/// bytes. A block of zeros is none.
pub(crate) fn has_valid_checksum(block: &[u8; BLOCK]) -> bool {
    let Some(stated) = number(&block[CHECKSUM]) else {
        return false;
    };
    let (mut unsigned, mut signed) = (0i64, 0i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte as i8);
    }
    block[CHECKSUM].iter().any(|b| *b != 0) && (stated == unsigned || stated == signed)
}

/// The path in the header proper, with its prefix where the format has one.
pub(super) fn path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[NAME]);
    let prefix = if &block[MAGIC] != b"ustar\x0000" {
        // GNU and V7 headers have other things there.
        &[][..]
    } else if &block[508..512] == b"tar\0" {
        text(&block[PREFIX.start..PREFIX.start + 131])
    } else {
        text(&block[PREFIX])
    };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary_with_a_sign() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00006x4\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0x20, 0, 0]), Some(0x20_0000));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(
            number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x9c]),
            Some(-100)
        );
        assert_eq!(number(&[0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
