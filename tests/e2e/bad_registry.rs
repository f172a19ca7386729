//! Registries that are away, refuse, or lie.

use std::fs;
use std::process::Command;

use crate::registry::{Docker, HTPASSWD, Lie, Lying, tar, tar_with_link};
use crate::space::{Ran, TestSpace};

/// A space that may speak plain HTTP to `host`.
fn space_for(host: &str) -> TestSpace {
    let space = TestSpace::new();
    fs::write(&space.config, format!("[registry.\"{host}\"]\nplain-http = true\n"))
        .expect("the configuration is written");
    space
}

/// Copies `/file` out of the image `it` of the registry.
fn copy_file(space: &TestSpace, host: &str) -> Ran {
    space.build_text(&format!("FROM scratch\nCOPY --from={host}/it:latest /file /\n"), &["-o", "out"])
}

/// Fails unless a registry that tells `lie` ends the build with 3 and a message that holds `texts`, and unless the same
/// store builds from the registry once it tells the truth.
#[track_caller]
fn caught(lie: Lie, texts: &[&str]) {
    let registry = Lying::start(&tar(&[("file", &"honest\n".repeat(2000))]), false);
    let space = space_for(&registry.host());
    registry.tell(lie);
    copy_file(&space, &registry.host()).ends(3).says(texts);
    assert!(!space.path("out").exists(), "something was written");
    let run = format!("FROM {}/it:latest\nRUN [\"/file\"]\n", registry.host());
    space.build_text(&run, &[]).ends(3).says(texts);
    registry.tell(Lie::None);
    copy_file(&space, &registry.host()).ok();
    assert_eq!(space.read("out/file"), "honest\n".repeat(2000));
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn an_honest_registry_with_and_without_tokens() {
        needs_root!();
        for token in [false, true] {
            let registry = Lying::start(&tar(&[("file", "honest\n")]), token);
            let space = space_for(&registry.host());
            copy_file(&space, &registry.host()).ok();
            assert_eq!(space.read("out/file"), "honest\n");
            let by_digest = format!("FROM {}/it@{}\n", registry.host(), registry.manifest_digest);
            space.build_text(&by_digest, &["-t", "it"]).ok();
        }
    }

    #[test]
    fn a_layer_with_another_digest() {
        needs_root!();
        caught(Lie::OtherLayer, &["sha256:", "digest"]);
    }

    #[test]
    fn a_layer_that_breaks_off() {
        needs_root!();
        caught(Lie::TruncatedLayer, &["sha256:"]);
    }

    #[test]
    fn a_layer_that_is_too_short() {
        needs_root!();
        caught(Lie::ShortLayer, &["sha256:"]);
    }

    #[test]
    fn a_configuration_with_another_digest() {
        needs_root!();
        caught(Lie::OtherConfig, &["sha256:", "digest"]);
    }

    #[test]
    fn a_manifest_that_is_none() {
        needs_root!();
        caught(Lie::NoManifest, &["127.0.0.1", "manifest"]);
    }

    #[test]
    fn a_server_that_breaks() {
        needs_root!();
        caught(Lie::ServerError, &["500", "127.0.0.1"]);
    }

    #[test]
    fn a_layer_entry_that_leaves_the_root() {
        needs_root!();
        let space_name = tempfile::Builder::new().prefix("kiln-e2e-escape-").tempdir().unwrap();
        let outside = space_name.path().join("escaped");
        let up = format!("{}{}", "../".repeat(40), outside.to_str().unwrap().trim_start_matches('/'));
        for archive in [
            tar(&[("file", "x"), (&up, "escaped")]),
            tar(&[("file", "x"), ("../../../../escaped-from-kiln", "escaped")]),
        ] {
            let registry = Lying::start(&archive, false);
            let space = space_for(&registry.host());
            copy_file(&space, &registry.host()).ends(3).says(&["../", "root"]);
            let run = format!("FROM {}/it:latest\nRUN [\"/file\"]\n", registry.host());
            space.build_text(&run, &[]).ends(3).says(&["../", "root"]);
            assert!(!outside.exists() && !fs::exists("/escaped-from-kiln").unwrap());
        }
    }

    #[test]
    fn a_link_in_a_layer_leads_nowhere_outside() {
        needs_root!();
        let outside = tempfile::Builder::new().prefix("kiln-e2e-escape-").tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        let registry = Lying::start(&tar_with_link(("file", target), ("file/escaped", "escaped")), false);
        let space = space_for(&registry.host());
        let run = format!("FROM {}/it:latest\nRUN [\"/nothing\"]\n", registry.host());
        let ran = space.build_text(&run, &[]);
        assert!(matches!(ran.status, 1 | 3), "{ran}");
        assert!(!ran.stderr.contains("panicked"), "{ran}");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "the layer wrote outside of its root");
    }

    #[test]
    fn a_password_is_asked_for_and_taken_from_dockers_configuration() {
        needs_root!();
        let registry = Docker::start(Some(HTPASSWD));
        let host = format!("127.0.0.1:{}", registry.port());
        let space = space_for(&host);
        space.write("file", "x").dockerfile("FROM scratch\nCOPY file /\n");
        let name = format!("{host}/private:1");
        let login = |password: &str| {
            let auth = crate::space::shell(&format!("printf 'kiln:{password}' | base64 -w0"));
            fs::create_dir_all(space.path("home/.docker")).unwrap();
            let text = format!("{{\"auths\": {{\"{host}\": {{\"auth\": \"{auth}\"}}}}}}");
            fs::write(space.path("home/.docker/config.json"), text).unwrap();
        };
        let from = |tag: &str| space.build_text(&format!("FROM {name}\nLABEL a={tag}\n"), &["-t", tag]);
        login("secret");
        space.build(&["-t", &name, "--push"]).ok();
        login("wrong");
        space.kiln(&["image", "rm", &name]);
        from("wrong").ends(3).says(&[&host, "`kiln`", "config.json"]).does_not_say("secret");
        fs::remove_dir_all(space.path("home/.docker")).unwrap();
        from("none").ends(3).says(&[&host, "log in"]);
        login("secret");
        from("right").ok();
    }
}

#[test]
fn the_registry_of_these_tests_is_one_to_other_tools() {
    let registry = Lying::start(&tar(&[("file", "honest\n")]), true);
    let target = tempfile::tempdir().expect("a directory");
    let copy = |to: &str| {
        let command = format!("docker://{}/it:latest", registry.host());
        let to = format!("dir:{}", target.path().join(to).display());
        Command::new("skopeo")
            .args(["copy", "--quiet", "--src-tls-verify=false", &command, &to])
            .status()
            .unwrap()
    };
    assert!(copy("honest").success());
    for lie in [Lie::OtherLayer, Lie::TruncatedLayer, Lie::ShortLayer, Lie::OtherConfig, Lie::NoManifest] {
        registry.tell(lie);
        assert!(!copy("lie").success(), "skopeo believes {lie:?}");
    }
}

#[test]
fn a_registry_that_is_not_there() {
    let space = TestSpace::new();
    let ran = space.build_text("FROM 127.0.0.1:1/no/image:tag\nRUN true\n", &[]).ends(3);
    ran.says(&["127.0.0.1:1", "Dockerfile:1"]);
}

#[test]
fn an_image_that_the_registry_does_not_have() {
    let port = crate::bases::port();
    let space = TestSpace::with_bases(&["busybox"]);
    let ran = space.build_text(&format!("FROM 127.0.0.1:{port}/library/nonsense:tag\nRUN true\n"), &[]);
    assert!(matches!(ran.status, 1 | 3), "{ran}");
    ran.says(&["library/nonsense:tag", "Dockerfile:1"]);
}

#[test]
fn a_registry_that_speaks_https_only_in_name() {
    // Without `plain-http` kiln speaks TLS, also to the loopback interface, and says what to do.
    let port = crate::bases::port();
    let space = TestSpace::new();
    let ran = space.build_text(&format!("FROM 127.0.0.1:{port}/library/busybox\nRUN true\n"), &[]);
    if ran.status != 0 {
        ran.ends(3).says(&["plain-http"]);
    }
}
