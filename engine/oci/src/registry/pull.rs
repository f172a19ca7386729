//! Finds and fetches manifests and blobs; nothing is handed out that does not have its digest.

use std::io::{self, Read, Write};

use kiln_core::digest::{BlobDigest, Digest};
use kiln_core::{ImageRef, Platform};
use sha2::{Digest as _, Sha256};
use ureq::http::{Method, Response, header};

use super::auth::Access;
use super::exchange::{Payload, Request};
use super::{Endpoint, Registry, RegistryError};
use crate::document::{Descriptor, DocumentError, Index, MAX_DOCUMENT_BYTES, Manifest, media_type};

/// A manifest or index as it lies in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedManifest {
    pub digest: BlobDigest,
    pub media_type: String,
    /// To be kept as they are.
    pub bytes: Vec<u8>,
    /// Which registry or mirror had it.
    pub host: String,
}

impl ResolvedManifest {
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&*self.media_type, self.digest, self.bytes.len() as u64)
    }
}

/// The image that a reference means on one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PulledImage {
    /// The index by which it was found, if there is one.
    pub index: Option<ResolvedManifest>,
    pub manifest: ResolvedManifest,
    /// `manifest.bytes`, parsed.
    pub parsed: Manifest,
    /// What the index says it is for; without an index only the configuration knows.
    pub platform: Option<Platform>,
}

/// An index may point to indexes; so deep and no deeper.
const MAX_INDEX_DEPTH: usize = 3;

impl Registry {
    /// What the reference means now: by its digest if it has one, else by its tag, else by `latest`.
    pub fn resolve(&self, reference: &ImageRef) -> Result<ResolvedManifest, RegistryError> {
        self.anywhere(reference, |endpoint| self.fetch_manifest(endpoint, reference))
    }

    /// The digest alone, without fetching the manifest where the registry can say it.
    pub fn resolve_digest(&self, reference: &ImageRef) -> Result<BlobDigest, RegistryError> {
        if let Some(digest) = reference.digest {
            return Ok(BlobDigest(digest));
        }
        self.anywhere(reference, |endpoint| {
            let what = named(reference);
            let mut request = manifest_request(Method::HEAD, endpoint, reference, &what);
            let response = self.exchange(&mut request, Payload::None)?;
            match stated_digest(&response) {
                Some(digest) => Ok(BlobDigest(digest)),
                None => Ok(self.fetch_manifest(endpoint, reference)?.digest),
            }
        })
    }

    /// The manifest of this digest in the repository of `reference`, whose own tag and digest count for nothing here.
    pub fn manifest(
        &self,
        reference: &ImageRef,
        digest: BlobDigest,
    ) -> Result<ResolvedManifest, RegistryError> {
        let reference = ImageRef { tag: None, digest: Some(digest.0), ..reference.clone() };
        self.resolve(&reference)
    }

    /// The image for `wanted`, through an index if the reference is one. An image that stands alone is taken as it is:
    /// whether it is for the platform, its configuration tells.
    pub fn image(&self, reference: &ImageRef, wanted: &Platform) -> Result<PulledImage, RegistryError> {
        let mut found = self.resolve(reference)?;
        let mut index = None;
        let mut platform = None;
        for _ in 0..MAX_INDEX_DEPTH {
            let not_an_image = |source| RegistryError::NotAnImage {
                reference: reference.familiar(),
                host: found.host.clone(),
                source,
            };
            if !media_type::is_index(&found.media_type) {
                let parsed = Manifest::parse(&found.bytes, Some(&found.media_type));
                let parsed = parsed.and_then(|parsed| parsed.check_is_image().map(|()| parsed));
                let parsed = parsed.map_err(not_an_image)?;
                return Ok(PulledImage { index, manifest: found, parsed, platform });
            }
            let parsed = Index::parse(&found.bytes, Some(&found.media_type)).map_err(not_an_image)?;
            let Some(chosen) = parsed.select(wanted) else {
                return Err(RegistryError::NoPlatform {
                    reference: reference.familiar(),
                    wanted: wanted.to_string(),
                    available: parsed.platforms(),
                });
            };
            platform = chosen.platform.clone().or(platform);
            let next = self.manifest(reference, chosen.digest)?;
            index.get_or_insert(std::mem::replace(&mut found, next));
        }
        Err(RegistryError::Protocol {
            host: found.host,
            why: "an index in an index in an index is too much".to_owned(),
        })
    }

    fn fetch_manifest(
        &self,
        endpoint: &Endpoint,
        reference: &ImageRef,
    ) -> Result<ResolvedManifest, RegistryError> {
        let what = named(reference);
        let mut request = manifest_request(Method::GET, endpoint, reference, &what);
        let response = self.exchange(&mut request, Payload::None)?;
        let said = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
        let stated = stated_digest(&response);
        let bytes = self.read_document(&request, response)?;
        let found = BlobDigest(Digest::of(&bytes));
        // By tag, what the registry itself states is at least what must have arrived.
        if let Some(expected) = reference.digest.or(stated).map(BlobDigest).filter(|digest| *digest != found)
        {
            let host = endpoint.host.clone();
            return Err(RegistryError::DigestMismatch { host, what, expected, found });
        }
        let media_type = crate::document::media_type_of(&bytes, said.as_deref())
            .and_then(|media_type| {
                if media_type::is_index(&media_type) || media_type::is_manifest(&media_type) {
                    Ok(media_type)
                } else {
                    Err(DocumentError::MediaType { media_type, expected: "image" })
                }
            })
            .map_err(|source| RegistryError::NotAnImage {
                reference: reference.familiar(),
                host: endpoint.host.clone(),
                source,
            })?;
        Ok(ResolvedManifest { digest: found, media_type, bytes, host: endpoint.host.clone() })
    }

    pub(super) fn read_document(
        &self,
        request: &Request<'_>,
        response: Response<ureq::Body>,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(MAX_DOCUMENT_BYTES + 1);
        body.read_to_end(&mut bytes).map_err(|source| self.broken(request, source))?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(RegistryError::TooLong {
                host: request.endpoint.host.clone(),
                what: request.what.to_owned(),
                expected: MAX_DOCUMENT_BYTES,
            });
        }
        Ok(bytes)
    }

    /// A small blob (an image configuration) as a whole.
    pub fn small_blob(&self, reference: &ImageRef, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        if blob.size > MAX_DOCUMENT_BYTES {
            return Err(RegistryError::TooLong {
                host: reference.domain.clone(),
                what: blob.digest.to_string(),
                expected: MAX_DOCUMENT_BYTES,
            });
        }
        let mut bytes = Vec::new();
        self.blob(reference, blob, &mut bytes, &mut |_| {})?;
        Ok(bytes)
    }

    /// Fetches a blob of the repository into `to`, as it lies there, and checks length and digest. `progress` hears how
    /// many bytes have come so far.
    ///
    /// Where a connection breaks, the next one goes on from there. What `to` holds after an error is to be thrown
    /// away: bytes are checked when the last one has come.
    pub fn blob(
        &self,
        reference: &ImageRef,
        blob: &Descriptor,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        let mut transfer = Transfer { blob, to, progress, done: 0, hasher: Sha256::new() };
        let host = self.anywhere(reference, |endpoint| {
            // An attempt that got somewhere does not count against a blob of many gigabytes.
            loop {
                let before = transfer.done;
                match self.fetch_rest(endpoint, &mut transfer) {
                    Ok(()) => return Ok(endpoint.host.clone()),
                    Err(error) if error.is_passing() && transfer.done >= before + WORTHWHILE => {}
                    Err(error) => return Err(error),
                }
            }
        })?;
        transfer.to.flush().map_err(|source| RegistryError::Write { source })?;
        let found = BlobDigest(Digest::from_bytes(transfer.hasher.finalize().into()));
        if found != blob.digest {
            return Err(RegistryError::DigestMismatch {
                host,
                what: format!("a blob of {}", reference.familiar()),
                expected: blob.digest,
                found,
            });
        }
        Ok(())
    }

    fn fetch_rest(&self, endpoint: &Endpoint, transfer: &mut Transfer<'_>) -> Result<(), RegistryError> {
        let blob = transfer.blob;
        if transfer.done == blob.size && blob.size > 0 {
            return Ok(());
        }
        let what = blob.digest.to_string();
        let url = format!("{}/v2/{}/blobs/{}", endpoint.origin, endpoint.repository, blob.digest);
        let mut headers = Vec::new();
        if transfer.done > 0 {
            headers.push(("range", format!("bytes={}-", transfer.done)));
        }
        let mut request =
            Request { endpoint, method: Method::GET, url, headers, access: &Access::Pull, what: &what };
        let response = self.exchange(&mut request, Payload::None)?;
        // A server that knows no ranges begins at the beginning.
        let mut skip = match response.status().as_u16() {
            206 => {
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|r| r.to_str().ok());
                let start =
                    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                if start != Some(transfer.done) {
                    let why = format!("it was asked for bytes from {} on and sent others", transfer.done);
                    return Err(RegistryError::Protocol { host: endpoint.host.clone(), why });
                }
                0
            }
            _ => transfer.done,
        };
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(transfer.truncated(endpoint));
                }
                Err(source) => return Err(self.broken(&request, source)),
            };
            if count == 0 {
                break;
            }
            let skipped = skip.min(count as u64);
            skip -= skipped;
            transfer.take(&buffer[skipped as usize..count], endpoint)?;
        }
        if transfer.done < blob.size {
            return Err(transfer.truncated(endpoint));
        }
        Ok(())
    }
}

/// Progress of so many bytes makes another attempt worth while.
const WORTHWHILE: u64 = 1 << 20;

struct Transfer<'a> {
    blob: &'a Descriptor,
    to: &'a mut dyn Write,
    progress: &'a mut dyn FnMut(u64),
    done: u64,
    hasher: Sha256,
}

impl Transfer<'_> {
    fn truncated(&self, endpoint: &Endpoint) -> RegistryError {
        RegistryError::Truncated {
            host: endpoint.host.clone(),
            what: self.blob.digest.to_string(),
            expected: self.blob.size,
            found: self.done,
        }
    }

    fn take(&mut self, bytes: &[u8], endpoint: &Endpoint) -> Result<(), RegistryError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.done + bytes.len() as u64 > self.blob.size {
            return Err(RegistryError::TooLong {
                host: endpoint.host.clone(),
                what: self.blob.digest.to_string(),
                expected: self.blob.size,
            });
        }
        self.to.write_all(bytes).map_err(|source| RegistryError::Write { source })?;
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        (self.progress)(self.done);
        Ok(())
    }
}

/// `library/alpine:3`, for messages.
fn named(reference: &ImageRef) -> String {
    match (&reference.tag, &reference.digest) {
        (_, Some(digest)) => format!("{}@{digest}", reference.path),
        (tag, None) => format!("{}:{}", reference.path, tag.as_deref().unwrap_or("latest")),
    }
}

fn manifest_request<'a>(
    method: Method,
    endpoint: &'a Endpoint,
    reference: &ImageRef,
    what: &'a str,
) -> Request<'a> {
    let name = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "latest".to_owned(),
    };
    Request {
        endpoint,
        method,
        url: format!("{}/v2/{}/manifests/{name}", endpoint.origin, endpoint.repository),
        headers: vec![("accept", media_type::ACCEPTED.join(", "))],
        access: &Access::Pull,
        what,
    }
}

fn stated_digest(response: &Response<ureq::Body>) -> Option<Digest> {
    response.headers().get("docker-content-digest")?.to_str().ok()?.parse().ok()
}
