//! Why a registry did not give what was asked for, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kiln_core::digest::BlobDigest;

use super::credentials::CredentialsError;
use crate::document::DocumentError;

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("could not reach the registry `{host}`")]
    Unreachable { host: String, source: io::Error },
    #[error("no secure connection to the registry `{host}`{hint}")]
    Tls { host: String, hint: String, source: io::Error },
    #[error("the certificates of `{}` for the registry `{host}` could not be read", path.display())]
    Certificates { host: String, path: PathBuf, source: io::Error },
    #[error("the connection to the registry `{host}` broke while {what}")]
    Broken { host: String, what: String, source: io::Error },
    #[error(
        "the registry `{host}` {what}{said}; there are no credentials for it, and `docker login {host}` stores some"
    )]
    Anonymous { host: String, what: String, said: Said },
    #[error("the registry `{host}` does not accept the credentials {credentials} for {what}{said}")]
    Denied { host: String, what: String, credentials: String, said: Said },
    #[error("`{what}` does not exist in the registry `{host}`{said}")]
    NotFound { host: String, what: String, said: Said },
    #[error("the registry `{host}` limits how much may be asked of it{}{said}", wait(.retry_after))]
    RateLimited { host: String, retry_after: Option<Duration>, said: Said },
    #[error("the registry `{host}` answered {status} to {what}{said}")]
    Status { host: String, what: String, status: u16, said: Said },
    #[error("the registry `{host}` answered in a way that is not understood: {why}")]
    Protocol { host: String, why: String },
    #[error("`{what}` from the registry `{host}` has the digest {found}, and {expected} was asked for")]
    DigestMismatch { host: String, what: String, expected: BlobDigest, found: BlobDigest },
    #[error("`{what}` from the registry `{host}` ended after {found} of {expected} bytes")]
    Truncated { host: String, what: String, expected: u64, found: u64 },
    #[error("`{what}` from the registry `{host}` is larger than the {expected} bytes that it should have")]
    TooLong { host: String, what: String, expected: u64 },
    #[error("`{reference}` exists, but not for {wanted}; it has {}", available.join(", "))]
    NoPlatform { reference: String, wanted: String, available: Vec<String> },
    #[error("the manifest of `{reference}` from the registry `{host}` is not that of an image")]
    NotAnImage { reference: String, host: String, source: DocumentError },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("could not keep what was read from the registry")]
    Write { source: io::Error },
    #[error("could not read what was to be sent to the registry")]
    Read { source: io::Error },
    #[error("interrupted")]
    Cancelled,
    #[error("`{reference}` could not be had from `{host}`, nor from {}", list(.mirrors))]
    EverywhereFailed {
        reference: String,
        host: String,
        /// In the order in which they were tried.
        mirrors: Vec<MirrorFailure>,
        /// What `host` itself said.
        source: Box<RegistryError>,
    },
}

/// What a registry said about its refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(pub String);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (it says: {})", self.0) }
    }
}

/// A mirror that could not help.
#[derive(Debug)]
pub struct MirrorFailure {
    pub host: String,
    pub error: RegistryError,
}

fn list(mirrors: &[MirrorFailure]) -> String {
    let each = mirrors.iter().map(|MirrorFailure { host, error }| match error {
        RegistryError::NotFound { .. } => format!("its mirror `{host}` (not there)"),
        RegistryError::Unreachable { source, .. } => format!("its mirror `{host}` ({source})"),
        other => format!("its mirror `{host}` ({other})"),
    });
    each.collect::<Vec<_>>().join(", ")
}

fn wait(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(after) => format!("; it says to come back in {} seconds", after.as_secs()),
        None => String::new(),
    }
}

impl RegistryError {
    /// What the registry itself said, where mirrors were tried before it.
    pub fn root(&self) -> &Self {
        match self {
            Self::EverywhereFailed { source, .. } => source.root(),
            other => other,
        }
    }

    /// Whether the same request may well succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Truncated { .. } | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whether another host could do better.
    pub(super) fn is_of_the_host(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Read { .. } | Self::Cancelled | Self::Credentials(_))
    }
}
