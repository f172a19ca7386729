//! Plugins that ship with kiln, plugins from files, and plugins that misbehave.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::bases::repository;
use crate::space::TestSpace;

/// A component of `tests/fixtures`.
fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures").join(name)
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
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        ran.says(&[name]);
        let ran = space.kiln(&["plugin", "inspect", name]);
        assert!(matches!(ran.status, 1..=3), "{ran}");
        ran.says(&[name]);
    }
    space.build(&["--plugin", "not-there.wasm"]).ends(3).says(&["not-there.wasm"]);
}

/// Builds with a plugin whose instruction does what `name` says; returns what kiln says about it.
#[track_caller]
fn misbehaves(name: &str, texts: &[&str]) {
    let space = TestSpace::new();
    let plugin = fixture(&format!("{name}.wasm"));
    space.dockerfile(&format!("FROM scratch\n{} x\n", name.to_uppercase()));
    let ran = space.build(&["--plugin", plugin.to_str().expect("the path is UTF-8")]);
    assert!(matches!(ran.status, 1 | 3), "{ran}");
    assert!(ran.took < Duration::from_secs(60), "{ran}");
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    ran.says(&[name]).says(texts);
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.build(&["-o", "out"]).ok();
}

#[test]
fn a_plugin_that_loops_for_ever_is_stopped() {
    misbehaves("loops", &["time"]);
}

#[test]
fn a_plugin_that_allocates_for_ever_is_stopped() {
    misbehaves("allocates", &["memory"]);
}

#[test]
fn a_plugin_that_traps_is_named() {
    misbehaves("traps", &[]);
}
