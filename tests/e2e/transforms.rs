//! Plugins that change finished images, read back by other tools.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::plugins::component;
use crate::readback;
use crate::space::{TestSpace, shell};

const FIXTURE: &str = "tests/fixtures/scripted-transform";

/// `kiln build` with the scripted transform set to do `options`.
fn arguments(options: &[&str], more: &[&str]) -> Vec<String> {
    let plugin = component(FIXTURE);
    let mut arguments = vec!["--plugin".to_owned(), plugin.to_str().expect("the path is UTF-8").to_owned()];
    for option in options {
        arguments.extend(["--opt".to_owned(), format!("scripted.{option}")]);
    }
    arguments.extend(more.iter().map(|&one| one.to_owned()));
    arguments
}

fn build(space: &TestSpace, options: &[&str], more: &[&str]) -> crate::space::Ran {
    let arguments = arguments(options, more);
    space.build(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn build_text(space: &TestSpace, text: &str, more: &[&str]) -> crate::space::Ran {
    space.dockerfile(text);
    build(space, &["scan=kept"], more)
}

/// Two layers on nothing.
fn two_layers() -> TestSpace {
    let space = TestSpace::new();
    space.write("kept", "kept\n").write("secret", "secret\n");
    space.dockerfile("FROM scratch\nCOPY kept /\nCOPY secret /\nENV A=b\n");
    space
}

/// The blobs of an OCI archive, unpacked, and the document that its index names.
fn layout(space: &TestSpace, archive: &str) -> (std::path::PathBuf, Value) {
    let directory = space.path(format!("{archive}.layout"));
    fs::create_dir(&directory).expect("a directory");
    shell(&format!("tar -C '{}' -xf '{}'", directory.display(), space.path(archive).display()));
    let index: Value =
        serde_json::from_str(&fs::read_to_string(directory.join("index.json")).expect("an index"))
            .expect("JSON");
    let top = blob(&directory, &index["manifests"][0]);
    (directory, top)
}

/// What a name stands for in the store.
fn digest(space: &TestSpace, name: &str) -> String {
    let listed = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
    let rows = listed.as_array().expect("rows");
    let is_called = |row: &&Value| {
        row["name"]
            .as_str()
            .is_some_and(|known| known.trim_end_matches(":latest").rsplit('/').next() == Some(name))
    };
    rows.iter()
        .find(is_called)
        .and_then(|row| row["digest"].as_str())
        .expect("the image is listed")
        .to_owned()
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    let bytes = fs::read(layout.join("blobs").join(&digest)).expect("the blob is there");
    assert_eq!(Some(bytes.len() as u64), descriptor["size"].as_u64(), "{descriptor}");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_transform_that_does_nothing_changes_nothing() {
    let space = two_layers();
    space.build(&["-t", "without", "--reproducible"]).ok();
    build(&space, &[], &["-t", "with", "--reproducible"]).ok();
    assert_eq!(digest(&space, "without"), digest(&space, "with"));
}

#[test]
fn annotations_and_configuration_are_changed() {
    let space = two_layers();
    let options = ["annotate=hello", "label=x", "user=1000", "read=kept", "count=1"];
    build(&space, &options, &["-o", "type=oci,dest=a.tar"]).ok();
    let (layout, manifest) = layout(&space, "a.tar");
    let annotations = &manifest["annotations"];
    assert_eq!(annotations["com.example.said"], "hello");
    assert_eq!(annotations["com.example.read"], "kept\n", "it reads files of the image");
    assert_eq!(annotations["com.example.count"], "2 layers, the last by `COPY secret / # buildkit`");
    let config = &blob(&layout, &manifest["config"])["config"];
    assert_eq!(
        (config["User"].as_str(), config["Labels"]["com.example.label"].as_str()),
        (Some("1000"), Some("x"))
    );
    assert_eq!(config["Env"][1].as_str().or(config["Env"][0].as_str()), Some("A=b"));
}

#[test]
fn an_unchanged_build_is_known_and_another_option_makes_another_image() {
    let space = two_layers();
    build(&space, &["annotate=one", "note=look here"], &["-t", "x"]).ok().says(&["look here"]);
    let digest = || digest(&space, "x");
    let first = digest();
    let again = build(&space, &["annotate=one", "note=look here"], &["-t", "x"]).ok();
    assert!(!again.stderr.contains("transforming"), "it is asked again: {again}");
    assert_eq!(digest(), first);
    let other = build(&space, &["annotate=two", "note=look here"], &["-t", "x"]).ok();
    other.says(&["transforming", "CACHED"]);
    assert_ne!(digest(), first);
    build(&space, &["annotate=one", "note=look here"], &["-t", "x"]).ok();
    assert_eq!(digest(), first, "the first is known still");
    space.build(&["-t", "x"]).ok();
    assert_ne!(digest(), first, "without the plugin there is no annotation");
}

#[test]
fn attestations_are_attached_as_others_read_them() {
    let space = two_layers();
    build(&space, &["attest=this"], &["-t", "x:1", "-o", "type=oci,dest=a.tar"]).ok();
    let (layout, index) = layout(&space, "a.tar");
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let [image, attestation] = &index["manifests"].as_array().expect("manifests")[..] else {
        panic!("{index}")
    };
    assert_eq!(image["platform"]["os"], "linux");
    assert_eq!(attestation["platform"]["os"], "unknown");
    assert_eq!(attestation["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(attestation["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let manifest = blob(&layout, attestation);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.in-toto+json");
    assert_eq!(manifest["layers"][0]["annotations"]["in-toto.io/predicate-type"], "https://example.com/said");
    assert_eq!(blob(&layout, &manifest["config"])["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    let statement = blob(&layout, &manifest["layers"][0]);
    assert_eq!(statement["predicateType"], "https://example.com/said");
    assert_eq!(statement["predicate"]["said"], "this");
    let digest = image["digest"].as_str().expect("a digest").trim_start_matches("sha256:");
    assert_eq!(statement["subject"][0]["digest"]["sha256"], digest);
    // The same from the cache.
    build(&space, &["attest=this"], &["-t", "x:1", "-o", "type=oci,dest=b.tar"]).ok();
    assert_eq!(fs::read(space.path("a.tar")).unwrap(), fs::read(space.path("b.tar")).unwrap());
}

#[test]
fn an_output_without_a_place_for_attestations_says_so() {
    let space = two_layers();
    for output in ["type=docker,dest=d.tar", "type=tar,dest=t.tar", "type=local,dest=l"] {
        build(&space, &["attest=this"], &["-o", output])
            .ok()
            .says(&["attestations-not-written", "https://example.com/said"]);
    }
    shell(&format!("tar -tf '{}' | grep manifest.json", space.path("d.tar").display()));
}

#[test]
fn a_fragment_is_work_on_the_finished_files() {
    let space = two_layers();
    build(&space, &["fragment=add"], &["-o", "type=local,dest=added"]).ok();
    assert_eq!(space.read("added/added"), "by a transform\n");
    assert_eq!(space.read("added/kept"), "kept\n");
    build(&space, &["fragment=remove"], &["-o", "type=local,dest=removed"]).ok();
    assert!(!space.path("removed/secret").exists());
    build(&space, &["fragment=only"], &["-o", "type=local,dest=only"]).ok();
    assert_eq!(fs::read_dir(space.path("only")).unwrap().count(), 1);
    build(&space, &["fragment=add"], &["-o", "type=oci,dest=a.tar"]).ok();
    let (layout, manifest) = layout(&space, "a.tar");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
    let history = &blob(&layout, &manifest["config"])["history"];
    let layered: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["empty_layer"].as_bool() != Some(true))
        .map(|line| line["created_by"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(layered.len(), 3);
    assert_eq!(layered[2], "scripted");
}

#[test]
fn extra_files_stand_beside_the_output() {
    let space = two_layers();
    for (output, place) in [
        ("type=oci,dest=a.tar", "a.tar.extra/reports/size.txt"),
        ("type=tar,dest=t.tar", "t.tar.extra/reports/size.txt"),
        ("type=local,dest=l", "l.extra/reports/size.txt"),
    ] {
        build(&space, &["beside=reports/size.txt"], &["-o", output]).ok();
        assert_eq!(space.read(place), "a report\n", "{output}");
    }
    fs::remove_dir_all(space.path("a.tar.extra")).unwrap();
    build(&space, &["beside=reports/size.txt"], &["-o", "type=oci,dest=a.tar"]).ok();
    assert_eq!(space.read("a.tar.extra/reports/size.txt"), "a report\n", "of an image that is known, too");
    build(&space, &["beside=reports/size.txt"], &["-t", "x"]).ok().says(&["extra-files-not-written"]);
}

#[test]
fn what_a_transform_says_and_cannot_be_done_has_its_words() {
    let space = two_layers();
    let check = |bad: &str, says: &str| {
        let ran = build(&space, &[&format!("bad={bad}")], &["-t", "x"]).ends(3);
        ran.says(&["scripted", "transform", says]).does_not_say("bug in kiln");
    };
    check("path", "leads upwards");
    check("json", "its predicate is not JSON");
    check("source", "a transform may rearrange files and bring in nothing new");
    check("command", "a transform may rearrange files and bring in nothing new");
    check("root", "it names a root and has no fragment");
    // What it said before it ended is shown, as Rust words it.
    let ran = build(&space, &["bad=panic"], &["-t", "x"]);
    assert_eq!(ran.status, 3, "{ran}");
    ran.says(&["scripted", "failed in transform", "this transform gives up"]).does_not_say("bug in kiln");
    build(&space, &["refuse=so"], &["-t", "x"]).ends(1).says(&[
        "error[scripted/refused]",
        "not like this: so",
        "do it in another way",
    ]);
    space.kiln(&["image", "inspect", "x"]).ends(1);
    assert!(!space.path("escaped").exists());
    space.build(&["-t", "x"]).ok();
}

#[test]
fn transforms_come_one_after_the_other() {
    let space = two_layers();
    let plugin = component(FIXTURE);
    let named = |name: &str| format!("{name}={}", plugin.display());
    let (first, second) = (named("first"), named("second"));
    let ran = space.build(&[
        "--plugin",
        &first,
        "--plugin",
        &second,
        "--opt",
        "first.fragment=add",
        "--opt",
        "first.annotate=one",
        "--opt",
        "second.annotate=two",
        "--opt",
        "second.count=1",
        "-o",
        "type=oci,dest=a.tar",
    ]);
    ran.ok();
    let (_, manifest) = layout(&space, "a.tar");
    assert_eq!(manifest["annotations"]["com.example.said"], "two");
    assert_eq!(manifest["annotations"]["com.example.count"], "3 layers, the last by `first`");
    let both = ["--opt", "first.beside=a", "--opt", "second.beside=a/b", "-o", "type=oci,dest=b.tar"];
    let plugins = ["--plugin", &first, "--plugin", &second];
    space
        .build(&plugins.into_iter().chain(both).collect::<Vec<_>>())
        .ends(1)
        .says(&["the extra file `a/b` of `second` is in the way of `a` of `first`"]);
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn layers_are_squashed_above_the_base_or_all() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile(
            "FROM busybox\nRUN mkdir /d && echo one > /d/a && ln /d/a /d/b && echo gone > /gone\n\
             RUN rm /gone && echo two > /d/c\nRUN chmod 700 /d\n",
        );
        space.build(&["-t", "plain"]).ok();
        let plain = readback::image(&space, "plain");
        for (squash, layers) in [("above", 2), ("all", 1)] {
            let name = format!("squashed-{squash}");
            build(&space, &[&format!("squash={squash}")], &["-t", &name]).ok();
            let image = readback::image(&space, &name);
            assert_eq!(image.tree, plain.tree, "{squash}: the files are the same");
            assert_eq!(image.inspected["Layers"].as_array().unwrap().len(), layers, "{squash}");
            let history = image.config["history"].as_array().unwrap();
            let layered = history.iter().filter(|line| line["empty_layer"].as_bool() != Some(true)).count();
            assert_eq!(layered, layers, "{squash}: {history:?}");
        }
        let archive = space.path("all.oci.tar");
        space.kiln(&["image", "save", "squashed-all", "-o", archive.to_str().unwrap()]).ok();
        let (layout, manifest) = layout(&space, "all.oci.tar");
        let digest = manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
        let listed = shell(&format!("tar -tvf '{}/blobs/{digest}' d", layout.display()));
        assert!(listed.contains("link to"), "names of one file are still that: {listed}");
        assert!(!shell(&format!("tar -tf '{}/blobs/{digest}'", layout.display())).contains(".wh."));
    }

    #[test]
    fn stages_that_the_build_file_names_for_scanners_are_shown() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("kept", "of the context\n");
        space.dockerfile(
            "FROM busybox AS tools\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN echo of the stage > /kept\n\
             FROM scratch\nARG BUILDKIT_SBOM_SCAN_STAGE=false\nCOPY --from=tools /bin/true /\nCOPY Dockerfile /\n",
        );
        let annotations = |archive: &str| {
            let (_, manifest) = layout(&space, archive);
            manifest["annotations"].clone()
        };
        build(&space, &["scan=kept"], &["-o", "type=oci,dest=a.tar"]).ok();
        assert_eq!(annotations("a.tar")["com.example.scan.tools"], "of the stage\n");
        let again = build(&space, &["scan=kept"], &["-o", "type=oci,dest=b.tar"]).ok();
        again.says(&["nothing to do"]).does_not_say("transforming");

        // Another content of the stage is another question, although the image is the same.
        let text = space.read("context/Dockerfile").replace("echo of", "echo again of");
        build_text(&space, &text, &["-o", "type=oci,dest=c.tar"]).ok().says(&["transforming"]);
        assert_eq!(annotations("c.tar")["com.example.scan.tools"], "again of the stage\n");
        // A context has no key, so whoever looks at it is asked each time.
        for archive in ["d.tar", "e.tar"] {
            let output = format!("type=oci,dest={archive}");
            let context = ["--build-arg", "BUILDKIT_SBOM_SCAN_CONTEXT=true", "-o", &output];
            build(&space, &["scan=kept"], &context).ok().says(&["transforming"]);
            assert_eq!(annotations(archive)["com.example.scan.context"], "of the context\n");
        }
    }

    #[test]
    fn an_image_with_attestations_is_pushed_pulled_and_run() {
        needs_root!();
        let registry = crate::registry::Docker::start(None);
        let mut space = TestSpace::with_bases(&["busybox"]);
        let host = format!("127.0.0.1:{}", registry.port());
        let known = fs::read_to_string(&space.config).unwrap();
        space.config = space.path("with-registry.toml");
        fs::write(&space.config, format!("{known}\n[registry.\"{host}\"]\nplain-http = true\n")).unwrap();
        space.dockerfile("FROM busybox\nCMD [\"echo\", \"it runs\"]\n");
        let name = format!("{host}/attested:1");
        build(&space, &["attest=this"], &["-t", &name]).ok();
        assert_eq!(space.kiln(&["run", &name]).ok().text(), "it runs\n");
        build(&space, &["attest=this"], &["-t", &name, "-o", "type=registry"]).ok();
        let raw = shell(&format!("skopeo inspect --tls-verify=false --raw docker://{name}"));
        let index: Value = serde_json::from_str(&raw).expect("JSON");
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(2));
        let attestation = index["manifests"][1]["digest"].as_str().expect("a digest");
        let raw =
            shell(&format!("skopeo inspect --tls-verify=false --raw docker://{host}/attested@{attestation}"));
        let manifest: Value = serde_json::from_str(&raw).expect("JSON");
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.in-toto+json");
        shell(&format!(
            "skopeo copy --src-tls-verify=false docker://{name} dir:{}",
            space.path("copied").display()
        ));
    }

    #[test]
    fn the_example_says_what_an_image_consists_of() {
        needs_root!();
        let space = TestSpace::with_example("sbom-transform", &["golang", "debian"]);
        let plugin = component("examples/sbom-transform");
        let plugin = plugin.to_str().expect("the path is UTF-8");
        let arguments = [
            "--plugin",
            plugin,
            "--opt",
            "sbom.in-image=/usr/share/sbom.spdx.json",
            "--opt",
            "sbom.beside=sbom.spdx.json",
            "-t",
            "greet",
            "-o",
            "type=oci,dest=image.tar",
        ];
        space.build(&arguments).ok();
        let (layout, index) = layout(&space, "image.tar");
        let manifest = blob(&layout, &index["manifests"][1]);
        let statement =
            layout.join("blobs").join(manifest["layers"][0]["digest"].as_str().unwrap().replace(':', "/"));
        let beside = space.path("image.tar.extra/sbom.spdx.json");
        // Judged by another reader of JSON, and held against what dpkg itself says.
        let status = space.path("status");
        space.build(&["-o", "type=tar,dest=files.tar"]).ok();
        shell(&format!(
            "tar -xOf '{}' var/lib/dpkg/status > '{}'",
            space.path("files.tar").display(),
            status.display()
        ));
        let verdict = shell(&format!(
            "python3 '{}' '{}' '{}' '{}'",
            crate::bases::repository().join("tests/fixtures/check_spdx.py").display(),
            statement.display(),
            beside.display(),
            status.display()
        ));
        assert_eq!(verdict.trim(), "good");
        let inside = space.build(&[&arguments[..6], &["-o", "type=local,dest=files"]].concat());
        inside.ok();
        assert_eq!(
            fs::read(space.path("files/usr/share/sbom.spdx.json")).unwrap(),
            fs::read(&beside).unwrap(),
            "the same document every time"
        );
    }
}
