//! Bytes of files: names them, copies them by the cheapest way there is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};
use kiln_core::{FileDigest, TreePath};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::attributes::{self, Attributes, On};
use crate::store::OwnerMapping;
use crate::walk::{self, WalkError, on};

pub(crate) const BUFFER: usize = 256 << 10;
/// A file of at least this size is hashed by several threads, in pieces of `PIECE` (a power of two: BLAKE3 is a tree).
const LARGE: u64 = 32 << 20;
const PIECE: u64 = 8 << 20;
/// Up to this size bytes pass through memory, which costs less than asking the kernel to copy them.
const SMALL: u64 = 128 << 10;
/// Neighbouring files that one thread takes at once: they share a directory, mostly.
const BATCH: usize = 16;

/// Reads from where the file stands to its end.
///
/// Returns the number of bytes, too.
pub(crate) fn hash_rest(file: &File, buffer: &mut [u8]) -> io::Result<(FileDigest, u64)> {
    copy_hashing(&mut &*file, None, buffer)
}

/// Passes everything of `from` to `to`, naming it on the way.
pub(crate) fn copy_hashing(
    from: &mut dyn Read,
    mut to: Option<&mut dyn Write>,
    buffer: &mut [u8],
) -> io::Result<(FileDigest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    loop {
        let length = match from.read(buffer) {
            Ok(0) => return Ok((FileDigest(*hasher.finalize().as_bytes()), size)),
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(&buffer[..length]);
        if let Some(to) = &mut to {
            to.write_all(&buffer[..length])?;
        }
        size += length as u64;
    }
}

/// Names a whole file of `size` bytes, with several threads if it is large.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] if it has become shorter.
pub(crate) fn hash_file(file: &File, size: u64, buffer: &mut [u8]) -> io::Result<FileDigest> {
    let threads = walk::threads();
    if size < LARGE || threads < 2 {
        let (digest, read) = hash_rest(file, buffer)?;
        return if read < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(digest) };
    }
    let pieces = usize::try_from(size.div_ceil(PIECE)).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, ChainingValue)>> {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= pieces {
                return Ok(done);
            }
            let start = piece as u64 * PIECE;
            let mut left = PIECE.min(size - start);
            let mut hasher = blake3::Hasher::new();
            hasher.set_input_offset(start);
            while left > 0 {
                let wanted = left.min(BUFFER as u64) as usize;
                file.read_exact_at(&mut buffer[..wanted], start + (PIECE.min(size - start) - left))?;
                hasher.update(&buffer[..wanted]);
                left -= wanted as u64;
            }
            done.push((piece, hasher.finalize_non_root()));
        }
    };
    let mut values: Vec<(usize, ChainingValue)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(pieces)).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        io::Result::Ok(all)
    })?;
    values.sort_unstable_by_key(|(piece, _)| *piece);
    let values: Vec<ChainingValue> = values.into_iter().map(|(_, value)| value).collect();
    let (left, right) = values.split_at((left_subtree_len(size) / PIECE) as usize);
    let left_size = left_subtree_len(size);
    let root = merge_subtrees_root(&subtree(left, left_size), &subtree(right, size - left_size), Mode::Hash);
    Ok(FileDigest(*root.as_bytes()))
}

fn subtree(values: &[ChainingValue], size: u64) -> ChainingValue {
    match values {
        [one] => *one,
        many => {
            let left_size = left_subtree_len(size);
            let (left, right) = many.split_at((left_size / PIECE) as usize);
            merge_subtrees_non_root(&subtree(left, left_size), &subtree(right, size - left_size), Mode::Hash)
        }
    }
}

/// What reading one file told.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) digest: FileDigest,
    pub(crate) attributes: Attributes,
    /// As it was before the first byte was read, and as it was after the last one.
    pub(crate) before: rustix::fs::Statx,
    pub(crate) after: rustix::fs::Statx,
}

/// Reads every file of `paths` below `root`, several at a time; the answers come in the order of `paths`.
pub(crate) fn hash_all(
    root: BorrowedFd<'_>,
    paths: &[TreePath],
    mapping: OwnerMapping,
) -> Vec<Result<Hashed, WalkError>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut buffer = vec![0; BUFFER];
        let mut done = Vec::new();
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(rest) = paths.get(start..).filter(|rest| !rest.is_empty()) else {
                return done;
            };
            for (at, path) in rest.iter().take(BATCH).enumerate() {
                done.push((start + at, hash_one(root, path, mapping, &mut buffer)));
            }
        }
    };
    let threads = if paths.len() > BATCH { walk::threads() } else { 1 };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

fn hash_one(
    root: BorrowedFd<'_>,
    path: &TreePath,
    mapping: OwnerMapping,
    buffer: &mut [u8],
) -> Result<Hashed, WalkError> {
    let failed = |source| WalkError { action: "read", path: path.clone(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(walk::open_below(root, path, flags).map_err(on("open", path))?);
    let before = walk::stat_fd(&file).map_err(on("look at", path))?;
    if FileType::from_raw_mode(before.stx_mode.into()) != FileType::RegularFile {
        // Something else took its place: a fifo has no end, a device no size.
        return Err(failed(io::Error::other("it is no regular file any more")));
    }
    let attributes = attributes::read(On::Open(file.as_fd()), mapping).map_err(failed)?;
    let digest = hash_file(&file, before.stx_size, buffer).map_err(failed)?;
    let after = walk::stat_fd(&file).map_err(on("look at", path))?;
    Ok(Hashed { digest, attributes, before, after })
}

/// How bytes came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Through memory, and this is their digest.
    Read(FileDigest, u64),
    /// By the kernel; nobody looked at them.
    Unseen(u64),
}

/// Copies all of `from` into the empty file `to`: by reflink, within the kernel, else through memory. The kernel is
/// asked for files of some size only.
pub(crate) fn copy(from: &File, to: &File, size: u64, buffer: &mut [u8]) -> io::Result<Copied> {
    if size <= SMALL {
        let (digest, size) = copy_hashing(&mut &*from, Some(&mut &*to), buffer)?;
        return Ok(Copied::Read(digest, size));
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(Copied::Unseen(to.metadata()?.len()));
    }
    let mut copied = 0u64;
    loop {
        match rustix::fs::copy_file_range(from, None, to, None, 1 << 30) {
            Ok(0) => break,
            Ok(length) => copied += length as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)
                if copied == 0 =>
            {
                break;
            }
            Err(e) => return Err(e.into()),
        }
    }
    // Some file systems copy nothing and say so without an error.
    if copied == 0 {
        let (digest, size) = copy_hashing(&mut &*from, Some(&mut &*to), buffer)?;
        return Ok(Copied::Read(digest, size));
    }
    Ok(Copied::Unseen(copied))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_has_the_same_digest_by_pieces_and_in_one_go() {
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("f");
        let mut bytes = vec![0u8; LARGE as usize + 3 * PIECE as usize + 12_345];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = ((at * 31) >> 7) as u8;
        }
        for size in [LARGE as usize, LARGE as usize + 1, LARGE as usize + PIECE as usize, bytes.len()] {
            std::fs::write(&path, &bytes[..size]).unwrap();
            let file = File::open(&path).unwrap();
            let digest = hash_file(&file, size as u64, &mut vec![0; BUFFER]).unwrap();
            assert_eq!(digest, FileDigest::of(&bytes[..size]), "{size}");
        }
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let file = File::open(&path).unwrap();
        let error = hash_file(&file, 4, &mut vec![0; BUFFER]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn copies_are_equal_small_and_large() {
        for place in [std::path::PathBuf::from("/dev/shm"), std::env::temp_dir()] {
            let dir = tempfile::tempdir_in(place).unwrap();
            for size in [0, 1, SMALL as usize + 1] {
                let bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
                std::fs::write(dir.path().join("from"), &bytes).unwrap();
                let from = File::open(dir.path().join("from")).unwrap();
                let to = File::create(dir.path().join("to")).unwrap();
                copy(&from, &to, size as u64, &mut vec![0; BUFFER]).unwrap();
                assert_eq!(std::fs::read(dir.path().join("to")).unwrap(), bytes);
            }
        }
    }
}
