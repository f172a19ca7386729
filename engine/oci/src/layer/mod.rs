//! Turns layer tars into entries and entries into layer tars, in the form of image-spec 1.1, layer.md.

mod blocks;
mod content;
mod extended;
pub(crate) mod header;
mod pax;
mod read;
mod refuse;
mod seen;
mod sparse;
#[cfg(test)]
mod tests;
mod write;

pub use read::{ArchiveStats, LayerStats, read_archive, read_layer};
pub use refuse::{Limits, ReadLayerError};
pub use write::{LayerWriter, Times, WriteLayerError};

/// What marks a removed path: a file of this prefix and the removed name.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// What marks a directory that shows nothing of the layers below.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this prefix are notes of AUFS to itself.
pub(crate) const WHITEOUT_META: &[u8] = b".wh..wh.";

/// Attributes that mean something to overlay mounts; no layer may bring them in or carry them out. The prefixes cover
/// the kernel's escaped spelling (`trusted.overlay.overlay.…`) too.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The attributes that a layer carries out. A user's own are of use while an image is built; containers start without.
pub(crate) fn is_image_xattr(name: &[u8]) -> bool {
    name == b"security.capability"
}
