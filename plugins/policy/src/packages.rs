//! Which packages an image has, by the databases of dpkg and apk.

use core::fmt;

use kiln_sdk::wit::types::HostError;

use crate::files::{Files, read_up_to};
use crate::glob::Glob;

/// Debian's own is a few megabytes with thousands of packages.
const MAX_DATABASE_BYTES: usize = 32 << 20;

const DPKG: &str = "var/lib/dpkg/status";
/// Images without a package manager have a file per package.
const DPKG_PARTS: &str = "var/lib/dpkg/status.d";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
/// Databases that are there and that this policy does not read.
const OTHERS: [(&str, &str); 6] = [
    ("var/lib/rpm/rpmdb.sqlite", "rpm"),
    ("var/lib/rpm/Packages", "rpm"),
    ("var/lib/rpm/Packages.db", "rpm"),
    ("usr/lib/sysimage/rpm/rpmdb.sqlite", "rpm"),
    ("usr/lib/sysimage/rpm/Packages.db", "rpm"),
    ("var/lib/pacman/local", "pacman"),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackagePattern {
    text: String,
    name: Glob,
    version: Option<Glob>,
}

impl PackagePattern {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(Glob::new(version))),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("it has no name");
        }
        Ok(Self { text: text.to_owned(), name: Glob::new(name), version })
    }

    pub(crate) fn matches(&self, package: &Package) -> bool {
        self.name.matches(&package.name)
            && self.version.as_ref().is_none_or(|version| version.matches(&package.version))
    }
}

impl fmt::Display for PackagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Why an image cannot be judged by its packages.
#[derive(Debug, PartialEq)]
pub(crate) enum Unreadable {
    /// Path and kind of a database that this policy does not know.
    Unknown(&'static str, &'static str),
    TooLarge(String),
    Host(HostError),
}

/// Every installed package, in the order of the databases.
pub(crate) fn installed(root: &dyn Files) -> Result<Vec<Package>, Unreadable> {
    for (path, kind) in OTHERS {
        if is_there(root, path)? {
            return Err(Unreadable::Unknown(path, kind));
        }
    }
    let mut packages = Vec::new();
    if let Some(text) = database(root, DPKG)? {
        paragraphs(&text, &mut packages, Format::Dpkg);
    }
    match root.children(DPKG_PARTS) {
        Ok(parts) => {
            for part in parts.iter().filter(|part| !part.path.ends_with(".md5sums")) {
                if let Some(text) = database(root, &part.path)? {
                    paragraphs(&text, &mut packages, Format::DpkgPart);
                }
            }
        }
        Err(error) if error.is_absent() => {}
        Err(error) => return Err(Unreadable::Host(error)),
    }
    for path in APK {
        if let Some(text) = database(root, path)? {
            paragraphs(&text, &mut packages, Format::Apk);
        }
    }
    Ok(packages)
}

fn is_there(root: &dyn Files, path: &str) -> Result<bool, Unreadable> {
    match root.stat(path) {
        Ok(_) => Ok(true),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(Unreadable::Host(error)),
    }
}

fn database(root: &dyn Files, path: &str) -> Result<Option<String>, Unreadable> {
    match read_up_to(root, path, MAX_DATABASE_BYTES + 1) {
        Ok(bytes) if bytes.len() > MAX_DATABASE_BYTES => Err(Unreadable::TooLarge(path.to_owned())),
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(Unreadable::Host(error)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Dpkg,
    /// As dpkg's, and what is there is installed.
    DpkgPart,
    Apk,
}

/// Reads paragraphs of fields; what has no name is passed over.
fn paragraphs(text: &str, packages: &mut Vec<Package>, format: Format) {
    let (name, version) = match format {
        Format::Apk => ("P:", "V:"),
        Format::Dpkg | Format::DpkgPart => ("Package:", "Version:"),
    };
    let mut package = Package::default();
    let mut is_installed = format != Format::Dpkg;
    for line in text.lines().chain([""]) {
        if let Some(value) = line.strip_prefix(name) {
            value.trim().clone_into(&mut package.name);
        } else if let Some(value) = line.strip_prefix(version) {
            value.trim().clone_into(&mut package.version);
        } else if let Some(status) = line.strip_prefix("Status:").filter(|_| format == Format::Dpkg) {
            // `deinstall ok config-files` has left its configuration and nothing else.
            let state = status.split_whitespace().last();
            is_installed = !matches!(state, Some("config-files" | "not-installed") | None);
        } else if line.is_empty() {
            let package = core::mem::take(&mut package);
            if is_installed && !package.name.is_empty() {
                packages.push(package);
            }
            is_installed = format != Format::Dpkg;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    fn names(root: &Table) -> Vec<String> {
        let packages = installed(root).unwrap();
        packages.into_iter().map(|package| format!("{}={}", package.name, package.version)).collect()
    }

    #[test]
    fn the_databases_of_dpkg_and_apk_are_read() {
        let root = Table::of(&[
            (
                "var/lib/dpkg/status",
                "Package: bash\nStatus: install ok installed\nVersion: 5.2\nDescription: x\n Package: no\n\n\
                 Package: old\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                 Package: half\nStatus: install ok half-configured\nVersion: 2\n",
            ),
            ("var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a\n"),
            ("var/lib/dpkg/status.d/tzdata.md5sums", "Package: nothing\n"),
            (
                "lib/apk/db/installed",
                "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36\nF:bin\nR:sh\n\n",
            ),
        ]);
        assert_eq!(names(&root), ["bash=5.2", "half=2", "tzdata=2024a", "musl=1.2.5-r0", "busybox=1.36"]);
        assert_eq!(names(&Table::of(&[])), [""; 0]);
    }

    #[test]
    fn a_database_that_cannot_be_read_is_told() {
        let root = Table::of(&[("var/lib/rpm/rpmdb.sqlite", "SQLite format 3")]);
        assert_eq!(installed(&root), Err(Unreadable::Unknown("var/lib/rpm/rpmdb.sqlite", "rpm")));
    }

    #[test]
    fn a_pattern_is_for_a_name_and_perhaps_a_version() {
        let package = Package { name: "openssh-server".into(), version: "1:9.2p1-2".into() };
        let check = |pattern: &str, expected: bool| {
            assert_eq!(PackagePattern::parse(pattern).unwrap().matches(&package), expected, "{pattern}");
        };
        check("openssh-server", true);
        check("openssh-*", true);
        check("openssh", false);
        check("openssh-*=1:9.2*", true);
        check("openssh-*=1:9.3*", false);
    }
}
