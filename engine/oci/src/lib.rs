//! Translates between file trees and OCI documents, on disk and over the wire.
//!
//! A layer tar becomes a stream of [`kiln_core::Entry`] values and back ([`layer`]), and archives of other kinds become
//! entries ([`archive`]); bytes become blobs ([`blob`], [`compression`]); manifests, indexes and configurations become
//! records ([`document`]); images lie in directories and archives ([`layout`]) or in registries ([`registry`]), where
//! WebAssembly components lie as well ([`artifact`]); single files lie on servers ([`web`]). It knows nothing of how a
//! store keeps layers, of mounts, or of what a build is.
#![forbid(unsafe_code)]

pub mod archive;
pub mod artifact;
pub mod blob;
pub mod compression;
pub mod document;
pub mod layer;
pub mod layout;
pub mod registry;
pub mod web;

pub use blob::{BlobPipe, BlobResult, Compress};
pub use compression::{Compression, decompress, decompress_any, is_tar, sniff};
pub use document::{
    Annotations, Descriptor, DocumentError, History, ImageDocument, Index, Manifest, NewConfig, config_json,
    media_type,
};
pub use layer::{
    ArchiveStats, LayerStats, LayerWriter, Limits, ReadLayerError, Times, WriteLayerError, read_archive,
    read_layer,
};
pub use layout::{
    ArchiveWriter, BlobSlot, DockerImage, LayoutReader, LayoutWriter, OpenLayoutError, PendingBlob,
    ReadBlobError, Verified, WriteLayoutError,
};
pub use registry::{
    Credentials, CredentialsError, HostConfig, Patience, PulledImage, Pushed, Registry, RegistryConfig,
    RegistryError, ResolvedManifest,
};
