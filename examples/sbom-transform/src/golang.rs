//! What Go puts into the programs that it builds: its own version, and the modules.

use crate::packages::{Package, module};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Set when the texts are in the section itself, as since Go 1.18.
const INLINE: u8 = 2;
/// Before and after the text about modules stand so many bytes, for finding it without a table of sections.
const MARK: usize = 16;

/// Adds the modules that a section `.go.buildinfo` names.
pub(crate) fn modules(section: &[u8], _: &str, found: &mut Vec<Package>) {
    let Some((version, text)) = texts(section) else { return };
    if let Some(version) = version.strip_prefix("go") {
        let version = version.split(' ').next().unwrap_or_default();
        found.push(module("stdlib", version));
    }
    let mut last: Option<Package> = None;
    for line in text.lines() {
        let mut words = line.split('\t');
        let (kind, name, version) = (words.next(), words.next(), words.next());
        match (kind, name) {
            (Some("mod" | "dep"), Some(name)) => {
                found.extend(last.take());
                last = Some(module(name, version.unwrap_or_default()));
            }
            // Stands in for the module before it.
            (Some("=>"), Some(name)) => last = Some(module(name, version.unwrap_or_default())),
            _ => {}
        }
    }
    found.extend(last);
}

/// Version and modules. What older Go wrote points into other sections and is passed over.
fn texts(section: &[u8]) -> Option<(String, String)> {
    let rest = section.strip_prefix(MAGIC)?;
    if rest.get(1)? & INLINE == 0 {
        return None;
    }
    let mut rest = section.get(32..)?;
    let version = text(&mut rest)?;
    let modules = text(&mut rest)?;
    let modules = modules.get(MARK..modules.len().checked_sub(MARK)?)?;
    Some((String::from_utf8_lossy(version).into_owned(), String::from_utf8_lossy(modules).into_owned()))
}

/// A text after its length.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length: u64 = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let length = usize::try_from(length).ok()?;
            let text = rest.get(..length)?;
            *rest = &rest[length..];
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(version: &str, modules: &str) -> Vec<u8> {
        let mut section = MAGIC.to_vec();
        section.extend([8, INLINE]);
        section.resize(32, 0);
        let modules = format!("{}{modules}{}", "m".repeat(MARK), "n".repeat(MARK));
        for text in [version, &modules] {
            assert!(text.len() < 1 << 14);
            section.extend([(text.len() & 0x7f) as u8 | 0x80, (text.len() >> 7) as u8]);
            section.extend(text.as_bytes());
        }
        section
    }

    #[test]
    fn modules_are_read_with_what_stands_in_for_them() {
        let text = "path\texample.com/x\nmod\texample.com/x\t(devel)\t\ndep\tgolang.org/x/sys\tv0.1.0\th1:a\n\
                    dep\texample.com/old\tv1.0.0\n=>\texample.com/new\tv1.1.0\th1:b\nbuild\tGOOS=linux\n";
        let section = section("go1.22.1 X:nocoverageredesign", text);
        let mut found = Vec::new();
        modules(&section, "x", &mut found);
        let purls: Vec<&str> = found.iter().map(|package| package.purl.as_str()).collect();
        assert_eq!(
            purls,
            [
                "pkg:golang/stdlib@1.22.1",
                "pkg:golang/example.com/x",
                "pkg:golang/golang.org/x/sys@v0.1.0",
                "pkg:golang/example.com/new@v1.1.0"
            ]
        );
        for end in 0..section.len() {
            modules(&section[..end], "", &mut Vec::new());
        }
        let mut none = Vec::new();
        modules(&[0xff; 100], "", &mut none);
        assert!(none.is_empty());
    }
}
