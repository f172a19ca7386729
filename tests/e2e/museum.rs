//! Components that were built against each published version of the contract: what worked once works for ever.
//!
//! Nothing in `tests/museum` is ever built again or edited. A component that fails here fails for whoever published one
//! like it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::bases::repository;
use crate::space::{TestSpace, shell};

/// The directories of versions, oldest first.
fn versions() -> Vec<PathBuf> {
    let museum = fs::read_dir(repository().join("tests/museum")).expect("the museum");
    let mut versions: Vec<PathBuf> =
        museum.flatten().map(|entry| entry.path()).filter(|it| it.is_dir()).collect();
    versions.sort();
    versions
}

fn components(version: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(version).expect("a version").flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "wasm")).collect();
    found.sort();
    found
}

#[test]
fn every_component_is_the_one_that_was_built_then() {
    assert!(!versions().is_empty());
    for version in versions() {
        shell(&format!("cd '{}' && sha256sum --check --strict --quiet SHA256SUMS", version.display()));
        let listed = fs::read_to_string(version.join("SHA256SUMS")).expect("a list of digests");
        let name =
            |path: &PathBuf| path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let listed: BTreeSet<String> =
            listed.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect();
        assert_eq!(components(&version).iter().map(name).collect::<BTreeSet<_>>(), listed);
        for kind in ["frontend", "instruction", "policy", "transform"] {
            assert!(listed.iter().any(|name| name.contains(kind)), "no {kind} in {}", version.display());
        }
        assert!(repository().join("tests/contract").join(version.file_name().expect("a name")).is_dir());
    }
}

#[test]
fn every_component_of_every_published_version_still_answers() {
    let space = TestSpace::new();
    for component in versions().iter().flat_map(|version| components(version)) {
        let path = component.to_str().expect("the path is UTF-8");
        space.kiln(&["plugin", "inspect", path]).ok();
        let checked = space.kiln(&["plugin", "check", path]).ok();
        assert!(checked.text().ends_with("good\n"), "{checked}");
    }
}
