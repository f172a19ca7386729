//! Reads bytes that must have a known digest, and fails at the end if they do not.

use std::io::{self, Read};

use kiln_core::digest::{BlobDigest, Digest};
use sha2::{Digest as _, Sha256};

/// Passes bytes on. The read that would say that there are no more is an error ([`io::ErrorKind::InvalidData`]) when
/// length or digest are not as expected.
#[derive(Debug)]
pub struct Verified<R> {
    content: R,
    expected: BlobDigest,
    size: u64,
    done: u64,
    /// Gone once the digest has been compared.
    hasher: Option<Sha256>,
}

impl<R: Read> Verified<R> {
    pub fn new(content: R, expected: BlobDigest, size: u64) -> Self {
        Self { content, expected, size, done: 0, hasher: Some(Sha256::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wrong = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let count = self.content.read(buffer)?;
        self.done += count as u64;
        if self.done > self.size {
            return wrong(format!("it is longer than the {} bytes that it should have", self.size));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        if count == 0 && !buffer.is_empty() {
            if self.done < self.size {
                return wrong(format!("it ends after {} of {} bytes", self.done, self.size));
            }
            let found = self.hasher.take().map(|hasher| Digest::from_bytes(hasher.finalize().into()));
            if let Some(found) = found.filter(|found| *found != self.expected.0) {
                return wrong(format!("its digest is {found} instead of {}", self.expected));
            }
        }
        Ok(count)
    }
}
