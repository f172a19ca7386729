//! Plugins in registries: finds out what a name stands for, brings the component into the store, and lists what is there.
//!
//! Nothing is believed for its name: a component counts by its digest, and that of the manifest that names it. What the
//! store has is not fetched again; a tag, which may mean something else tomorrow, is asked for unless the lock file says
//! what it meant.

mod kept;
mod lockfile;
mod publish;
mod trust;
mod update;

use std::io::Write;
use std::path::PathBuf;

use kiln_core::{BlobDigest, Diagnostic, Digest, ImageRef};
use kiln_oci::artifact::{ArtifactError, MAX_WASM_BYTES, WasmManifest};
use kiln_oci::document::MAX_DOCUMENT_BYTES;
use kiln_oci::registry::RegistryError;
use kiln_oci::{Annotations, Descriptor};
use kiln_plugin::{LoadError, PluginSummary};
use kiln_store::{BlobError, FsError};

use crate::Driver;
use crate::error::BuildError;
use crate::forms::{lock, one_line};
use crate::registries::FetchError;

pub(crate) use kept::is_plugin_name;
pub use kept::{InspectedPlugin, PulledPlugin};
pub use lockfile::LockUse;
use lockfile::{LockEntry, LockFile};
pub use publish::PublishedPlugin;
pub use trust::Trust;
pub use update::UpdatedPlugin;

/// Before a reference that means a plugin in a registry.
pub const SCHEME: &str = "oci://";

/// Hears the name of a plugin that is about to be fetched, and how many bytes it has.
pub type Fetching = dyn Fn(&str, u64) + Send + Sync;

/// A plugin of a registry whose bytes are fixed, and in the store.
#[derive(Clone, Debug)]
pub(crate) struct Artifact {
    /// As it was asked for.
    pub(crate) reference: ImageRef,
    /// What the store is to keep it as.
    name: ImageRef,
    pub(crate) manifest: BlobDigest,
    /// The manifest itself.
    pub(crate) bytes: Vec<u8>,
    pub(crate) component: Descriptor,
    pub(crate) annotations: Annotations,
}

impl Artifact {
    /// As messages name it.
    pub(crate) fn shown(&self) -> String {
        shown(&self.reference)
    }

    /// Whether a digest that the person gave is the manifest's or the component's.
    fn has(&self, digest: Digest) -> bool {
        self.manifest.0 == digest || self.component.digest.0 == digest
    }
}

/// A plugin of a registry that a build could have.
pub(crate) struct FoundPlugin {
    pub(crate) artifact: Artifact,
    /// Where it is to be remembered under its name.
    lock_file: Option<PathBuf>,
}

/// Why a plugin of a registry could not be had.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Kind(#[from] ArtifactError),
    #[error("could not keep it in the store")]
    Store(#[from] FsError),
    #[error("could not keep it in the store")]
    Blob(#[from] BlobError),
}

impl PullError {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Fetch(FetchError::Registry(error)) if matches!(error.root(), RegistryError::NotFound { .. }))
    }

    /// For the person who asked for `reference`.
    fn about(self, reference: &ImageRef) -> BuildError {
        let what = format!("the plugin `{}` could not be had", shown(reference));
        match self {
            Self::Fetch(FetchError::Registry(RegistryError::Cancelled)) => BuildError::Cancelled,
            error if error.is_not_found() => wrong("plugin", format!("{what}: {}", one_line(&error))),
            Self::Kind(error) => wrong(
                "plugin",
                format!("`{}` cannot be used as a plugin: {}", shown(reference), one_line(&error)),
            ),
            error => BuildError::world(what, error),
        }
    }
}

/// A text that names a plugin in a registry: `registry/repository[:tag][@digest]`, with or without `oci://`.
///
/// # Errors
///
/// When it is no such name.
pub fn plugin_reference(text: &str) -> Result<ImageRef, BuildError> {
    let reference = ImageRef::parse(text.strip_prefix(SCHEME).unwrap_or(text));
    let reference = reference.map_err(|error| wrong("plugin", format!("the plugin `{text}`: {error}")))?;
    Ok(reference.or_latest())
}

pub(crate) fn shown(reference: &ImageRef) -> String {
    format!("{SCHEME}{}", reference.familiar())
}

fn wrong(code: &str, message: impl Into<String>) -> BuildError {
    BuildError::wrong(Diagnostic::error(code, message))
}

impl Driver {
    /// From now on tags of plugins mean what this lock file says.
    pub fn use_lock(&self, lock_use: LockUse) {
        *lock(&self.lock_use) = lock_use;
    }

    /// Whether the lock file says what this name stands for.
    ///
    /// # Errors
    ///
    /// When there is a lock file that cannot be read.
    pub(crate) fn is_locked(&self, reference: &ImageRef) -> Result<bool, BuildError> {
        let path = lock(&self.lock_use).path.clone();
        match path {
            Some(path) => Ok(LockFile::read(&path)?.get(reference).is_some()),
            None => Ok(false),
        }
    }

    /// What a build is to have under the name `text`: fetched, and neither named nor remembered yet. `digest`, if the
    /// person gave one, is that of the manifest or of the component.
    ///
    /// # Errors
    ///
    /// When it cannot be had, is no component, is another than the digest or the lock file says, or is not in a lock
    /// file that may not change.
    pub(crate) fn find_plugin(&self, text: &str, digest: Option<Digest>) -> Result<FoundPlugin, BuildError> {
        let reference = plugin_reference(text)?;
        let artifact = match (reference.digest, digest) {
            (None, None) => return self.tagged_plugin(&reference),
            (Some(manifest), None) => self.plugin_at(&reference, BlobDigest(manifest))?,
            (Some(manifest), Some(digest)) => {
                let artifact = self.plugin_at(&reference, BlobDigest(manifest))?;
                has(artifact, digest)?
            }
            (None, Some(digest)) => self.plugin_with(&reference, digest)?,
        };
        Ok(FoundPlugin { artifact, lock_file: None })
    }

    /// The component of a plugin that may be used, which is kept and remembered from here on.
    ///
    /// # Errors
    ///
    /// When it is not signed although it has to be, or is no plugin.
    pub(crate) fn take_plugin(&self, found: &FoundPlugin) -> Result<Vec<u8>, BuildError> {
        let FoundPlugin { artifact, lock_file } = found;
        self.check_trust(artifact)?;
        // Before it is remembered: what nobody may use, or can, is not what the name is to mean.
        if let Some(path) = lock_file {
            let entry = LockEntry::of(artifact, &self.summary_of(artifact)?);
            LockFile::change(path, |file| file.put(&artifact.reference, entry))?;
        }
        self.keep(artifact)?;
        self.component_of(artifact)
    }

    /// Keeps a plugin that may be used.
    ///
    /// # Errors
    ///
    /// When it is not signed although it has to be.
    fn admit(&self, artifact: &Artifact) -> Result<(), BuildError> {
        self.check_trust(artifact)?;
        self.keep(artifact)
    }

    fn keep(&self, artifact: &Artifact) -> Result<(), BuildError> {
        self.keep_plugin(artifact).map_err(|error| BuildError::world("could not write to the store", error))
    }

    /// What a tag stands for: what the lock file says, or the registry.
    fn tagged_plugin(&self, reference: &ImageRef) -> Result<FoundPlugin, BuildError> {
        let LockUse { path, locked } = lock(&self.lock_use).clone();
        let Some(path) = path else {
            if locked {
                return Err(lockfile::nowhere(reference));
            }
            return Ok(FoundPlugin { artifact: self.asked_plugin(reference)?, lock_file: None });
        };
        if let Some(entry) = LockFile::read(&path)?.get(reference) {
            let artifact = self.plugin_at(reference, entry.manifest)?;
            if artifact.component.digest != entry.wasm {
                return Err(lockfile::contradicts(&path, &artifact, entry));
            }
            return Ok(FoundPlugin { artifact, lock_file: None });
        }
        if locked {
            return Err(lockfile::missing(&path, reference));
        }
        Ok(FoundPlugin { artifact: self.asked_plugin(reference)?, lock_file: Some(path) })
    }

    /// A plugin that a digest beside its name tells apart.
    fn plugin_with(&self, reference: &ImageRef, digest: Digest) -> Result<Artifact, BuildError> {
        for manifest in self.manifests_kept()? {
            let artifact = self.stored_artifact(reference, manifest);
            if let Ok(Some(artifact)) = artifact
                && artifact.has(digest)
            {
                return self.plugin_at(reference, manifest);
            }
        }
        match self.pull_at(reference, BlobDigest(digest)) {
            // The component's, then.
            Err(error) if error.is_not_found() => has(self.asked_plugin(reference)?, digest),
            found => found.map_err(|error| error.about(reference)),
        }
    }

    /// The plugin of which the manifest is known.
    pub(crate) fn plugin_at(
        &self,
        reference: &ImageRef,
        manifest: BlobDigest,
    ) -> Result<Artifact, BuildError> {
        self.pull_at(reference, manifest).map_err(|error| error.about(reference))
    }

    fn pull_at(&self, reference: &ImageRef, manifest: BlobDigest) -> Result<Artifact, PullError> {
        let pinned = ImageRef { digest: Some(manifest.0), ..reference.clone() };
        let mut artifact = match self.stored_artifact(reference, manifest)? {
            Some(artifact) => artifact,
            None => {
                let found = self.registries.resolve(&pinned)?;
                let read = WasmManifest::parse(&found.bytes, Some(&found.media_type))?;
                self.store.put_blob(&found.bytes)?;
                artifact(reference, manifest, found.bytes, read)
            }
        };
        artifact.name = pinned;
        self.fetch_component(&artifact)?;
        Ok(artifact)
    }

    /// What a tag stands for in the registry, now.
    pub(crate) fn asked_plugin(&self, reference: &ImageRef) -> Result<Artifact, BuildError> {
        let asked = || {
            let found = self.registries.resolve(reference)?;
            let read = WasmManifest::parse(&found.bytes, Some(&found.media_type))?;
            self.store.put_blob(&found.bytes)?;
            let artifact = artifact(reference, found.digest, found.bytes, read);
            self.fetch_component(&artifact)?;
            Ok(artifact)
        };
        asked().map_err(|error: PullError| {
            let was = self.kept_as(reference);
            let mut error = error.about(reference);
            if let (BuildError::World { help, .. }, Some(was)) = (&mut error, was) {
                *help = format!(
                    "`{}` was {was} when it was pulled last; `{SCHEME}{}@{was}` means that one, and nobody is asked",
                    shown(reference),
                    ImageRef { tag: None, ..reference.clone() }.familiar(),
                );
            }
            error
        })
    }

    /// What the store has of a manifest.
    fn stored_artifact(
        &self,
        reference: &ImageRef,
        manifest: BlobDigest,
    ) -> Result<Option<Artifact>, PullError> {
        let Some(bytes) = self.store.read_blob(&manifest, MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        let read = WasmManifest::parse(&bytes, None)?;
        Ok(Some(artifact(reference, manifest, bytes, read)))
    }

    fn fetch_component(&self, artifact: &Artifact) -> Result<(), PullError> {
        let blob = &artifact.component;
        if self.store.open_blob(&blob.digest)?.is_some() {
            return Ok(());
        }
        if let Some(hear) = &*lock(&self.fetching) {
            hear(&artifact.shown(), blob.size);
        }
        let mut writer = self.store.blob_writer()?;
        self.registries.fetch(&artifact.reference, blob, &mut writer, &mut |_| {})?;
        writer.flush().map_err(|source| RegistryError::Write { source }).map_err(FetchError::from)?;
        writer.commit(Some(blob.digest))?;
        Ok(())
    }

    /// The bytes of a component that is in the store.
    pub(crate) fn component_of(&self, artifact: &Artifact) -> Result<Vec<u8>, BuildError> {
        let read = self.store.read_blob(&artifact.component.digest, MAX_WASM_BYTES);
        read.map_err(|error| BuildError::world("could not read the store", error))?.ok_or_else(|| {
            BuildError::plain(
                format!("the component of `{}` is gone from the store", artifact.shown()),
                "build again; perhaps the store was pruned at this moment",
            )
        })
    }

    /// What the component says about itself, with nothing granted to it.
    ///
    /// # Errors
    ///
    /// When it is no plugin.
    pub(crate) fn summary_of(&self, artifact: &Artifact) -> Result<PluginSummary, BuildError> {
        let wasm = self.component_of(artifact)?;
        self.host().inspect_bytes(&artifact.shown(), &wasm).map_err(|error| refused(&artifact.shown(), error))
    }
}

fn artifact(reference: &ImageRef, manifest: BlobDigest, bytes: Vec<u8>, read: WasmManifest) -> Artifact {
    Artifact {
        reference: reference.clone(),
        name: reference.clone(),
        manifest,
        bytes,
        component: read.component,
        annotations: read.annotations,
    }
}

/// Bytes that are no plugin, and one that does not work.
fn refused(place: &str, error: LoadError) -> BuildError {
    let what = format!("the plugin `{place}` cannot be used");
    match error {
        LoadError::Failed(error) => BuildError::world(what, error),
        LoadError::Refused { plugin, refusal } => wrong(
            "plugin",
            format!("the plugin `{place}` ({}) cannot be used: {}", plugin.digest, one_line(&refusal)),
        ),
        error => wrong("plugin", format!("{what}: {}", one_line(&error))),
    }
}

/// Refuses another artifact than the one of which the person gave the digest.
fn has(artifact: Artifact, digest: Digest) -> Result<Artifact, BuildError> {
    match artifact.has(digest) {
        true => Ok(artifact),
        false => Err(wrong(
            "plugin",
            format!(
                "the plugin `{}` has the manifest {} and the component {}, and {digest} was asked for",
                artifact.shown(),
                artifact.manifest,
                artifact.component.digest
            ),
        )),
    }
}
