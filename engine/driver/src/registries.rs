//! Registries, opened only when one is needed: a build that finds everything in the store starts no TLS.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use kiln_core::{Cancel, ImageRef};
use kiln_oci::Descriptor;
use kiln_oci::registry::{
    Credentials, CredentialsError, HostConfig, Patience, Registry, RegistryConfig, RegistryError,
    ResolvedManifest,
};

use crate::error::BuildError;

pub(crate) struct Registries {
    hosts: BTreeMap<String, HostConfig>,
    cancel: Arc<Cancel>,
    open: OnceLock<Registry>,
}

/// Why something could not be had from a registry.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl FetchError {
    /// The word that plugins are given for it (wit/types.wit).
    pub(crate) fn code(&self) -> &'static str {
        let Self::Registry(error) = self else { return "unauthorized" };
        match error.root() {
            RegistryError::NotFound { .. } => "not-found",
            RegistryError::Anonymous { .. } | RegistryError::Denied { .. } => "unauthorized",
            RegistryError::NoPlatform { .. } => "no-platform",
            RegistryError::Cancelled => "cancelled",
            _ => "unavailable",
        }
    }
}

impl From<FetchError> for BuildError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Registry(RegistryError::Cancelled) => Self::Cancelled,
            FetchError::Registry(RegistryError::Write { source }) => {
                Self::world("could not keep what came from the registry", source)
            }
            error => Self::world("the registry did not do what was asked", error),
        }
    }
}

impl Registries {
    pub(crate) fn new(hosts: BTreeMap<String, HostConfig>, cancel: Arc<Cancel>) -> Self {
        Self { hosts, cancel, open: OnceLock::new() }
    }

    pub(crate) fn client(&self) -> Result<&Registry, FetchError> {
        if let Some(registry) = self.open.get() {
            return Ok(registry);
        }
        let config = RegistryConfig { hosts: self.hosts.clone(), patience: Patience::default() };
        let credentials = Credentials::from_environment()?;
        Ok(self.open.get_or_init(|| Registry::new(config, credentials, self.cancel.clone())))
    }

    /// The manifest or index that `reference` names, with its bytes.
    pub(crate) fn resolve(&self, reference: &ImageRef) -> Result<ResolvedManifest, FetchError> {
        Ok(self.client()?.resolve(reference)?)
    }

    /// Writes a blob of an image to `to`; `progress` hears how many bytes there are so far.
    pub(crate) fn fetch(
        &self,
        image: &ImageRef,
        blob: &Descriptor,
        to: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FetchError> {
        Ok(self.client()?.blob(image, blob, to, progress)?)
    }
}
