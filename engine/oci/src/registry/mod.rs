//! Speaks the distribution protocol (distribution-spec 1.1): finds, fetches and sends what registries hold.

mod auth;
mod credentials;
mod error;
pub(crate) mod exchange;
mod pull;
mod push;
mod referrers;
#[cfg(test)]
mod tests;
pub(crate) mod transport;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kiln_core::{Cancel, ImageRef};

pub use credentials::{Credential, Credentials, CredentialsError, Secret};
pub use error::{MirrorFailure, RegistryError, Said};
pub use pull::{PulledImage, ResolvedManifest};
pub use push::Pushed;
pub use referrers::{SignError, VerifyError};
pub use transport::Patience;

/// What is configured for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfig {
    /// Asked before the host itself, in this order: `host[:port][/prefix]`, to which the repository path is added.
    /// `http://` before it says plain HTTP as the mirror's own `plain_http` does.
    pub mirrors: Vec<String>,
    /// Speak HTTP without TLS.
    pub plain_http: bool,
    /// Certificates (PEM) to trust beside the system's.
    pub ca: Option<PathBuf>,
}

/// What is configured, by `host[:port]` as references spell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    pub hosts: BTreeMap<String, HostConfig>,
    pub patience: Patience,
}

/// The client. It holds connections and tokens, and may be used by many threads at a time.
pub struct Registry {
    config: RegistryConfig,
    credentials: Credentials,
    cancel: Arc<Cancel>,
    agents: Mutex<HashMap<exchange::Trust, ureq::Agent>>,
    tokens: Mutex<HashMap<auth::TokenKey, auth::Token>>,
}

/// Where a repository is asked for: the registry itself or a mirror of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    /// As configured or written, for messages and credentials.
    host: String,
    /// `https://host:port`.
    origin: String,
    /// The path there.
    repository: String,
}

/// The host that serves `docker.io`.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

impl Registry {
    /// Does nothing yet: no file, no thread, no connection.
    pub fn new(config: RegistryConfig, credentials: Credentials, cancel: Arc<Cancel>) -> Self {
        Self {
            config,
            credentials,
            cancel,
            agents: Mutex::new(HashMap::new()),
            tokens: Mutex::new(HashMap::new()),
        }
    }

    /// Mirrors first, the registry itself last.
    fn endpoints(&self, reference: &ImageRef) -> Vec<Endpoint> {
        let mirrors = self.config.hosts.get(&reference.domain).map_or(&[][..], |host| &host.mirrors);
        let mirrors = mirrors.iter().map(|mirror| {
            let (scheme, rest) = match mirror.split_once("://") {
                Some(("http", rest)) => (Some("http"), rest),
                Some((_, rest)) => (Some("https"), rest),
                None => (None, mirror.as_str()),
            };
            let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_end_matches('/');
            let repository = match prefix {
                "" => reference.path.clone(),
                prefix => format!("{prefix}/{}", reference.path),
            };
            self.endpoint(host, scheme, repository)
        });
        let own = self.endpoint(&reference.domain, None, reference.path.clone());
        mirrors.chain([own]).collect()
    }

    fn endpoint(&self, host: &str, scheme: Option<&str>, repository: String) -> Endpoint {
        let scheme = scheme.unwrap_or(if self.is_plain(host) { "http" } else { "https" });
        let server = if host == "docker.io" { DOCKER_HUB_API } else { host };
        Endpoint { host: host.to_owned(), origin: format!("{scheme}://{server}"), repository }
    }

    fn is_plain(&self, host: &str) -> bool {
        self.config.hosts.get(host).is_some_and(|host| host.plain_http)
    }

    /// Asks one endpoint after the other until one has it.
    fn anywhere<T>(
        &self,
        reference: &ImageRef,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut mirrors = Vec::new();
        let mut endpoints = self.endpoints(reference).into_iter().peekable();
        while let Some(endpoint) = endpoints.next() {
            let is_last = endpoints.peek().is_none();
            match self.patiently(|| ask(&endpoint)) {
                Ok(found) => return Ok(found),
                Err(error) if !error.is_of_the_host() => return Err(error),
                Err(error) if is_last && mirrors.is_empty() => return Err(error),
                Err(error) if is_last => {
                    return Err(RegistryError::EverywhereFailed {
                        reference: reference.familiar(),
                        host: endpoint.host,
                        mirrors,
                        source: Box::new(error),
                    });
                }
                Err(error) => mirrors.push(MirrorFailure { host: endpoint.host, error }),
            }
        }
        unreachable!("the registry itself is always among the endpoints")
    }

    /// Tries again what failed in passing, after a while that doubles each time.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let mut delay = exchange::FIRST_DELAY;
        for _ in 1..exchange::ATTEMPTS {
            let error = match ask() {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            let pause = match &error {
                RegistryError::RateLimited { retry_after: Some(after), .. } => *after,
                _ => delay,
            };
            if !error.is_passing() || pause > exchange::LONGEST_DELAY {
                return Err(error);
            }
            transport::sleep(pause, &self.cancel).map_err(|_| RegistryError::Cancelled)?;
            delay *= 2;
        }
        ask()
    }

    fn is_expired(&self, token: &auth::Token) -> bool {
        token.expires.is_some_and(|expires| Instant::now() >= expires)
    }
}
