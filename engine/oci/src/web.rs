//! Fetches what an address names, over HTTP: asks only for what changed, follows redirects, and says why not.
//!
//! Proxies are those of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), trusted certificates
//! the system's.

mod address;
mod date;

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kiln_core::Cancel;
use ureq::http::{self, Response, header};
use ureq::{Agent, Body};

use crate::registry::Patience;
use crate::registry::exchange::{authority, join, origin, system_roots};
use crate::registry::transport::{new_agent, sleep};

pub use address::{Address, basic_authorization, without_credentials};
pub use date::parse_http_date;

const MAX_REDIRECTS: usize = 10;
/// Tries of a download that fails in passing, and the pause after the first; it doubles.
const ATTEMPTS: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// So much of what comes is handed on at a time.
const BUFFER: usize = 128 << 10;

/// The client. It holds connections, and may be used by many threads at a time.
pub struct Web {
    patience: Patience,
    cancel: Arc<Cancel>,
    agent: OnceLock<Agent>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub address: &'a Address,
    /// Of what is here already: it need not come again.
    pub etag: Option<&'a str>,
    pub last_modified: Option<&'a str>,
    /// Value of an `Authorization` header, for the address's own host only. Comes before what the address itself says.
    pub authorization: Option<&'a str>,
}

/// What came.
#[derive(Debug)]
pub enum Answer {
    /// What is here already is still right.
    Unchanged,
    New(Arrival),
}

/// What the server says of bytes that were received, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    pub etag: Option<String>,
    /// As the server spells it; see [`parse_http_date`].
    pub last_modified: Option<String>,
    pub size: u64,
}

/// Where bytes go. A download that breaks off is begun anew.
pub trait Receiver {
    /// From the beginning; `size` is what the server announces.
    fn begin(&mut self, size: Option<u64>) -> io::Result<()>;
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Why an address did not give what was asked for. Addresses are without credentials.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("`{url}` is not an address that can be fetched: {why}")]
    Address { url: String, why: &'static str },
    #[error("could not reach `{host}` to fetch `{url}`")]
    Unreachable { url: String, host: String, source: io::Error },
    #[error("no secure connection to `{host}` to fetch `{url}`")]
    Tls { url: String, host: String, source: io::Error },
    #[error("`{url}` was answered with status {status}{reason}{redirected}")]
    Status {
        url: String,
        status: u16,
        /// A space and the status in words, or nothing.
        reason: String,
        /// Where redirects had led, in words.
        redirected: String,
    },
    #[error("`{url}` leads in circles: more than {MAX_REDIRECTS} redirects")]
    Circles { url: String },
    #[error("`{url}` redirects to `{to}`, which cannot be fetched")]
    Redirect { url: String, to: String },
    #[error("the connection to `{host}` broke while fetching `{url}`")]
    Broken { url: String, host: String, source: io::Error },
    #[error("`{url}` ended after {found} of {expected} bytes")]
    Truncated { url: String, expected: u64, found: u64 },
    #[error("could not keep what came from `{url}`")]
    Write { url: String, source: io::Error },
    #[error("interrupted")]
    Cancelled,
}

impl WebError {
    /// The server says that there is no such thing, or not for us: asking again changes nothing.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Address { .. } | Self::Circles { .. } | Self::Redirect { .. } => true,
            Self::Status { status, .. } => (400..500).contains(status) && !self.is_passing(),
            _ => false,
        }
    }

    fn is_passing(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Truncated { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

impl Web {
    /// Does nothing yet: no file, no thread, no connection.
    pub fn new(patience: Patience, cancel: Arc<Cancel>) -> Self {
        Self { patience, cancel, agent: OnceLock::new() }
    }

    /// Fetches all of it into `to`, unless it is unchanged. What fails in passing is tried again.
    ///
    /// # Errors
    ///
    /// See [`WebError`]; then what `to` has received is to be thrown away.
    pub fn fetch(&self, ask: &Ask<'_>, to: &mut dyn Receiver) -> Result<Answer, WebError> {
        let mut delay = FIRST_DELAY;
        for _ in 1..ATTEMPTS {
            match self.try_fetch(ask, to) {
                Err(error) if error.is_passing() => {}
                other => return other,
            }
            sleep(delay, &self.cancel).map_err(|_| WebError::Cancelled)?;
            delay *= 2;
        }
        self.try_fetch(ask, to)
    }

    fn try_fetch(&self, ask: &Ask<'_>, to: &mut dyn Receiver) -> Result<Answer, WebError> {
        let (response, last) = self.follow(ask)?;
        let url = || ask.address.shown().to_owned();
        let status = response.status();
        let known = ask.etag.is_some() || ask.last_modified.is_some();
        if status.as_u16() == 304 && known {
            return Ok(Answer::Unchanged);
        }
        if !status.is_success() || status.as_u16() == 206 {
            let redirected = match last == ask.address.url() {
                true => String::new(),
                false => format!(", after a redirect to `{}`", without_credentials(&last)),
            };
            let reason = status.canonical_reason().map(|words| format!(" {words}")).unwrap_or_default();
            return Err(WebError::Status { url: url(), status: status.as_u16(), reason, redirected });
        }
        let text = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let mut arrival =
            Arrival { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED), size: 0 };
        // Some servers do not heed the condition, but say what they send.
        if arrival.etag.is_some() && arrival.etag.as_deref() == ask.etag {
            return Ok(Answer::Unchanged);
        }
        let expected = text(header::CONTENT_LENGTH).and_then(|text| text.trim().parse::<u64>().ok());
        let unwritable = |source| WebError::Write { url: url(), source };
        to.begin(expected).map_err(unwritable)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.broken(ask, &last, source)),
            };
            to.receive(&buffer[..count]).map_err(unwritable)?;
            arrival.size += count as u64;
        }
        match expected {
            Some(expected) if expected != arrival.size => {
                Err(WebError::Truncated { url: url(), expected, found: arrival.size })
            }
            _ => Ok(Answer::New(arrival)),
        }
    }

    /// The answer at the end of all redirects, and whose it is.
    fn follow(&self, ask: &Ask<'_>) -> Result<(Response<Body>, String), WebError> {
        let own = ask.address.authorization();
        let authorization = ask.authorization.or(own.as_deref());
        let mut url = ask.address.url().to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let mut builder = http::Request::get(&url);
            for (name, value) in
                [(header::IF_NONE_MATCH, ask.etag), (header::IF_MODIFIED_SINCE, ask.last_modified)]
            {
                builder =
                    value.into_iter().fold(builder, |builder, value| builder.header(name.clone(), value));
            }
            if let Some(authorization) = authorization
                && origin(&url) == origin(ask.address.url())
            {
                builder = builder.header(header::AUTHORIZATION, authorization);
            }
            let sent =
                builder.body(()).map_err(ureq::Error::from).and_then(|request| self.agent().run(request));
            let response = sent.map_err(|error| self.failure(ask, &url, error))?;
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let follow = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = location.filter(|_| follow) else { return Ok((response, url)) };
            url = join(&url, location).ok_or_else(|| WebError::Redirect {
                url: ask.address.shown().to_owned(),
                to: without_credentials(location),
            })?;
        }
        Err(WebError::Circles { url: ask.address.shown().to_owned() })
    }

    fn agent(&self) -> &Agent {
        self.agent.get_or_init(|| new_agent(system_roots(), self.patience, &self.cancel))
    }

    /// What an answer that never came means.
    fn failure(&self, ask: &Ask<'_>, at: &str, error: ureq::Error) -> WebError {
        if self.cancel.is_cancelled() {
            return WebError::Cancelled;
        }
        let (url, host) = (ask.address.shown().to_owned(), authority(at).unwrap_or(at).to_owned());
        let is_tls = matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_));
        let is_unreachable = matches!(
            &error,
            ureq::Error::HostNotFound
                | ureq::Error::ConnectionFailed
                | ureq::Error::ConnectProxyFailed(_)
                | ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect)
        );
        let source = match error {
            ureq::Error::Io(source) => source,
            ureq::Error::HostNotFound => io::Error::new(io::ErrorKind::NotFound, "no host has this name"),
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
                return WebError::Address { url, why: "it is not written as one" };
            }
            other => io::Error::other(other),
        };
        if at.starts_with("https://") && (is_tls || source.kind() == io::ErrorKind::InvalidData) {
            return WebError::Tls { url, host, source };
        }
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut,
        };
        let before =
            [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut];
        match is_unreachable || before.contains(&source.kind()) {
            true => WebError::Unreachable { url, host, source },
            false => WebError::Broken { url, host, source },
        }
    }

    fn broken(&self, ask: &Ask<'_>, at: &str, source: io::Error) -> WebError {
        if self.cancel.is_cancelled() {
            return WebError::Cancelled;
        }
        let host = authority(at).unwrap_or(at).to_owned();
        WebError::Broken { url: ask.address.shown().to_owned(), host, source }
    }
}

/// Everything into memory, no more than `limit` bytes.
pub struct Memory {
    pub bytes: Vec<u8>,
    pub limit: u64,
}

impl Receiver for Memory {
    fn begin(&mut self, _: Option<u64>) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            return Err(io::Error::other(format!("it has more than {} bytes", self.limit)));
        }
        self.bytes.write_all(bytes)
    }
}

#[cfg(test)]
mod tests;
