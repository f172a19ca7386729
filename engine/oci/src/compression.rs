//! Recognises compressed bytes by their beginning and opens them, without trusting any name.

use std::io::{self, BufRead, BufReader, Read};

use crate::layer::header;

/// How many first bytes [`sniff`] and [`is_tar`] want to see.
pub const SNIFF_BYTES: usize = 512;

/// A zstd frame may ask for a window of up to 2 to this power bytes (128 MiB), as `zstd -d` allows.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// An xz block may ask for a dictionary that makes the decoder this large; `xz -9` needs 65 MiB.
const XZ_MEMORY_KIB: u32 = 192 * 1024;

/// How the bytes of a stream are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// By the first bytes; eleven are enough.
pub fn sniff(first: &[u8]) -> Compression {
    const BZIP2_BLOCK: [u8; 6] = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const BZIP2_END: [u8; 6] = [0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    match first {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [b'B', b'Z', b'h', b'1'..=b'9', rest @ ..]
            if rest.starts_with(&BZIP2_BLOCK) || rest.starts_with(&BZIP2_END) =>
        {
            Compression::Bzip2
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        // A frame, or a skippable frame before one.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Whether a tar archive begins with `block`: 512 bytes whose header checksum is right. An archive without any entry
/// is not recognised.
pub fn is_tar(block: &[u8]) -> bool {
    block.first_chunk().is_some_and(header::has_valid_checksum)
}

/// The bytes inside. Streams of several members, frames or blocks are one stream.
///
/// Memory is bounded, whatever the stream asks for: see the limits on windows and dictionaries above.
pub fn decompress<'a>(stream: impl Read + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    decompress_buffered(BufReader::with_capacity(128 * 1024, stream), compression)
}

/// [`sniff`] and [`decompress`] in one.
pub fn decompress_any<'a>(stream: impl Read + 'a) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    // A pipe may give less than eleven bytes at first; `fill_buf` would then not ask again.
    let mut first = Vec::with_capacity(16);
    stream.by_ref().take(16).read_to_end(&mut first)?;
    let compression = sniff(&first);
    let stream = io::Cursor::new(first).chain(stream);
    Ok((compression, decompress_buffered(stream, compression)?))
}

fn decompress_buffered<'a>(
    stream: impl BufRead + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(stream),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(stream)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(stream)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(stream, true, XZ_MEMORY_KIB)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(stream)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs a compressor of the system over `input`; `None` where it is not installed.
    fn pipe_through(program: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn what_the_usual_programs_pack_is_recognised_and_unpacked() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (program, compression) in [
            ("gzip", Compression::Gzip),
            ("bzip2", Compression::Bzip2),
            ("xz", Compression::Xz),
            ("zstd", Compression::Zstd),
            ("cat", Compression::None),
        ] {
            let packed = if program == "cat" { text.clone() } else { pipe_through(program, &text) };
            assert_eq!(sniff(&packed), compression, "{program}");
            // Twice in a row: all of these formats may be concatenated.
            let twice = [&packed[..], &packed[..]].concat();
            let mut unpacked = Vec::new();
            let (found, mut reader) = decompress_any(&twice[..]).unwrap();
            reader.read_to_end(&mut unpacked).unwrap();
            assert_eq!(found, compression);
            assert!(unpacked == [&text[..], &text[..]].concat(), "{program}");
        }
    }

    #[test]
    fn truncated_streams_are_errors() {
        let text = vec![b'x'; 100_000];
        for program in ["gzip", "bzip2", "xz", "zstd"] {
            let packed = pipe_through(program, &text);
            let cut = &packed[..packed.len() - 6];
            let mut sink = Vec::new();
            let result = decompress(cut, sniff(cut)).unwrap().read_to_end(&mut sink);
            assert!(result.is_err(), "{program}");
        }
    }

    #[test]
    fn a_text_that_begins_like_bzip2_is_no_bzip2() {
        assert_eq!(sniff(b"BZh9 is a magic"), Compression::None);
        assert!(!is_tar(&[0; 512]));
        assert!(!is_tar(b"short"));
    }
}
