//! Images: what a reference means, asked of kiln's own store first and of registries then.

use std::path::Path;
use std::sync::Arc;

use kiln_core::graph::ImageSource;
use kiln_core::seams::{HostError, ImageInfo, ImageRequest};
use kiln_core::{BlobDigest, Diagnostic, ImageConfig, ImageRef, LayerId, Platform, Stack, Target};
use kiln_oci::document::MAX_DOCUMENT_BYTES;
use kiln_oci::{Descriptor, ImageDocument, Index, LayoutReader, Manifest, media_type};

use crate::error::BuildError;
use crate::forms::{Origin, lock, one_line};
use crate::policy::{NotUsed, first_message};
use crate::registries::FetchError;
use crate::session::Session;

/// References that were pulled are kept under this, apart from the names people give.
pub(crate) const PULLED: &str = "pulled ";

/// An image whose bytes are fixed: all that later passes need of it.
#[derive(Clone, Debug)]
pub(crate) struct PinnedImage {
    pub(crate) reference: ImageRef,
    pub(crate) digest: BlobDigest,
    pub(crate) index: Option<BlobDigest>,
    pub(crate) manifest: Manifest,
    pub(crate) document: ImageDocument,
}

impl PinnedImage {
    /// Layers are named by their diff IDs.
    pub(crate) fn stack(&self) -> Stack {
        Stack(self.document.diff_ids.iter().map(|diff_id| LayerId(diff_id.0)).collect())
    }

    pub(crate) fn platform(&self) -> &Platform {
        &self.document.platform
    }

    pub(crate) fn config(&self) -> &ImageConfig {
        &self.document.config
    }

    /// For plugins.
    pub(crate) fn info(&self) -> ImageInfo {
        let mut reference = self.reference.clone();
        reference.digest = Some(self.index.unwrap_or(self.digest).0);
        ImageInfo {
            reference: reference.to_string(),
            manifest: self.digest,
            index: self.index,
            platform: self.platform().clone(),
            config: self.config().clone(),
            layers: u32::try_from(self.manifest.layers.len()).unwrap_or(u32::MAX),
            compressed_size: self.manifest.layers.iter().map(|layer| layer.size).sum(),
            created: self.document.created.and_then(|time| u64::try_from(time.seconds).ok()),
            annotations: self.manifest.annotations.clone().into_iter().collect(),
        }
    }
}

impl Session<'_> {
    /// What an image reference means and policies let it mean, for a plugin that plans.
    pub(crate) fn pin_image(&self, request: &ImageRequest) -> Result<Arc<PinnedImage>, HostError> {
        match self.judged_image(request, &[]) {
            Ok(judged) => Ok(judged.image.clone()),
            Err(NotUsed::NotFound(error)) => Err(error),
            Err(NotUsed::Failed(error)) => Err(error.into_host()),
            Err(NotUsed::Denied(denied)) => {
                let message = first_message(&denied);
                self.keep_denied(&message, &denied);
                Err(HostError::new("other", message))
            }
        }
    }

    /// What an image reference means, once per build. Nobody is asked whether it may be used.
    pub(crate) fn find_pinned(&self, request: &ImageRequest) -> Result<Arc<PinnedImage>, HostError> {
        let mut reference = ImageRef::parse(&request.source.reference)
            .map_err(|error| HostError::new("invalid-argument", error.to_string()))?
            .or_latest();
        if let Some(pinned) = request.source.pinned {
            if let Some(image) = lock(&self.manifests).get(&pinned) {
                return Ok(image.clone());
            }
            reference.digest = Some(pinned.0);
        }
        let key = (reference.to_string(), request.platform.clone());
        if let Some(image) = lock(&self.images).get(&key) {
            return Ok(image.clone());
        }
        let image = Arc::new(self.find_image(&reference, request.platform.as_ref())?);
        for (layer, blob) in image.stack().0.iter().zip(&image.manifest.layers) {
            self.forms.add_origin(*layer, Origin { image: image.reference.clone(), blob: blob.clone() });
        }
        lock(&self.manifests).insert(image.digest, image.clone());
        lock(&self.images).insert(key, image.clone());
        Ok(image)
    }

    fn find_image(
        &self,
        reference: &ImageRef,
        platform: Option<&Platform>,
    ) -> Result<PinnedImage, HostError> {
        let top = self.top_document(reference)?;
        let (index, digest) = match media_type::is_index(&top.media_type) {
            false => (None, top.digest),
            true => {
                let index = Index::parse(&top.bytes, Some(&top.media_type)).map_err(|error| {
                    HostError::new("other", format!("the index of `{reference}`: {error}"))
                })?;
                (Some(top.digest), choose(&index, reference, platform)?.digest)
            }
        };
        let at = |digest: BlobDigest| ImageRef { digest: Some(digest.0), ..reference.clone() };
        let bytes = match index {
            None => top.bytes,
            Some(_) => self.manifest_bytes(&at(digest), digest)?,
        };
        let manifest = Manifest::parse(&bytes, None)
            .map_err(|error| HostError::new("other", format!("the manifest of `{reference}`: {error}")))?;
        let config = self.blob_bytes(&at(digest), &manifest.config)?;
        let document = ImageDocument::parse(&config).map_err(|error| {
            HostError::new("other", format!("the configuration of `{reference}`: {error}"))
        })?;
        if let Some(why) = unusable(&document.config) {
            return Err(HostError::new(
                "other",
                format!("the configuration of `{reference}` cannot be used: {why}"),
            ));
        }
        if document.diff_ids.len() != manifest.layers.len() {
            return Err(HostError::new(
                "other",
                format!(
                    "`{reference}` is damaged: its manifest has {} layers, its configuration {}",
                    manifest.layers.len(),
                    document.diff_ids.len()
                ),
            ));
        }
        if let Some(wanted) = platform
            && index.is_some()
            && !document.platform.serves(wanted)
        {
            return Err(HostError::new(
                "no-platform",
                format!(
                    "`{reference}` lists an image for {wanted} which says it is for {}",
                    document.platform
                ),
            ));
        }
        Ok(PinnedImage { reference: reference.clone(), digest, index, manifest, document })
    }

    /// The image on which a target was made, if it was made on one.
    pub(crate) fn base_of(&self, target: &Target) -> Option<Arc<PinnedImage>> {
        let digest = BlobDigest(target.base_digest.parse().ok()?);
        let manifests = lock(&self.manifests);
        let of_index = || {
            manifests
                .values()
                .find(|image| image.index == Some(digest) && image.platform().serves(&target.platform))
        };
        manifests.get(&digest).or_else(of_index).cloned()
    }

    /// The image that the context called `name` is, if it is one.
    pub(crate) fn context_as_image(
        &self,
        name: &str,
        platform: &Platform,
    ) -> Result<Option<Arc<PinnedImage>>, BuildError> {
        let Some((_, value)) = self.named_context(name, platform).filter(|_| !name.is_empty()) else {
            return Ok(None);
        };
        if value == "docker-image://scratch" {
            return Ok(None);
        }
        let help = format!("it was given as `--build-context {name}={value}`");
        self.context_image(&value, platform).transpose().map_err(|error| {
            if self.is_denial(&error.message) {
                let told = vec![Diagnostic::error("context-unavailable", error.message)];
                return BuildError::Wrong(self.with_denied(told));
            }
            BuildError::plain(format!("could not use the build context `{name}`: {}", error.message), help)
        })
    }

    /// The image that a named context is, if it is one: `docker-image://REF` or `oci-layout://DIR[:TAG|@DIGEST]`.
    pub(crate) fn context_image(
        &self,
        value: &str,
        platform: &Platform,
    ) -> Option<Result<Arc<PinnedImage>, HostError>> {
        if let Some(reference) = value.strip_prefix("docker-image://") {
            let source = ImageSource { reference: reference.to_owned(), pinned: None };
            return Some(self.pin_image(&ImageRequest { source, platform: Some(platform.clone()) }));
        }
        let place = value.strip_prefix("oci-layout://")?;
        let (path, wanted) = match place.split_once('@') {
            Some((path, digest)) => (path, Some(digest)),
            None => match place.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
                _ => (place, None),
            },
        };
        Some(self.layout_image(path, wanted, platform).map_err(BuildError::into_host))
    }

    /// An image of a layout directory, brought into the store.
    fn layout_image(
        &self,
        path: &str,
        wanted: Option<&str>,
        platform: &Platform,
    ) -> Result<Arc<PinnedImage>, BuildError> {
        let failed = |error| BuildError::world(format!("could not read the layout `{path}`"), error);
        let layout =
            LayoutReader::open(Path::new(path), &self.driver.store.root().join("tmp")).map_err(failed)?;
        let top = layout.find(wanted).map_err(failed)?.digest;
        self.driver.load_document(&layout, &layout.find(wanted).map_err(failed)?.clone(), self.cancel)?;
        let reference = ImageRef {
            domain: "localhost".to_owned(),
            path: "layout".to_owned(),
            tag: None,
            digest: Some(top.0),
        };
        let source = ImageSource { reference: reference.to_string(), pinned: None };
        let request = ImageRequest { source, platform: Some(platform.clone()) };
        self.pin_image(&request).map_err(BuildError::Host)
    }

    /// The manifest or index that a reference names.
    fn top_document(&self, reference: &ImageRef) -> Result<Document, HostError> {
        let store = &self.driver.store;
        let local = match reference.digest {
            Some(digest) => store.has_blob(&BlobDigest(digest)).then_some(BlobDigest(digest)),
            None if self.request.pull => None,
            None => {
                let name = reference.to_string();
                let look = |name: &str| store.image(name).ok().flatten();
                look(&name).or_else(|| look(&format!("{PULLED}{name}")))
            }
        };
        if let Some(digest) = local
            && let Ok(Some(bytes)) = store.read_blob(&digest, MAX_DOCUMENT_BYTES)
            && let Ok(media_type) = kiln_oci::document::media_type_of(&bytes, None)
        {
            return Ok(Document { digest, media_type, bytes });
        }
        let found = self.forms.task(&format!("resolving {}", reference.familiar()), |_| {
            self.driver.registries.resolve(reference).map_err(|error| BuildError::Host(self.refusal(error)))
        });
        let found = found.map_err(BuildError::into_host)?;
        let kept = store.put_blob(&found.bytes).map_err(|error| self.store_fault(&error))?;
        if reference.digest.is_none() {
            store
                .set_image(&format!("{PULLED}{reference}"), &kept)
                .map_err(|error| self.store_fault(&error))?;
        }
        Ok(Document { digest: kept, media_type: found.media_type, bytes: found.bytes })
    }

    fn manifest_bytes(&self, reference: &ImageRef, digest: BlobDigest) -> Result<Vec<u8>, HostError> {
        if let Ok(Some(bytes)) = self.driver.store.read_blob(&digest, MAX_DOCUMENT_BYTES) {
            return Ok(bytes);
        }
        let found = self.driver.registries.resolve(reference).map_err(|error| self.refusal(error))?;
        self.driver.store.put_blob(&found.bytes).map_err(|error| self.store_fault(&error))?;
        Ok(found.bytes)
    }

    fn blob_bytes(&self, reference: &ImageRef, blob: &Descriptor) -> Result<Vec<u8>, HostError> {
        if let Ok(Some(bytes)) = self.driver.store.read_blob(&blob.digest, MAX_DOCUMENT_BYTES) {
            return Ok(bytes);
        }
        if blob.size > MAX_DOCUMENT_BYTES {
            return Err(HostError::new(
                "limit",
                format!("the configuration of `{reference}` has {} bytes", blob.size),
            ));
        }
        let mut bytes = Vec::new();
        self.driver
            .registries
            .fetch(reference, blob, &mut bytes, &mut |_| {})
            .map_err(|error| self.refusal(error))?;
        self.driver.store.put_blob(&bytes).map_err(|error| self.store_fault(&error))?;
        Ok(bytes)
    }

    /// What a plugin is told when the store cannot be written to; not the fault of the build file either.
    fn store_fault(&self, error: &(dyn std::error::Error + 'static)) -> HostError {
        self.note_refusal();
        HostError::new("other", one_line(error))
    }

    /// What a plugin is told of a registry's refusal.
    fn refusal(&self, error: FetchError) -> HostError {
        let code = error.code();
        if matches!(code, "unavailable" | "unauthorized") {
            self.note_refusal();
        }
        HostError::new(code, one_line(&error))
    }
}

struct Document {
    digest: BlobDigest,
    media_type: String,
    bytes: Vec<u8>,
}

/// The entry of an index for a platform; without one, for this machine, or the only one there is.
fn choose<'i>(
    index: &'i Index,
    reference: &ImageRef,
    platform: Option<&Platform>,
) -> Result<&'i Descriptor, HostError> {
    let host = Platform::host();
    if let Some(found) = index.select(platform.unwrap_or(&host)) {
        return Ok(found);
    }
    let images: Vec<&Descriptor> = index.images().collect();
    match (platform, &images[..]) {
        (None, [only]) => Ok(only),
        _ => Err(HostError::new(
            "no-platform",
            format!(
                "`{}` has no image for {}; it has {}",
                reference.familiar(),
                platform.unwrap_or(&host),
                index.platforms().join(", ")
            ),
        )),
    }
}
/// Why a step could not be given what a configuration says.
fn unusable(config: &ImageConfig) -> Option<&'static str> {
    let nul = |text: &String| text.contains('\0');
    let words = [&config.entrypoint, &config.cmd].into_iter().flatten().flatten().chain(&config.shell);
    if config.env.iter().any(|(name, _)| name.is_empty()) {
        return Some("`Env` has a variable without a name");
    }
    if config.env.iter().any(|(name, value)| nul(name) || nul(value)) {
        return Some("`Env` has a variable with a NUL in it");
    }
    if words.chain([&config.user, &config.working_dir]).any(nul) {
        return Some("a command, user or directory has a NUL in it");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_no_step_could_have_is_refused() {
        let good = ImageConfig { env: vec![("A".into(), String::new())], ..ImageConfig::default() };
        assert_eq!(unusable(&good), None);
        for (name, value) in [("", "x"), ("A", "x\0y"), ("A\0", "x")] {
            let config = ImageConfig { env: vec![(name.into(), value.into())], ..ImageConfig::default() };
            assert!(unusable(&config).is_some_and(|why| why.contains("`Env`")), "{name:?}");
        }
        let config = ImageConfig { cmd: Some(vec!["a\0".into()]), ..ImageConfig::default() };
        assert!(unusable(&config).is_some());
    }
}
