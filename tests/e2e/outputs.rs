//! The forms in which a result is written, each read by a tool that kiln did not bring.

mod as_root {
    use std::fs;

    use serde_json::Value;

    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{TestSpace, shell};

    fn example() -> TestSpace {
        let space = TestSpace::new();
        space.write("dir/file", "content\n").link("dir/link", "file").directory("dir/empty");
        space.dockerfile("FROM scratch\nENV A=1\nCOPY dir /dir\nCMD [\"/dir/file\"]\n");
        space
    }

    fn is_the_example(image: &readback::Image) {
        assert_eq!(image.tree.keys().collect::<Vec<_>>(), ["/dir", "/dir/empty", "/dir/file", "/dir/link"]);
        assert_eq!(image.read("/dir/file"), "content\n");
        assert_eq!(image.config["config"]["Cmd"][0], "/dir/file");
        assert_eq!(image.inspected["Architecture"], image.config["architecture"]);
    }

    #[test]
    fn an_oci_archive() {
        needs_root!();
        let space = example();
        for compression in ["", ",compression=uncompressed", ",compression=gzip"] {
            shell(&format!("rm -rf '{}'/it.*", space.path("").display()));
            space.build(&["-o", &format!("type=oci,dest=it.tar{compression}")]).ok();
            is_the_example(&readback::oci_archive(&space, "it.tar"));
        }
    }

    #[test]
    fn an_oci_archive_in_zstd() {
        needs_root!();
        let space = example();
        space.build(&["-o", "type=oci,dest=it.tar,compression=zstd"]).ok();
        // umoci does not read zstd, so the layer is looked at by tar.
        let archive = space.path("it.tar");
        let inspect = format!("skopeo inspect --raw 'oci-archive:{}'", archive.display());
        let manifest: Value = serde_json::from_str(&shell(&inspect)).unwrap();
        let layer = &manifest["layers"][0];
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        let name = layer["digest"].as_str().unwrap().replace(':', "/");
        let listed = shell(&format!("tar -xOf '{}' 'blobs/{name}' | tar --zstd -t", archive.display()));
        let names: Vec<_> = listed.lines().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(names, ["dir", "dir/empty", "dir/file", "dir/link"]);
    }

    #[test]
    fn an_oci_archive_on_standard_output() {
        needs_root!();
        let space = example();
        let ran = space.build(&["-o", "type=oci,dest=-"]).ok();
        fs::write(space.path("it.tar"), &ran.stdout).unwrap();
        is_the_example(&readback::oci_archive(&space, "it.tar"));
    }

    #[test]
    fn an_oci_layout_directory() {
        needs_root!();
        let space = example();
        space.build(&["-o", "type=oci,tar=false,dest=it"]).ok();
        is_the_example(&readback::oci_layout(&space.path("it")));
    }

    #[test]
    fn a_docker_archive() {
        needs_root!();
        let space = example();
        space.build(&["-t", "example.org/it:7", "-o", "type=docker,dest=it.tar"]).ok();
        let archive = space.path("it.tar");
        let tags = shell(&format!("tar -xOf '{}' manifest.json", archive.display()));
        let manifest: Value = serde_json::from_str(&tags).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "example.org/it:7");
        let layout = space.path("it");
        shell(&format!(
            "skopeo copy --quiet 'docker-archive:{}' 'oci:{}:it'",
            archive.display(),
            layout.display()
        ));
        is_the_example(&readback::oci_layout(&layout));
    }

    #[test]
    fn a_tar_archive_in_a_file_and_on_standard_output() {
        needs_root!();
        let space = example();
        space.build(&["-o", "type=tar,dest=it.tar"]).ok();
        shell(&format!("mkdir '{0}/out' && tar -xf '{0}/it.tar' -C '{0}/out'", space.path("").display()));
        assert_eq!(space.read("out/dir/file"), "content\n");
        assert!(space.path("out/dir/empty").is_dir());
        let ran = space.build(&["-o", "-"]).ok();
        assert_eq!(ran.stdout, fs::read(space.path("it.tar")).unwrap());
        let ran = space.build(&["-o", "type=tar,dest=-"]).ok();
        assert_eq!(ran.stdout, fs::read(space.path("it.tar")).unwrap());
    }

    #[test]
    fn a_directory() {
        needs_root!();
        let space = example();
        space.build(&["-o", "type=local,dest=one", "-o", "two"]).ok();
        for out in ["one", "two"] {
            assert_eq!(fs::read_to_string(space.path(out).join("dir/link")).unwrap(), "content\n");
            let paths: Vec<_> = readback::tree_of(&space.path(out)).into_keys().collect();
            assert_eq!(paths, ["/dir", "/dir/empty", "/dir/file", "/dir/link"]);
        }
        // What lies there already stays, and nothing of the store is shared with what can be changed.
        fs::write(space.path("two/other"), "mine").unwrap();
        fs::write(space.path("two/dir/file"), "changed").unwrap();
        space.build(&["-o", "two", "-o", "three"]).ok();
        assert_eq!(space.read("two/other"), "mine");
        assert_eq!(
            (space.read("two/dir/file"), space.read("three/dir/file")),
            ("content\n".into(), "content\n".into())
        );
    }

    #[test]
    fn a_registry_gets_what_is_pushed() {
        needs_root!();
        let space = example();
        let registry = crate::registry::Docker::start(None);
        let name = format!("127.0.0.1:{}/some/it:1", registry.port());
        fs::write(
            &space.config,
            format!("[registry.\"127.0.0.1:{}\"]\nplain-http = true\n", registry.port()),
        )
        .unwrap();
        space.build(&["-t", &name, "--push"]).ok();
        let inspected = shell(&format!("skopeo inspect --tls-verify=false 'docker://{name}'"));
        assert!(inspected.contains("sha256:"), "{inspected}");
        space.build(&["-o", &format!("type=registry,name={name}-again")]).ok();
        shell(&format!("skopeo inspect --tls-verify=false 'docker://{name}-again'"));
    }

    #[test]
    fn the_digest_is_printed_alone_and_written_to_files() {
        needs_root!();
        let space = example();
        let ran =
            space.build(&["-q", "-t", "it", "--iidfile", "iid", "--metadata-file", "metadata.json"]).ok();
        let digest = ran.text().trim_end();
        assert!(digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64), "{ran}");
        assert_eq!(ran.stderr, "");
        assert_eq!(space.read("iid"), digest);
        let metadata: Value = serde_json::from_str(&space.read("metadata.json")).unwrap();
        assert!(
            metadata["containerimage.digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
            "{metadata}"
        );
        assert_eq!(metadata["image.name"], "docker.io/library/it:latest");
        assert!(
            metadata["containerimage.digest"] == digest || metadata["containerimage.config.digest"] == digest,
            "{metadata}"
        );
    }

    #[test]
    fn a_build_that_fails_writes_nothing() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN false\n");
        let args = [
            "-t",
            "it",
            "-o",
            "type=oci,dest=it.tar",
            "-o",
            "type=local,dest=out",
            "--iidfile",
            "iid",
            "--metadata-file",
            "m",
        ];
        space.build(&args).ends(1);
        for name in ["it.tar", "out", "iid", "m"] {
            assert!(!space.path(name).exists(), "{name} was written");
        }
        let left: Vec<_> =
            fs::read_dir(space.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.len() <= 5, "{left:?}");
    }

    #[test]
    fn an_output_that_cannot_be_written_is_the_worlds_fault() {
        needs_root!();
        let space = example();
        fs::write(space.path("file"), "").unwrap();
        space.build(&["-o", "type=oci,dest=file/below/it.tar"]).ends(3).says(&["file/below"]);
        space.build(&["-o", "type=nonsense,dest=x"]).ends(2).says(&["nonsense"]);
        space.build(&["-o", "type=local"]).ends(2).says(&["dest"]);
    }
}
