//! The JSON documents of images as records: descriptors, manifests, indexes, configurations.

pub mod media_type;
