//! Sends blobs and manifests. What the registry has already is not sent again.

use std::io::{self, Read};

use kiln_core::ImageRef;
use kiln_core::digest::BlobDigest;
use ureq::http::{Method, Response, header};

use super::auth::Access;
use super::exchange::{Payload, Request, join};
use super::{Endpoint, Registry, RegistryError};
use crate::document::Descriptor;

/// How a blob came to be in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    WasThere,
    /// Taken from another repository of the same registry.
    Mounted,
    Sent,
}

/// Where an upload begins.
enum Begun {
    Mounted,
    At(String),
}

impl Registry {
    /// Whether the repository of `reference` has the blob. Mirrors are not asked.
    pub fn has_blob(&self, reference: &ImageRef, digest: BlobDigest) -> Result<bool, RegistryError> {
        let endpoint = self.own_endpoint(reference);
        self.patiently(|| self.head_blob(&endpoint, digest, &Access::Pull))
    }

    /// Sees to it that the repository of `reference` has the blob: looks whether it is there, takes it from the
    /// repository `from` of the same registry if that has it, else sends it in one request.
    ///
    /// `open` gives the bytes from the beginning, again for each attempt. `progress` hears how many bytes have gone
    /// so far.
    pub fn push_blob(
        &self,
        reference: &ImageRef,
        blob: &Descriptor,
        from: Option<&str>,
        open: &mut dyn FnMut() -> io::Result<Box<dyn Read>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Pushed, RegistryError> {
        let endpoint = self.own_endpoint(reference);
        let access = Access::Push { mount: from.map(str::to_owned) };
        self.patiently(|| {
            if self.head_blob(&endpoint, blob.digest, &access)? {
                return Ok(Pushed::WasThere);
            }
            let location = match self.begin_upload(&endpoint, blob, from, &access)? {
                Begun::Mounted => return Ok(Pushed::Mounted),
                Begun::At(location) => location,
            };
            let content = open().map_err(|source| RegistryError::Read { source })?;
            self.upload(&endpoint, blob, &location, &access, content, progress)?;
            Ok(Pushed::Sent)
        })
    }

    /// Puts a manifest or index under its digest and, if `reference` has one, under its tag. All that it points to
    /// must be there.
    pub fn push_manifest(
        &self,
        reference: &ImageRef,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<BlobDigest, RegistryError> {
        let endpoint = self.own_endpoint(reference);
        let expected = Descriptor::of(media_type, bytes).digest;
        let name = reference.tag.clone().unwrap_or_else(|| expected.to_string());
        let what = format!("{}:{name}", endpoint.repository);
        self.patiently(|| {
            let mut request = Request {
                endpoint: &endpoint,
                method: Method::PUT,
                url: format!("{}/v2/{}/manifests/{name}", endpoint.origin, endpoint.repository),
                headers: vec![("content-type", media_type.to_owned())],
                access: &Access::Push { mount: None },
                what: &what,
            };
            let response = self.exchange(&mut request, Payload::Bytes(bytes))?;
            let stated = response.headers().get("docker-content-digest").and_then(|d| d.to_str().ok());
            match stated.and_then(|stated| stated.parse().ok()).map(BlobDigest) {
                Some(found) if found != expected => {
                    let host = endpoint.host.clone();
                    Err(RegistryError::DigestMismatch { host, what: what.clone(), expected, found })
                }
                _ => Ok(expected),
            }
        })
    }

    fn own_endpoint(&self, reference: &ImageRef) -> Endpoint {
        self.endpoint(&reference.domain, None, reference.path.clone())
    }

    fn head_blob(
        &self,
        endpoint: &Endpoint,
        digest: BlobDigest,
        access: &Access,
    ) -> Result<bool, RegistryError> {
        let what = digest.to_string();
        let url = format!("{}/v2/{}/blobs/{digest}", endpoint.origin, endpoint.repository);
        let mut request =
            Request { endpoint, method: Method::HEAD, url, headers: Vec::new(), access, what: &what };
        match self.exchange(&mut request, Payload::None) {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn begin_upload(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        from: Option<&str>,
        access: &Access,
    ) -> Result<Begun, RegistryError> {
        let mut url = format!("{}/v2/{}/blobs/uploads/", endpoint.origin, endpoint.repository);
        if let Some(from) = from {
            // Repository names and digests need no encoding.
            url.push_str(&format!("?mount={}&from={from}", blob.digest));
        }
        let mut request = Request {
            endpoint,
            method: Method::POST,
            url,
            headers: Vec::new(),
            access,
            what: &endpoint.repository,
        };
        let response = self.exchange(&mut request, Payload::Bytes(b""))?;
        // 201: mounted. 202: send it, which a registry may say to a mount too.
        if response.status().as_u16() == 201 {
            return Ok(Begun::Mounted);
        }
        match location(&request.url, &response) {
            Some(location) => Ok(Begun::At(location)),
            None => Err(RegistryError::Protocol {
                host: endpoint.host.clone(),
                why: "it does not say where to send a blob".to_owned(),
            }),
        }
    }

    fn upload(
        &self,
        endpoint: &Endpoint,
        blob: &Descriptor,
        location: &str,
        access: &Access,
        content: Box<dyn Read>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), RegistryError> {
        let joint = if location.contains('?') { '&' } else { '?' };
        let what = format!("{}@{}", endpoint.repository, blob.digest);
        let mut request = Request {
            endpoint,
            method: Method::PUT,
            url: format!("{location}{joint}digest={}", blob.digest),
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            access,
            what: &what,
        };
        let mut content = Watched { content, done: 0, progress, failed: None };
        let sent = self.exchange(&mut request, Payload::Stream { content: &mut content, size: blob.size });
        // A failing reader breaks the connection; the reason is the reader's.
        if let Some(source) = content.failed {
            return Err(RegistryError::Read { source });
        }
        if content.done < blob.size && sent.is_ok() {
            let text = format!("it has {} of {} bytes", content.done, blob.size);
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, text);
            return Err(RegistryError::Read { source });
        }
        sent.map(drop)
    }
}

fn location(url: &str, response: &Response<ureq::Body>) -> Option<String> {
    join(url, response.headers().get(header::LOCATION)?.to_str().ok()?)
}

/// Tells of each byte that is read, and keeps the error that the HTTP client would wrap.
struct Watched<'a> {
    content: Box<dyn Read>,
    done: u64,
    progress: &'a mut dyn FnMut(u64),
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.content.read(buffer) {
            Ok(count) => {
                self.done += count as u64;
                (self.progress)(self.done);
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}
