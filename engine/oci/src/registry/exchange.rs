//! One request and its answer: who is asked how, what redirects may do, and what a refusal means.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{self, Method, Response, StatusCode, Uri, header};
use ureq::tls::PemItem;
use ureq::{Agent, Body, SendBody};

use super::auth::{Access, Token};
use super::transport::new_agent;
use super::{Endpoint, Registry, RegistryError, Said};

/// How often a request is made that fails in passing, and how long to wait in between: half a second, one, two.
pub(super) const ATTEMPTS: u32 = 4;
pub(super) const FIRST_DELAY: Duration = Duration::from_millis(500);
/// A registry that asks for a longer pause than this is not waited for.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(30);

const MAX_REDIRECTS: usize = 8;
/// So much of what a registry says about an error is read, and shown.
const MAX_SAID_BYTES: u64 = 64 << 10;
const MAX_SAID_SHOWN: usize = 300;

/// Whom an agent trusts; connections are shared among requests of equal trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// No TLS.
    Plain,
    System,
    /// The system's certificates and those of a file.
    And(PathBuf),
}

pub(super) struct Request<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) access: &'a Access,
    /// What it is about, for messages: `library/alpine:3`.
    pub(super) what: &'a str,
}

pub(super) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { content: &'a mut dyn Read, size: u64 },
}

impl Registry {
    /// Makes a request with whatever credentials it needs; answers other than success are errors. A payload that is
    /// a stream cannot be sent twice, so a token should be at hand (from an earlier request of the same kind).
    pub(super) fn exchange(
        &self,
        request: &mut Request<'_>,
        mut payload: Payload<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let mut token = self.known_token(request.endpoint, request.access);
        let own_headers = request.headers.len();
        for attempt in 0.. {
            request.headers.truncate(own_headers);
            request.headers.extend(token.iter().map(|token| ("authorization", token.header.clone())));
            let again = match &mut payload {
                Payload::None => Some(Payload::None),
                Payload::Bytes(bytes) => Some(Payload::Bytes(bytes)),
                Payload::Stream { .. } => None,
            };
            let is_repeatable = again.is_some();
            let sent = match again {
                Some(again) => self.run(request, again),
                None => self.run(request, std::mem::replace(&mut payload, Payload::None)),
            };
            let response = sent?;
            request.headers.truncate(own_headers);
            if response.status() == StatusCode::UNAUTHORIZED && is_repeatable && attempt < 2 {
                let found = self.authenticate(request.endpoint, request.access, &response, token.as_ref())?;
                if let Some(found) = found {
                    token = Some(found);
                    continue;
                }
            }
            return if response.status().is_success() {
                Ok(response)
            } else {
                Err(refusal(request, response, token.and_then(|token: Token| token.credentials)))
            };
        }
        unreachable!("the last attempt returns")
    }

    /// Makes a request as it is and follows redirects, to other hosts without the `Authorization`.
    pub(super) fn run(
        &self,
        request: &Request<'_>,
        mut payload: Payload<'_>,
    ) -> Result<Response<Body>, RegistryError> {
        let protocol = |why| RegistryError::Protocol { host: request.endpoint.host.clone(), why };
        let mut url = request.url.clone();
        let first_origin = origin(&url).map(str::to_owned);
        for _ in 0..=MAX_REDIRECTS {
            let mut builder = http::Request::builder().method(request.method.clone()).uri(&url);
            for (name, value) in &request.headers {
                let is_secret = *name == "authorization";
                if !is_secret || origin(&url) == first_origin.as_deref() {
                    builder = builder.header(*name, value);
                }
            }
            let agent = self.agent(request.endpoint, &url)?;
            let (response, is_repeatable) = match &mut payload {
                Payload::None => (send(builder, &agent, SendBody::none()), true),
                Payload::Bytes(bytes) => {
                    let builder = builder.header("content-length", bytes.len());
                    (send(builder, &agent, SendBody::from_reader(&mut &bytes[..])), true)
                }
                Payload::Stream { content, size } => {
                    let builder = builder.header("content-length", *size);
                    (send(builder, &agent, SendBody::from_reader(*content)), false)
                }
            };
            let response = response.map_err(|error| self.failure(request, &url, error))?;
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let follow = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = location.filter(|_| follow && is_repeatable) else {
                return Ok(response);
            };
            let next =
                join(&url, location).ok_or_else(|| protocol(format!("it redirects to `{location}`")))?;
            if url.starts_with("https://")
                && next.starts_with("http://")
                && !authority(&next).is_some_and(|host| self.is_plain(host))
            {
                return Err(protocol(format!("it redirects from a secure connection to `{next}`")));
            }
            url = next;
        }
        Err(protocol("it redirects in circles".to_owned()))
    }

    fn agent(&self, endpoint: &Endpoint, url: &str) -> Result<Agent, RegistryError> {
        let host = authority(url).unwrap_or_default();
        // The name people configure is `docker.io`, that of its server is another.
        let config = |name: &str| self.config.hosts.get(name);
        let config = config(host).or_else(|| {
            let own = origin(url) == Some(endpoint.origin.as_str());
            own.then(|| config(&endpoint.host)).flatten()
        });
        let trust = match config.and_then(|host| host.ca.clone()) {
            _ if url.starts_with("http://") => Trust::Plain,
            Some(file) => Trust::And(file),
            None => Trust::System,
        };
        let mut agents = self.agents.lock().expect("no thread panics with the lock");
        if let Some(agent) = agents.get(&trust) {
            return Ok(agent.clone());
        }
        let roots = match &trust {
            Trust::Plain => None,
            Trust::System => system_roots(),
            Trust::And(file) => {
                let own = read_certificates(file).map_err(|source| RegistryError::Certificates {
                    host: host.to_owned(),
                    path: file.clone(),
                    source,
                })?;
                let mut all = system_roots().unwrap_or_default();
                all.extend(own);
                Some(all)
            }
        };
        let agent = new_agent(roots, self.config.patience, &self.cancel);
        agents.insert(trust, agent.clone());
        Ok(agent)
    }

    /// What an answer that never came means.
    fn failure(&self, request: &Request<'_>, url: &str, error: ureq::Error) -> RegistryError {
        if self.cancel.is_cancelled() {
            return RegistryError::Cancelled;
        }
        // A redirect's target is named, since that is whom the failure is about.
        let host = match origin(url) == Some(request.endpoint.origin.as_str()) {
            true => request.endpoint.host.clone(),
            false => authority(url).unwrap_or(url).to_owned(),
        };
        let is_secure = url.starts_with("https://");
        let is_tls = matches!(error, ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_));
        let is_unreachable = matches!(&error, ureq::Error::HostNotFound | ureq::Error::ConnectionFailed)
            || matches!(&error, ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect));
        let source = match error {
            ureq::Error::Io(source) => source,
            ureq::Error::HostNotFound => io::Error::new(io::ErrorKind::NotFound, "no host has this name"),
            other => io::Error::other(other),
        };
        if is_secure && (is_tls || source.kind() == io::ErrorKind::InvalidData) {
            let text = source.to_string();
            let hint = if text.contains("InvalidContentType") || text.contains("corrupt message") {
                format!("; if it speaks plain HTTP, set `plain-http = true` under `[registry.\"{host}\"]`")
            } else if text.contains("CaUsedAsEndEntity") {
                "; its certificate is that of an authority, and not one that an authority gave to this host"
                    .to_owned()
            } else if text.contains("UnknownIssuer") {
                format!(
                    "; if its certificate is your own, name the issuer's by `ca` under `[registry.\"{host}\"]`"
                )
            } else {
                String::new()
            };
            return RegistryError::Tls { host, hint, source };
        }
        use io::ErrorKind::{
            AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut,
        };
        let before_connection =
            [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut];
        if is_unreachable || before_connection.contains(&source.kind()) {
            return RegistryError::Unreachable { host, source };
        }
        RegistryError::Broken { host, what: format!("asking for `{}`", request.what), source }
    }

    /// An answer that broke off.
    pub(super) fn broken(&self, request: &Request<'_>, source: io::Error) -> RegistryError {
        if self.cancel.is_cancelled() {
            return RegistryError::Cancelled;
        }
        let what = format!("reading `{}`", request.what);
        RegistryError::Broken { host: request.endpoint.host.clone(), what, source }
    }
}

fn send(
    builder: http::request::Builder,
    agent: &Agent,
    body: SendBody<'_>,
) -> Result<Response<Body>, ureq::Error> {
    agent.run(builder.body(body)?)
}

/// What a refusing answer means. `credentials` says which were shown, if any.
pub(super) fn refusal(
    request: &Request<'_>,
    response: Response<Body>,
    credentials: Option<String>,
) -> RegistryError {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let host = request.endpoint.host.clone();
    let what = request.what.to_owned();
    let said = said(response);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => match credentials {
            Some(credentials) => RegistryError::Denied { host, what: format!("`{what}`"), credentials, said },
            // A registry that hides what exists answers so for what does not exist, too.
            None => {
                let what = match request.access {
                    Access::Pull => format!("has no `{what}`, or shows it only to those it knows"),
                    Access::Push { .. } => format!("takes `{what}` only from those it knows"),
                };
                RegistryError::Anonymous { host, what, said }
            }
        },
        StatusCode::NOT_FOUND => RegistryError::NotFound { host, what, said },
        StatusCode::TOO_MANY_REQUESTS => RegistryError::RateLimited { host, retry_after, said },
        status => RegistryError::Status {
            host,
            what: format!("{} of `{what}`", request.method),
            status: status.as_u16(),
            said,
        },
    }
}

/// The text in an error's body: of the first error in the registry's form, else the first line.
fn said(response: Response<Body>) -> Said {
    let mut bytes = Vec::new();
    // A body that breaks off says as much as it has said.
    let _ = response.into_body().into_reader().take(MAX_SAID_BYTES).read_to_end(&mut bytes);
    let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let text = match &json {
        Some(json) => {
            let first = &json["errors"][0];
            let places = [&first["message"], &first["code"], &json["details"], &json["error_description"]];
            places.iter().find_map(|text| text.as_str()).unwrap_or_default().to_owned()
        }
        None => {
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().next().unwrap_or_default();
            if line.starts_with('<') { String::new() } else { line.to_owned() }
        }
    };
    Said(text.chars().filter(|c| !c.is_control()).take(MAX_SAID_SHOWN).collect())
}

/// `scheme://host:port` of an absolute address.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    Some(&url[..end])
}

pub(crate) fn authority(url: &str) -> Option<&str> {
    origin(url)?.split_once("://").map(|(_, authority)| authority)
}

/// Where `location`, given in an answer from `base`, leads (RFC 3986, 5.2, as far as servers use it).
pub(crate) fn join(base: &str, location: &str) -> Option<String> {
    let absolute = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{}:{location}", base.split_once("://")?.0)
    } else if location.starts_with('/') {
        format!("{}{location}", origin(base)?)
    } else if location.contains("://") || location.is_empty() {
        return None;
    } else {
        let path = base.split(['?', '#']).next()?;
        let slash = path[origin(base)?.len()..].rfind('/').map(|at| at + origin(base).map_or(0, str::len));
        format!("{}/{location}", &path[..slash.unwrap_or(path.len())])
    };
    // Whoever sends the request must be able to understand it.
    let without_fragment = absolute.split('#').next()?.to_owned();
    without_fragment.parse::<Uri>().ok()?.host()?;
    // User names in addresses would be credentials from nowhere.
    (!authority(&without_fragment)?.contains('@')).then_some(without_fragment)
}

pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Where the distributions keep what they trust, in one file; `SSL_CERT_FILE` comes before all. `None` where there is
/// no such file: then Mozilla's list, which is compiled in, is used.
pub(crate) fn system_roots() -> Option<Vec<ureq::tls::Certificate<'static>>> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let mut paths = given.into_iter().chain(known.map(PathBuf::from));
    paths.find_map(|path| read_certificates(&path).ok())
}

fn read_certificates(path: &Path) -> io::Result<Vec<ureq::tls::Certificate<'static>>> {
    let text = std::fs::read(path)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it"));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined() {
        let base = "https://h:5000/v2/a/blobs/uploads/?x=1";
        for (location, expected) in [
            ("https://cdn/x?y#z", Some("https://cdn/x?y")),
            ("//cdn/x", Some("https://cdn/x")),
            ("/v2/b?c", Some("https://h:5000/v2/b?c")),
            ("uuid", Some("https://h:5000/v2/a/blobs/uploads/uuid")),
            ("ftp://x/y", None),
            ("", None),
            ("https://user:pw@h/", None),
            ("/a b", None),
        ] {
            assert_eq!(join(base, location).as_deref(), expected, "{location}");
        }
        assert_eq!(join("http://h", "x").as_deref(), Some("http://h/x"));
    }

    #[test]
    fn values_of_queries_are_encoded() {
        assert_eq!(percent_encoded("repository:a/b:pull,push"), "repository%3Aa%2Fb%3Apull%2Cpush");
    }
}
