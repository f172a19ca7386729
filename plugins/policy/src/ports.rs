//! Ports as people write them: `22`, `22/tcp`, `1-1023`, `8000-8999/udp`.

use core::fmt;

/// Some ports of one protocol or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    first: u16,
    last: u16,
    /// Lower case; empty for any.
    protocol: String,
}

impl Ports {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, ""));
        if text.ends_with('/') || !protocol.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| -> Option<u16> {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        };
        let (first, last) = (number(first)?, number(last)?);
        (first <= last).then(|| Self { first, last, protocol: protocol.to_ascii_lowercase() })
    }

    /// Whether any port of `exposed`, where no protocol means tcp, is one of these.
    pub(crate) fn touches(&self, exposed: &Self) -> bool {
        self.same_protocol(exposed) && self.first <= exposed.last && exposed.first <= self.last
    }

    /// Whether every port of `exposed` is one of these.
    pub(crate) fn covers(&self, exposed: &Self) -> bool {
        self.same_protocol(exposed) && self.first <= exposed.first && exposed.last <= self.last
    }

    fn same_protocol(&self, exposed: &Self) -> bool {
        let theirs = if exposed.protocol.is_empty() { "tcp" } else { &exposed.protocol };
        self.protocol.is_empty() || self.protocol == theirs
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last != self.first {
            write!(f, "-{}", self.last)?;
        }
        if !self.protocol.is_empty() {
            write!(f, "/{}", self.protocol)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_number_or_a_range_and_perhaps_a_protocol() {
        for good in ["22", "22/tcp", "1-1023", "8000-8999/udp"] {
            assert_eq!(Ports::parse(good).map(|ports| ports.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "/tcp", "22/", "x", "2-1", "70000", "+1", "1-2-3", "22/t1"] {
            assert_eq!(Ports::parse(bad), None, "{bad}");
        }
        let ports = |text| Ports::parse(text).unwrap();
        assert!(ports("22").touches(&ports("22/udp")));
        assert!(ports("22/tcp").touches(&ports("22")));
        assert!(!ports("22/udp").touches(&ports("22")));
        assert!(ports("1-1023").touches(&ports("1000-2000/tcp")));
        assert!(!ports("1-1023").covers(&ports("1000-2000/tcp")));
        assert!(ports("1-9999").covers(&ports("1000-2000/tcp")));
    }
}
