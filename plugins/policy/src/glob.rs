//! Patterns for names with slashes: `*` and `?` stay within a part, `**` goes over all.

/// A pattern; everything but `*` and `?` stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` is as the pattern says.
    pub(crate) fn matches(&self, text: &str) -> bool {
        matches(self.0.as_bytes(), text.as_bytes())
    }
}

/// One thing that a pattern asks for.
enum Part {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Few,
    /// `**`
    All,
    /// `**/` at the beginning of a part: any directories, or none.
    Directories,
}

fn parts(pattern: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        let rest = &pattern[at..];
        let (part, length) = if rest.starts_with(b"**/") && (at == 0 || pattern[at - 1] == b'/') {
            (Part::Directories, 3)
        } else if rest.starts_with(b"**") {
            (Part::All, 2)
        } else {
            match rest[0] {
                b'*' => (Part::Few, 1),
                b'?' => (Part::One, 1),
                byte => (Part::Byte(byte), 1),
            }
        };
        parts.push(part);
        at += length;
    }
    parts
}

/// Follows all ways at once, so the time is the product of the lengths, whatever the pattern.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let parts = parts(pattern);
    let end = parts.len();
    // Whether what was read so far is what the parts before this one ask for.
    let mut here = vec![false; end + 1];
    // Whether it may be the middle of a name that the part takes.
    let mut within = vec![false; end];
    here[0] = true;
    skip_empty(&parts, &mut here);
    for byte in text {
        let mut next = vec![false; end + 1];
        for (at, part) in parts.iter().enumerate() {
            match part {
                Part::Byte(wanted) => next[at + 1] |= here[at] && wanted == byte,
                Part::One => next[at + 1] |= here[at] && *byte != b'/',
                Part::Few => next[at] |= here[at] && *byte != b'/',
                Part::All => next[at] |= here[at],
                Part::Directories => {
                    within[at] |= here[at];
                    next[at + 1] |= within[at] && *byte == b'/';
                }
            }
        }
        skip_empty(&parts, &mut next);
        here = next;
    }
    here[end]
}

/// What may be nothing is passed over.
fn skip_empty(parts: &[Part], here: &mut [bool]) {
    for (at, part) in parts.iter().enumerate() {
        if matches!(part, Part::Few | Part::All | Part::Directories) {
            here[at + 1] |= here[at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_part_and_two_go_over_all() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
        };
        check("", "", true);
        check("a", "a", true);
        check("a", "ab", false);
        check("docker.io/library/*", "docker.io/library/alpine", true);
        check("docker.io/library/*", "docker.io/library/a/b", false);
        check("docker.io/**", "docker.io/library/a/b", true);
        check("**", "", true);
        check("**", "a/b", true);
        check("*", "a/b", false);
        check("*/b", "a/b", true);
        check("*a*b*", "xxaxxbxx", true);
        check("*a*b*", "xxaxx/bxx", false);
        check("**/id_*", "root/.ssh/id_rsa", true);
        check("**/id_*", "id_rsa", true);
        check("a/**/b", "a/b", true);
        check("a/**/b", "a/x/y/b", true);
        check("a/**/b", "a/xb", false);
        check("**.pem", "etc/ssl/key.pem", true);
        check("**/*.p?m", "etc/ssl/key.pem", true);
        check("usr/bin/?", "usr/bin/a", true);
        check("usr/bin?a", "usr/bin/a", false);
        check("v*.*", "v1.2.3", true);
        check("v*.*", "v1", false);
    }

    #[test]
    fn a_pattern_of_stars_is_no_trap() {
        let pattern = "*a".repeat(200);
        let text = "a".repeat(20_000) + "b";
        assert!(!Glob::new(&pattern).matches(&text));
        let pattern = "**/*a*a*a*a*b".repeat(8);
        assert!(!Glob::new(&pattern).matches(&"a/".repeat(300)));
    }
}
