//! Downloads: fetched when they changed, checked, and kept as a layer of one file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::iter;
use std::os::unix::fs::OpenOptionsExt as _;

use kiln_core::graph::HttpSource;
use kiln_core::seams::HttpInfo;
use kiln_core::tree::Time;
use kiln_core::{CacheKey, Digest, Entry, Event, Kind, LayerId, Span, Tree, TreePath};
use kiln_oci::web::{Address, Answer, Ask, Receiver, WebError, parse_http_date};
use kiln_store::{Existing, StepDir};
use sha2::Digest as _;

use super::remote::{RemoteError, Why};
use crate::error::BuildError;
use crate::forms::one_line;
use crate::session::Session;

/// What the file is called in the layer that holds it: equal bytes are one layer, whatever they are called elsewhere.
const CONTENT: &str = "content";
/// A name for what the address gives none (Dockerfile specification §12.13).
const UNNAMED: &str = "__unnamed__";

/// Bytes that were downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Download {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// `Last-Modified`, seconds since 1970.
    pub(crate) modified: Option<i64>,
    layer: LayerId,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Download {
    /// One file at the root, 0600, root's, of the time that the server says (§12.13).
    pub(crate) fn tree(&self, name: &str, file: kiln_core::tree::File) -> Tree {
        let entry = Entry {
            kind: Kind::File(file),
            mode: 0o600,
            mtime: Time { seconds: self.modified.unwrap_or(0), nanoseconds: 0 },
            ..Entry::directory()
        };
        Tree::new(vec![(TreePath::root().join(name), entry)])
    }

    fn write(&self) -> Vec<u8> {
        let mut text = format!(
            "kiln download 1\ndigest {}\nlayer {}\nsize {}\n",
            self.digest.hex(),
            self.layer.hex(),
            self.size
        );
        for (name, value) in [("etag", &self.etag), ("last-modified", &self.last_modified)] {
            if let Some(value) = value {
                text.push_str(&format!("{name} {value}\n"));
            }
        }
        text.into_bytes()
    }

    /// `None` for what this version does not understand.
    fn read(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?.strip_prefix("kiln download 1\n")?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let last_modified = value("last-modified").map(str::to_owned);
        Some(Self {
            digest: Digest::from_hex(value("digest")?)?,
            size: value("size")?.parse().ok()?,
            modified: last_modified.as_deref().and_then(parse_http_date),
            layer: LayerId(Digest::from_hex(value("layer")?)?),
            etag: value("etag").map(str::to_owned),
            last_modified,
        })
    }

    /// Where the bytes lie.
    pub(crate) fn place(&self) -> (LayerId, TreePath) {
        (self.layer, TreePath::root().join(CONTENT))
    }
}

fn key_of_address(address: &Address) -> CacheKey {
    CacheKey(Digest::of(format!("kiln download 1\n{}", address.identity()).as_bytes()))
}

fn key_of_checksum(checksum: &str) -> CacheKey {
    CacheKey(Digest::of(format!("kiln download by checksum 1\n{checksum}").as_bytes()))
}

impl Session<'_> {
    /// The source with the digest of what it is now. With a checksum nothing is asked: it says all.
    pub(crate) fn pin_http(&self, source: &HttpSource, spans: &[Span]) -> Result<HttpSource, RemoteError> {
        let source = &self.judged_http(source, spans)?;
        let mut pinned = HttpSource { filename: filename(source)?, ..source.clone() };
        if source.checksum.is_none() {
            pinned.checksum = Some(self.download(&source.url, None)?.digest.to_string());
        }
        Ok(pinned)
    }

    /// The layer that [`Download::tree`] is.
    pub(crate) fn http_layer(&self, source: &HttpSource) -> Result<LayerId, RemoteError> {
        let download = self.download(&source.url, source.checksum.as_deref())?;
        let tree = download.tree(&filename(source)?, self.downloaded(&download)?);
        Ok(self.forms.keep(tree)?)
    }

    /// For a plugin that plans.
    pub(crate) fn http_info(&self, source: &HttpSource) -> Result<HttpInfo, RemoteError> {
        self.found_http_info(&self.judged_http(source, &[])?)
    }

    /// For a plugin. Nobody is asked whether it may be used.
    pub(crate) fn found_http_info(&self, source: &HttpSource) -> Result<HttpInfo, RemoteError> {
        let filename = filename(source)?;
        let download = self.download(&source.url, source.checksum.as_deref())?;
        Ok(HttpInfo {
            checksum: download.digest.to_string(),
            filename,
            size: download.size,
            modified: download.modified.and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }

    /// What an address gives, once per build. What has the checksum already is not asked for again.
    pub(crate) fn download(
        &self,
        url: &str,
        checksum: Option<&str>,
    ) -> Result<std::sync::Arc<Download>, RemoteError> {
        let address = Address::parse(url).map_err(|error| web_error(error, &[]))?;
        if let Some(checksum) = checksum {
            // Pinned in this build, or fetched by an earlier one, from wherever.
            let known = self.downloads.known(address.identity());
            if let Some(known) = known.filter(|known| known.digest.to_string() == checksum) {
                return Ok(known);
            }
            let asked = format!("{checksum} {}", address.identity());
            return self.downloads.or_find(&asked, || {
                match self.kept_download(&key_of_checksum(checksum))? {
                    Some(kept) => Ok(kept),
                    None => self.fetch_download(&address, Some(checksum)),
                }
            });
        }
        self.downloads.or_find(address.identity(), || self.fetch_download(&address, None))
    }

    /// An earlier download whose bytes are still here.
    fn kept_download(&self, key: &CacheKey) -> Result<Option<Download>, RemoteError> {
        let record = self
            .driver
            .store
            .record(key)
            .map_err(|error| BuildError::world("could not read the store", error))?;
        let kept = record.as_deref().and_then(Download::read);
        Ok(kept.filter(|kept| self.is_at_hand(&kept.layer)))
    }

    fn fetch_download(&self, address: &Address, checksum: Option<&str>) -> Result<Download, RemoteError> {
        let key = key_of_address(address);
        // Another build may be fetching the same thing; what it gets will do.
        let _claim = self.claim(&key)?;
        let kept = self.kept_download(&key)?;
        // Whose digest is not the wanted one has to come, whatever the server thinks of it.
        let kept = kept.filter(|kept| match checksum {
            Some(checksum) => kept.digest.to_string() == checksum,
            None => true,
        });
        let secrets = self.http_authorization(address);
        let known = kept.as_ref();
        let ask = Ask {
            address,
            etag: known.and_then(|kept| kept.etag.as_deref()),
            last_modified: known.and_then(|kept| kept.last_modified.as_deref()),
            authorization: secrets.as_deref(),
        };
        self.forms.task(&format!("downloading {}", address.shown()), |id| {
            let mut incoming = Incoming::new(self, id, checksum)?;
            let answer = self.driver.web.fetch(&ask, &mut incoming);
            match answer.map_err(|error| web_error(error, &self.http_secret_names(address)))? {
                Answer::Unchanged => {
                    Ok(kept.clone().unwrap_or_else(|| unreachable!("nothing was said to be here")))
                }
                Answer::New(arrival) => {
                    let digests = incoming.finish()?;
                    if let Some(wanted) = checksum
                        && digests.wanted != wanted
                    {
                        let message = format!(
                            "`{}` has the digest {}, and {wanted} was asked for",
                            address.shown(),
                            digests.wanted
                        );
                        let help = "if the new content is what you want, write its digest";
                        return Err(RemoteError::new(Why::Mismatch, message).with_help(help));
                    }
                    let download = Download {
                        digest: digests.sha256,
                        size: arrival.size,
                        modified: arrival.last_modified.as_deref().and_then(parse_http_date),
                        layer: digests.layer,
                        etag: arrival.etag,
                        last_modified: arrival.last_modified,
                    };
                    self.keep_download(&key, &download)?;
                    let own = digests.sha256.to_string();
                    for checksum in iter::once(own.as_str()).chain(checksum) {
                        self.keep_download(&key_of_checksum(checksum), &download)?;
                    }
                    Ok(download)
                }
            }
        })
    }

    fn keep_download(&self, key: &CacheKey, download: &Download) -> Result<(), BuildError> {
        self.driver
            .store
            .put_record(key, &download.write(), Existing::Replace)
            .map_err(|error| BuildError::world("could not write to the store", error))
    }

    /// Names of the secrets that may open an address, the most exact first.
    fn http_secret_names(&self, address: &Address) -> Vec<String> {
        let whole = address.authority();
        let host = whole.rsplit_once(':').map_or(whole, |(host, _)| host);
        let hosts = if host == whole { vec![whole] } else { vec![whole, host] };
        let names = |host: &&str| [format!("HTTP_AUTH_HEADER_{host}"), format!("HTTP_AUTH_TOKEN_{host}")];
        hosts.iter().flat_map(names).collect()
    }

    /// What a secret says to be shown to the server (§12.13).
    fn http_authorization(&self, address: &Address) -> Option<String> {
        self.http_secret_names(address).iter().find_map(|name| {
            let secret = self.secret_text(name)?;
            Some(match name.starts_with("HTTP_AUTH_TOKEN_") {
                true => format!("Bearer {secret}"),
                false => secret,
            })
        })
    }

    /// A secret of one line.
    pub(crate) fn secret_text(&self, id: &str) -> Option<String> {
        let secret = self.request.secrets.iter().find(|secret| secret.id == id)?;
        let text = std::str::from_utf8(&secret.value).ok()?.trim();
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    }
}

/// The name of the file: as asked for, or the last segment of the address's path.
fn filename(source: &HttpSource) -> Result<String, RemoteError> {
    let path = source.url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).unwrap_or_default();
    let name = match (source.filename.as_str(), last) {
        ("", "" | "." | "..") => UNNAMED,
        ("", last) => last,
        (given, _) => given,
    };
    if matches!(name, "." | "..") || name.contains(['/', '\0']) || name.len() > 255 {
        return Err(RemoteError::new(Why::Invalid, format!("a file cannot be called `{name}`")));
    }
    Ok(name.to_owned())
}

/// `secrets` are the names under which credentials could have been given.
fn web_error(error: WebError, secrets: &[String]) -> RemoteError {
    let message = one_line(&error);
    match &error {
        WebError::Cancelled => RemoteError::Build(BuildError::Cancelled),
        WebError::Write { .. } => {
            RemoteError::Build(BuildError::world("could not write to the store", error))
        }
        WebError::Status { status: 401 | 403, .. } => {
            let named = secrets.iter().map(|name| format!("`--secret id={name}`")).collect::<Vec<_>>();
            RemoteError::new(Why::Unauthorized, message)
                .with_help(format!("credentials for it are given by {}", named.join(" or ")))
        }
        WebError::Address { .. } => RemoteError::new(Why::Invalid, message),
        error if error.is_refusal() => RemoteError::new(Why::NotFound, message),
        _ => RemoteError::new(Why::Unavailable, message),
    }
}

/// A download on its way into a layer.
struct Incoming<'s> {
    session: &'s Session<'s>,
    /// Of the task that reports its progress.
    id: u64,
    step: StepDir,
    file: File,
    received: u64,
    total: u64,
    sha256: sha2::Sha256,
    other: Other,
}

/// The digest that was asked for, if it is not SHA-256.
enum Other {
    None,
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

struct Digests {
    layer: LayerId,
    sha256: Digest,
    /// In the form in which a checksum was asked for.
    wanted: String,
}

impl<'s> Incoming<'s> {
    fn new(session: &'s Session<'_>, id: u64, checksum: Option<&str>) -> Result<Self, BuildError> {
        let failed = |error: io::Error| BuildError::world("could not write to the store", error);
        let step = session
            .driver
            .store
            .begin_step()
            .map_err(|error| BuildError::world("could not make a directory for a download", error))?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(step.upper().join(CONTENT));
        let other = match checksum.and_then(|checksum| checksum.split_once(':')).map(|(name, _)| name) {
            Some("sha384") => Other::Sha384(sha2::Sha384::new()),
            Some("sha512") => Other::Sha512(sha2::Sha512::new()),
            _ => Other::None,
        };
        Ok(Self {
            session,
            id,
            step,
            file: file.map_err(failed)?,
            received: 0,
            total: 0,
            sha256: sha2::Sha256::new(),
            other,
        })
    }

    fn finish(self) -> Result<Digests, BuildError> {
        let sha256 = Digest::from_bytes(self.sha256.finalize().into());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let wanted = match self.other {
            Other::None => sha256.to_string(),
            Other::Sha384(hasher) => format!("sha384:{}", hex(&hasher.finalize())),
            Other::Sha512(hasher) => format!("sha512:{}", hex(&hasher.finalize())),
        };
        drop(self.file);
        let (layer, _) =
            self.step.commit(&[]).map_err(|error| BuildError::world("could not keep a download", error))?;
        Ok(Digests { layer, sha256, wanted })
    }
}

impl Receiver for Incoming<'_> {
    fn begin(&mut self, size: Option<u64>) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        (self.received, self.total) = (0, size.unwrap_or(0));
        self.sha256.reset();
        match &mut self.other {
            Other::None => {}
            Other::Sha384(hasher) => hasher.reset(),
            Other::Sha512(hasher) => hasher.reset(),
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.sha256.update(bytes);
        match &mut self.other {
            Other::None => {}
            Other::Sha384(hasher) => hasher.update(bytes),
            Other::Sha512(hasher) => hasher.update(bytes),
        }
        self.received += bytes.len() as u64;
        let (id, current) = (self.id, self.received);
        self.session.events.emit(Event::Progress { id, current, total: self.total.max(current) });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_download_is_read_as_it_was_written() {
        let download = Download {
            digest: Digest::of(b"x"),
            size: 1,
            modified: Some(784_111_777),
            layer: LayerId(Digest::of(b"y")),
            etag: Some("W/\"a b\"".to_owned()),
            last_modified: Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()),
        };
        assert_eq!(Download::read(&download.write()), Some(download));
        assert_eq!(Download::read(b"kiln download 2\n"), None);
    }

    #[test]
    fn the_file_is_called_as_asked_or_by_the_address() {
        let name = |url: &str, given: &str| {
            filename(&HttpSource { url: url.to_owned(), checksum: None, filename: given.to_owned() }).ok()
        };
        assert_eq!(name("https://host/a/b.txt?x=/y", "").as_deref(), Some("b.txt"));
        assert_eq!(name("https://host/a/", "").as_deref(), Some(UNNAMED));
        assert_eq!(name("https://host", "").as_deref(), Some(UNNAMED));
        assert_eq!(name("https://host/x", "y").as_deref(), Some("y"));
        assert_eq!(name("https://host/x", "../y"), None);
    }
}
