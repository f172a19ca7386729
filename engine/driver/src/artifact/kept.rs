//! The plugins of registries that the store keeps, by the names under which they were pulled.

use std::collections::BTreeMap;

use kiln_core::{BlobDigest, Diagnostic, ImageRef};
use kiln_plugin::PluginSummary;
use kiln_store::FsError;

use super::{Artifact, plugin_reference, wrong};
use crate::Driver;
use crate::error::BuildError;

/// References to pulled plugins are kept under this, apart from those of images.
const PLUGIN: &str = "plugin ";
/// That a key signed a manifest: this, the key's name in hex, and the manifest's digest.
const SIGNED: &str = "plugin-signed ";

/// Whether a reference of the store is of a plugin and not of an image.
pub(crate) fn is_plugin_name(reference: &str) -> bool {
    reference.starts_with(PLUGIN) || reference.starts_with(SIGNED)
}

/// A plugin of a registry, in the store.
#[derive(Clone, Debug)]
pub struct PulledPlugin {
    /// The names under which it was pulled, sorted.
    pub names: Vec<String>,
    pub manifest: BlobDigest,
    /// Of the component.
    pub wasm: BlobDigest,
    pub size_bytes: u64,
    /// What is written about it in the registry.
    pub title: String,
    pub version: String,
    /// What it says about itself; absent for what this kiln cannot use.
    pub summary: Option<PluginSummary>,
}

/// A plugin of a registry that somebody looks at before using it.
#[derive(Clone, Debug)]
pub struct InspectedPlugin {
    /// `oci://…`
    pub reference: String,
    pub manifest: BlobDigest,
    pub summary: PluginSummary,
    /// Why the configuration does not let it be used, if so.
    pub refusal: Option<Diagnostic>,
}

/// Fewer digits of a digest would be mistaken for a name.
const SHORTEST_DIGEST: usize = 6;

impl Driver {
    /// Gives the artifact its name, unless it is known by its digest and has another one already.
    pub(super) fn keep_plugin(&self, artifact: &Artifact) -> Result<(), FsError> {
        let known = || Ok::<_, FsError>(self.store.images()?.into_iter());
        let is_named =
            |(name, digest): (String, BlobDigest)| digest == artifact.manifest && name.starts_with(PLUGIN);
        if artifact.name.is_pinned() && known()?.any(is_named) {
            return Ok(());
        }
        self.store.set_image(&format!("{PLUGIN}{}", artifact.name), &artifact.manifest)
    }

    /// What the name stood for when it was pulled last, if that is here.
    pub(super) fn kept_as(&self, reference: &ImageRef) -> Option<BlobDigest> {
        self.store.image(&format!("{PLUGIN}{reference}")).ok().flatten()
    }

    pub(super) fn manifests_kept(&self) -> Result<Vec<BlobDigest>, BuildError> {
        Ok(self.plugin_names()?.into_keys().collect())
    }

    pub(super) fn note_signed(&self, key: &str, manifest: BlobDigest) -> Result<(), FsError> {
        self.store.set_image(&format!("{SIGNED}{key} {manifest}"), &manifest)
    }

    pub(super) fn was_signed(&self, key: &str, manifest: BlobDigest) -> bool {
        matches!(self.store.image(&format!("{SIGNED}{key} {manifest}")), Ok(Some(_)))
    }

    /// Names of pulled plugins by manifest.
    fn plugin_names(&self) -> Result<BTreeMap<BlobDigest, Vec<String>>, BuildError> {
        let known =
            self.store.images().map_err(|error| BuildError::world("could not read the store", error))?;
        let mut names = BTreeMap::<BlobDigest, Vec<String>>::new();
        for (reference, manifest) in known {
            if let Some(name) = reference.strip_prefix(PLUGIN) {
                names.entry(manifest).or_default().push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// The plugins that were pulled, by name.
    pub fn pulled_plugins(&self) -> Result<Vec<PulledPlugin>, BuildError> {
        let mut all = Vec::new();
        for (manifest, names) in self.plugin_names()? {
            let reference = plugin_reference(&names[0])?;
            // Something that was collected under us is no reason to show nothing.
            let Ok(Some(artifact)) = self.stored_artifact(&reference, manifest) else { continue };
            all.push(self.pulled(&artifact, names));
        }
        all.sort_by(|a, b| a.names.cmp(&b.names));
        Ok(all)
    }

    fn pulled(&self, artifact: &Artifact, names: Vec<String>) -> PulledPlugin {
        let said = |key: &str| {
            let key = format!("org.opencontainers.image.{key}");
            artifact.annotations.get(&key).cloned().unwrap_or_default()
        };
        let short =
            |name: &String| plugin_reference(name).map_or_else(|_| name.clone(), |name| name.familiar());
        PulledPlugin {
            names: names.iter().map(short).collect(),
            manifest: artifact.manifest,
            wasm: artifact.component.digest,
            size_bytes: artifact.component.size,
            title: said("title"),
            version: said("version"),
            summary: self.summary_of(artifact).ok(),
        }
    }

    /// Fetches a plugin, asking the registry what a tag means now. Returns the component too.
    ///
    /// # Errors
    ///
    /// When it cannot be had, is no plugin, or is not signed as the configuration requires.
    pub fn pull_plugin(&self, reference: &ImageRef) -> Result<(PulledPlugin, Vec<u8>), BuildError> {
        let artifact = self.look_up_plugin(reference)?;
        self.check_trust(&artifact)?;
        let summary = self.summary_of(&artifact)?;
        self.admit(&artifact)?;
        let mut pulled = self.pulled(&artifact, vec![artifact.name.to_string()]);
        pulled.summary = Some(summary);
        Ok((pulled, self.component_of(&artifact)?))
    }

    /// What a plugin in a registry says about itself. Nothing is granted to it, and it is not kept.
    ///
    /// # Errors
    ///
    /// When it cannot be had or is no plugin.
    pub fn inspect_remote_plugin(&self, reference: &ImageRef) -> Result<InspectedPlugin, BuildError> {
        let artifact = self.look_up_plugin(reference)?;
        let signed = self.check_trust(&artifact);
        Ok(InspectedPlugin {
            reference: artifact.shown(),
            manifest: artifact.manifest,
            summary: self.summary_of(&artifact)?,
            refusal: match signed {
                Err(BuildError::Wrong(found)) => found.into_iter().next(),
                other => other.map(|()| None)?,
            },
        })
    }

    pub(super) fn look_up_plugin(&self, reference: &ImageRef) -> Result<Artifact, BuildError> {
        match reference.digest {
            Some(manifest) => self.plugin_at(reference, BlobDigest(manifest)),
            None => self.asked_plugin(reference),
        }
    }

    /// Takes the names of pulled plugins away: one name, or all of a digest or the beginning of one. The bytes go with
    /// the next prune. Returns the names in full.
    pub fn remove_pulled_plugins(&self, wanted: &[String]) -> Result<Vec<String>, BuildError> {
        let all = self.pulled_digests()?;
        let mut going = Vec::new();
        for text in wanted {
            let full = plugin_reference(text).map(|reference| reference.to_string()).unwrap_or_default();
            let beginning = text.strip_prefix("sha256:").unwrap_or(text);
            let is_digest =
                beginning.len() >= SHORTEST_DIGEST && beginning.bytes().all(|b| b.is_ascii_hexdigit());
            let digests: Vec<BlobDigest> = all
                .iter()
                .filter(|(_, manifest, wasm)| {
                    is_digest && [manifest, wasm].iter().any(|digest| digest.hex().starts_with(beginning))
                })
                .map(|(_, manifest, _)| *manifest)
                .collect();
            if digests.windows(2).any(|two| two[0] != two[1]) {
                return Err(wrong("ambiguous-plugin", format!("several plugins begin with `{text}`")));
            }
            let mine = |name: &str, manifest: &BlobDigest| name == full || digests.contains(manifest);
            let before = going.len();
            going
                .extend(all.iter().filter(|(name, manifest, _)| mine(name, manifest)).map(|(name, ..)| name));
            if going.len() == before {
                return Err(BuildError::wrong(
                    Diagnostic::error(
                        "no-such-plugin",
                        format!("the store has no plugin `{text}` from a registry"),
                    )
                    .help("`kiln plugin ls` lists those that there are"),
                ));
            }
        }
        going.sort();
        going.dedup();
        for name in &going {
            self.forget(&format!("{PLUGIN}{name}"))?;
        }
        let left = self.manifests_kept()?;
        for (_, manifest, _) in all.iter().filter(|(_, manifest, _)| !left.contains(manifest)) {
            self.forget_signatures(manifest)?;
        }
        Ok(going.into_iter().cloned().collect())
    }

    /// Names with the digests of manifest and component, sorted by manifest.
    fn pulled_digests(&self) -> Result<Vec<(String, BlobDigest, BlobDigest)>, BuildError> {
        let mut all = Vec::new();
        for (manifest, names) in self.plugin_names()? {
            let reference = plugin_reference(&names[0])?;
            let wasm = match self.stored_artifact(&reference, manifest) {
                Ok(Some(artifact)) => artifact.component.digest,
                _ => manifest,
            };
            all.extend(names.into_iter().map(|name| (name, manifest, wasm)));
        }
        Ok(all)
    }

    fn forget_signatures(&self, manifest: &BlobDigest) -> Result<(), BuildError> {
        let known =
            self.store.images().map_err(|error| BuildError::world("could not read the store", error))?;
        let marks = known.iter().filter(|(name, digest)| digest == manifest && name.starts_with(SIGNED));
        marks.into_iter().try_for_each(|(name, _)| self.forget(name))
    }

    fn forget(&self, name: &str) -> Result<(), BuildError> {
        let removed = self.store.remove_image(name);
        removed.map(drop).map_err(|error| BuildError::world(format!("could not remove `{name}`"), error))
    }
}
