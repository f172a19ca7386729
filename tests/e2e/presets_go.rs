//! The Go preset: what it builds from projects of every kind, and what it says about those that are none.

pub(crate) mod as_root {
    use std::fs;

    use serde_json::json;

    use crate::ejected::same_when_ejected;
    use crate::plugins::component;
    use crate::presets::{Runtime, Service, free_port, output, same_elsewhere};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{Ran, TestSpace};

    /// The builder that projects of these tests ask for by their go line.
    pub(crate) const BUILDER: &str = "golang:1.19";

    /// Makes kiln know the preset.
    fn prepared(mut space: TestSpace) -> TestSpace {
        let component = component("plugins/go").with_file_name("kiln_go.wasm");
        let config = fs::read_to_string(&space.config).expect("there is a configuration");
        space.config = space.path("presets.toml");
        let plugin = format!("{config}[plugins.go]\nsource = {component:?}\nallow = [\"solve\"]\n");
        fs::write(&space.config, plugin).expect("it is written");
        space
    }

    pub(crate) fn bases(names: &[&str]) -> TestSpace {
        prepared(TestSpace::with_bases(names))
    }

    pub(crate) fn space() -> TestSpace {
        bases(&[BUILDER])
    }

    fn hello() -> TestSpace {
        prepared(TestSpace::with_example("presets/go-hello", &[BUILDER]))
    }

    fn service() -> TestSpace {
        prepared(TestSpace::with_example("presets/go-service", &[BUILDER]))
    }

    /// Makes the context of a space a project that has these files, and a `go.mod` of the module `example.org/x` unless one is
    /// among them.
    pub(crate) fn project(space: &TestSpace, files: &[(&str, &str)]) {
        fs::remove_dir_all(space.context()).expect("the last project goes");
        if !files.iter().any(|(path, _)| path.ends_with("go.mod")) {
            space.write("go.mod", "module example.org/x\n\ngo 1.19\n");
        }
        for (path, text) in files {
            space.write(path, text);
        }
    }

    pub(crate) const MAIN: &str = "package main\n\nfunc main() { println(\"x\") }\n";

    /// Digests of the layers of an image, lowest first.
    pub(crate) fn layers(space: &TestSpace, name: &str) -> Vec<String> {
        let image = readback::image(space, name);
        let layers = image.inspected["Layers"].as_array().expect("skopeo lists layers");
        layers.iter().map(|layer| layer.as_str().expect("a digest").to_owned()).collect()
    }

    #[test]
    fn a_module_becomes_a_program_on_nothing() {
        needs_root!();
        let space = hello();
        let built = space.build(&["-t", "it", "--label", "a=b"]).ok();
        built.says(&[
            "go.mod found, module example.org/hello",
            "builder `golang:1.19`, as go.mod has the line `go 1.19`",
            "program `hello` from `.`, the only main package",
            "no package of it uses cgo",
            "runs as 65532:65532",
        ]);
        assert_eq!(output(&space, "it", &[]), "Hello from Go!\n");
        assert_eq!(output(&space, "it", &["kiln"]), "Hello, kiln!\n");
        let image = readback::image(&space, "it");
        let config = &image.config["config"];
        assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/hello"]));
        assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("65532:65532"), &json!("/")));
        assert_eq!((&config["Labels"], &config["Env"]), (&json!({"a": "b"}), &json!(null)));
        let mut rest = image.files();
        rest.retain(|path| !path.starts_with("/usr/share/zoneinfo/"));
        assert_eq!(
            rest,
            [
                "/etc/group",
                "/etc/nsswitch.conf",
                "/etc/passwd",
                "/etc/ssl/certs/ca-certificates.crt",
                "/usr/local/bin/hello"
            ]
        );
        assert_eq!((image.entry("/tmp").mode, image.entry("/etc/ssl").mode), (0o1777, 0o755));
        let home = image.entry("/home/nonroot");
        assert_eq!((home.mode, home.uid, home.gid), (0o700, 65532, 65532));
        assert!(image.tree.contains_key("/usr/share/zoneinfo/Europe/Kiev"), "older names are there");
        assert!(!image.tree.keys().any(|path| path.starts_with("/usr/share/zoneinfo/right/")));
        let bytes = image.tar_bytes(|path| path != "/usr/local/bin/hello");
        assert!(bytes <= 2 << 20, "everything but the program is {bytes} bytes");

        // Other platforms are compiled for, and not emulated.
        space.build(&["--platform", "linux/arm64,linux/arm/v7", "-o", "type=local,dest=out"]).ok();
        // `e_machine`, two bytes at 18 (gABI, "ELF Header").
        for (directory, machine) in [("linux_arm64", 183), ("linux_arm_v7", 40)] {
            let program =
                fs::read(space.path(format!("out/{directory}/usr/local/bin/hello"))).expect(directory);
            assert_eq!((program[18], program[19]), (machine, 0), "{directory}");
        }
        let both =
            ["--platform", "linux/amd64,linux/arm64", "-t", "both", "--metadata-file", "metadata.json"];
        space.build(&both).ok();
        let metadata: serde_json::Value =
            serde_json::from_str(&space.read("metadata.json")).expect("it is JSON");
        assert_eq!(metadata["kiln.images"].as_array().map(Vec::len), Some(2), "{metadata}");
        passes_its_own_tests(&space, "./...");
    }

    /// Fails unless the tests in the sources of an example pass.
    #[track_caller]
    fn passes_its_own_tests(space: &TestSpace, packages: &str) {
        let text = format!("FROM {BUILDER}\nWORKDIR /src\nCOPY . .\nRUN CGO_ENABLED=0 go test {packages}\n");
        space.build_text(&text, &[]).ok();
    }

    #[test]
    fn a_service_of_a_workspace_finds_all_that_it_needs_in_its_image() {
        needs_root!();
        let space = service();
        space.build(&["-t", "it"]).ok().says(&["go.work found, a workspace of 2 modules", "`./server`"]);
        let expected = "Europe/Kiev 2024-07-01 15:00 EEST\nUTC 2024-07-01 12:00 UTC\ntrusts somebody: true\n\
                        runs as: nonroot /home/nonroot\n";
        assert_eq!(output(&space, "it", &["Europe/Kiev", "UTC"]), expected);
        for runtime in [Runtime::Kiln, Runtime::Runc] {
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let service = Service::start(&space, runtime, "it", &["-listen", &address], port);
            assert!(service.get("/").contains("World clock"));
            assert!(service.get("/time?zone=Europe/Kiev").contains("EE"), "it is EET or EEST there");
            assert_eq!(service.get("/roots"), "true\n");
            // A signal ends `kiln run`; runc hands on what the program makes of it.
            assert_eq!(service.stop(), if runtime == Runtime::Kiln { 130 } else { 0 });
        }
        same_elsewhere(&space, &[]);

        same_when_ejected(&space, "it", &[], &[], &["Europe/Kiev", "UTC"]);
        let text = space.read("context/Dockerfile");
        assert!(text.contains("# - program `server` from `./server`, the only main package\n"), "{text}");
        passes_its_own_tests(&space, "./server/... ./zones/...");
    }

    #[test]
    fn a_changed_line_runs_the_compiler_and_makes_one_layer() {
        needs_root!();
        let space = service();
        space.build(&["-t", "it"]).ok();
        let before = layers(&space, "it");
        let file = space.context().join("server/handler.go");
        let text = fs::read_to_string(&file).expect("the example has it");
        fs::write(&file, text.replace("\"/roots\"", "\"/certificates\"")).expect("it is written");
        let again = space.build(&["-t", "again"]).ok();
        again.steps().cached("looking at golang").cached("go list").cached("furniture").ran("go build");
        let after = layers(&space, "again");
        assert_eq!(before.len(), 2);
        assert_eq!(before[0], after[0], "what the program does not change stays");
        assert_ne!(before[1], after[1]);
        // Another import is a question for `go list` again.
        fs::write(&file, text.replace("import (", "import (\n\t_ \"time/tzdata\"")).expect("it is written");
        let inside = space.build(&["-t", "inside"]).ok();
        inside.steps().ran("go list");
        let inside = inside.says(&["the program imports `time/tzdata`"]);
        assert!(!readback::image(&space, "inside").tree.contains_key("/usr/share/zoneinfo"), "{inside}");
        assert!(
            output(&space, "inside", &["Europe/Kiev"]).starts_with("Europe/Kiev 2024-07-01 15:00 EEST\n")
        );
    }

    #[test]
    fn a_project_that_is_no_single_program_is_told_with_what_there_is() {
        needs_root!();
        let space = space();
        project(
            &space,
            &[("cmd/api/main.go", MAIN), ("cmd/worker/main.go", MAIN), ("lib/lib.go", "package lib\n")],
        );
        space.build(&[]).ends(1).says(&[
            "go/several-mains",
            "2 main packages: `./cmd/api`, `./cmd/worker`",
            "`--opt go.main=./cmd/api`, `--opt go.main=./cmd/worker`",
        ]);
        space.build(&["--opt", "go.main=./cmd/wroker"]).ends(1).says(&[
            "go/unknown-main",
            "there is no main package `./cmd/wroker`",
            "perhaps `--opt go.main=./cmd/worker`; there are `./cmd/api`, `./cmd/worker`",
        ]);
        space.build(&["--opt", "main=lib"]).ends(1).says(&["`lib` is the package `lib`, and no program"]);
        for (name, tag) in [("./cmd/worker", "one"), ("example.org/x/cmd/worker", "two")] {
            space.build(&["--opt", &format!("go.main={name}"), "-t", tag]).ok();
            let config = &readback::image(&space, tag).config["config"];
            assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/worker"]));
        }

        // What is no program is told with what there is.
        project(&space, &[("x.go", "package x\n")]);
        space.build(&[]).ends(1).says(&["go/no-main", "there is the package `example.org/x`"]);
        project(&space, &[("go.mod", "module example.org/x\n\nrequire (\n"), ("main.go", MAIN)]);
        space.build(&["--opt", "version=1.19"]).ends(1).says(&[
            "go/go-list",
            "error[step-failed]: `go list for linux/amd64` ended with exit code 1",
            "errors parsing go.mod",
            "go.mod:4",
            "unterminated block",
        ]);
        project(&space, &[("main.go", "package main\n\nfunc main() { undefined() }\n")]);
        space.build(&[]).ends(1).says(&["./main.go:3:15", "undefined"]);
        project(&space, &[("README.md", "nothing here\n"), ("below/go.mod", "module example.org/below\n")]);
        space.build(&["--frontend", "go"]).ends(1).says(&["go/no-project", "no go.work, go.mod or main.go"]);
    }

    #[test]
    fn a_builder_without_the_tools_is_told() {
        needs_root!();
        let space = bases(&["busybox"]);
        space.write("go.mod", "module example.org/x\n").write("main.go", MAIN);
        let with =
            |option: &str| -> Ran { space.build(&["--opt", "go.builder=busybox", "--opt", option]).ends(1) };
        with("go.main=.").says(&[
            "go/missing-tool",
            "the builder image `busybox` has no `go`",
            "choose another with `--opt go.builder=IMAGE`",
        ]);
        with("go.packages=gcc")
            .says(&["the builder image `busybox` has no `apt-get` to install packages with"]);
        with("go.packages=--yes").says(&["go/bad-option", "the option `packages` is `--yes`"]);
        with("go.user=www-data").ends(1);
    }
}
