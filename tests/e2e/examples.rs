//! The cases of `examples/`, each built, read back and run.

mod as_root {
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{TestSpace, shell};

    /// Bytes of configuration and layers of image `name`.
    fn size(space: &TestSpace, name: &str) -> u64 {
        let images = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
        let image = images.as_array().unwrap().iter().find(|image| image["name"] == name);
        image.unwrap_or_else(|| panic!("no {name} in {images:#}"))["size"].as_u64().expect("a size in bytes")
    }

    #[test]
    fn hello_is_one_file_with_the_digest_of_its_readme() {
        needs_root!();
        let space = TestSpace::with_example("hello", &[]);
        let ran = space.build(&["--reproducible", "-q", "-t", "hello"]).ok();
        // The README gives the digest for the most common machine; the configuration names the architecture.
        if cfg!(target_arch = "x86_64") {
            let digest = ran.text().trim();
            assert!(space.read("context/README.md").contains(digest), "README.md does not name {digest}");
        }
        let image = readback::image(&space, "hello");
        assert_eq!(image.files(), ["/hello.txt"]);
        assert_eq!(image.read("/hello.txt"), space.read("context/hello.txt"));
    }

    #[test]
    fn c_on_four_bases() {
        needs_root!();
        let space = TestSpace::with_example("c", &["gcc", "debian", "busybox"]);
        for base in ["single", "debian", "busybox"] {
            let file = space.context().join(format!("Dockerfile.{base}"));
            space.build(&["-f", file.to_str().unwrap(), "-t", &format!("hello:{base}")]).ok();
        }
        space.build(&["-t", "hello:scratch"]).ok();
        for base in ["single", "debian", "busybox", "scratch"] {
            let ran = space.kiln(&["run", &format!("hello:{base}")]).ok();
            assert_eq!(ran.text(), "Hello from C!\n");
        }
        let image = readback::image(&space, "hello:scratch");
        assert_eq!(image.files(), ["/hello"]);
        let binary = image.entry("/hello").size;
        assert!(binary < 16 * 1024, "the binary has {binary} bytes");
        assert!(size(&space, "hello:scratch") < 16 * 1024, "an image of the size of its binary");
        let sizes =
            ["scratch", "busybox", "debian", "single"].map(|base| size(&space, &format!("hello:{base}")));
        assert!(sizes.is_sorted(), "{sizes:?}");
        assert!(sizes[3] > 100_000_000 && sizes[1] < 10_000_000, "{sizes:?}");
        readback::image(&space, "hello:single");
        readback::image(&space, "hello:busybox");
    }

    #[test]
    fn go_in_two_stages_and_with_a_file_of_a_third_image() {
        needs_root!();
        let space = TestSpace::with_example("go", &["golang", "nginx"]);
        space.build(&["--target", "builder", "-t", "hello-go:builder"]).ok();
        let ran = space.build(&["-t", "hello-go"]).ok();
        ran.steps().cached("go build");
        assert_eq!(space.kiln(&["run", "hello-go"]).ok().text(), "Hello from Go!\n");
        let image = readback::image(&space, "hello-go");
        assert_eq!(image.files(), ["/hello", "/nginx.conf"]);
        assert!(image.read("/nginx.conf").contains("worker_processes"));
        let listed = readback::listed(&space, "hello-go:builder");
        assert_eq!(listed["/hello"].size, image.entry("/hello").size);
        let file = space.context().join("Dockerfile.single");
        space.build(&["-f", file.to_str().unwrap(), "-t", "hello-go:single"]).ok();
        assert_eq!(space.kiln(&["run", "hello-go:single"]).ok().text(), "Hello from Go!\n");
    }

    #[test]
    fn a_relative_path_in_copy_from_counts_from_the_root_and_the_error_knows_better() {
        needs_root!();
        let space = TestSpace::with_example("copy-relative", &["golang", "busybox"]);
        let ran = space.build(&["-t", "wrong"]).ends(1);
        ran.says(&[
            "Dockerfile:6",
            "COPY --from=buildstage hello .",
            "^",
            "`/go/hello`",
            "COPY --from=buildstage /go/hello .",
        ]);
        space.kiln(&["image", "inspect", "wrong"]).ends(1);
        let right = space.context().join("Dockerfile.right");
        space.build(&["-f", right.to_str().unwrap(), "-t", "right"]).ok();
        assert_eq!(space.kiln(&["run", "right"]).ok().text(), "Hello from /go!\n");
        readback::image(&space, "right");
    }

    #[test]
    fn php_with_an_extension_out_of_stage_0() {
        needs_root!();
        let space = TestSpace::with_example("php", &["php"]);
        space.build(&["-t", "hello-php"]).ok();
        assert_eq!(space.kiln(&["run", "hello-php"]).ok().text(), "Hello from a PHP extension!\n");
        let listed = readback::listed(&space, "hello-php");
        assert_eq!(listed["/usr/local/lib/php/hello.so"].kind, "file");
        assert!(!listed.contains_key("/ext"), "what stage 0 made besides stays behind");
    }

    #[test]
    fn java_built_by_maven_and_run_by_openjdk_and_tomcat() {
        needs_root!();
        let space = TestSpace::with_example("java", &["maven", "openjdk", "tomcat"]);
        space.build(&["-t", "hello-java"]).ok();
        assert_eq!(space.kiln(&["run", "hello-java"]).ok().text(), "Hello from Java!\n");
        let tomcat = space.context().join("Dockerfile.tomcat");
        space.build(&["-f", tomcat.to_str().unwrap(), "-t", "hello-tomcat"]).ok().steps().cached("mvn");
        assert_eq!(space.kiln(&["run", "hello-tomcat"]).ok().text(), "Hello from Java!\n");
        let wrong = space.context().join("Dockerfile.wrong-stage");
        let ran = space.build(&["-f", wrong.to_str().unwrap()]);
        assert!(ran.status == 1 || ran.status == 3, "{ran}");
        ran.says(&["Dockerfile.wrong-stage:8", "`build`", "image", "`builder`"]);
    }

    #[test]
    fn the_builder_pattern_takes_one_file_out_of_a_stage() {
        needs_root!();
        let space = TestSpace::with_example("builder-pattern", &["gcc"]);
        space.build(&["-o", "type=local,dest=out"]).ok();
        assert_eq!(readback::tree_of(&space.path("out")).into_keys().collect::<Vec<_>>(), ["/hello"]);
        let output = Command::new(space.path("out/hello")).output().unwrap();
        assert_eq!(output.stdout, b"Hello from C!\n");
        space.build(&["--target", "build", "-o", "type=tar,dest=build.tar"]).ok();
        let names = shell(&format!("tar -tf '{}'", space.path("build.tar").display()));
        assert!(names.lines().any(|name| name.trim_start_matches("./") == "src/hello"));
        let images = space.kiln(&["image", "ls", "--format", "json"]).ok().json();
        assert_eq!(images.as_array().map(Vec::len), Some(0), "{images:#}");
    }

    #[test]
    fn a_comment_in_the_middle_of_a_line_is_explained() {
        needs_root!();
        let space = TestSpace::with_example("add-comment", &["busybox"]);
        let ran = space.build(&["-t", "it"]).ends(1);
        ran.says(&["Dockerfile:2", "ADD app/ /app/   # the application", "`#`", "comment"]);
        let right = space.context().join("Dockerfile.right");
        space.build(&["-f", right.to_str().unwrap(), "-t", "it"]).ok();
        assert_eq!(readback::image(&space, "it").read("/app/main.txt"), "the application\n");
    }

    #[test]
    fn the_same_archive_from_two_stores() {
        needs_root!();
        let mut space = TestSpace::with_example("reproducible", &["busybox"]);
        let first = space.path("one.tar");
        let second = space.path("two.tar");
        let output = |path: &Path| format!("type=oci,dest={}", path.display());
        space.build(&["--reproducible", "-o", &output(&first)]).ok();
        space.store = space.path("another-store");
        shell(&format!("find '{}' -exec touch {{}} +", space.context().display()));
        space.build(&["--reproducible", "-o", &output(&second)]).ok();
        assert!(fs::read(first).unwrap() == fs::read(second).unwrap(), "the archives differ");
    }

    #[test]
    fn a_cross_compiled_tool_after_buildx() {
        needs_root!();
        let space = TestSpace::with_example("cross-tool", &["golang", "alpine"]);
        space.build(&["-t", "salute"]).ok();
        assert_eq!(space.kiln(&["run", "salute", "/salute", "Ada"]).ok().text(), "Good day, Ada!\n");
        assert_eq!(space.kiln(&["run", "salute", "/salute", "version"]).ok().text(), "1.4.0-rc1 rc1\n");
        assert_eq!(readback::image(&space, "salute").files(), ["/salute"]);
        space.build(&["--target", "shell", "-t", "shell"]).ok().steps().cached("cross-go build");
        let ran = space.kiln(&["run", "shell"]).ok();
        assert_eq!(ran.text(), "Good day, Grace!\nGood day, Edsger!\n");
        space.build(&["--target", "release", "--platform", "linux/arm64", "-o", "out"]).ok();
        let release = readback::tree_of(&space.path("out"));
        assert_eq!(release.into_keys().collect::<Vec<_>>(), ["/salute-1.4.0-rc1.linux-arm64"]);
        // The machine in the header of an ELF file: 183 is 64-bit ARM.
        let binary = fs::read(space.path("out/salute-1.4.0-rc1.linux-arm64")).unwrap();
        assert_eq!(binary[18..20], [183, 0]);
        space.build(&["--target", "test-coverage", "-o", "coverage"]).ok();
        assert!(space.read("coverage/coverage.txt").contains("example.org/salute/words/words.go"));
        space.build(&["--target", "binaries-windows", "-t", "windows"]).ok();
        assert_eq!(readback::image(&space, "windows").files(), ["/salute.exe"]);
    }

    #[test]
    fn a_database_server_after_postgres() {
        needs_root!();
        let space = TestSpace::with_example("database-server", &["gcc"]);
        space.build(&["-t", "keepd"]).ok();
        let ran = space.kiln_with_input(&["run", "keepd"], b"get greeting\nset a b\nget a\n").ok();
        assert_eq!(ran.text(), "hello\nb\n");
        let image = readback::image(&space, "keepd");
        assert_eq!(image.config["config"]["StopSignal"], "SIGINT");
        let listed = readback::listed(&space, "keepd");
        for gone in ["/usr/src/keepd", "/usr/src/keepd.orig", "/usr/local/share/doc/keepd"] {
            assert!(!listed.contains_key(gone), "{gone} stayed");
        }
        let modes = ["/run/keep", "/var/lib/keep/data"].map(|path| (listed[path].mode, listed[path].uid));
        assert_eq!(modes, [(0o3777, 70), (0o1777, 70)]);
    }

    #[test]
    fn a_web_application_after_mastodon() {
        needs_root!();
        let space = TestSpace::with_example("web-app", &["php"]);
        space.build(&["-t", "board"]).ok();
        let page = space.kiln(&["run", "board"]).ok();
        assert!(page.text().starts_with("<h1>Board (production)</h1>"), "{page}");
        let listed = readback::listed(&space, "board");
        assert_eq!(listed["/opt/board/public/assets/manifest.json"].uid, 991);
        for absent in ["/opt/board/packages", "/shelf", "/usr/local/bin/fetch"] {
            assert!(!listed.contains_key(absent), "{absent} stayed");
        }
        let chosen = ["--build-arg", "APP_ENV=development", "--build-arg", "BOARD_HOME=/srv/board"];
        space.build(&[&chosen[..], &["-t", "board:dev"]].concat()).ok();
        let page = space.kiln(&["run", "board:dev"]).ok();
        assert!(page.text().starts_with("<h1>Board (development)</h1>"), "{page}");
        let listed = readback::listed(&space, "board:dev");
        assert!(listed.contains_key("/srv/board/public/assets"));
        assert!(!listed.contains_key("/srv/board/public/assets/manifest.json"));
    }

    #[test]
    fn no_example_writes_into_its_own_directory() {
        needs_root!();
        let space = TestSpace::with_example("hello", &[]);
        let before = readback::tree_of(&space.context());
        space.build(&["-t", "hello"]).ok();
        assert_eq!(readback::tree_of(&space.context()), before);
        assert!(!fs::exists(space.path("Dockerfile")).unwrap());
    }
}
