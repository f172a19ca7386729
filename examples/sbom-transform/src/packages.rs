//! Packages, and the databases that list them.

/// One thing that somebody packed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The address by which databases of vulnerabilities know it.
    pub(crate) purl: String,
    /// As the package says, if it does.
    pub(crate) license: String,
}

/// What `os-release` says.
#[derive(Debug, Default)]
pub(crate) struct Distribution {
    id: String,
    version: String,
}

pub(crate) fn distribution(text: &str) -> Distribution {
    let field = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    Distribution { id: field("ID"), version: field("VERSION_ID") }
}

/// `type/namespace/name@version?…`, each part with what may not stand there written as its number.
fn purl(kind: &str, namespace: &str, name: &str, version: &str, qualifiers: &[(&str, &str)]) -> String {
    let mut text = format!("pkg:{kind}/");
    for part in namespace.split('/').filter(|part| !part.is_empty()) {
        text += &format!("{}/", encoded(part));
    }
    text += &encoded(name);
    if !version.is_empty() {
        text += &format!("@{}", encoded(version));
    }
    let qualifiers: Vec<String> = qualifiers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encoded(value)))
        .collect();
    if !qualifiers.is_empty() {
        text += &format!("?{}", qualifiers.join("&"));
    }
    text
}

fn encoded(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all += &format!("%{byte:02X}");
        }
    }
    all
}

/// Reads paragraphs of fields. `with_status`: only what is installed counts.
pub(crate) fn dpkg(text: &str, with_status: bool, on: &Distribution, found: &mut Vec<Package>) {
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            let found = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.unwrap_or_default().trim()
        };
        let state = field("Status").split_whitespace().last().unwrap_or_default();
        if with_status && ["", "config-files", "not-installed"].contains(&state)
            || field("Package").is_empty()
        {
            continue;
        }
        let (name, version) = (field("Package"), field("Version"));
        let distribution = [on.id.as_str(), on.version.as_str()].join("-");
        let distribution = distribution.trim_matches('-');
        let namespace = if on.id.is_empty() { "debian" } else { &on.id };
        let purl = purl(
            "deb",
            namespace,
            name,
            version,
            &[("arch", field("Architecture")), ("distro", distribution)],
        );
        found.push(Package { name: name.into(), version: version.into(), purl, license: String::new() });
    }
}

pub(crate) fn apk(text: &str, on: &Distribution, found: &mut Vec<Package>) {
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
        };
        let (name, version) = (field("P:"), field("V:"));
        if name.is_empty() {
            continue;
        }
        let distribution = [on.id.as_str(), on.version.as_str()].join("-");
        let namespace = if on.id.is_empty() { "alpine" } else { &on.id };
        let purl = purl(
            "apk",
            namespace,
            name,
            version,
            &[("arch", field("A:")), ("distro", distribution.trim_matches('-'))],
        );
        found.push(Package { name: name.into(), version: version.into(), purl, license: field("L:").into() });
    }
}

/// A module of Go.
pub(crate) fn module(name: &str, version: &str) -> Package {
    let (namespace, last) = name.rsplit_once('/').unwrap_or(("", name));
    // What was built where it lay has no version.
    let known = if version == "(devel)" { "" } else { version };
    let purl = purl("golang", namespace, last, known, &[]);
    Package { name: name.into(), version: known.into(), purl, license: String::new() }
}

/// The note that a distribution put into a program: JSON, in the form of an ELF note of the owner `FDO`.
pub(crate) fn note(section: &[u8], _: &str, found: &mut Vec<Package>) {
    let word = |at: usize| Some(u32::from_le_bytes(section.get(at..at + 4)?.try_into().ok()?) as usize);
    let read = || {
        let (name_length, length) = (word(0)?, word(4)?);
        let start = 12 + name_length.checked_next_multiple_of(4)?;
        let text = section.get(start..start.checked_add(length)?)?;
        let text = std::str::from_utf8(text).ok()?.trim_end_matches('\0').trim();
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let (kind, name, version) = (field("type"), field("name"), field("version"));
        if kind.is_empty() || name.is_empty() {
            return None;
        }
        let purl = purl(&kind, &field("os"), &name, &version, &[("arch", &field("architecture"))]);
        Some(Package { name, version, purl, license: String::new() })
    };
    found.extend(read());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &[Package]) -> Vec<&str> {
        found.iter().map(|package| package.purl.as_str()).collect()
    }

    #[test]
    fn databases_are_read_as_package_addresses() {
        let on = distribution("NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
        let mut found = Vec::new();
        dpkg(
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
            true,
            &on,
            &mut found,
        );
        dpkg("Package: tzdata\nVersion: 2024a\n", false, &on, &mut found);
        assert_eq!(
            shown(&found),
            [
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
                "pkg:deb/debian/tzdata@2024a?distro=debian-12"
            ]
        );
        let mut found = Vec::new();
        apk("C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n", &Distribution::default(), &mut found);
        assert_eq!(shown(&found), ["pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64"]);
        assert_eq!(found[0].license, "MIT");
    }

    #[test]
    fn a_note_in_a_program_names_its_package() {
        let json =
            br#"{"type":"rpm","name":"hello","version":"1-2.fc40","architecture":"x86_64","os":"fedora"}"#;
        let mut section = Vec::new();
        section.extend(4u32.to_le_bytes());
        section.extend((json.len() as u32).to_le_bytes());
        section.extend(0xcafe_1a7e_u32.to_le_bytes());
        section.extend(b"FDO\0");
        section.extend(json);
        let mut found = Vec::new();
        note(&section, "usr/bin/hello", &mut found);
        assert_eq!(shown(&found), ["pkg:rpm/fedora/hello@1-2.fc40?arch=x86_64"]);
        for end in 0..section.len() {
            note(&section[..end], "", &mut Vec::new());
        }
        note(&[0xff; 64], "", &mut found);
        assert_eq!(found.len(), 1);
    }
}
