use kiln_core::digest::BlobDigest;

use super::fake::{Fake, answer};
use super::real::{Guard, RealRegistry};
use super::*;
use crate::artifact::key::testing::{P256, openssl};
use crate::artifact::{COSIGN_SIGNATURE, PublicKey, SignedBytes, SigningKey};

/// Two pairs of keys: the first is trusted.
struct Keys {
    ours: SigningKey,
    theirs: SigningKey,
    trusted: Vec<PublicKey>,
}

fn keys() -> Keys {
    let (private, public) = openssl(&P256);
    Keys {
        ours: SigningKey::parse(&private).unwrap(),
        theirs: SigningKey::parse(&openssl(&P256).0).unwrap(),
        trusted: vec![PublicKey::parse(&public).unwrap()],
    }
}

fn digest_of(sample: &Sample) -> BlobDigest {
    Descriptor::of(media_type::OCI_MANIFEST, &sample.manifest).digest
}

fn what(sample: &Sample) -> SignedBytes<'_> {
    SignedBytes { digest: digest_of(sample), bytes: &sample.manifest }
}

#[test]
fn what_was_signed_with_a_trusted_key_is_verified() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let (sample, name, keys) = (Sample::new(100), server.reference("team/app:1"), keys());
    sample.push(&registry, &name);
    let verify = || registry.verify(&name, what(&sample), &keys.trusted);
    let error = verify().unwrap_err();
    assert!(matches!(error, VerifyError::Unsigned), "{error}");
    let tag = registry.sign(&name, digest_of(&sample), &keys.theirs).unwrap();
    assert_eq!(tag.tag.unwrap(), format!("sha256-{}.sig", digest_of(&sample).hex()));
    let error = verify().unwrap_err();
    assert!(matches!(error, VerifyError::ByOthers { count: 1 }), "{error}");
    // Beside the one that is there.
    registry.sign(&name, digest_of(&sample), &keys.ours).unwrap();
    assert_eq!(verify().unwrap(), 0);
}

#[test]
fn a_signature_of_another_manifest_is_a_wrong_one() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let (sample, other, keys) = (Sample::new(100), Sample::new(200), keys());
    let name = server.reference("team/app:1");
    sample.push(&registry, &name);
    registry.sign(&name, digest_of(&other), &keys.ours).unwrap();
    // Somebody puts what was signed once where another signature is looked for.
    let at = |sample: &Sample| ImageRef {
        tag: Some(format!("sha256-{}.sig", digest_of(sample).hex())),
        ..name.clone()
    };
    let moved = registry.resolve(&at(&other)).unwrap();
    registry.push_manifest(&at(&sample), &moved.media_type, &moved.bytes).unwrap();
    let error = registry.verify(&name, what(&sample), &keys.trusted).unwrap_err().to_string();
    assert!(error.contains("wrong") && error.contains(&digest_of(&other).to_string()), "{error}");
}

/// The manifest of a signed text that refers to `sample`, with the blob of its text.
fn referring(sample: &Sample, key: &SigningKey) -> (Manifest, Vec<u8>) {
    let payload = crate::artifact::simple_payload("example.com/x", &digest_of(sample));
    let layer = crate::artifact::simple_layer(&payload, &key.sign(&payload).unwrap());
    let mut manifest = Manifest::new(Descriptor::of(media_type::OCI_EMPTY, b"{}"), vec![layer]);
    manifest.artifact_type = Some(COSIGN_SIGNATURE.to_owned());
    manifest.subject = Some(Descriptor::of(media_type::OCI_MANIFEST, &sample.manifest));
    (manifest, payload)
}

fn listing(manifest: &Manifest) -> Vec<u8> {
    let mut entry = manifest.descriptor();
    entry.artifact_type.clone_from(&manifest.artifact_type);
    let attestation = Descriptor { artifact_type: Some("application/spdx+json".into()), ..entry.clone() };
    Index::new(vec![attestation, entry]).to_json()
}

#[test]
fn signatures_that_refer_to_the_manifest_are_found_by_the_tag_that_lists_them() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let (sample, name, keys) = (Sample::new(100), server.reference("team/app:1"), keys());
    sample.push(&registry, &name);
    let (manifest, payload) = referring(&sample, &keys.ours);
    registry.push_bytes(&name, &manifest.config, b"{}").unwrap();
    registry.push_bytes(&name, &manifest.layers[0], &payload).unwrap();
    let untagged = ImageRef { tag: None, ..name.clone() };
    registry.push_manifest(&untagged, media_type::OCI_MANIFEST, &manifest.to_json()).unwrap();
    let list = ImageRef { tag: Some(format!("sha256-{}", digest_of(&sample).hex())), ..name.clone() };
    registry.push_manifest(&list, media_type::OCI_INDEX, &listing(&manifest)).unwrap();
    assert_eq!(registry.verify(&name, what(&sample), &keys.trusted).unwrap(), 0);
}

#[test]
fn signatures_that_refer_to_the_manifest_are_found_by_asking_what_does() {
    let (sample, keys) = (Sample::new(100), keys());
    let (manifest, payload) = referring(&sample, &keys.ours);
    let list = listing(&manifest);
    let digest = manifest.descriptor().digest;
    let subject = digest_of(&sample);
    let fake = Fake::start(move |_, asked| match asked.path.as_str() {
        path if path == format!("/v2/a/referrers/{subject}") => {
            answer(200, &list).with("content-type", media_type::OCI_INDEX)
        }
        path if path == format!("/v2/a/manifests/{digest}") => {
            answer(200, &manifest.to_json()).with("content-type", media_type::OCI_MANIFEST)
        }
        path if path == format!("/v2/a/blobs/{}", manifest.layers[0].digest) => answer(200, &payload),
        _ => answer(404, b""),
    });
    let name = fake.reference("a:1");
    assert_eq!(fake.client().verify(&name, what(&sample), &keys.trusted).unwrap(), 0);
}

#[test]
fn a_registry_that_is_gone_is_no_missing_signature() {
    let server = RealRegistry::start(&Guard::Nobody);
    let (registry, name) = (server.client(), server.reference("team/app:1"));
    drop(server);
    let sample = Sample::new(10);
    let error = registry.verify(&name, what(&sample), &keys().trusted).unwrap_err();
    assert!(matches!(error, VerifyError::Registry(RegistryError::Unreachable { .. })), "{error}");
}
