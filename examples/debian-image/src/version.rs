//! Versions of Debian packages, ordered as dpkg orders them (deb-version(7)).

use std::cmp::Ordering;

/// Compares `[epoch:]upstream[-revision]`. What is no version is ordered all the same, as text is.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    a.epoch
        .cmp(&b.epoch)
        .then_with(|| part(a.upstream, b.upstream))
        .then_with(|| part(a.revision, b.revision))
}

/// Whether a text can be a version at all.
pub fn is_version(text: &str) -> bool {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~');
    !epoch.is_empty()
        && epoch.bytes().all(|b| b.is_ascii_digit())
        && upstream.starts_with(|c: char| c.is_ascii_digit())
        && upstream.chars().all(|c| plain(c) || c == '-' || c == ':')
        && !revision.is_empty()
        && revision.chars().all(plain)
}

struct Parts<'a> {
    epoch: u64,
    upstream: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => {
                (epoch.parse().unwrap_or(0), rest)
            }
            _ => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self { epoch, upstream, revision }
    }
}

/// What is no digit, in runs: `~` before the end, the end before letters, letters before everything else. Then a number.
fn part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|c| !c.is_ascii_digit()) || b.first().is_some_and(|c| !c.is_ascii_digit())
        {
            match weight(a.first()).cmp(&weight(b.first())) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                unequal => return unequal,
            }
        }
        let (left, right) = (number(&mut a), number(&mut b));
        match left.len().cmp(&right.len()).then_with(|| left.cmp(right)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    Ordering::Equal
}

fn weight(c: Option<&u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

/// Takes the digits at the beginning, and gives them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let length = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    *text = rest;
    let zeros = digits.iter().take_while(|c| **c == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_manual_says() {
        let ascending = [
            "0~",
            "0",
            "1~~",
            "1~~a",
            "1~",
            "1",
            "1-0",
            "1-1~",
            "1-1",
            "1-1+b1",
            "1.0",
            "1.0a",
            "1.0+",
            "1.2",
            "1.10",
            "2.36-9",
            "2.36-9+deb12u4",
            "2.36-9+deb12u14",
            "1:0.1",
            "2:0",
        ];
        for pair in ascending.windows(2) {
            // What has no revision has revision 0, and zeros at the front say nothing.
            let expected = if pair == ["1", "1-0"] { Ordering::Equal } else { Ordering::Less };
            assert_eq!(compare(pair[0], pair[1]), expected, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), expected.reverse(), "{pair:?}");
        }
        assert_eq!(compare("1.01-02", "1.1-2"), Ordering::Equal);
        assert_eq!(compare("0:1", "1"), Ordering::Equal);
    }

    #[test]
    fn what_cannot_be_a_version_is_told() {
        for good in ["1", "1:2.3-4+b1", "2.36-9+deb12u14", "1~rc1-1", "1.0-a-1"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", "x1", "1:", ":1", "a:1", "1-", "1 2", "1/2"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
