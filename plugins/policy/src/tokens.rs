//! Secrets that can be told by how they look: private keys, and tokens of services that give theirs a mark.

/// Something secret in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// With an article: `a token of GitHub`.
    pub(crate) kind: &'static str,
    pub(crate) is_key: bool,
    /// Line, counted from 1.
    pub(crate) line: usize,
}

/// A mark, and what follows it: how many characters at least and at most, and which.
struct Shape {
    mark: &'static str,
    least: usize,
    most: usize,
    alphabet: fn(u8) -> bool,
    kind: &'static str,
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn base32(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'2'..=b'7')
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const fn shape(
    mark: &'static str,
    least: usize,
    most: usize,
    alphabet: fn(u8) -> bool,
    kind: &'static str,
) -> Shape {
    Shape { mark, least, most, alphabet, kind }
}

const SHAPES: [Shape; 22] = [
    shape("AKIA", 16, 16, base32, "an access key of AWS"),
    shape("ASIA", 16, 16, base32, "an access key of AWS"),
    shape("AIza", 35, 35, word, "an API key of Google"),
    shape("GOCSPX-", 28, 28, word, "a client secret of Google"),
    shape("ya29.", 60, 1000, word, "an access token of Google"),
    shape("ghp_", 36, 36, alphanumeric, "a token of GitHub"),
    shape("gho_", 36, 36, alphanumeric, "a token of GitHub"),
    shape("ghu_", 36, 36, alphanumeric, "a token of GitHub"),
    shape("ghs_", 36, 36, alphanumeric, "a token of GitHub"),
    shape("ghr_", 36, 76, alphanumeric, "a token of GitHub"),
    shape("github_pat_", 82, 82, word, "a token of GitHub"),
    shape("glpat-", 20, 60, word, "a token of GitLab"),
    shape("xoxb-", 24, 200, word, "a token of Slack"),
    shape("xoxp-", 24, 200, word, "a token of Slack"),
    shape("xapp-", 24, 200, word, "a token of Slack"),
    shape("sk_live_", 24, 200, alphanumeric, "a key of Stripe"),
    shape("rk_live_", 24, 200, alphanumeric, "a key of Stripe"),
    shape("npm_", 36, 36, alphanumeric, "a token of npm"),
    shape("pypi-AgE", 50, 1000, word, "a token of PyPI"),
    shape("dckr_pat_", 27, 27, word, "a token of Docker Hub"),
    shape("hvs.", 24, 200, word, "a token of Vault"),
    shape("dop_v1_", 64, 64, alphanumeric, "a token of DigitalOcean"),
];

const KEY_BEGINS: &[u8] = b"-----BEGIN ";
/// What comes between `BEGIN` and the dashes.
const KEYS: [&str; 7] = [
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "DSA PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "PGP PRIVATE KEY BLOCK",
];
/// Fewer characters of base64 than this are no key, but a program that looks for one.
const KEY_BODY: usize = 48;
/// How much after the first line may hold the body; headers of old formats come before it.
const KEY_WINDOW: usize = 600;

/// What is secret in `bytes`, in order, each kind once.
pub(crate) fn find(bytes: &[u8]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut note = |kind: &'static str, is_key: bool, at: usize| {
        if !found.iter().any(|known| known.kind == kind) {
            let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
            found.push(Found { kind, is_key, line });
        }
    };
    let mut before = b' ';
    for (at, &byte) in bytes.iter().enumerate() {
        // Most bytes end here: marks begin a word.
        if FIRST[byte as usize] && !before.is_ascii_alphanumeric() {
            if byte == b'-' {
                if before != b'-' && is_key(&bytes[at..]) {
                    note("a private key", true, at);
                }
            } else if let Some(kind) = token(&bytes[at..]) {
                note(kind, false, at);
            }
        }
        before = byte;
    }
    found
}

/// First bytes of every mark.
static FIRST: [bool; 256] = {
    let mut first = [false; 256];
    let mut at = 0;
    while at < SHAPES.len() {
        first[SHAPES[at].mark.as_bytes()[0] as usize] = true;
        at += 1;
    }
    first[b'-' as usize] = true;
    first
};

fn token(rest: &[u8]) -> Option<&'static str> {
    SHAPES.iter().find(|shape| is_token(rest, shape)).map(|shape| shape.kind)
}

fn is_token(rest: &[u8], shape: &Shape) -> bool {
    let Some(rest) = rest.strip_prefix(shape.mark.as_bytes()) else { return false };
    let length = rest.iter().take(shape.most + 1).take_while(|byte| (shape.alphabet)(**byte)).count();
    if length < shape.least || length > shape.most {
        return false;
    }
    // After it the word has to end, or it is part of something else.
    if shape.least == shape.most && rest.get(length).is_some_and(u8::is_ascii_alphanumeric) {
        return false;
    }
    let body = &rest[..length];
    // Documentation writes `AKIAIOSFODNN7EXAMPLE`, `ghp_xxxxxxxx…` and the like.
    let mut different: Vec<u8> = body.to_vec();
    different.sort_unstable();
    different.dedup();
    different.len() >= 6 && !contains(body, b"EXAMPLE") && !contains(body, b"example")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a private key begins here, with its body: on lines of its own, or with `\n` written out as in JSON.
fn is_key(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(KEY_BEGINS) else { return false };
    let Some(rest) = KEYS.iter().find_map(|kind| rest.strip_prefix(kind.as_bytes())?.strip_prefix(b"-----"))
    else {
        return false;
    };
    let window = &rest[..rest.len().min(KEY_WINDOW)];
    let window = window.split(|byte| *byte == b'-').next().unwrap_or_default();
    // Headers such as `Proc-Type: 4,ENCRYPTED` have a dash; what follows them counts as well.
    let body = if contains(window, b"Proc") || contains(window, b"Version:") {
        &rest[..rest.len().min(KEY_WINDOW)]
    } else {
        window
    };
    let mut longest = 0;
    let mut length = 0;
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            byte if byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/' || byte == b'=' => {
                length += 1
            }
            b'\n' | b'\r' => {}
            // `\n` in a string.
            b'\\' if matches!(body.get(at + 1), Some(b'n' | b'r')) => at += 1,
            _ => {
                longest = longest.max(length);
                length = 0;
            }
        }
        at += 1;
    }
    longest.max(length) >= KEY_BODY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<&'static str> {
        find(text.as_bytes()).into_iter().map(|found| found.kind).collect()
    }

    /// Put together here, so that no file of this project has a token in it.
    fn token(mark: &str, length: usize) -> String {
        let letters: String = "aB3dE5gH7jK9mN".chars().cycle().take(length).collect();
        format!("{mark}{letters}")
    }

    #[test]
    fn tokens_are_told_by_their_marks() {
        assert_eq!(kinds(&format!("x={}\n", token("ghp_", 36))), ["a token of GitHub"]);
        assert_eq!(kinds(&token("github_pat_", 82)), ["a token of GitHub"]);
        assert_eq!(kinds(&format!("\"{}\"", token("AIza", 35))), ["an API key of Google"]);
        assert_eq!(kinds(&format!("{}{}", "AKIA", "QWERTYUIOPASDFGH")), ["an access key of AWS"]);
        assert_eq!(kinds(&format!("//r/:_authToken={}", token("npm_", 36))), ["a token of npm"]);
        let two = format!("a\n{}\nb {}", token("glpat-", 20), token("sk_live_", 24));
        let found = find(two.as_bytes());
        assert_eq!(found.iter().map(|found| found.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
            concat!("AKIA", "IOSFODNN7EXAMPLE").to_owned(),
            token("ghp_", 35),
            token("ghp_", 37),
            format!("x{}", token("ghp_", 36)),
            token("npm_config_", 20),
            format!("AKIA{}", "QWERTYUIOPASDFGHJ"),
            "-----BEGIN CERTIFICATE-----".to_owned(),
        ] {
            assert_eq!(kinds(&text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_private_key_is_one_with_its_body() {
        let begin = |kind: &str| format!("-----BEGIN {kind}-----");
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\nC7VJTUt9Us8cKj";
        for kind in KEYS {
            assert_eq!(kinds(&format!("x\n{}\n{body}\n", begin(kind))), ["a private key"], "{kind}");
        }
        let json =
            format!("{{\"private_key\": \"{}\\n{}\\n", begin("PRIVATE KEY"), body.replace('\n', "\\n"));
        assert_eq!(kinds(&json), ["a private key"]);
        let old = format!(
            "{}\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}",
            begin("RSA PRIVATE KEY")
        );
        assert_eq!(kinds(&old), ["a private key"]);
        assert_eq!(kinds(&format!("if line == \"{}\" {{ key() }}", begin("PRIVATE KEY"))), [""; 0]);
        let public = format!("-----BEGIN PUBLIC KEY-----\n{body}");
        assert_eq!(kinds(&public), [""; 0]);
    }
}
