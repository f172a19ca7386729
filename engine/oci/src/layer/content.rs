//! The bytes of one file of a tar stream, with zeros where it has holes.

use std::io::{self, Read};

use super::sparse::Piece;

/// Why the stream gave no more.
pub(super) enum Failed {
    Truncated,
    Read(io::Error),
}

/// See the module.
pub(super) struct FileContent<'a, R> {
    stream: &'a mut R,
    pieces: &'a [Piece],
    at: u64,
    size: u64,
    /// Bytes read from the stream.
    taken: u64,
    /// Why the stream failed, which the sink sees only as an I/O error among its own.
    failed: Option<Failed>,
}

impl<'a, R: Read> FileContent<'a, R> {
    /// `stream` stands before the first of the pieces, which [`super::sparse::check`] has found to be in order.
    pub(super) fn new(stream: &'a mut R, pieces: &'a [Piece], size: u64) -> Self {
        Self { stream, pieces, at: 0, size, taken: 0, failed: None }
    }

    /// How many bytes were read from the stream, and why it failed if it did.
    pub(super) fn finish(self) -> (u64, Option<Failed>) {
        (self.taken, self.failed)
    }
}

impl<R: Read> Read for FileContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let [piece, rest @ ..] = self.pieces
            && self.at >= piece.offset + piece.length
        {
            self.pieces = rest;
        }
        let (is_hole, end) = match self.pieces {
            [piece, ..] if self.at < piece.offset => (true, piece.offset),
            [piece, ..] => (false, piece.offset + piece.length),
            [] => (true, self.size),
        };
        let count = usize::try_from(end - self.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        if count == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..count];
        if is_hole {
            buffer.fill(0);
            self.at += count as u64;
            return Ok(count);
        }
        match self.stream.read(buffer) {
            Ok(0) => {
                self.failed = Some(Failed::Truncated);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(count) => {
                self.at += count as u64;
                self.taken += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(Failed::Read(error));
                Err(copy)
            }
        }
    }
}
