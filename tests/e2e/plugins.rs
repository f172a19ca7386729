//! Plugins that ship with kiln, plugins from files, and plugins that misbehave.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::bases::repository;
use crate::space::TestSpace;

/// Builds the crate in `directory` of the repository and returns its component.
#[track_caller]
pub(crate) fn component(directory: &str) -> PathBuf {
    // One build at a time: cargo would print that it waits, and be right.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let target = repository().join("target/components");
    let directory = repository().join(directory);
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target)
        .current_dir(&directory)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let name = directory.file_name().expect("a crate has a name").to_string_lossy().replace('-', "_");
    target.join("wasm32-unknown-unknown/release").join(name).with_extension("wasm")
}

#[test]
fn the_built_in_plugins_are_listed_and_inspected() {
    let space = TestSpace::new();
    let listed = space.kiln(&["plugin", "ls"]).ok();
    for name in ["dockerfile", "instructions"] {
        assert!(listed.text().contains(name), "{listed}");
    }
    space.kiln(&["plugin", "ls", "--format", "json"]).ok().json();
    let inspected = space.kiln(&["plugin", "inspect", "dockerfile"]).ok();
    assert!(inspected.text().contains("dockerfile"), "{inspected}");
    space.kiln(&["plugin", "inspect", "no-such-plugin"]).ends(1).says(&["no-such-plugin"]);
}

#[test]
fn a_file_that_is_no_component_is_named() {
    let space = TestSpace::new();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    // The header of a core module, of a component that ends there, and neither.
    for (name, bytes) in [
        ("garbage.wasm", b"this is no component".as_slice()),
        ("empty.wasm", b""),
        ("module.wasm", b"\0asm\x01\0\0\0"),
        ("component.wasm", b"\0asm\x0d\0\x01\0"),
    ] {
        fs::write(space.path(name), bytes).unwrap();
        let ran = space.build(&["--plugin", name]);
        assert!(matches!(ran.status, 1..=3), "{ran}");
        assert!(!ran.stderr.contains("panicked at"), "{ran}");
        ran.says(&[name]);
        let ran = space.kiln(&["plugin", "inspect", name]);
        assert!(matches!(ran.status, 1..=3), "{ran}");
        ran.says(&[name]);
    }
    space.build(&["--plugin", "not-there.wasm"]).ends(2).says(&["not-there.wasm", "does not exist"]);
}

/// Builds with an instruction of `tests/fixtures/misbehaving`, and then without it in the same store.
#[track_caller]
fn misbehaves(instruction: &str, texts: &[&str]) {
    let space = TestSpace::new();
    let plugin = component("tests/fixtures/misbehaving");
    space.dockerfile(&format!("FROM scratch\n{instruction} x\n"));
    let ran = space.build(&["--plugin", plugin.to_str().expect("the path is UTF-8")]);
    assert!(matches!(ran.status, 1 | 3), "{ran}");
    assert!(ran.took < Duration::from_secs(60), "{ran}");
    assert!(!ran.stderr.contains("bug in kiln"), "{ran}");
    ran.says(&["misbehaving"]).says(texts);
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.build(&["-o", "out"]).ok();
}

/// A component with two words of equal length in each other's place.
fn swapped(wasm: &[u8], one: &[u8], other: &[u8]) -> Vec<u8> {
    assert_eq!(one.len(), other.len());
    let mut wasm = wasm.to_vec();
    let mut found = 0;
    for at in 0..wasm.len() - one.len() {
        let word = &mut wasm[at..at + one.len()];
        if word == one {
            word.copy_from_slice(other);
            found += 1;
        } else if word == other {
            word.copy_from_slice(one);
        }
    }
    assert_ne!(found, 0, "the word is in the component");
    wasm
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn a_plugin_that_loops_for_ever_is_stopped() {
        needs_root!();
        misbehaves("LOOPS", &["time"]);
    }

    #[test]
    fn a_plugin_that_allocates_for_ever_is_stopped() {
        needs_root!();
        misbehaves("ALLOCATES", &["memory"]);
    }

    #[test]
    fn a_plugin_that_gives_up_is_quoted() {
        needs_root!();
        misbehaves("TRAPS", &["this plugin gives up"]);
    }

    #[test]
    fn plugins_that_call_each_other_are_stopped_at_a_depth() {
        needs_root!();
        let space = TestSpace::new();
        let first = component("tests/fixtures/calling");
        let wasm = fs::read(&first).expect("the plugin is there");
        fs::write(space.path("second.wasm"), swapped(&wasm, b"PINGS", b"PONGS")).expect("it is written");
        let first = first.to_str().expect("the path is UTF-8");
        space.dockerfile("FROM scratch\nCOPY Dockerfile /\nPINGS x\n");
        let both = ["--plugin", first, "--plugin", "second=second.wasm"];
        let ran = space.build(&both).ends(3);
        ran.says(&["calling", "second", "8"]).does_not_say("bug in kiln");
        // Where the chain ends, it is a chain like any other.
        space.build(&["--plugin", first]).ends(1).says(&["Dockerfile:3", "PONGS"]);
        space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
        space.build(&both).ok();
    }

    #[test]
    fn an_instruction_of_kilns_own_is_another_plugins_when_somebody_says_so() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let wasm = fs::read(component("examples/plugin-instruction")).expect("the plugin is there");
        // A plugin that brings a `WORKDIR` of its own, which makes users.
        fs::write(space.path("own.wasm"), swapped(&wasm, b"ACCOUNT", b"WORKDIR")).expect("it is written");
        space.dockerfile("FROM busybox\nWORKDIR app\n");
        let plugin = ["--plugin", "own.wasm"];
        let ran = space.build(&plugin).ends(1);
        ran.says(&["`WORKDIR`", "an instruction of `instructions` already", "`--instruction WORKDIR=NAME`"]);
        let user = |args: &[&str]| {
            space.build(&[&plugin[..], args, &["-t", "it"]].concat()).ok();
            space.kiln(&["run", "it", "id", "-u"]).ok().text().trim().to_owned()
        };
        assert_eq!(user(&["--instruction", "WORKDIR=account"]), "1000");
        assert_eq!(user(&["--instruction", "workdir=instructions"]), "0");
        space.build(&["-t", "it"]).ok();
    }

    #[test]
    fn a_check_finds_an_answer_that_depends_on_earlier_ones() {
        needs_root!();
        let space = TestSpace::new();
        let plugin = component("tests/fixtures/misbehaving");
        let checked = space.kiln(&["plugin", "check", plugin.to_str().expect("the path is UTF-8")]).ends(1);
        for text in ["unsteady", "instruction.apply answered differently", "a counter"] {
            assert!(checked.text().contains(text) || checked.stderr.contains(text), "no {text} in {checked}");
        }
    }

    #[test]
    fn an_instruction_of_a_crate_outside_of_the_workspace_works_in_a_dockerfile() {
        needs_root!();
        let space = TestSpace::with_example("plugin-instruction", &["busybox"]);
        let plugin = component("examples/plugin-instruction");
        let plugin = plugin.to_str().expect("the path is UTF-8");
        let listed = space.kiln(&["plugin", "ls", "--plugin", plugin]).ok();
        assert!(listed.text().contains("file"), "{listed}");
        space.kiln(&["plugin", "inspect", plugin]).ok();
        space.build(&["-t", "without"]).ends(1).says(&["Dockerfile:"]);
        space.build(&["--plugin", plugin, "-t", "with"]).ok();
        crate::readback::image(&space, "with");
        space.build(&["--plugin", plugin, "-t", "with"]).ok().says(&["CACHED"]);
    }
}
