//! What components ask the host, and what they call by name: platforms and sources.

use kiln_core::graph::{ContextSource, GitSource, HttpSource, ImageSource};
use kiln_core::seams::{HostError, ImageRequest};
use kiln_core::{BlobDigest, Platform};

use super::Fault;
use crate::bindings::wit::{graph as wit, source_types, types};

/// Normalised, as every platform in the core.
pub(crate) fn platform(platform: types::Platform) -> Platform {
    Platform {
        os_version: platform.os_version,
        ..Platform::new(&platform.os, &platform.arch, &platform.variant)
    }
}

pub(crate) fn context_source(source: wit::ContextSource) -> ContextSource {
    ContextSource { name: source.name, ignore: source.ignore }
}

/// # Errors
///
/// When the pin is no SHA-256 digest.
pub(crate) fn image_source(source: wit::ImageSource) -> Result<ImageSource, Fault> {
    let pinned = match source.pinned {
        None => None,
        Some(pin) => Some(BlobDigest(
            pin.parse()
                .map_err(|error: kiln_core::digest::ParseDigestError| Fault::new(error.to_string()))?,
        )),
    };
    Ok(ImageSource { reference: source.reference, pinned })
}

pub(crate) fn image_request(request: source_types::ImageRequest) -> Result<ImageRequest, HostError> {
    Ok(ImageRequest {
        source: image_source(request.source).map_err(invalid)?,
        platform: request.platform.map(platform),
    })
}

pub(crate) fn git_source(source: wit::GitSource) -> GitSource {
    GitSource {
        url: source.url,
        reference: source.reference,
        commit: source.commit,
        fetch_by_commit: source.fetch_by_commit,
        subdir: source.subdir,
        submodules: source.submodules,
        keep_git_dir: source.keep_git_dir,
        commit_times: source.commit_times,
    }
}

/// # Errors
///
/// When the checksum is no digest.
pub(crate) fn http_source(source: wit::HttpSource) -> Result<HttpSource, HostError> {
    checked_http_source(source).map_err(invalid)
}

pub(crate) fn checked_http_source(source: wit::HttpSource) -> Result<HttpSource, Fault> {
    if let Some(checksum) = &source.checksum {
        let (algorithm, hex) = checksum.split_once(':').unwrap_or_default();
        let digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => 0,
        };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.is_empty() || hex.len() != digits || !hex.bytes().all(lower_hex) {
            return Err(Fault::new(format!(
                "`{checksum}` is not a checksum such as `sha256:<64 lower-case hex digits>`"
            )));
        }
    }
    Ok(HttpSource { url: source.url, checksum: source.checksum, filename: source.filename })
}

fn invalid(fault: Fault) -> HostError {
    HostError::new("invalid-argument", fault.to_string())
}
