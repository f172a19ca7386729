use std::sync::OnceLock;

use super::*;
use crate::artifact::SigningKey;
use crate::artifact::key::testing::{P256, openssl};

const MANIFEST: &[u8] = b"{\"schemaVersion\":2}";

fn what() -> SignedBytes<'static> {
    SignedBytes { digest: BlobDigest(Digest::of(MANIFEST)), bytes: MANIFEST }
}

/// The private half of the second of [`keys`].
fn private() -> &'static [u8] {
    &pairs()[1].0
}

fn pairs() -> &'static [(Vec<u8>, Vec<u8>); 2] {
    static PAIRS: OnceLock<[(Vec<u8>, Vec<u8>); 2]> = OnceLock::new();
    PAIRS.get_or_init(|| [openssl(&["-algorithm", "ed25519"]), openssl(&P256)])
}

fn keys() -> Vec<PublicKey> {
    pairs().iter().map(|(_, public)| PublicKey::parse(public).unwrap()).collect()
}

fn sign(message: &[u8]) -> String {
    STANDARD.encode(SigningKey::parse(private()).unwrap().sign(message).unwrap())
}

#[test]
fn a_signed_text_counts_for_the_manifest_that_it_names() {
    let payload = simple_payload("example.com/a", &what().digest);
    let signature = sign(&payload);
    assert_eq!(judge_simple(&payload, &signature, &keys(), what()), Signed::By(1));
    assert_eq!(judge_simple(&payload, &signature, &keys()[..1], what()), Signed::ByOthers);
    let other = SignedBytes { digest: BlobDigest(Digest::of(b"other")), bytes: b"other" };
    let Signed::Wrong(why) = judge_simple(&payload, &signature, &keys(), other) else { panic!() };
    assert!(why.contains(&what().digest.to_string()), "{why}");
    let changed = simple_payload("example.com/a", &other.digest);
    assert_eq!(judge_simple(&changed, &signature, &keys(), other), Signed::ByOthers);
    for (payload, signature) in [("hello", sign(b"hello")), ("{}", sign(b"{}")), ("{}", "?".to_owned())] {
        let signed = judge_simple(payload.as_bytes(), &signature, &keys(), what());
        assert!(matches!(signed, Signed::Wrong(_)), "{payload}: {signed:?}");
    }
}

/// A statement that somebody signed this digest, in an envelope with its signature.
fn envelope(hex: &str, predicate: &str) -> serde_json::Value {
    let statement = serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [{ "name": "", "digest": { "sha256": hex } }],
        "predicateType": predicate, "predicate": {},
    })
    .to_string();
    let signature = sign(&authenticated(IN_TOTO, statement.as_bytes()));
    serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": STANDARD.encode(keys()[1].id().as_bytes()) } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&statement), "payloadType": IN_TOTO, "signatures": [{ "sig": signature }],
        },
    })
}

fn judge(bundle: &serde_json::Value, keys: &[PublicKey]) -> Option<Signed> {
    judge_bundle(bundle.to_string().as_bytes(), keys, what())
}

#[test]
fn the_bytes_that_an_envelope_signs_are_those_of_its_specification() {
    // The example of the DSSE protocol.
    let bytes = authenticated("http://example.com/HelloWorld", b"hello world");
    assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn a_bundle_with_a_signed_statement_counts_for_the_manifest_that_it_names() {
    let hex = what().digest.hex();
    assert_eq!(judge(&envelope(&hex, SIGN_PREDICATE), &keys()), Some(Signed::By(1)));
    assert_eq!(judge(&envelope(&hex, SIGN_PREDICATE), &keys()[..1]), Some(Signed::ByOthers));
    // An attestation says something else about the artifact than that it is to be trusted.
    assert_eq!(judge(&envelope(&hex, "https://slsa.dev/provenance/v1"), &keys()), None);
    let other = envelope(&Digest::of(b"other").hex(), SIGN_PREDICATE);
    assert!(matches!(judge(&other, &keys()), Some(Signed::Wrong(why)) if why.contains("another manifest")));
    let mut changed = envelope(&hex, SIGN_PREDICATE);
    changed["dsseEnvelope"]["signatures"][0]["sig"] = sign(b"something").into();
    assert!(matches!(judge(&changed, &keys()), Some(Signed::Wrong(why)) if why.contains("names a key")));
}

#[test]
fn a_bundle_with_a_signature_over_the_manifest_counts() {
    let bundle = |signature: String| {
        serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {},
            "messageSignature": { "messageDigest": { "algorithm": "SHA2_256" }, "signature": signature },
        })
    };
    assert_eq!(judge(&bundle(sign(MANIFEST)), &keys()), Some(Signed::By(1)));
    assert_eq!(judge(&bundle(sign(b"other")), &keys()), Some(Signed::ByOthers));
    assert!(matches!(judge(&bundle("?".into()), &keys()), Some(Signed::Wrong(_))));
}

#[test]
fn what_is_no_bundle_is_wrong() {
    for text in ["", "[]", "{}", r#"{"dsseEnvelope":{"payload":"?","payloadType":"x","signatures":[]}}"#] {
        assert!(matches!(judge_bundle(text.as_bytes(), &keys(), what()), Some(Signed::Wrong(_))), "{text}");
    }
}
