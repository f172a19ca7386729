//! Images as files: OCI image layouts (image-spec 1.1, image-layout.md) as directories and as tar archives, and the
//! archives of `docker save`.

mod archive;
mod read;
#[cfg(test)]
mod tests;
mod verify;
mod write;

use std::io;
use std::path::PathBuf;

use kiln_core::digest::BlobDigest;

use crate::document::DocumentError;

pub use archive::{ArchiveWriter, BlobSlot, DockerImage};
pub use read::{LayoutReader, OpenLayoutError};
pub use verify::Verified;
pub use write::{LayoutWriter, PendingBlob};

pub(crate) const OCI_LAYOUT: &str = "oci-layout";
pub(crate) const OCI_LAYOUT_JSON: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(crate) const INDEX_JSON: &str = "index.json";
/// What `docker load` reads first.
pub(crate) const DOCKER_MANIFEST_JSON: &str = "manifest.json";
pub(crate) const BLOBS: &str = "blobs/sha256";

/// Its place in a layout.
pub(crate) fn blob_path(digest: &BlobDigest) -> String {
    format!("{BLOBS}/{}", digest.hex())
}

/// Why images could not be written as files.
#[derive(Debug, thiserror::Error)]
pub enum WriteLayoutError {
    #[error("could not write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("could not write the archive at `{name}`")]
    Archive { name: String, source: io::Error },
    #[error("could not read blob {digest}")]
    Read { digest: BlobDigest, source: io::Error },
    #[error("blob {expected} has other content: its digest is {found}")]
    DigestMismatch { expected: BlobDigest, found: BlobDigest },
    #[error("blob {digest} was to have {expected} bytes and has {found}")]
    Size { digest: BlobDigest, expected: u64, found: u64 },
    #[error("`{}` holds something that is no image layout", path.display())]
    NotALayout { path: PathBuf },
}

/// Why a blob or document of a layout could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadBlobError {
    #[error("`{place}` does not have blob {digest}")]
    Missing { place: String, digest: BlobDigest },
    #[error("could not read blob {digest} of `{place}`")]
    Read { place: String, digest: BlobDigest, source: io::Error },
    #[error("could not keep blob {digest}")]
    Write { digest: BlobDigest, source: io::Error },
    #[error("blob {digest} of `{place}` is not what it should be")]
    Document { place: String, digest: BlobDigest, source: DocumentError },
}
