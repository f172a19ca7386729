//! Translates between file trees and OCI documents, on disk and over the wire.
#![forbid(unsafe_code)]
