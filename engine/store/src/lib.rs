//! Remembers blobs, layers and results on local disk.
#![forbid(unsafe_code)]
