//! Reads the main section of `META-INF/MANIFEST.MF`.

/// Attributes of a jar as a whole, in the order they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest(Vec<(String, String)>);

impl Manifest {
    /// A line that begins with a blank goes on with the one before it. Sections of single members come after an empty
    /// line, and are not read.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut attributes: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix(' ') {
                if let Some((_, value)) = attributes.last_mut() {
                    value.push_str(rest);
                }
            } else if let Some((name, value)) = line.split_once(": ") {
                attributes.push((name.to_owned(), value.to_owned()));
            }
        }
        Self(attributes)
    }

    /// The value of an attribute, whose name is the same in any case. An empty one is none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_joined_and_sections_left_out() {
        let manifest = Manifest::parse(
            b"Manifest-Version: 1.0\r\nMain-Class: org.example.a.very.long.name.that.has.to.be\r\n .Broken\r\nEmpty: \r\n\r\nName: x\r\nStart-Class: y\r\n",
        );
        assert_eq!(manifest.get("main-class"), Some("org.example.a.very.long.name.that.has.to.be.Broken"));
        assert_eq!((manifest.get("Empty"), manifest.get("Start-Class")), (None, None));
        assert_eq!(Manifest::parse(b" x\xff").get("x"), None);
    }
}
