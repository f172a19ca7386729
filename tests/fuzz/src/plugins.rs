//! What comes with plugins from registries: manifests of artifacts, signatures, keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiln_core::{BlobDigest, Digest};
use kiln_oci::Manifest;
use kiln_oci::artifact::{
    MAX_WASM_BYTES, PublicKey, Signed, SignedBytes, SigningKey, WasmManifest, judge_bundle, judge_simple,
    simple_signatures,
};

/// The key of these targets, so that what comes after a good signature is reached: it signs whatever it is shown.
const PRIVATE: &[u8] = b"-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n";
const PUBLIC: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=\n-----END PUBLIC KEY-----\n";
/// Of a key that nobody has.
const OF_NOBODY: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEA7//////////////////////////////////////////f38=\n-----END PUBLIC KEY-----\n";

const STATEMENT: &str = "application/vnd.in-toto+json";

/// A manifest that is taken has one layer, which is that of the manifest, and it is not too large.
pub fn artifacts(bytes: &[u8]) {
    let read = WasmManifest::parse(bytes, None);
    let Ok(manifest) = Manifest::parse(bytes, None) else {
        assert!(read.is_err());
        return;
    };
    if let Ok(read) = &read {
        assert_eq!(manifest.layers[..], [read.component.clone()]);
        assert!(read.component.size <= MAX_WASM_BYTES);
    }
    for (layer, _) in simple_signatures(&manifest) {
        assert!(manifest.layers.contains(layer));
    }
}

/// Nothing that was not signed by a key counts as signed by it, and of what was signed only the manifest's own text.
pub fn signatures(bytes: &[u8]) {
    let key = SigningKey::parse(PRIVATE).expect("the key is good");
    let ours = [PublicKey::parse(PUBLIC).expect("the key is good")];
    let theirs: Vec<PublicKey> = PublicKey::parse(OF_NOBODY).into_iter().collect();
    let manifest = b"the manifest".as_slice();
    let what = SignedBytes { digest: BlobDigest(Digest::of(manifest)), bytes: manifest };
    let digest = what.digest.hex();
    let names_it = || String::from_utf8_lossy(bytes).contains(&digest);

    // As it stands: nobody signed it.
    let text = String::from_utf8_lossy(bytes);
    for keys in [&ours[..], &theirs] {
        assert!(!matches!(judge_bundle(bytes, keys, what), Some(Signed::By(_))), "{text}");
        assert!(!matches!(judge_simple(manifest, &text, keys, what), Signed::By(_)), "{text}");
    }
    // Signed: what it says decides.
    let signature = STANDARD.encode(key.sign(bytes).expect("the key signs"));
    if judge_simple(bytes, &signature, &ours, what) == Signed::By(0) {
        assert!(names_it(), "{text}");
    }
    assert!(!matches!(judge_simple(bytes, &signature, &theirs, what), Signed::By(_)));
    let mut message = format!("DSSEv1 {} {STATEMENT} {} ", STATEMENT.len(), bytes.len()).into_bytes();
    message.extend(bytes);
    let bundle = serde_json::json!({
        "dsseEnvelope": {
            "payload": STANDARD.encode(bytes),
            "payloadType": STATEMENT,
            "signatures": [{ "sig": STANDARD.encode(key.sign(&message).expect("the key signs")) }],
        }
    });
    let bundle = bundle.to_string();
    if judge_bundle(bundle.as_bytes(), &ours, what) == Some(Signed::By(0)) {
        assert!(names_it(), "{text}");
    }
    assert!(!matches!(judge_bundle(bundle.as_bytes(), &theirs, what), Some(Signed::By(_))));
}

/// A key that is read does what it is for, and a file is not both halves of one.
pub fn keys(bytes: &[u8]) {
    let public = PublicKey::parse(bytes);
    let private = SigningKey::parse(bytes);
    assert!(public.is_err() || private.is_err());
    if let Ok(public) = public {
        assert_eq!(PublicKey::parse(bytes).expect("it was read before").id(), public.id());
        assert!(!public.verifies(b"text", b""));
    }
    if let Ok(private) = private {
        assert!(!private.sign(b"text").expect("a key signs").is_empty());
    }
}
