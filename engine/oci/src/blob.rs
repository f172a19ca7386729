//! Makes a blob of a stream: hashes what comes in, compresses it, hashes what goes out.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use kiln_core::digest::{BlobDigest, DiffId, Digest};
use sha2::{Digest as _, Sha256};

use crate::document::media_type;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Compress {
    #[default]
    None,
    /// Level 0 to 9.
    Gzip { level: u32 },
    /// Level 1 to 19.
    Zstd { level: i32 },
}

impl Compress {
    /// gzip's own default.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// zstd's own default.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// Of a layer packed this way.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip { .. } => media_type::OCI_LAYER_GZIP,
            Self::Zstd { .. } => media_type::OCI_LAYER_ZSTD,
        }
    }

    /// How much input makes one gzip member or zstd frame. Part of what decides the bytes: with other pieces a blob of
    /// the same layer has another digest.
    fn piece_bytes(self) -> usize {
        match self {
            Self::None | Self::Gzip { .. } => 1 << 20,
            // As large as the window of zstd's default level.
            Self::Zstd { .. } => 2 << 20,
        }
    }
}

/// What a finished [`BlobPipe`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobResult {
    /// Of what was written into the pipe.
    pub diff_id: DiffId,
    /// Of what came out.
    pub digest: BlobDigest,
    /// Of what came out, in bytes.
    pub size: u64,
    pub media_type: &'static str,
}

/// Takes a layer's uncompressed bytes and writes the blob.
///
/// The input is cut into pieces of fixed size, each of which becomes a gzip member or zstd frame of its own; so the
/// bytes do not depend on how many threads share the work. At most `threads` + 2 pieces are in memory. Small writes are
/// gathered, so the writer need not be buffered.
pub struct BlobPipe<W: Write> {
    out: Counted<W>,
    compress: Compress,
    diff_id: Sha256,
    piece: Vec<u8>,
    pieces: u64,
    packing: Packing,
}

enum Packing {
    None,
    Here(Packer),
    Pool(Pool),
}

impl<W: Write> BlobPipe<W> {
    /// `threads` compress at a time, eight at most; with one, the caller's own does.
    ///
    /// # Errors
    ///
    /// When the level is out of range or a thread cannot be started.
    pub fn new(out: W, compress: Compress, threads: NonZero<usize>) -> io::Result<Self> {
        let packing = match compress {
            Compress::None => Packing::None,
            _ if threads.get() == 1 => Packing::Here(Packer::new(compress)?),
            _ => Packing::Pool(Pool::new(compress, threads.get())?),
        };
        Ok(Self {
            out: Counted { out: BufWriter::with_capacity(256 * 1024, out), hasher: Sha256::new(), size: 0 },
            compress,
            diff_id: Sha256::new(),
            piece: Vec::new(),
            pieces: 0,
            packing,
        })
    }

    /// Writes what is left and gives the writer back.
    pub fn finish(mut self) -> io::Result<(W, BlobResult)> {
        // A stream of no bytes is still one member.
        if !matches!(self.packing, Packing::None) && (!self.piece.is_empty() || self.pieces == 0) {
            self.pack()?;
        }
        if let Packing::Pool(pool) = &mut self.packing {
            while let Some(packed) = pool.oldest()? {
                self.out.write(&packed)?;
            }
        }
        let digest = |hasher: Sha256| Digest::from_bytes(hasher.finalize().into());
        let diff_id = digest(self.diff_id);
        let packed = match self.packing {
            Packing::None => diff_id,
            _ => digest(self.out.hasher),
        };
        let result = BlobResult {
            diff_id: DiffId(diff_id),
            digest: BlobDigest(packed),
            size: self.out.size,
            media_type: self.compress.media_type(),
        };
        let out = self.out.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((out, result))
    }

    fn pack(&mut self) -> io::Result<()> {
        self.pieces += 1;
        match &mut self.packing {
            Packing::None => unreachable!("without compression there are no pieces"),
            Packing::Here(packer) => {
                let packed = packer.pack(&self.piece)?;
                self.out.write(packed)?;
                self.piece.clear();
            }
            Packing::Pool(pool) => {
                let full = std::mem::take(&mut self.piece);
                self.piece = pool.give(full, &mut self.out)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for BlobPipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if matches!(self.packing, Packing::None) {
            let count = self.out.out.write(bytes)?;
            self.out.size += count as u64;
            self.diff_id.update(&bytes[..count]);
            return Ok(count);
        }
        let room = self.compress.piece_bytes() - self.piece.len();
        let bytes = &bytes[..bytes.len().min(room)];
        self.diff_id.update(bytes);
        self.piece.extend_from_slice(bytes);
        if bytes.len() == room {
            self.pack()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.out.flush()
    }
}

struct Counted<W: Write> {
    out: BufWriter<W>,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Compresses one piece after the other, each on its own.
struct Packer {
    codec: Codec,
    packed: Vec<u8>,
}

enum Codec {
    Gzip { deflate: flate2::Compress, level: u32 },
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Packer {
    fn new(compress: Compress) -> io::Result<Self> {
        let out_of_range =
            |what: String| io::Error::new(io::ErrorKind::InvalidInput, format!("there is no {what}"));
        let codec = match compress {
            Compress::Gzip { level } if level <= 9 => {
                Codec::Gzip { deflate: flate2::Compress::new(flate2::Compression::new(level), false), level }
            }
            Compress::Zstd { level } if (1..=19).contains(&level) => {
                Codec::Zstd(zstd::bulk::Compressor::new(level)?)
            }
            Compress::Gzip { level } => return Err(out_of_range(format!("gzip level {level}"))),
            Compress::Zstd { level } => return Err(out_of_range(format!("zstd level {level}"))),
            Compress::None => unreachable!("nothing is packed without compression"),
        };
        Ok(Self { codec, packed: Vec::new() })
    }

    fn pack(&mut self, piece: &[u8]) -> io::Result<&[u8]> {
        let packed = &mut self.packed;
        packed.clear();
        match &mut self.codec {
            Codec::Gzip { deflate, level } => {
                // RFC 1952: no time, no name; the byte before the last says how hard it tried, the last that the
                // system is unknown.
                let effort = match level {
                    9 => 2,
                    0 | 1 => 4,
                    _ => 0,
                };
                packed.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, effort, 255]);
                deflate.reset();
                loop {
                    // Room for input that does not shrink; the loop is for what should need even more.
                    packed.reserve(piece.len() - deflate.total_in() as usize + 4096);
                    let rest = &piece[deflate.total_in() as usize..];
                    match deflate.compress_vec(rest, packed, flate2::FlushCompress::Finish) {
                        Ok(flate2::Status::StreamEnd) => break,
                        Ok(_) => {}
                        Err(error) => return Err(io::Error::other(error)),
                    }
                }
                let mut crc = flate2::Crc::new();
                crc.update(piece);
                packed.extend_from_slice(&crc.sum().to_le_bytes());
                packed.extend_from_slice(&crc.amount().to_le_bytes());
            }
            Codec::Zstd(compressor) => {
                packed.reserve(zstd::zstd_safe::compress_bound(piece.len()));
                compressor.compress_to_buffer(piece, packed)?;
            }
        }
        Ok(packed)
    }
}

/// A piece on its way, and where its two buffers go when it is done.
struct Job {
    piece: Vec<u8>,
    done: mpsc::SyncSender<io::Result<Packed>>,
}

struct Packed {
    piece: Vec<u8>,
    bytes: Vec<u8>,
}

/// Threads that pack pieces; results are taken in the order in which the pieces were given.
struct Pool {
    jobs: Option<mpsc::Sender<Job>>,
    pending: VecDeque<mpsc::Receiver<io::Result<Packed>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new(compress: Compress, threads: usize) -> io::Result<Self> {
        let threads = threads.min(8);
        // Here, so that a wrong level is an error of this call.
        let packers = (0..threads).map(|_| Packer::new(compress)).collect::<io::Result<Vec<_>>>()?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Self { jobs: Some(jobs), pending: VecDeque::new(), threads: Vec::new() };
        for packer in packers {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("compress".to_owned());
            pool.threads.push(thread.spawn(move || work(packer, &queue))?);
        }
        Ok(pool)
    }

    /// Hands over a piece and gives back an empty buffer; first writes the oldest result if all threads are busy.
    fn give<W: Write>(&mut self, piece: Vec<u8>, out: &mut Counted<W>) -> io::Result<Vec<u8>> {
        let (done, result) = mpsc::sync_channel(1);
        self.jobs.as_ref().and_then(|jobs| jobs.send(Job { piece, done }).ok()).ok_or_else(thread_gone)?;
        self.pending.push_back(result);
        if self.pending.len() <= self.threads.len() {
            return Ok(Vec::new());
        }
        let Packed { mut piece, bytes } = self.take_oldest()?;
        out.write(&bytes)?;
        piece.clear();
        Ok(piece)
    }

    /// The next result in order, if anything is under way.
    fn oldest(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        self.take_oldest().map(|packed| Some(packed.bytes))
    }

    fn take_oldest(&mut self) -> io::Result<Packed> {
        let oldest = self.pending.pop_front().ok_or_else(thread_gone)?;
        oldest.recv().map_err(|_| thread_gone())?
    }
}

fn thread_gone() -> io::Error {
    io::Error::other("a compressing thread ended early")
}

fn work(mut packer: Packer, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting: whoever has it takes the next job, the others queue up behind.
        let Ok(queue) = queue.lock() else { return };
        let Ok(Job { piece, done }) = queue.recv() else {
            return;
        };
        drop(queue);
        let result = packer.pack(&piece).map(<[u8]>::to_vec);
        let result = result.map(|bytes| Packed { piece, bytes });
        // Nobody waits for it when the pipe was dropped.
        let _ = done.send(result);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic in there was reported as an error by `take_oldest`.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::compression;

    fn blob(input: &[u8], compress: Compress, threads: usize, write_size: usize) -> (Vec<u8>, BlobResult) {
        let mut pipe = BlobPipe::new(Vec::new(), compress, NonZero::new(threads).unwrap()).unwrap();
        for part in input.chunks(write_size) {
            pipe.write_all(part).unwrap();
        }
        pipe.finish().unwrap()
    }

    /// Compressible but not trivially so.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1u32;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 3 == 0 { (state >> 24) as u8 } else { b'a' + (at % 17) as u8 }
            })
            .collect()
    }

    #[test]
    fn bytes_depend_on_neither_threads_nor_the_size_of_writes() {
        let input = sample(5_300_001);
        for compress in [Compress::None, Compress::GZIP, Compress::Gzip { level: 0 }, Compress::ZSTD] {
            let (bytes, result) = blob(&input, compress, 1, 70_000);
            assert_eq!(result.diff_id, DiffId(Digest::of(&input)));
            assert_eq!(result.digest, BlobDigest(Digest::of(&bytes)));
            assert_eq!(result.size, bytes.len() as u64);
            for (threads, write_size) in [(2, 70_000), (3, 1 << 22), (2, 8191)] {
                assert!(blob(&input, compress, threads, write_size) == (bytes.clone(), result.clone()));
            }
            let mut unpacked = Vec::new();
            let (_, mut reader) = compression::decompress_any(&bytes[..]).unwrap();
            reader.read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == input, "{compress:?}");
        }
    }

    #[test]
    fn an_empty_stream_is_still_a_member_or_frame() {
        for compress in [Compress::GZIP, Compress::ZSTD] {
            for threads in [1, 2] {
                let (bytes, _) = blob(b"", compress, threads, 1);
                assert_ne!(compression::sniff(&bytes), compression::Compression::None);
            }
        }
    }

    #[test]
    fn levels_that_do_not_exist_are_refused() {
        for compress in
            [Compress::Gzip { level: 10 }, Compress::Zstd { level: 0 }, Compress::Zstd { level: 23 }]
        {
            for threads in [1, 2] {
                let threads = NonZero::new(threads).unwrap();
                assert!(BlobPipe::new(Vec::new(), compress, threads).is_err());
            }
        }
    }

    #[test]
    fn a_writer_that_fails_ends_the_pipe_and_its_threads() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut pipe = BlobPipe::new(Full, Compress::Gzip { level: 1 }, NonZero::new(2).unwrap()).unwrap();
        let error = pipe
            .write_all(&sample(8 << 20))
            .map(|()| pipe)
            .and_then(|pipe| pipe.finish().map(drop))
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
