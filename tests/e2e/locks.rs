//! Plugins of registries in builds: by tag with a lock file, by digest, with the registry away.

use std::fs;

use crate::plugins::component;
use crate::publishing::{Shop, example, path, sha256};
use crate::space::{Ran, TestSpace, shell};

/// A shop whose context is the example that uses `CLOSURE`.
fn shop() -> Shop {
    Shop::with(TestSpace::with_example("plugin-instruction", &["busybox"]), None)
}

impl Shop {
    fn source(&self, rest: &str) -> String {
        format!("oci://{}", self.name(rest))
    }

    /// `kiln build` with the plugin of this name, and then `args`.
    fn build_with(&self, rest: &str, args: &[&str]) -> Ran {
        let source = self.source(rest);
        self.space.build(&[&["--plugin", &source, "-t", "it"], args].concat())
    }

    fn lock(&self) -> String {
        self.space.read("context/kiln.lock")
    }
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn a_plugin_of_a_registry_is_locked_by_the_first_build_and_used_without_the_registry() {
        needs_root!();
        let shop = shop();
        let digest = shop.push(&example(), "team/closure:1");
        shop.build_with("team/closure:1", &[]).ok();
        let lock = shop.lock();
        for text in [
            format!("source = \"{}\"", shop.source("team/closure:1")),
            format!("manifest = \"{digest}\""),
            format!("wasm = \"{}\"", sha256(&fs::read(example()).expect("it is there"))),
            "contract = \"0.1.0\"".to_owned(),
            "capabilities = [".to_owned(),
        ] {
            assert!(lock.contains(&text), "{text}\n{lock}");
        }
        // Another plugin under the same name: the lock file says which one is meant.
        shop.push(&component("tests/fixtures/misbehaving"), "team/closure:1");
        shop.build_with("team/closure:1", &[]).ok().says(&["CACHED"]);
        assert_eq!(shop.lock(), lock, "nothing changed");
        let source = shop.source("team/closure:1");
        let other = shop.source("team/closure:2");
        drop(shop.registry);
        let build = |args: &[&str]| shop.space.build(args);
        build(&["--plugin", &source, "--locked", "-t", "it"]).ok();
        build(&["--plugin", &format!("{source}@{digest}"), "-t", "it"]).ok();
        // A tag that nobody has locked is asked for.
        build(&["--plugin", &other, "-t", "it"]).ends(3).says(&[&other, "could not reach the registry"]);
        fs::remove_file(shop.space.path("context/kiln.lock")).expect("there is a lock file");
        let ran = build(&["--plugin", &source, "-t", "it"]).ends(3);
        ran.says(&["could not reach the registry", &format!("@{digest}"), "pulled last"]);
        assert!(!shop.space.path("context/kiln.lock").exists());
    }

    #[test]
    fn a_lock_file_that_may_not_change_refuses_what_would_change_it() {
        needs_root!();
        let shop = shop();
        shop.push(&example(), "team/closure:1");
        let source = shop.source("team/closure:1");
        let ran = shop.build_with("team/closure:1", &["--locked"]).ends(1);
        ran.says(&["error[lock]", &source, "--locked", "kiln.lock"]);
        assert!(!shop.space.path("context/kiln.lock").exists());
        // By digest nothing has to be locked.
        let digest = shop.push(&example(), "team/closure:2");
        shop.build_with(&format!("team/closure:1@{digest}"), &["--locked"]).ok();
        // Elsewhere, where it is said.
        shop.build_with("team/closure:1", &["--lock-file", "elsewhere.lock"]).ok();
        assert!(!shop.space.path("context/kiln.lock").exists());
        let lock = shop.space.read("elsewhere.lock");
        assert!(lock.contains(&source), "{lock}");
        shop.build_with("team/closure:1", &["--lock-file", "elsewhere.lock", "--locked"]).ok();
    }

    #[test]
    fn a_lock_file_that_is_broken_is_named_with_its_line() {
        needs_root!();
        let shop = shop();
        shop.push(&example(), "team/closure:1");
        shop.build_with("team/closure:1", &[]).ok();
        let lock = shop.lock();
        for (text, place, word) in [
            (lock.replace("version = 1", "<<<<<<< HEAD\nversion = 1"), "kiln.lock:3", "kiln.lock"),
            (lock.replace("wasm = \"sha256:", "wasm = \""), "kiln.lock:9", "no digest"),
            (lock.replace("version = 1", "version = 7"), "kiln.lock:3", "later kiln"),
        ] {
            shop.space.write("kiln.lock", &text);
            shop.build_with("team/closure:1", &[]).ends(1).says(&["error[lock]", place, word]);
            assert_eq!(shop.lock(), text, "it is left as it is");
        }
        // Two digests that are not of one plugin.
        let line = lock.lines().find(|line| line.starts_with("wasm = ")).expect("a line with a digest");
        shop.space.write("kiln.lock", lock.replace(line, &format!("wasm = \"{}\"", sha256(b"other"))));
        shop.build_with("team/closure:1", &[]).ends(1).says(&["contradicts itself", &sha256(b"other")]);
    }

    #[test]
    fn a_context_that_cannot_be_written_to_wants_a_lock_file_of_its_own() {
        needs_root!();
        let shop = shop();
        shop.push(&example(), "team/closure:1");
        let context = shop.space.context();
        let mount = |line: &str| shell(&format!("{line} '{}'", context.display()));
        mount(&format!("mount --bind -o ro '{}'", context.display()));
        let ran = shop.build_with("team/closure:1", &[]);
        let elsewhere = shop.build_with("team/closure:1", &["--lock-file", "elsewhere.lock"]);
        mount("umount");
        ran.ends(3).says(&["could not write the lock file", "Read-only", "--locked", "--lock-file"]);
        elsewhere.ok();
        // With a lock file that says it all there is nothing to write.
        shop.build_with("team/closure:1", &[]).ok();
        mount(&format!("mount --bind -o ro '{}'", context.display()));
        let locked = shop.build_with("team/closure:1", &["--locked"]);
        let unlocked = shop.build_with("team/closure:1", &[]);
        mount("umount");
        locked.ok();
        unlocked.ok();
    }

    #[test]
    fn an_update_moves_on_to_what_the_name_means_now() {
        needs_root!();
        let shop = shop();
        let first = shop.push(&example(), "team/closure:1");
        shop.build_with("team/closure:1", &[]).ok();
        let update = |args: &[&str]| {
            let lock = path(&shop.space.path("context/kiln.lock")).to_owned();
            shop.space.kiln(&[&["plugin", "update", "--lock-file", &lock], args].concat())
        };
        update(&[]).ok().says(&["says what the registries say"]);
        let mut again =
            shop.space.command(&["plugin", "push", path(&example()), &shop.name("team/closure:1")]);
        assert!(again.env("SOURCE_DATE_EPOCH", "1").status().expect("kiln runs").success());
        update(&["nobody"]).ends(1).says(&["nobody", "there is `"]);
        assert!(shop.lock().contains(&first));
        update(&[]).ok().says(&["->", "wrote"]);
        assert!(!shop.lock().contains(&first), "{}", shop.lock());
        shop.build_with("team/closure:1", &["--locked"]).ok();
        // A new entry, without a build.
        shop.push(&component("tests/fixtures/misbehaving"), "team/other:1");
        update(&[&shop.source("team/other:1")]).ok().says(&["misbehaving"]);
        assert_eq!(shop.lock().matches("[[plugin]]").count(), 2, "{}", shop.lock());
    }

    #[test]
    fn a_plugin_that_wants_more_than_when_it_was_locked_is_taken_only_when_that_is_said() {
        let shop = Shop::open(None);
        shop.push(&component("tests/fixtures/planning"), "team/planning:1");
        let source = shop.source("team/planning:1");
        let update = |args: &[&str]| shop.space.kiln(&[&["plugin", "update"], args].concat());
        update(&[&source]).ok().says(&["planning", "wrote"]);
        let lock = shop.space.read("kiln.lock");
        let before = lock.replace(", \"solve\"", "");
        assert_ne!(before, lock);
        // As if it had been locked before it wanted to have things built.
        fs::write(shop.space.path("kiln.lock"), &before).expect("the lock file is written");
        let asked = format!("kiln plugin update --accept solve {source}");
        let refused = update(&["planning"]).ends(1);
        refused.says(&["error[lock]", "wants `solve` now", "nothing is changed", &asked]);
        assert_eq!(shop.space.read("kiln.lock"), before);
        update(&["--accept", "solve", &source]).ok().says(&["now wants solve"]);
        assert_eq!(shop.space.read("kiln.lock"), lock);
    }

    #[test]
    fn a_digest_beside_a_name_is_of_the_manifest_or_of_the_component() {
        needs_root!();
        let shop = shop();
        let manifest = shop.push(&example(), "team/closure:1");
        let wasm = sha256(&fs::read(example()).expect("it is there"));
        let source = shop.source("team/closure:1");
        for (digest, status) in [(manifest.as_str(), 0), (&wasm, 0), (&sha256(b"other"), 1)] {
            let table = format!("[plugins.closure]\nsource = \"{source}\"\ndigest = \"{digest}\"\n");
            shop.space.write("kiln.toml", table);
            let ran = shop.space.build(&["-t", "it"]).ends(status);
            if status != 0 {
                ran.says(&["team/closure", &manifest, &wasm, digest]);
            }
            assert!(!shop.space.path("context/kiln.lock").exists(), "what has a digest is not locked");
        }
    }

    #[test]
    fn a_plugin_that_is_not_signed_as_it_has_to_be_is_not_built_with() {
        needs_root!();
        let shop = shop();
        let digest = shop.push(&example(), "team/closure:1");
        let key = shop.space.path("ours").display().to_string();
        shell(&format!(
            "openssl genpkey -algorithm ed25519 -out '{key}.key'; openssl pkey -in '{key}.key' -pubout -out '{key}.pub'"
        ));
        // Known before the rule came, and by digest: no way around it.
        shop.build_with("team/closure:1", &[]).ok();
        shop.configure("[trust]\nkeys = [\"ours.pub\"]\n");
        shop.build_with("team/closure:1", &[]).ends(1).says(&["error[signature]", "not signed", &digest]);
        shop.build_with(&format!("team/closure@{digest}"), &[]).ends(1).says(&["not signed"]);
        let name = shop.name("team/closure:1");
        shop.space.kiln(&["plugin", "sign", "--key", &format!("{key}.key"), &name]).ok();
        shop.build_with("team/closure:1", &[]).ok();
        // Verified once, it needs no registry.
        let source = shop.source("team/closure:1");
        drop(shop.registry);
        shop.space.build(&["--plugin", &source, "-t", "it"]).ok();
    }
}
