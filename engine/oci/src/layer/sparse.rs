//! Files with holes: where the pieces lie, in the four notations that GNU tar has used.

use super::header::{self, BLOCK};
use super::pax;

/// Pieces of one file; more are refused before they are kept. A file of 1 TiB that alternates every MiB has as many.
pub(super) const MAX_PIECES: usize = 1 << 20;

/// Bytes of a file that the archive has; the rest is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Checks that the pieces are in order, apart from each other, within a file of `size` bytes, and `stored` in sum.
pub(super) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0u64;
    let mut sum = 0u64;
    for piece in pieces {
        if piece.offset < end {
            return Err("the pieces of a sparse file overlap");
        }
        end = piece
            .offset
            .checked_add(piece.length)
            .filter(|end| *end <= size)
            .ok_or("a piece of a sparse file lies beyond its end")?;
        sum += piece.length;
    }
    if sum != stored {
        return Err("the pieces of a sparse file are not what is stored of it");
    }
    Ok(())
}

/// The records `GNU.sparse.*` of one entry, as they come.
#[derive(Default)]
pub(super) struct Records {
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (0.0, 0.1) or `GNU.sparse.realsize` (1.0).
    pub(super) size: Option<u64>,
    major: u64,
    /// 0.0 and 0.1: offsets and lengths in turn.
    numbers: Option<Vec<u64>>,
}

impl Records {
    /// Takes the record of the key `GNU.sparse.<key>`. Keys that say nothing new are left alone.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "a number of a sparse file's map is none";
        let number = || pax::decimal(value).ok_or(BAD);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => self.major = number()?,
            b"offset" | b"numbytes" => {
                let numbers = self.numbers.get_or_insert_default();
                // Format 0.0 has pairs of records; their order is the only thing that joins them.
                if (numbers.len() % 2 == 1) != (key == b"numbytes") {
                    return Err("a sparse file's map has an offset without a length");
                }
                numbers.push(number()?);
            }
            b"map" => {
                let numbers = value
                    .split(|b| *b == b',')
                    .filter(|part| !part.is_empty())
                    .map(|part| pax::decimal(part).ok_or(BAD))
                    .collect::<Result<_, _>>()?;
                self.numbers = Some(numbers);
            }
            b"numblocks" => {
                number()?;
                self.numbers.get_or_insert_default();
            }
            _ => {}
        }
        self.numbers
            .as_ref()
            .is_none_or(|numbers| numbers.len() <= 2 * MAX_PIECES)
            .then_some(())
            .ok_or("a sparse file has too many pieces")
    }

    /// Whether the map stands at the beginning of the data (format 1.0).
    pub(super) fn map_is_in_data(&self) -> bool {
        self.major >= 1
    }

    /// The map of the formats 0.0 and 0.1, if there is one.
    pub(super) fn pieces(&self) -> Option<Result<Vec<Piece>, &'static str>> {
        self.numbers.as_ref().map(|numbers| pair_up(numbers))
    }
}

fn pair_up(numbers: &[u64]) -> Result<Vec<Piece>, &'static str> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a sparse file's map has an offset without a length");
    }
    Ok(pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length }).collect())
}

/// Pieces from the pairs of numbers in an old GNU header or in one of the blocks that continue it.
pub(super) fn old_pieces(field: &[u8], to: &mut Vec<Piece>) -> Result<(), &'static str> {
    for pair in field.as_chunks::<24>().0 {
        // An empty pair is the end of the list.
        if pair.iter().all(|b| *b == 0) {
            break;
        }
        let number = |part: &[u8]| {
            header::number(part)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or("a number of a sparse file's map is none")
        };
        to.push(Piece { offset: number(&pair[..12])?, length: number(&pair[12..])? });
        if to.len() > MAX_PIECES {
            return Err("a sparse file has too many pieces");
        }
    }
    Ok(())
}

/// Reads the map of format 1.0 from the blocks that `next` gives: a count and then so many pairs, one decimal number
/// to a line, filled up to a whole block.
pub(super) fn map_from_data<E>(
    mut next: impl FnMut() -> Result<[u8; BLOCK], E>,
) -> Result<Result<Vec<Piece>, &'static str>, E> {
    let mut numbers = Vec::new();
    let mut expected = None;
    let mut current: Option<u64> = None;
    loop {
        for byte in next()? {
            match (byte, current) {
                (b'0'..=b'9', _) => {
                    current = current
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|n| n.checked_add(u64::from(byte - b'0')));
                    if current.is_none() {
                        return Ok(Err("a number of a sparse file's map is none"));
                    }
                }
                (b'\n', Some(number)) => {
                    current = None;
                    match expected {
                        None if number > MAX_PIECES as u64 => {
                            return Ok(Err("a sparse file has too many pieces"));
                        }
                        None => expected = Some(2 * number as usize),
                        Some(_) => numbers.push(number),
                    }
                    if expected == Some(numbers.len()) {
                        return Ok(pair_up(&numbers));
                    }
                }
                _ => return Ok(Err("a number of a sparse file's map is none")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_be_in_order_and_inside() {
        let piece = |offset, length| Piece { offset, length };
        assert!(check(&[piece(0, 2), piece(4, 2), piece(10, 0)], 10, 4).is_ok());
        assert!(check(&[piece(4, 2), piece(0, 2)], 10, 4).is_err());
        assert!(check(&[piece(8, 4)], 10, 4).is_err());
        assert!(check(&[piece(u64::MAX, 4)], 10, 4).is_err());
        assert!(check(&[piece(0, 2)], 10, 3).is_err());
    }

    #[test]
    fn a_map_in_the_data_ends_with_its_count() {
        let mut block = [0; BLOCK];
        block[..12].copy_from_slice(b"2\n0\n3\n10\n5\n\0");
        let pieces = map_from_data(|| Ok::<_, ()>(block)).unwrap().unwrap();
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[1], Piece { offset: 10, length: 5 });
        let mut hostile = [b'9'; BLOCK];
        hostile[8] = b'\n';
        assert!(map_from_data(|| Ok::<_, ()>(hostile)).unwrap().is_err());
    }
}
