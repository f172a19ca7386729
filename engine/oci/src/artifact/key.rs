//! Keys for signatures as PEM files hold them: ECDSA on P-256 with SHA-256, as cosign makes them, and Ed25519.

use std::fmt;

use base64::Engine as _;
use kiln_core::Digest;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, UnparsedPublicKey};

/// SubjectPublicKeyInfo up to the key itself (RFC 5480, RFC 8410): for one algorithm and curve it is always these bytes.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Of an uncompressed point and of an Ed25519 key, in bytes.
const P256_POINT: usize = 65;
const ED25519_POINT: usize = 32;

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    algorithm: Algorithm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    P256,
    Ed25519,
}

/// Why a file is no key to check signatures with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it has no PEM block `PUBLIC KEY`")]
    NoKey,
    #[error("it holds a `{label}`, and a `PUBLIC KEY` is needed")]
    Label { label: String },
    #[error("what is in its PEM block is no base 64")]
    Encoding,
    #[error("its key is of another kind than ECDSA on the curve P-256 and Ed25519")]
    Kind,
}

impl PublicKey {
    /// Of the first PEM block in `text`.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let (label, spki) = pem(text)?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::Label { label });
        }
        let is = |prefix: &[u8], point: usize| spki.starts_with(prefix) && spki.len() == prefix.len() + point;
        let algorithm = if is(&P256_SPKI, P256_POINT) && spki[P256_SPKI.len()] == 4 {
            Algorithm::P256
        } else if is(&ED25519_SPKI, ED25519_POINT) {
            Algorithm::Ed25519
        } else {
            return Err(KeyError::Kind);
        };
        Ok(Self { spki, algorithm })
    }

    /// Names the key: the digest of its SubjectPublicKeyInfo, which Sigstore's bundles hint at.
    pub fn id(&self) -> Digest {
        Digest::of(&self.spki)
    }

    /// Whether `signature` (ECDSA's in ASN.1) was made over `message` with the private half.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::P256 => {
                let point = &self.spki[P256_SPKI.len()..];
                let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, point);
                key.verify(message, signature).is_ok()
            }
            Algorithm::Ed25519 => {
                let point = &self.spki[ED25519_SPKI.len()..];
                UnparsedPublicKey::new(&signature::ED25519, point).verify(message, signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?} {})", self.algorithm, self.id().short())
    }
}

/// The private half, to sign with. It is never shown.
pub struct SigningKey(Pair);

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a file is no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    #[error("it has no PEM block `PRIVATE KEY`")]
    NoKey,
    #[error(
        "it is encrypted, and kiln asks for no passwords; `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` \
         makes a key that can be used, and `cosign sign --key` takes this one"
    )]
    Encrypted,
    #[error("it holds a `{label}`, and a `PRIVATE KEY` (PKCS #8) is needed")]
    Label { label: String },
    #[error("what is in its PEM block is no base 64")]
    Encoding,
    #[error("its key is of another kind than ECDSA on the curve P-256 and Ed25519")]
    Kind,
    #[error("no signature could be made: the system gives no random numbers")]
    Random,
}

impl SigningKey {
    /// Of the first PEM block in `text`.
    pub fn parse(text: &[u8]) -> Result<Self, SigningKeyError> {
        let (label, der) = match pem(text) {
            Ok(found) => found,
            Err(KeyError::Encoding) => return Err(SigningKeyError::Encoding),
            Err(_) => return Err(SigningKeyError::NoKey),
        };
        match label.as_str() {
            "PRIVATE KEY" => {}
            label if label.contains("ENCRYPTED") => return Err(SigningKeyError::Encrypted),
            _ => return Err(SigningKeyError::Label { label }),
        }
        let p256 =
            EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &der, &SystemRandom::new());
        if let Ok(pair) = p256 {
            return Ok(Self(Pair::P256(pair)));
        }
        // Without the public half, as OpenSSL writes it.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| SigningKeyError::Kind)?;
        Ok(Self(Pair::Ed25519(pair)))
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningKeyError> {
        match &self.0 {
            Pair::P256(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message);
                Ok(signature.map_err(|_| SigningKeyError::Random)?.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// Label and content of the first PEM block (RFC 7468).
fn pem(text: &[u8]) -> Result<(String, Vec<u8>), KeyError> {
    let text = std::str::from_utf8(text).map_err(|_| KeyError::NoKey)?;
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(KeyError::NoKey)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::NoKey)?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----")).ok_or(KeyError::NoKey)?;
    // Traditional encrypted keys have headers, which are followed by an empty line.
    if body.contains("ENCRYPTED") {
        return Ok((format!("{label} ENCRYPTED"), Vec::new()));
    }
    let body: String = body.split_ascii_whitespace().collect();
    let content = base64::engine::general_purpose::STANDARD.decode(body).map_err(|_| KeyError::Encoding)?;
    Ok((label.to_owned(), content))
}

/// Keys as OpenSSL makes them.
#[cfg(test)]
pub(crate) mod testing {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    pub(crate) const P256: [&str; 4] = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

    /// The private and the public half of a new pair.
    pub(crate) fn openssl(algorithm: &[&str]) -> (Vec<u8>, Vec<u8>) {
        let run = |arguments: &[&str], input: &[u8]| {
            let mut child = Command::new("openssl")
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("this test needs `openssl`");
            child.stdin.take().unwrap().write_all(input).unwrap();
            child.wait_with_output().unwrap().stdout
        };
        let private = run(&[&["genpkey"], algorithm].concat(), b"");
        let public = run(&["pkey", "-pubout"], &private);
        (private, public)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{P256, openssl};
    use super::*;

    #[test]
    fn what_one_half_signs_the_other_verifies() {
        for algorithm in [&P256[..], &["-algorithm", "ed25519"]] {
            let (private, public) = openssl(algorithm);
            let public = PublicKey::parse(&public).unwrap();
            let signature = SigningKey::parse(&private).unwrap().sign(b"message").unwrap();
            assert!(public.verifies(b"message", &signature), "{algorithm:?}");
            assert!(!public.verifies(b"massage", &signature), "{algorithm:?}");
            assert!(!public.verifies(b"message", &signature[..signature.len() - 1]), "{algorithm:?}");
            assert!(!public.verifies(b"message", b""), "{algorithm:?}");
            let other = PublicKey::parse(&openssl(algorithm).1).unwrap();
            assert!(!other.verifies(b"message", &signature), "{algorithm:?}");
            assert_ne!(other.id(), public.id());
        }
    }

    #[test]
    fn other_files_are_refused_by_what_they_are() {
        let (private, public) = openssl(&P256);
        assert_eq!(PublicKey::parse(b"hello"), Err(KeyError::NoKey));
        assert_eq!(PublicKey::parse(b"\xff"), Err(KeyError::NoKey));
        assert_eq!(PublicKey::parse(&private), Err(KeyError::Label { label: "PRIVATE KEY".into() }));
        assert_eq!(
            PublicKey::parse(b"-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----"),
            Err(KeyError::Encoding)
        );
        let (_, rsa) = openssl(&["-algorithm", "RSA"]);
        assert_eq!(PublicKey::parse(&rsa), Err(KeyError::Kind));
        let refused = |text: &[u8]| SigningKey::parse(text).err().unwrap();
        assert_eq!(refused(&public), SigningKeyError::Label { label: "PUBLIC KEY".into() });
        assert_eq!(
            refused(b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----"),
            SigningKeyError::Encrypted
        );
        assert_eq!(refused(&openssl(&["-algorithm", "RSA"]).0), SigningKeyError::Kind);
    }
}
