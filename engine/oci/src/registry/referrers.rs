//! Finds what refers to a manifest, signatures above all, and adds one.

use kiln_core::ImageRef;
use kiln_core::digest::BlobDigest;
use ureq::http::Method;

use super::auth::Access;
use super::exchange::{Payload, Request};
use super::{Registry, RegistryError, ResolvedManifest};
use crate::artifact::{
    BUNDLE_PREFIX, COSIGN_SIGNATURE, PublicKey, Signed, SignedBytes, SigningKey, SigningKeyError,
    judge_bundle, judge_simple, simple_layer, simple_payload, simple_signatures,
};
use crate::document::{Descriptor, DocumentError, Index, Manifest, media_type};

/// So many signatures of one manifest are looked at.
const MAX_SIGNATURES: usize = 64;

/// Why a manifest counts as not signed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("it is not signed")]
    Unsigned,
    #[error("{}", by_others(*.count))]
    ByOthers { count: usize },
    #[error("its signature is wrong: {why}")]
    Wrong { why: String },
    #[error("it has more than {MAX_SIGNATURES} signatures, and none of the first is by a trusted key")]
    TooMany,
    #[error("its signatures could not be read")]
    Registry(#[from] RegistryError),
}

fn by_others(count: usize) -> String {
    match count {
        1 => "it has one signature, which is by none of the trusted keys, or was changed".to_owned(),
        count => format!("it has {count} signatures, which are by none of the trusted keys, or were changed"),
    }
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error(transparent)]
    Key(#[from] SigningKeyError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What was learnt from the signatures so far.
#[derive(Default)]
struct Tally {
    others: usize,
    wrong: Option<String>,
}

impl Tally {
    /// The key that made it, if it was one of ours.
    fn count(&mut self, signed: Signed) -> Option<usize> {
        match signed {
            Signed::By(key) => return Some(key),
            Signed::ByOthers => self.others += 1,
            Signed::Wrong(why) => self.wrong = self.wrong.take().or(Some(why)),
        }
        None
    }

    fn is_full(&self) -> bool {
        self.others >= MAX_SIGNATURES
    }
}

impl Registry {
    /// Manifests that refer to the one of this digest (distribution-spec 1.1, "Listing Referrers"); from the tag that
    /// stands for the list where the registry has no such list.
    pub fn referrers(
        &self,
        reference: &ImageRef,
        digest: BlobDigest,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let what = format!("what refers to {digest}");
        let listed = self.anywhere(reference, |endpoint| {
            let mut request = Request {
                endpoint,
                method: Method::GET,
                url: format!("{}/v2/{}/referrers/{digest}", endpoint.origin, endpoint.repository),
                headers: vec![("accept", media_type::OCI_INDEX.to_owned())],
                access: &Access::Pull,
                what: &what,
            };
            let response = self.exchange(&mut request, Payload::None)?;
            Ok((self.read_document(&request, response)?, endpoint.host.clone()))
        });
        let (bytes, host) = match listed {
            Ok(listed) => listed,
            // Not every registry that lacks it says 404.
            Err(error) if lacks(&error) => {
                let tag = ImageRef { tag: Some(tag_of(digest)), digest: None, ..reference.clone() };
                match present(self.resolve(&tag))? {
                    None => return Ok(Vec::new()),
                    Some(found) => (found.bytes, found.host),
                }
            }
            Err(error) => return Err(error),
        };
        let index = Index::parse(&bytes, Some(media_type::OCI_INDEX)).map_err(|error| {
            RegistryError::Protocol { host, why: format!("its list of {what} is damaged: {error}") }
        })?;
        Ok(index.manifests)
    }

    /// Which of `keys` signed the manifest, by its place among them. Looked for in the tag that cosign keeps signatures
    /// under, and in what refers to the manifest.
    pub fn verify(
        &self,
        reference: &ImageRef,
        manifest: SignedBytes<'_>,
        keys: &[PublicKey],
    ) -> Result<usize, VerifyError> {
        let mut tally = Tally::default();
        if let Some(found) = present(self.resolve(&self.signature_tag(reference, manifest.digest)))?
            && let Some(key) = self.verify_texts(reference, &found, manifest, keys, &mut tally)?
        {
            return Ok(key);
        }
        for entry in self.referrers(reference, manifest.digest)? {
            let kind = entry.artifact_type.as_deref().unwrap_or_default();
            let is_bundle = kind.starts_with(BUNDLE_PREFIX);
            if !is_bundle && kind != COSIGN_SIGNATURE {
                continue;
            }
            if tally.is_full() {
                return Err(VerifyError::TooMany);
            }
            let Some(found) = present(self.manifest(reference, entry.digest))? else { continue };
            let key = match is_bundle {
                true => self.verify_bundles(reference, &found, manifest, keys, &mut tally)?,
                false => self.verify_texts(reference, &found, manifest, keys, &mut tally)?,
            };
            if let Some(key) = key {
                return Ok(key);
            }
        }
        match tally {
            Tally { wrong: Some(why), .. } => Err(VerifyError::Wrong { why }),
            Tally { others: 0, .. } => Err(VerifyError::Unsigned),
            Tally { others, .. } => Err(VerifyError::ByOthers { count: others }),
        }
    }

    /// The signed texts in a manifest of them.
    fn verify_texts(
        &self,
        reference: &ImageRef,
        found: &ResolvedManifest,
        what: SignedBytes<'_>,
        keys: &[PublicKey],
        tally: &mut Tally,
    ) -> Result<Option<usize>, VerifyError> {
        let Some(signatures) = parsed(found, tally) else { return Ok(None) };
        let judge = |payload: &[u8], signature: &str| Some(judge_simple(payload, signature, keys, what));
        self.verify_each(reference, simple_signatures(&signatures), judge, tally)
    }

    fn verify_bundles(
        &self,
        reference: &ImageRef,
        found: &ResolvedManifest,
        what: SignedBytes<'_>,
        keys: &[PublicKey],
        tally: &mut Tally,
    ) -> Result<Option<usize>, VerifyError> {
        let Some(bundles) = parsed(found, tally) else { return Ok(None) };
        let layers = bundles.layers.iter().filter(|layer| layer.media_type.starts_with(BUNDLE_PREFIX));
        let judge = |bundle: &[u8], ()| judge_bundle(bundle, keys, what);
        self.verify_each(reference, layers.map(|layer| (layer, ())), judge, tally)
    }

    /// Judges blobs, each with what is known of it besides, until one was made by a trusted key.
    fn verify_each<'m, Known>(
        &self,
        reference: &ImageRef,
        blobs: impl Iterator<Item = (&'m Descriptor, Known)>,
        judge: impl Fn(&[u8], Known) -> Option<Signed>,
        tally: &mut Tally,
    ) -> Result<Option<usize>, VerifyError> {
        for (blob, known) in blobs {
            if tally.is_full() {
                return Err(VerifyError::TooMany);
            }
            let signed = match self.small_blob(reference, blob) {
                Ok(bytes) => judge(&bytes, known),
                Err(error) => Some(damaged(error)?),
            };
            if let Some(key) = signed.and_then(|signed| tally.count(signed)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn signature_tag(&self, reference: &ImageRef, digest: BlobDigest) -> ImageRef {
        ImageRef { tag: Some(format!("{}.sig", tag_of(digest))), digest: None, ..reference.clone() }
    }

    /// Signs a manifest that is in the repository of `reference`, beside the signatures that it has already. Returns
    /// the name under which they are found.
    pub fn sign(
        &self,
        reference: &ImageRef,
        digest: BlobDigest,
        key: &SigningKey,
    ) -> Result<ImageRef, SignError> {
        let tag = self.signature_tag(reference, digest);
        let payload = simple_payload(&reference.repository(), &digest);
        let layer = simple_layer(&payload, &key.sign(&payload)?);
        let mut layers = Vec::new();
        if let Some(found) = present(self.resolve(&tag))? {
            let before = Manifest::parse(&found.bytes, Some(&found.media_type)).map_err(|source| {
                RegistryError::NotAnImage { reference: tag.familiar(), host: found.host.clone(), source }
            })?;
            layers = before.layers;
        }
        layers.push(layer.clone());
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = serde_json::json!({
            "architecture": "", "os": "", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config), layers);
        self.push_bytes(reference, &manifest.config, &config)?;
        self.push_bytes(reference, &layer, &payload)?;
        self.push_manifest(&tag, &manifest.media_type, &manifest.to_json())?;
        Ok(tag)
    }

    /// Sees to it that the repository has a blob that is in memory.
    pub fn push_bytes(
        &self,
        reference: &ImageRef,
        blob: &Descriptor,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let bytes: std::sync::Arc<[u8]> = bytes.into();
        let mut open = || -> std::io::Result<Box<dyn std::io::Read>> {
            Ok(Box::new(std::io::Cursor::new(std::sync::Arc::clone(&bytes))))
        };
        self.push_blob(reference, blob, None, &mut open, &mut |_| {}).map(drop)
    }
}

/// `sha256-<hex>`, as a tag can spell a digest.
fn tag_of(digest: BlobDigest) -> String {
    format!("sha256-{}", digest.hex())
}

/// `None` for what is not there.
fn present<T>(found: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.root(), RegistryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the answer means that this registry lists no referrers.
fn lacks(error: &RegistryError) -> bool {
    match error.root() {
        RegistryError::NotFound { .. } => true,
        RegistryError::Status { status, .. } => matches!(status, 400 | 405 | 501),
        _ => false,
    }
}

/// A manifest of signatures; one that cannot be read is a wrong signature, and no reason to stop looking.
fn parsed(found: &ResolvedManifest, tally: &mut Tally) -> Option<Manifest> {
    match Manifest::parse(&found.bytes, Some(&found.media_type)) {
        Ok(manifest) => Some(manifest),
        Err(error) => {
            tally.count(Signed::Wrong(damage(&error)));
            None
        }
    }
}

fn damage(error: &DocumentError) -> String {
    format!("the manifest with the signatures is damaged: {error}")
}

/// What a blob that is not what the manifest says comes to; other failures are the registry's.
fn damaged(error: RegistryError) -> Result<Signed, RegistryError> {
    match error.root() {
        RegistryError::DigestMismatch { .. }
        | RegistryError::TooLong { .. }
        | RegistryError::Truncated { .. }
        | RegistryError::NotFound { .. } => Ok(Signed::Wrong(error.to_string())),
        _ => Err(error),
    }
}
