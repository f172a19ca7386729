//! Reads of Gradle's build files what decides about the image to build in. They are programs, so this looks for the
//! usual spellings only; the option `version` says what they do not.

use crate::version::{self, Wanted};

/// Words that a version follows, the one that decides first, and how they are called in a reason.
const WORDS: [(&str, &str); 5] = [
    ("languageVersion", "the toolchain"),
    ("jvmToolchain", "the toolchain"),
    ("options.release", "`options.release`"),
    ("targetCompatibility", "`targetCompatibility`"),
    ("sourceCompatibility", "`sourceCompatibility`"),
];

/// The version of Java that a build file asks for.
pub(crate) fn java(path: &str, content: &str) -> Option<Wanted> {
    let text = without_comments(content);
    WORDS.iter().find_map(|(word, called)| {
        let versions = text.match_indices(word).filter_map(|(at, _)| after(&text[at + word.len()..]));
        versions.max().map(|version| Wanted { version, from: format!("{called} in `{path}`") })
    })
}

/// How far behind a word its version is looked for.
const MAX_CHARACTERS: usize = 200;

/// The version on the rest of a line: ` = 17`, `.set(JavaLanguageVersion.of(17))`, ` JavaVersion.VERSION_1_8`.
fn after(rest: &str) -> Option<u32> {
    let end = rest.char_indices().nth(MAX_CHARACTERS).map_or(rest.len(), |(at, _)| at);
    let line = rest[..end].lines().next()?;
    let begin = line.find("VERSION_").or_else(|| line.find(|c: char| c.is_ascii_digit()))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let end = line[begin..].find(|c| !is_part(c)).map_or(line.len(), |end| begin + end);
    version::parse(line[begin..end].trim_end_matches('.'))
}

/// The text without `//` to the end of the line and `/* */`. Strings may hold `//`, as in addresses: then the rest of
/// the line is lost, and no version stands there.
fn without_comments(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(slash) = rest.find('/') {
        left.push_str(&rest[..slash]);
        rest = &rest[slash..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if let Some(inside) = rest.strip_prefix("/*") {
            rest = inside.find("*/").map_or("", |end| &inside[end + 2..]);
        } else {
            left.push('/');
            rest = &rest[1..];
        }
    }
    left + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings_are_known() {
        for (text, version) in [
            ("java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }", Some(17)),
            ("languageVersion.set(JavaLanguageVersion.of(21))", Some(21)),
            ("kotlin { jvmToolchain(11) }", Some(11)),
            ("sourceCompatibility = JavaVersion.VERSION_1_8\n", Some(8)),
            ("sourceCompatibility = '11'", Some(11)),
            ("sourceCompatibility 1.8", Some(8)),
            ("options.release.set(17)", Some(17)),
            ("options.release = 11\nsourceCompatibility = 8", Some(11)),
            ("// sourceCompatibility = 8\n/* options.release = 9 */ targetCompatibility = 17", Some(17)),
            ("sourceCompatibility = javaVersion", None),
            ("plugins { id 'java' }", None),
            ("url 'https://x/y' /* a // b */ ; sourceCompatibility = 9 / 1", None),
            ("/* a // b */ sourceCompatibility = 9 / 1 // 8", Some(9)),
            ("/*/ sourceCompatibility = 9", None),
        ] {
            assert_eq!(java("build.gradle", text).map(|wanted| wanted.version), version, "{text}");
        }
    }

    #[test]
    fn a_long_file_is_read_in_no_time() {
        let comments = "//\n".repeat(1 << 20);
        let words = "languageVersion".repeat(1 << 18);
        for text in [&comments, &words, &"/*".repeat(1 << 20), &"/".repeat(1 << 20)] {
            assert_eq!(java("build.gradle", text), None);
        }
    }
}
