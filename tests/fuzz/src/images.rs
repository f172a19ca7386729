//! What comes from registries and archives: tar streams, compressed streams, documents.

use std::io::Read;

use kiln_core::seams::EntrySink;
use kiln_core::tree::{Entry, TreePath};
use kiln_oci::{ImageDocument, Index, Limits, Manifest};

/// Takes entries in and keeps only how much they were.
#[derive(Default)]
struct Counted {
    entries: u64,
    bytes: u64,
}

impl EntrySink for Counted {
    fn entry(&mut self, path: TreePath, _: Entry, content: &mut dyn Read) -> std::io::Result<()> {
        assert!(path.components().all(|name| !matches!(name, b"" | b"." | b"..")), "{}", path.display());
        self.entries += 1;
        self.bytes += std::io::copy(content, &mut std::io::sink())?;
        Ok(())
    }
}

/// Small enough that a stream of some kilobytes can reach them.
const LIMITS: Limits =
    Limits { entries: 64, name_bytes: 4096, path_bytes: 512, header_bytes: 4096, content_bytes: 1 << 20 };

/// No path leaves the root, and limits hold.
pub fn layer(bytes: &[u8]) {
    let mut sink = Counted::default();
    if let Ok(stats) = kiln_oci::read_layer(bytes, &mut sink, &LIMITS) {
        assert!(stats.entries <= LIMITS.entries);
    }
    assert!(sink.bytes <= LIMITS.content_bytes, "{}", sink.bytes);
    let mut sink = Counted::default();
    let _ = kiln_oci::read_archive(bytes, &mut sink, &LIMITS);
    assert!(sink.bytes <= LIMITS.content_bytes, "{}", sink.bytes);
}

/// What is read and written out is read again as the same.
pub fn documents(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes, None) {
        let _ = manifest.check_is_image();
        let written = manifest.to_json();
        assert_eq!(Manifest::parse(&written, None).expect("it was written by us").to_json(), written);
    }
    if let Ok(index) = Index::parse(bytes, None) {
        let written = index.to_json();
        assert_eq!(Index::parse(&written, None).expect("it was written by us").to_json(), written);
    }
    let _ = ImageDocument::parse(bytes);
}

/// However little a stream is, no more of it is read than is asked for.
pub fn compressed(bytes: &[u8]) {
    if let Ok((_, stream)) = kiln_oci::decompress_any(bytes) {
        let _ = std::io::copy(&mut stream.take(1 << 20), &mut std::io::sink());
    }
}
