//! Documents about an image, as BuildKit attaches them and as others read them: each an in-toto statement, all of them
//! layers of one manifest beside that of the image in an index.

use kiln_core::plan::Attestation;
use kiln_core::{BlobDigest, Platform};
use kiln_oci::{Descriptor, Manifest, media_type};
use serde_json::json;
use serde_json::value::RawValue;

use super::image::put;
use crate::error::BuildError;
use crate::session::Session;

const STATEMENT: &str = "application/vnd.in-toto+json";
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v0.1";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// Attestations of one image, in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attested {
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) statements: Vec<Descriptor>,
}

/// Writes what is said about the image of `manifest`.
pub(super) fn make(
    session: &Session<'_>,
    manifest: &Descriptor,
    attestations: &[Attestation],
) -> Result<Attested, BuildError> {
    let mut statements = Vec::new();
    for attestation in attestations {
        let bytes = statement(&manifest.digest, attestation)?;
        let blob = put(session, STATEMENT, &bytes)?;
        statements.push(blob.with_annotation(PREDICATE_TYPE, attestation.predicate_type.clone()));
    }
    // Readers of images find a configuration here, of an image that nothing can run.
    let diff_ids: Vec<String> = statements.iter().map(|blob| blob.digest.to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = put(session, media_type::OCI_CONFIG, config.to_string().as_bytes())?;
    let document = Manifest::new(config.clone(), statements.clone()).to_json();
    Ok(Attested { manifest: put(session, media_type::OCI_MANIFEST, &document)?, config, statements })
}

/// The predicate goes in letter by letter: numbers and the order of members are its author's.
fn statement(image: &BlobDigest, attestation: &Attestation) -> Result<Vec<u8>, BuildError> {
    let said = |error| BuildError::world("an attestation is not the JSON that it was checked to be", error);
    let predicate: &RawValue = serde_json::from_str(&attestation.predicate).map_err(said)?;
    let mut text = serde_json::to_string(&json!({
        "_type": STATEMENT_TYPE,
        "predicateType": attestation.predicate_type,
        // The image has as many names as people give it, and one digest.
        "subject": [{ "name": "_", "digest": { "sha256": image.0.hex() } }],
    }))
    .map_err(said)?;
    text.pop();
    Ok(format!("{text},\"predicate\":{}}}", predicate.get()).into_bytes())
}

/// How an index names the attestations of the image of that digest.
pub(super) fn entry(attested: &Attested, image: &BlobDigest) -> Descriptor {
    attested
        .manifest
        .clone()
        .with_platform(Platform::new("unknown", "unknown", ""))
        .with_annotation(REFERENCE_TYPE, "attestation-manifest".to_owned())
        .with_annotation(REFERENCE_DIGEST, image.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Digest;

    #[test]
    fn a_statement_has_its_predicate_letter_by_letter() {
        let attestation = Attestation {
            predicate_type: "https://spdx.dev/Document".to_owned(),
            predicate: "{\"z\": 1.50, \"a\": 123456789012345678901234567890}\n".to_owned(),
        };
        let digest = BlobDigest(Digest::of(b"manifest"));
        let text = String::from_utf8(statement(&digest, &attestation).expect("a statement")).expect("text");
        assert!(
            text.ends_with("\"predicate\":{\"z\": 1.50, \"a\": 123456789012345678901234567890}}"),
            "{text}"
        );
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["subject"][0]["digest"]["sha256"], digest.0.hex());
        assert_eq!(value["predicateType"], "https://spdx.dev/Document");
    }
}
