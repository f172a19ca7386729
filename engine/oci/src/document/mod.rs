//! The JSON documents of images as records: descriptors, manifests, indexes, configurations.

mod config;
mod index;
mod manifest;
pub mod media_type;
pub(crate) mod time;

use std::collections::BTreeMap;

use kiln_core::Platform;
use kiln_core::digest::{BlobDigest, Digest};
use serde::{Deserialize, Serialize};

pub use config::{History, ImageDocument, NewConfig, config_json};
pub use index::Index;
pub use manifest::Manifest;
pub use manifest::media_type_of;
pub use time::{format_time, parse_time};

/// A manifest, index or configuration may have this many bytes, as registries limit them.
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Sorted, as JSON written elsewhere has them.
pub type Annotations = BTreeMap<String, String>;

/// Why bytes are not the document that they should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("it is no JSON of the expected form")]
    Json { source: serde_json::Error },
    #[error("`{field}` is no {expected}: `{value}`")]
    Value { field: &'static str, expected: &'static str, value: String },
    #[error("its media type is `{media_type}`, which is no {expected}{}", hint(.media_type))]
    MediaType { media_type: String, expected: &'static str },
    #[error("it has {size} bytes, more than the {MAX_DOCUMENT_BYTES} that a document may have")]
    TooLarge { size: u64 },
}

fn hint(media_type: &str) -> &'static str {
    match media_type {
        media_type::DOCKER_SCHEMA1 | media_type::DOCKER_SCHEMA1_SIGNED => {
            "; it was made by Docker before 2016, push the image again with a newer program"
        }
        _ => "",
    }
}

/// Points to a blob (image-spec 1.1, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: BlobDigest,
    /// In bytes.
    pub size: u64,
    /// Of an index's entries: what the image is for.
    pub platform: Option<Platform>,
    pub annotations: Annotations,
    pub artifact_type: Option<String>,
}

/// Annotation of an index entry: the tag, or a full reference, under which it is found in an image layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the full name of an image in layouts that containerd reads.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Annotation by which BuildKit marks entries that are documents about another entry.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

impl Descriptor {
    pub fn new(media_type: impl Into<String>, digest: BlobDigest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: Annotations::new(),
            artifact_type: None,
        }
    }

    /// Of a document in memory.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, BlobDigest(Digest::of(bytes)), bytes.len() as u64)
    }

    pub fn with_platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    pub fn with_annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Whether it is a document about an image (an attestation) rather than an image.
    pub fn is_attestation(&self) -> bool {
        let unknown = |platform: &Platform| platform.os == "unknown" || platform.arch == "unknown";
        self.annotations.contains_key(REFERENCE_TYPE) || self.platform.as_ref().is_some_and(unknown)
    }
}

/// Members in the order in which they are written, which is that of most other programs.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct PlatformJson {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    os_version: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    variant: String,
}

impl From<&Descriptor> for DescriptorJson {
    fn from(descriptor: &Descriptor) -> Self {
        let platform = descriptor.platform.as_ref().map(|platform| PlatformJson {
            architecture: platform.arch.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            variant: platform.variant.clone(),
        });
        Self {
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest.to_string(),
            size: descriptor.size,
            annotations: Some(descriptor.annotations.clone()).filter(|all| !all.is_empty()),
            platform,
            artifact_type: descriptor.artifact_type.clone(),
        }
    }
}

impl TryFrom<DescriptorJson> for Descriptor {
    type Error = DocumentError;

    fn try_from(json: DescriptorJson) -> Result<Self, DocumentError> {
        let platform = json
            .platform
            .filter(|platform| !platform.os.is_empty() || !platform.architecture.is_empty())
            .map(|json| {
                let mut platform = Platform::new(&json.os, &json.architecture, &json.variant);
                platform.os_version = json.os_version;
                platform
            });
        Ok(Self {
            media_type: json.media_type,
            digest: parse_digest("digest", &json.digest).map(BlobDigest)?,
            size: json.size,
            platform,
            annotations: json.annotations.unwrap_or_default(),
            artifact_type: json.artifact_type,
        })
    }
}

fn parse_digest(field: &'static str, text: &str) -> Result<Digest, DocumentError> {
    text.parse().map_err(|_| DocumentError::Value {
        field,
        expected: "SHA-256 digest",
        value: text.to_owned(),
    })
}

/// Guards every parser here against documents that are too large for memory.
fn check_size(bytes: &[u8]) -> Result<(), DocumentError> {
    match bytes.len() as u64 {
        size if size > MAX_DOCUMENT_BYTES => Err(DocumentError::TooLarge { size }),
        _ => Ok(()),
    }
}

pub(crate) fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("maps with text keys and numbers are always JSON")
}
