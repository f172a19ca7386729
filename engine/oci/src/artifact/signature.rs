//! Signatures in cosign's two forms: a signed text beside the manifest, and Sigstore's bundle.
//!
//! Only keys that the person names are believed. What certificates and transparency logs say about others is not looked
//! at: that would be asking somebody else whom to believe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_core::{BlobDigest, Digest};
use serde::Deserialize;

use super::PublicKey;
use crate::document::{Descriptor, Manifest};

/// Layers of this type are texts that name a manifest ("simple signing"); the signature is an annotation.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What manifests of such layers say they are where they refer to what they sign.
pub const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Sigstore's bundles are of types that begin so; the version follows.
pub const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The statement that is a signature, and not an attestation of something else about the same artifact.
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// What one signature came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// By the key of this index, over what was asked about.
    By(usize),
    /// Not by a key that was given.
    ByOthers,
    /// A key that was given signed something else, or this is no signature at all.
    Wrong(String),
}

/// What must have been signed: a manifest.
#[derive(Clone, Copy, Debug)]
pub struct SignedBytes<'a> {
    pub digest: BlobDigest,
    pub bytes: &'a [u8],
}

/// The layers of `manifest` that are signed texts, each with its signature in base 64.
pub fn simple_signatures(manifest: &Manifest) -> impl Iterator<Item = (&Descriptor, &str)> {
    manifest.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING).filter_map(|layer| {
        layer.annotations.get(SIGNATURE_ANNOTATION).map(|signature| (layer, signature.as_str()))
    })
}

/// The text that is signed for a manifest.
pub fn simple_payload(repository: &str, manifest: &BlobDigest) -> Vec<u8> {
    let text = serde_json::json!({
        "critical": {
            "identity": { "docker-reference": repository },
            "image": { "docker-manifest-digest": manifest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    text.to_string().into_bytes()
}

/// The layer that carries a signed text, with its signature.
pub fn simple_layer(payload: &[u8], signature: &[u8]) -> Descriptor {
    Descriptor::of(SIMPLE_SIGNING, payload).with_annotation(SIGNATURE_ANNOTATION, STANDARD.encode(signature))
}

/// What a signed text and its signature come to.
pub fn judge_simple(payload: &[u8], signature: &str, keys: &[PublicKey], what: SignedBytes<'_>) -> Signed {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        image: Image,
    }
    #[derive(Deserialize)]
    struct Image {
        // As the format's first description spells it, and as programs do.
        #[serde(rename = "docker-manifest-digest", alias = "Docker-manifest-digest")]
        digest: String,
    }
    let Ok(signature) = STANDARD.decode(signature.trim()) else {
        return Signed::Wrong("it is no base 64".to_owned());
    };
    let Some(key) = keys.iter().position(|key| key.verifies(payload, &signature)) else {
        return Signed::ByOthers;
    };
    match serde_json::from_slice::<Payload>(payload) {
        Err(_) => Signed::Wrong("it signs a text that names no manifest".to_owned()),
        Ok(payload) if payload.critical.image.digest != what.digest.to_string() => {
            Signed::Wrong(format!("it signs another manifest, {}", shown(&payload.critical.image.digest)))
        }
        Ok(_) => Signed::By(key),
    }
}

/// Members of Sigstore's bundle (protobuf-specs, `sigstore_bundle.proto`, as JSON) that a key suffices to check.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    #[serde(default)]
    verification_material: Material,
    #[serde(default)]
    message_signature: Option<MessageSignature>,
    #[serde(default)]
    dsse_envelope: Option<Envelope>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    #[serde(default)]
    public_key: Option<KeyHint>,
}

#[derive(Deserialize)]
struct KeyHint {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    subject: Vec<Subject>,
    #[serde(default)]
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

/// What a bundle comes to; `None` if it is an attestation, which is no signature.
pub fn judge_bundle(bundle: &[u8], keys: &[PublicKey], what: SignedBytes<'_>) -> Option<Signed> {
    let wrong = |why: &str| Some(Signed::Wrong(why.to_owned()));
    let Ok(bundle) = serde_json::from_slice::<Bundle>(bundle) else {
        return wrong("its bundle is not of Sigstore's form");
    };
    // Said by whoever made the bundle, and so only good for telling why nothing fits.
    let hint = bundle.verification_material.public_key.map(|key| key.hint).unwrap_or_default();
    let is_hinted = keys.iter().any(|key| STANDARD.encode(key.id().as_bytes()) == hint);
    let by_none = || match is_hinted {
        true => wrong("it names a key of the configuration, and that key did not make it"),
        false => Some(Signed::ByOthers),
    };
    if let Some(message) = bundle.message_signature {
        let Ok(signature) = STANDARD.decode(message.signature) else {
            return wrong("it is no base 64");
        };
        return match keys.iter().position(|key| key.verifies(what.bytes, &signature)) {
            Some(key) => Some(Signed::By(key)),
            None => by_none(),
        };
    }
    let Some(envelope) = bundle.dsse_envelope else {
        return wrong("its bundle has no signature in it");
    };
    let Ok(payload) = STANDARD.decode(&envelope.payload) else {
        return wrong("it is no base 64");
    };
    let statement = serde_json::from_slice::<Statement>(&payload);
    if envelope.payload_type != IN_TOTO {
        return wrong("its envelope holds something else than a statement");
    }
    let Ok(statement) = statement else {
        return wrong("its statement is not of in-toto's form");
    };
    if statement.predicate_type != SIGN_PREDICATE {
        return None;
    }
    let message = authenticated(&envelope.payload_type, &payload);
    let signatures = envelope.signatures.iter().filter_map(|one| STANDARD.decode(&one.sig).ok());
    let made_by = |signature: Vec<u8>| keys.iter().position(|key| key.verifies(&message, &signature));
    let Some(key) = signatures.into_iter().find_map(made_by) else {
        return by_none();
    };
    let hex = what.digest.hex();
    match statement.subject.iter().any(|subject| subject.digest.get("sha256") == Some(&hex)) {
        true => Some(Signed::By(key)),
        false => {
            let digests = statement.subject.iter().filter_map(|subject| subject.digest.get("sha256"));
            let digests: Vec<String> = digests.map(|hex| shown(&format!("sha256:{hex}"))).collect();
            wrong(&format!("it signs another manifest, {}", digests.join(", ")))
        }
    }
}

/// The bytes that a DSSE signature is over (its "pre-authentication encoding").
fn authenticated(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend(payload);
    message
}

/// A digest out of a document of others, for messages.
fn shown(digest: &str) -> String {
    match digest.parse::<Digest>() {
        Ok(digest) => digest.to_string(),
        Err(_) => "whose digest is no digest".to_owned(),
    }
}

#[cfg(test)]
mod tests;
