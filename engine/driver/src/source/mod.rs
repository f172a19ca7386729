//! Where files come from: images, contexts, archives.

pub(crate) mod image;
