//! Versions of Java: as projects write them, and the ones that builder images exist for.

/// Releases with long support, which Docker Hub has images of.
pub(crate) const LONG_TERM: [u32; 5] = [8, 11, 17, 21, 25];

/// What is taken where a project says nothing.
pub(crate) const DEFAULT: u32 = 21;

/// A version that a project asks for, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) version: u32,
    /// `maven.compiler.release in pom.xml`.
    pub(crate) from: String,
}

/// The feature version of `17`, `17.0.2`, `1.8`, `VERSION_17` and `JavaVersion.VERSION_1_8`.
pub(crate) fn parse(text: &str) -> Option<u32> {
    let text = text.trim().trim_matches(['"', '\'']);
    let text = text.rsplit("VERSION_").next()?.replace('_', ".");
    let mut numbers = text.split(['.', '+', '-']).map(str::parse::<u32>);
    let version = match (numbers.next()?.ok()?, numbers.next()) {
        (1, Some(Ok(minor))) => minor,
        (major, _) => major,
    };
    (5..=999).contains(&version).then_some(version)
}

/// The release with long support that can build for a version: the next one, or the version itself beyond the list.
pub(crate) fn builder(version: u32) -> u32 {
    LONG_TERM.into_iter().find(|it| *it >= version).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for (text, version) in [
            ("17", Some(17)),
            (" 17.0.2 ", Some(17)),
            ("1.8", Some(8)),
            ("'11'", Some(11)),
            ("JavaVersion.VERSION_1_8", Some(8)),
            ("VERSION_21", Some(21)),
            ("25-ea", Some(25)),
            ("${java.version}", None),
            ("", None),
            ("1", None),
            ("4000000000", None),
        ] {
            assert_eq!(parse(text), version, "{text}");
        }
    }

    #[test]
    fn the_builder_is_one_that_images_exist_for() {
        assert_eq!([6, 8, 9, 17, 18, 22, 26].map(builder), [8, 8, 11, 17, 21, 25, 26]);
    }
}
