//! Addresses of downloads as people write them: credentials taken out, what may not stand in one encoded.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::WebError;
use crate::registry::exchange::{authority, origin};

/// An http or https address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it is sent: without credentials and fragment.
    url: String,
    /// As it was written, without credentials.
    shown: String,
    /// `user:password`, decoded.
    credentials: Option<Vec<u8>>,
}

impl Address {
    /// # Errors
    ///
    /// [`WebError::Address`] if it is none.
    pub fn parse(text: &str) -> Result<Self, WebError> {
        let wrong = |why| WebError::Address { url: without_credentials(text), why };
        let scheme = ["http://", "https://"]
            .into_iter()
            .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
        let scheme = scheme.ok_or_else(|| wrong("it begins neither with `http://` nor with `https://`"))?;
        let rest = text[scheme.len()..].split('#').next().unwrap_or_default();
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (credentials, host) = match host.rsplit_once('@') {
            Some((credentials, host)) => (Some(decode(credentials)), host),
            None => (None, host),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(wrong("it names no host"));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{scheme}{host}{slash}{}", encode(path));
        if url.parse::<ureq::http::Uri>().ok().is_none_or(|uri| uri.host().is_none()) {
            return Err(wrong("it is not written as one"));
        }
        let credentials = credentials.map(|mut user| {
            if !user.contains(&b':') {
                user.push(b':');
            }
            user
        });
        Ok(Self { url, shown: without_credentials(text), credentials })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// For people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// `host[:port]`.
    pub fn authority(&self) -> &str {
        authority(&self.url).unwrap_or_default()
    }

    /// What tells this address from others, credentials aside.
    pub fn identity(&self) -> &str {
        &self.url
    }

    pub(super) fn authorization(&self) -> Option<String> {
        self.credentials.as_ref().map(|user| format!("Basic {}", STANDARD.encode(user)))
    }
}

/// The value of an `Authorization` header (RFC 7617).
pub fn basic_authorization(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// An address to be shown: user name and password, if it has any, are replaced.
pub fn without_credentials(url: &str) -> String {
    let Some(whole) = origin(url) else { return url.to_owned() };
    let Some((scheme, rest)) = whole.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        // A user's name alone, as in `ssh://git@host`, is no secret.
        Some((user, _)) if scheme == "ssh" && !user.contains(':') => url.to_owned(),
        Some((_, host)) => format!("{scheme}://xxxxx@{host}{}", &url[whole.len()..]),
        None => url.to_owned(),
    }
}

/// Percent-encodes what may not stand in a path or query. What is encoded already stays.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_what_is_sent_and_shown() {
        let address = Address::parse("https://me:p%40ss@host:8443/a b?x=ü#part").unwrap();
        assert_eq!(address.url(), "https://host:8443/a%20b?x=%C3%BC");
        assert_eq!(address.shown(), "https://xxxxx@host:8443/a b?x=ü#part");
        assert_eq!(address.authority(), "host:8443");
        assert_eq!(address.authorization().unwrap(), format!("Basic {}", STANDARD.encode("me:p@ss")));
        assert_eq!(Address::parse("http://me@host/").unwrap().authorization().unwrap(), "Basic bWU6");
    }

    #[test]
    fn what_is_encoded_stays_and_a_missing_path_is_the_root() {
        assert_eq!(Address::parse("HTTP://host/a%20b").unwrap().url(), "http://host/a%20b");
        assert_eq!(Address::parse("http://host?x").unwrap().url(), "http://host/?x");
        assert_eq!(Address::parse("http://[::1]:80").unwrap().url(), "http://[::1]:80/");
    }

    #[test]
    fn other_texts_are_no_addresses() {
        for text in ["ftp://host/x", "http://", "http:///x", "http://:80/", "https://ho st/", "host/x"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_secrets_are_hidden() {
        for (url, shown) in [
            ("https://token@host/x.git", "https://xxxxx@host/x.git"),
            ("ssh://git@host/x", "ssh://git@host/x"),
            ("ssh://git:pw@host/x", "ssh://xxxxx@host/x"),
            ("git@host:x", "git@host:x"),
            ("https://host/a@b", "https://host/a@b"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
