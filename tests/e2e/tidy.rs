//! Rules about the sources, as tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::bases::repository;

/// Sources of the engine, the plugins and these tests.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for room in ["engine", "plugins", "tests", "examples"] {
        walk(&repository().join(room), &mut found);
    }
    assert!(found.len() > 30, "the sources are somewhere else");
    found
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn named(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).display().to_string()
}

#[test]
fn rooms_depend_only_on_the_rooms_that_their_manifest_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(repository().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    for package in metadata["packages"].as_array().expect("a list of packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let allowed: BTreeSet<&str> = match package["metadata"]["kiln"]["may-use"].as_array() {
            Some(rooms) => rooms.iter().filter_map(Value::as_str).collect(),
            None => {
                panic!("the manifest of {name} does not say which rooms it may use (package.metadata.kiln)")
            }
        };
        for dependency in package["dependencies"].as_array().expect("a list of dependencies") {
            let used = dependency["name"].as_str().unwrap_or_default();
            let shipped = dependency["kind"].is_null();
            assert!(
                !shipped || !used.starts_with("kiln") || allowed.contains(used),
                "{name} may not use {used}"
            );
            assert!(!shipped || used != "wasmtime" || name == "kiln-plugin", "{name} names wasmtime");
            // A manifest may name it for its features alone; what counts is who says its name.
            assert!(
                !shipped || used != "anyhow" || name == "kiln" || !says_anyhow(name),
                "{name} uses anyhow"
            );
        }
    }
}

/// Whether a source of the crate uses anyhow.
fn says_anyhow(package: &str) -> bool {
    let room = package.strip_prefix("kiln-").unwrap_or("cli");
    let inside = format!("engine/{room}/src/");
    sources()
        .into_iter()
        .filter(|path| named(path).contains(&inside))
        .any(|path| fs::read_to_string(&path).is_ok_and(|text| text.contains("anyhow::")))
}

#[test]
fn every_module_opens_with_a_sentence() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source is UTF-8");
        let first = text.lines().next().unwrap_or_default();
        let name = named(&path);
        // Tests are named by what they stand beside.
        let says = name.ends_with("tests.rs")
            || name.contains("/tests/")
            || first.starts_with("//! ") && first.len() > 20;
        assert!(says, "{name} does not open with a sentence about itself");
    }
}

/// The rooms in the table of ARCHITECTURE.md, each with its sentence.
fn rooms() -> Vec<(String, String)> {
    let page = fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let (_, table) = page.split_once("| Room | Sentence |").expect("there is a table of rooms");
    table
        .lines()
        .skip(2)
        .take_while(|row| row.starts_with('|'))
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().expect("a row has a name"), cells.next().expect("a row has a sentence"))
        })
        .collect()
}

#[test]
fn each_room_says_one_sentence_in_its_manifest_its_root_module_and_the_architecture() {
    let rooms = rooms();
    let listed: BTreeSet<String> = rooms.iter().map(|(room, _)| room.clone()).collect();
    let there = fs::read_dir(repository().join("engine")).expect("engine is there").flatten();
    let there: BTreeSet<String> =
        there.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(listed, there, "ARCHITECTURE.md lists the rooms of engine/");
    for (room, sentence) in rooms {
        let directory = repository().join("engine").join(&room);
        let manifest = fs::read_to_string(directory.join("Cargo.toml")).expect("a room has a manifest");
        assert!(
            manifest.lines().any(|line| line == format!("description = {sentence:?}")),
            "the manifest of {room} does not say: {sentence}"
        );
        let module = ["src/lib.rs", "src/main.rs"].map(|file| fs::read_to_string(directory.join(file)));
        let module = module.into_iter().flatten().next().expect("a room has a root module");
        assert_eq!(module.lines().next(), Some(format!("//! {sentence}").as_str()), "{room}");
    }
}

#[test]
fn only_the_cli_prints() {
    for path in sources() {
        let name = named(&path);
        let shipped = name.starts_with("engine/") && name.contains("/src/") && !name.ends_with("tests.rs");
        if !shipped || name.starts_with("engine/cli/") || name.contains("/tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source is UTF-8");
        let shipped = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for word in ["println!(", "print!("] {
            assert!(!shipped.contains(word), "{name} prints");
        }
    }
}

#[test]
fn unsafe_code_lives_in_two_files() {
    let allowed = ["engine/sandbox/src/sys.rs", "engine/plugin/src/aot.rs"];
    for path in sources() {
        let name = named(&path);
        let text = fs::read_to_string(&path).expect("a source is UTF-8");
        let used = text.lines().map(str::trim_start).any(|line| {
            !line.starts_with("//")
                && ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                    .iter()
                    .any(|word| line.contains(word))
        });
        // Bindings and exports of components are made by a macro, in the plugins' own workspace.
        let component =
            name.starts_with("plugins/") || name.starts_with("examples/") || name.ends_with("tidy.rs");
        assert!(!used || component || allowed.contains(&name.as_str()), "{name} uses unsafe code");
    }
}

#[test]
fn nothing_is_left_for_later() {
    for path in sources() {
        let name = named(&path);
        if name.ends_with("tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source is UTF-8");
        for (number, line) in text.lines().enumerate() {
            for word in ["todo!(", "unimplemented!(", "TODO", "FIXME", "XXX", "dbg!(", "#[ignore"] {
                assert!(!line.contains(word), "{name}:{}: {word}", number + 1);
            }
        }
    }
}

#[test]
fn every_test_module_is_declared() {
    let directory = repository().join("tests/e2e");
    let main = fs::read_to_string(directory.join("main.rs")).expect("main.rs is there");
    for entry in fs::read_dir(directory).expect("tests/e2e is there").flatten() {
        let name = entry.file_name().to_string_lossy().trim_end_matches(".rs").to_owned();
        assert!(name == "main" || main.contains(&format!("mod {name};")), "main.rs does not declare {name}");
    }
}

#[test]
fn every_example_is_listed_built_and_has_a_readme() {
    let directory = repository().join("examples");
    let list = fs::read_to_string(directory.join("README.md")).expect("examples/README.md is there");
    for entry in fs::read_dir(&directory).expect("examples is there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() {
            assert!(list.contains(&format!("[{name}]({name})")), "examples/README.md does not list {name}");
            assert!(entry.path().join("README.md").is_file(), "examples/{name} has no README.md");
        }
    }
    let tests = fs::read_dir(repository().join("tests/e2e")).expect("tests/e2e is there").flatten();
    let tests: String = tests.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    for name in list.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(directory.join(name).exists(), "examples/README.md lists {name}, which is not there");
        // An example may be a directory of them.
        let built = ["\"", "/"].map(|end| format!("with_example(\"{name}{end}"));
        assert!(built.iter().any(|call| tests.contains(call)), "no test builds examples/{name}");
    }
}
