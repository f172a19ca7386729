//! The stream as blocks: headers with valid checksums, data and its padding; all of it counted, and hashed if wanted.

use std::io::{self, BufReader, Read};

use sha2::{Digest as _, Sha256};

use super::header::{self, BLOCK};
use super::refuse::{Limits, ReadLayerError};

/// Hashes what goes through it, if anybody wants the digest.
struct Hashing<R> {
    stream: R,
    hasher: Option<Sha256>,
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

/// A tar stream, read block by block.
pub(super) struct Blocks<'a, R> {
    stream: BufReader<Hashing<R>>,
    /// Bytes taken from the stream.
    position: u64,
    /// The entry being read, for messages.
    current: Option<String>,
    limits: &'a Limits,
}

impl<'a, R: Read> Blocks<'a, R> {
    pub(super) fn new(stream: R, hasher: Option<Sha256>, limits: &'a Limits) -> Self {
        let stream = BufReader::with_capacity(128 * 1024, Hashing { stream, hasher });
        Self { stream, position: 0, current: None, limits }
    }

    pub(super) fn into_hasher(self) -> Option<Sha256> {
        self.stream.into_inner().hasher
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What messages call the entry from here on.
    pub(super) fn name_entry(&mut self, name: Option<String>) {
        self.current = name;
    }

    pub(super) fn current_name(&self) -> String {
        self.current.clone().unwrap_or_else(|| "?".to_owned())
    }

    pub(super) fn broken(&self, why: &'static str) -> ReadLayerError {
        ReadLayerError::Broken { path: self.current_name(), why }
    }

    pub(super) fn limit(&self, what: &'static str, limit: u64) -> ReadLayerError {
        ReadLayerError::Limit { path: self.current_name(), what, limit }
    }

    /// The next block that is a header; `None` at the end of the archive: two blocks of zeros, or no more bytes.
    pub(super) fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadLayerError> {
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
                Err(source) => return Err(self.failed(source)),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }

    pub(super) fn block(&mut self) -> Result<[u8; BLOCK], ReadLayerError> {
        self.block_or_end()?.ok_or_else(|| self.truncated())
    }

    pub(super) fn truncated(&self) -> ReadLayerError {
        ReadLayerError::Truncated { entry: self.current.clone() }
    }

    /// A decompressor that runs out of input says so in its own words.
    pub(super) fn failed(&self, source: io::Error) -> ReadLayerError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => ReadLayerError::Read { source },
        }
    }

    pub(super) fn field(
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
    pub(super) fn header_data(&mut self, block: &[u8; BLOCK]) -> Result<Vec<u8>, ReadLayerError> {
        let size = self.field(block, header::SIZE, "its size is no number")?;
        if size > self.limits.header_bytes {
            return Err(self.limit("an extended header", self.limits.header_bytes));
        }
        let mut data = Vec::new();
        let read = self.stream.by_ref().take(size).read_to_end(&mut data);
        read.map_err(|source| self.failed(source))?;
        if data.len() as u64 != size {
            return Err(self.truncated());
        }
        self.position += size;
        self.skip(padding(size))?;
        Ok(data)
    }

    pub(super) fn skip_data(&mut self, size: u64) -> Result<(), ReadLayerError> {
        self.skip(size)?;
        self.skip(padding(size))
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), ReadLayerError> {
        let skipped = io::copy(&mut self.stream.by_ref().take(count), &mut io::sink());
        if skipped.map_err(|source| self.failed(source))? != count {
            return Err(self.truncated());
        }
        self.position += count;
        Ok(())
    }

    /// Reads what follows the archive: it is part of the diff ID.
    pub(super) fn drain(&mut self) -> Result<(), ReadLayerError> {
        let left = self.limits.content_bytes.saturating_sub(self.position);
        let drained = io::copy(&mut self.stream.by_ref().take(left + 1), &mut io::sink())
            .map_err(|source| self.failed(source))?;
        if drained > left {
            return Err(self.limit("the stream", self.limits.content_bytes));
        }
        Ok(())
    }
}

/// Data, without regard to where it ends.
impl<R: Read> Read for Blocks<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

pub(super) fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}
