//! Sends plugins to registries, and signs them there.

use std::path::Path;

use kiln_core::tree::Time;
use kiln_core::{BlobDigest, ImageRef};
use kiln_oci::Annotations;
use kiln_oci::artifact::{MAX_WASM_BYTES, NewArtifact, SigningKey};
use kiln_oci::registry::SignError;
use kiln_plugin::PluginSummary;

use super::{refused, shown, wrong};
use crate::Driver;
use crate::error::BuildError;
use crate::registries::FetchError;

/// What was sent.
#[derive(Clone, Debug)]
pub struct PublishedPlugin {
    pub reference: ImageRef,
    pub manifest: BlobDigest,
    /// Of the component.
    pub wasm: BlobDigest,
    pub summary: PluginSummary,
}

impl Driver {
    /// Sends the plugin in `file` and gives it the name `to`. `seconds` since 1970 are said to be when it was made: with
    /// the same number the same file has the same digest.
    ///
    /// # Errors
    ///
    /// When the file is no plugin, so that nobody could use it, or the registry does not take it.
    pub fn push_plugin(
        &self,
        file: &Path,
        to: &ImageRef,
        seconds: i64,
    ) -> Result<PublishedPlugin, BuildError> {
        if to.digest.is_some() {
            return Err(wrong("plugin", format!("`{}` has a digest; a tag is what a push sets", shown(to))));
        }
        let place = file.display().to_string();
        let unreadable = |error| BuildError::world(format!("could not read `{place}`"), error);
        let size = std::fs::metadata(file).map_err(unreadable)?.len();
        if size > MAX_WASM_BYTES {
            return Err(wrong(
                "plugin",
                format!(
                    "the plugin `{place}` has {size} bytes, more than the {MAX_WASM_BYTES} that it may have"
                ),
            ));
        }
        let wasm = std::fs::read(file).map_err(unreadable)?;
        let summary = self.host().inspect_bytes(&place, &wasm);
        let summary = summary.map_err(|error| refused(&place, error))?;
        let documents = NewArtifact {
            wasm: &wasm,
            file_name: &format!("{}.wasm", summary.name),
            created: Time { seconds, nanoseconds: 0 },
            imports: &summary.imports,
            exports: &summary.exports,
            annotations: annotations(&summary),
        }
        .documents();
        let manifest = &documents.manifest;
        let send = || {
            let registry = self.registries.client()?;
            registry.push_bytes(to, &manifest.config, &documents.config)?;
            registry.push_bytes(to, &manifest.layers[0], &wasm)?;
            Ok(registry.push_manifest(to, &manifest.media_type, &manifest.to_json())?)
        };
        let digest = send().map_err(|error: FetchError| not_done("pushed to", to, error))?;
        let wasm = manifest.layers[0].digest;
        Ok(PublishedPlugin { reference: to.clone(), manifest: digest, wasm, summary })
    }

    /// Signs what `reference` stands for with the private key in `key`. Returns the manifest that is signed, and the name
    /// under which the signature is found.
    ///
    /// # Errors
    ///
    /// When the key cannot be used, `reference` is no plugin, or the registry does not take the signature.
    pub fn sign_plugin(
        &self,
        reference: &ImageRef,
        key: &Path,
    ) -> Result<(BlobDigest, ImageRef), BuildError> {
        let what = || format!("the key `{}` cannot be used", key.display());
        let text = std::fs::read(key).map_err(|error| BuildError::world(what(), error))?;
        let signer = SigningKey::parse(&text).map_err(|error| BuildError::world(what(), error))?;
        // Only what is a plugin now: to sign what one has not seen is no use.
        let artifact = self.look_up_plugin(reference)?;
        let signed = self.registries.client()?.sign(reference, artifact.manifest, &signer);
        let name = signed.map_err(|error| match error {
            SignError::Key(error) => BuildError::world(what(), error),
            SignError::Registry(error) => not_done("signed in", reference, error.into()),
        })?;
        Ok((artifact.manifest, name))
    }
}

fn not_done(verb: &str, reference: &ImageRef, error: FetchError) -> BuildError {
    match BuildError::from(error) {
        BuildError::World { source: Some(source), help, .. } => BuildError::World {
            what: format!("the plugin could not be {verb} `{}`", shown(reference)),
            source: Some(source),
            help,
        },
        other => other,
    }
}

/// What registries show about the plugin (image-spec 1.1, annotations.md).
fn annotations(summary: &PluginSummary) -> Annotations {
    let said = [
        ("title", &summary.name),
        ("version", &summary.version),
        ("description", &summary.summary),
        ("licenses", &summary.license),
        ("url", &summary.homepage),
    ];
    let named = |(key, value): (&str, &String)| (format!("org.opencontainers.image.{key}"), value.clone());
    said.into_iter().filter(|(_, value)| !value.is_empty()).map(named).collect()
}
