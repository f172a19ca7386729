//! All packages of some lists, found by name and by what they provide.

use std::collections::{HashMap, HashSet};

use crate::control;
use crate::relation::{self, Clause, Relation};
use crate::version;

/// One version of a package, as its list describes it.
#[derive(Clone, Copy, Debug)]
pub struct Package<'t> {
    pub name: &'t str,
    pub version: &'t str,
    pub architecture: &'t str,
    provides: &'t str,
    conflicts: &'t str,
    breaks: &'t str,
    /// The whole paragraph.
    pub stanza: &'t str,
    /// Of the list that it stands in, counting from 0.
    pub source: usize,
}

impl<'t> Package<'t> {
    pub fn field(&self, name: &str) -> Option<&'t str> {
        control::field(self.stanza, name)
    }

    /// The relations of a field that may be absent.
    ///
    /// # Errors
    ///
    /// What makes no sense in it, in words.
    pub fn relations(&self, field: &str) -> Result<Vec<Clause<'t>>, String> {
        // These are asked for of every pair of packages.
        let text = match field {
            "Provides" => self.provides,
            "Conflicts" => self.conflicts,
            "Breaks" => self.breaks,
            field => self.field(field).unwrap_or(""),
        };
        relation::parse(text)
            .map_err(|part| format!("`{field}` of `{}` has `{part}`, which is no relation", self.name))
    }

    pub fn is_essential(&self) -> bool {
        self.field("Essential") == Some("yes")
    }

    /// 0 for what every system needs, up to 4 for what few do.
    pub fn rank(&self) -> usize {
        let priority = self.field("Priority").unwrap_or("optional");
        ["required", "important", "standard", "optional"]
            .iter()
            .position(|known| *known == priority)
            .unwrap_or(4)
    }

    /// Whether the package is what a relation wants, by its own name or by what it provides.
    pub fn satisfies(&self, wanted: &Relation<'_>) -> bool {
        (self.name == wanted.name && wanted.holds_for(self.version)) || self.provides(wanted)
    }

    /// Whether it provides what a relation wants; only what is provided in a version has one.
    pub fn provides(&self, wanted: &Relation<'_>) -> bool {
        self.relations("Provides").unwrap_or_default().iter().flatten().any(|provided| {
            provided.name == wanted.name
                && match provided.version {
                    Some((_, version)) => wanted.holds_for(version),
                    None => wanted.version.is_none(),
                }
        })
    }
}

/// Packages for one architecture.
#[derive(Debug, Default)]
pub struct Index<'t> {
    packages: Vec<Package<'t>>,
    /// The latest version first; of equal ones that of the first list.
    by_name: HashMap<&'t str, Vec<usize>>,
    providers: HashMap<&'t str, Vec<usize>>,
}

impl<'t> Index<'t> {
    /// `lists` are texts of `Packages`, each with the number of the source that it is of.
    ///
    /// # Errors
    ///
    /// What is wrong with a paragraph, in words.
    pub fn new(
        lists: impl IntoIterator<Item = (usize, &'t str)>,
        architecture: &str,
    ) -> Result<Self, String> {
        let mut index = Self::default();
        for (source, text) in lists {
            for stanza in control::paragraphs(text) {
                let (mut name, mut version, mut arch) = ("", "", "");
                let (mut provides, mut conflicts, mut breaks) = ("", "", "");
                for (field, value) in control::fields(stanza) {
                    match field {
                        "Package" => name = value,
                        "Version" => version = value,
                        "Architecture" => arch = value,
                        "Provides" => provides = value,
                        "Conflicts" => conflicts = value,
                        "Breaks" => breaks = value,
                        _ => {}
                    }
                }
                if !is_name(name) {
                    return Err(format!("a list has a package that is called `{name}`"));
                }
                if !version::is_version(version) {
                    return Err(format!("a list has `{name}` in the version `{version}`, which is none"));
                }
                if arch != "all" && arch != architecture {
                    continue;
                }
                let number = index.packages.len();
                index.packages.push(Package {
                    name,
                    version,
                    architecture: arch,
                    provides,
                    conflicts,
                    breaks,
                    stanza,
                    source,
                });
                index.by_name.entry(name).or_default().push(number);
                let provides = relation::parse(provides)
                    .map_err(|part| format!("`Provides` of `{name}` has `{part}`, which is no relation"))?;
                let mut seen = HashSet::new();
                for provided in provides.into_iter().flatten().filter(|provided| seen.insert(provided.name)) {
                    index.providers.entry(provided.name).or_default().push(number);
                }
            }
        }
        let packages = &index.packages;
        for versions in index.by_name.values_mut() {
            versions.sort_by(|a, b| version::compare(packages[*b].version, packages[*a].version));
        }
        Ok(index)
    }

    /// All versions, the latest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = &Package<'t>> {
        self.by_name.get(name).into_iter().flatten().map(|number| &self.packages[*number])
    }

    /// What provides a name without being called so, the most common first. Of each package the latest version.
    pub fn providers(&self, name: &str) -> Vec<&Package<'t>> {
        let numbers = self.providers.get(name).into_iter().flatten();
        let mut found: Vec<&Package<'t>> = numbers
            .map(|number| &self.packages[*number])
            .filter(|package| package.name != name && self.latest(package.name) == Some(package.version))
            .collect();
        found.sort_by_key(|package| (package.rank(), package.name));
        found.dedup_by_key(|package| package.name);
        found
    }

    fn latest(&self, name: &str) -> Option<&'t str> {
        self.versions(name).next().map(|package| package.version)
    }

    /// The latest version of every package, by name.
    pub fn all(&self) -> Vec<&Package<'t>> {
        let mut all: Vec<&Package<'t>> =
            self.by_name.values().map(|numbers| &self.packages[numbers[0]]).collect();
        all.sort_by_key(|package| package.name);
        all
    }

    pub fn names(&self) -> impl Iterator<Item = &'t str> {
        self.by_name.keys().copied()
    }
}

/// Whether a text can be the name of a package. It becomes part of paths.
pub fn is_name(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "Package: aa\nVersion: 1\nArchitecture: amd64\nProvides: virtual, other (= 2)\n\nPackage: aa\nVersion: 10\nArchitecture: amd64\nProvides: virtual\n\nPackage: bb\nVersion: 1\nArchitecture: all\nPriority: required\nProvides: virtual\n\nPackage: cc\nVersion: 1\nArchitecture: arm64\n";

    #[test]
    fn packages_are_found_by_name_and_by_what_they_provide() {
        let index =
            Index::new([(0, FIRST), (1, "Package: aa\nVersion: 9\nArchitecture: all\n")], "amd64").unwrap();
        let versions: Vec<_> =
            index.versions("aa").map(|package| (package.version, package.source)).collect();
        assert_eq!(versions, [("10", 0), ("9", 1), ("1", 0)]);
        let names: Vec<_> =
            index.providers("virtual").iter().map(|package| (package.name, package.version)).collect();
        assert_eq!(names, [("bb", "1"), ("aa", "10")]);
        assert!(index.providers("other").is_empty(), "the latest version provides it no more");
        assert_eq!(index.versions("cc").count(), 0, "it is for another architecture");
        assert_eq!(index.all().len(), 2);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        for bad in ["Package: ../x\nVersion: 1\n", "Package: aa\nVersion: x\n", "Version: 1\n"] {
            assert!(Index::new([(0, bad)], "amd64").is_err(), "{bad}");
        }
        let bad = "Package: aa\nVersion: 1\nArchitecture: all\nProvides: a b\n";
        assert!(Index::new([(0, bad)], "amd64").unwrap_err().contains("`a b`"));
    }
}
