//! What can be asked about and done with the images in the store.

mod listing;
mod moving;

pub use listing::{FileRow, HistoryRow, ImageRow};
pub use moving::{ImportRequest, SaveFormat};

use kiln_core::{BlobDigest, Cancel, Diagnostic, EventSink, ImageRef, LayerId, Platform, Stack};
use kiln_oci::{Descriptor, ImageDocument, Index, Manifest, media_type};
use kiln_store::BlobNote;

use crate::Driver;
use crate::artifact::is_plugin_name;
use crate::error::BuildError;
use crate::forms::{AS_PULLED, Forms, Origin, read_document};
use crate::policy::Move;
use crate::source::image::PULLED;

/// An image without a name is kept under this and its digest.
const UNNAMED: &str = "unnamed ";

pub(crate) fn unnamed(digest: &BlobDigest) -> String {
    format!("{UNNAMED}{digest}")
}

/// How a reference of the store is to be read.
enum Kept {
    Named(ImageRef),
    Pulled(ImageRef),
    Unnamed,
    /// Of a plugin, which is no image.
    Plugin,
}

fn kept(reference: &str) -> Kept {
    if is_plugin_name(reference) {
        return Kept::Plugin;
    }
    if let Some(name) = reference.strip_prefix(PULLED)
        && let Ok(name) = ImageRef::parse(name)
    {
        return Kept::Pulled(name);
    }
    match ImageRef::parse(reference) {
        Ok(name) if !reference.starts_with(UNNAMED) => Kept::Named(name),
        _ => Kept::Unnamed,
    }
}

/// An image of the store: one manifest, perhaps out of an index.
#[derive(Clone, Debug)]
pub(crate) struct StoredImage {
    pub(crate) digest: BlobDigest,
    pub(crate) manifest: Manifest,
    /// Where it was pulled from, if it was.
    pub(crate) pulled_from: Option<ImageRef>,
}

impl StoredImage {
    pub(crate) fn document(&self, driver: &Driver) -> Result<ImageDocument, BuildError> {
        let bytes = driver.document(&self.manifest.config.digest)?;
        ImageDocument::parse(&bytes).map_err(|error| {
            BuildError::world(format!("the configuration of {} is damaged", self.digest), error)
        })
    }

    /// The layers, with whatever is needed to get at their bytes.
    pub(crate) fn stack(&self, document: &ImageDocument, forms: &Forms<'_>) -> Result<Stack, BuildError> {
        if document.diff_ids.len() != self.manifest.layers.len() {
            return Err(BuildError::plain(
                format!(
                    "{} is damaged: its manifest has {} layers, its configuration {}",
                    self.digest,
                    self.manifest.layers.len(),
                    document.diff_ids.len()
                ),
                "build, pull or load it again",
            ));
        }
        let mut layers = Vec::new();
        for (diff_id, blob) in document.diff_ids.iter().zip(&self.manifest.layers) {
            let layer = LayerId(diff_id.0);
            if forms.store.has_blob(&blob.digest) {
                let note = BlobNote {
                    blob: blob.digest,
                    size: blob.size,
                    diff_id: *diff_id,
                    media_type: blob.media_type.clone(),
                };
                forms
                    .store
                    .note_blob(&layer, AS_PULLED, &note)
                    .map_err(|error| BuildError::world("could not write to the store", error))?;
            } else if let Some(image) = &self.pulled_from {
                forms.add_origin(layer, Origin { image: image.clone(), blob: blob.clone() });
            }
            layers.push(layer);
        }
        Ok(Stack(layers))
    }
}

impl Driver {
    /// A document of the store.
    pub(crate) fn document(&self, digest: &BlobDigest) -> Result<Vec<u8>, BuildError> {
        read_document(&self.store, digest)
    }

    /// References of images with what they name, sorted.
    fn image_names(&self) -> Result<Vec<(String, BlobDigest)>, BuildError> {
        let mut known =
            self.store.images().map_err(|error| BuildError::world("could not read the store", error))?;
        known.retain(|(reference, _)| !is_plugin_name(reference));
        Ok(known)
    }

    /// The digest that a name, a digest or the beginning of one stands for, and where it was pulled from.
    pub(crate) fn find_digest(&self, image: &str) -> Result<(BlobDigest, Option<ImageRef>), BuildError> {
        let known = self.image_names()?;
        if let Ok(name) = ImageRef::parse(image) {
            let name = name.or_latest();
            let full = name.to_string();
            let pulled = format!("{PULLED}{full}");
            if let Some((_, digest)) = known.iter().find(|(reference, _)| *reference == full) {
                return Ok((*digest, None));
            }
            if let Some((_, digest)) = known.iter().find(|(reference, _)| *reference == pulled) {
                return Ok((*digest, Some(name)));
            }
            if let Some(digest) = name.digest
                && self.store.has_blob(&BlobDigest(digest))
            {
                return Ok((BlobDigest(digest), Some(name)));
            }
        }
        let beginning = image.strip_prefix("sha256:").unwrap_or(image);
        if beginning.len() >= SHORTEST_DIGEST && beginning.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut found: Vec<_> =
                known.iter().filter(|(_, digest)| digest.hex().starts_with(beginning)).collect();
            found.dedup_by_key(|(_, digest)| *digest);
            match found[..] {
                [(reference, digest)] => {
                    let from = match kept(reference) {
                        Kept::Pulled(name) => Some(name),
                        Kept::Named(_) | Kept::Unnamed | Kept::Plugin => None,
                    };
                    return Ok((*digest, from));
                }
                [] => {}
                _ => {
                    return Err(BuildError::wrong(
                        Diagnostic::error("ambiguous-image", format!("several images begin with `{image}`"))
                            .help("write more of the digest"),
                    ));
                }
            }
        }
        let near = known.iter().filter_map(|(reference, _)| match kept(reference) {
            Kept::Named(name) | Kept::Pulled(name) => Some(name.familiar()),
            Kept::Unnamed | Kept::Plugin => None,
        });
        let near = near
            .filter(|name| name.split(':').next() == image.split(':').next())
            .collect::<Vec<_>>()
            .join(", ");
        Err(BuildError::wrong(
            Diagnostic::error("no-such-image", format!("the store has no image `{image}`")).help(match near
                .as_str()
            {
                "" => "`kiln image ls` lists the images there are".to_owned(),
                near => format!("there is {near}"),
            }),
        ))
    }

    /// The image for this machine, or the only one, that a name stands for.
    pub(crate) fn find_image(&self, image: &str) -> Result<StoredImage, BuildError> {
        let (top, pulled_from) = self.find_digest(image)?;
        let mut images = self.images_of(&top, pulled_from)?;
        let host = Platform::host();
        let position =
            images.iter().position(|(platform, _)| platform.as_ref().is_some_and(|p| p.serves(&host)));
        match (position, images.len()) {
            (Some(position), _) => Ok(images.swap_remove(position).1),
            (None, 1) => Ok(images.swap_remove(0).1),
            _ => Err(BuildError::plain(format!("`{image}` has no image for {host}"), "")),
        }
    }

    /// All images below a digest, of which an index has several.
    pub(crate) fn images_of(
        &self,
        top: &BlobDigest,
        pulled_from: Option<ImageRef>,
    ) -> Result<Vec<(Option<Platform>, StoredImage)>, BuildError> {
        let damaged = |error: kiln_oci::DocumentError| {
            BuildError::world(format!("the document {top} is damaged"), error)
        };
        let bytes = self.document(top)?;
        let stored = |digest: BlobDigest, bytes: &[u8]| {
            let manifest = Manifest::parse(bytes, None).map_err(damaged)?;
            Ok::<_, BuildError>(StoredImage { digest, manifest, pulled_from: pulled_from.clone() })
        };
        let said = kiln_oci::document::media_type_of(&bytes, None).map_err(damaged)?;
        if !media_type::is_index(&said) {
            return Ok(vec![(None, stored(*top, &bytes)?)]);
        }
        let index = Index::parse(&bytes, None).map_err(damaged)?;
        let mut images = Vec::new();
        for entry in index.images() {
            // Of a pulled index only what was needed is here.
            if !self.store.has_blob(&entry.digest) {
                continue;
            }
            images.push((entry.platform.clone(), stored(entry.digest, &self.document(&entry.digest)?)?));
        }
        if images.is_empty() {
            return Err(BuildError::plain(
                format!("the store has no image of the index {top}"),
                "build or pull it again",
            ));
        }
        Ok(images)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    ///
    /// When there is no such image, or a policy denies the name.
    pub fn tag(
        &self,
        image: &str,
        name: &ImageRef,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        let found = self.find_digest(image)?;
        let names = vec![name.clone()];
        let tops = std::slice::from_ref(&found);
        self.judge_move(Move { kind: "store", destination: String::new(), names, tops }, events, cancel)?;
        let (digest, _) = found;
        self.store
            .set_image(&name.to_string(), &digest)
            .map_err(|error| BuildError::world("could not name the image", error))
    }

    /// Takes names away; all of them exist, or none is taken. Returns them in full.
    pub fn untag(&self, images: &[String]) -> Result<Vec<String>, BuildError> {
        let known = self.image_names()?;
        let mut references = Vec::new();
        for image in images {
            let full = ImageRef::parse(image).map(|name| name.or_latest().to_string()).unwrap_or_default();
            let mine = |reference: &str| reference == full || reference.strip_prefix(PULLED) == Some(&full);
            let named: Vec<&String> =
                known.iter().map(|(reference, _)| reference).filter(|r| mine(r)).collect();
            if named.is_empty() {
                let (digest, _) = self.find_digest(image)?;
                references.extend(
                    known.iter().filter(|(_, d)| *d == digest).map(|(reference, _)| reference.clone()),
                );
            } else {
                references.extend(named.into_iter().cloned());
            }
        }
        references.sort();
        references.dedup();
        for reference in &references {
            self.store
                .remove_image(reference)
                .map_err(|error| BuildError::world(format!("could not remove `{reference}`"), error))?;
        }
        Ok(references)
    }

    /// Sizes by kind.
    pub fn usage(&self) -> Result<Vec<kiln_store::UsageOfKind>, BuildError> {
        Ok(self.store.usage().map_err(|error| BuildError::world("could not measure the store", error))?.kinds)
    }

    /// Removes what no image needs.
    pub fn prune(&self, options: &kiln_store::PruneOptions) -> Result<kiln_store::Pruned, BuildError> {
        if options.all {
            let known =
                self.store.images().map_err(|error| BuildError::world("could not read the store", error))?;
            for (reference, _) in known {
                if matches!(kept(&reference), Kept::Pulled(_) | Kept::Unnamed | Kept::Plugin) {
                    self.store.remove_image(&reference).map_err(|error| {
                        BuildError::world(format!("could not remove `{reference}`"), error)
                    })?;
                }
            }
        }
        self.store
            .prune(options, &|digest| self.needed_by(digest))
            .map_err(|error| BuildError::world("could not prune the store", error))
    }

    /// Blobs that a document names: what an image needs to be whole.
    fn needed_by(&self, digest: &BlobDigest) -> Vec<BlobDigest> {
        let Ok(Some(bytes)) = self.store.read_blob(digest, kiln_oci::document::MAX_DOCUMENT_BYTES) else {
            return Vec::new();
        };
        let entries = |all: &[Descriptor]| all.iter().map(|entry| entry.digest).collect::<Vec<_>>();
        if let Ok(index) = Index::parse(&bytes, None) {
            return entries(&index.manifests);
        }
        match Manifest::parse(&bytes, None) {
            Ok(manifest) => {
                let mut all = entries(&manifest.layers);
                all.push(manifest.config.digest);
                all
            }
            Err(_) => Vec::new(),
        }
    }
}

/// Fewer digits of a digest would be mistaken for a name.
const SHORTEST_DIGEST: usize = 6;
