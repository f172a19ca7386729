//! The Go preset: what it builds from projects of every kind, and what it says about those that are none.

mod as_root {
    use std::fs;

    use serde_json::json;

    use crate::plugins::component;
    use crate::presets::{Runtime, Service, free_port, output, same_elsewhere};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::server::Files;
    use crate::space::{Ran, TestSpace, shell};

    /// The builder that projects of these tests ask for by their go line.
    const BUILDER: &str = "golang:1.19";

    /// Makes kiln know the preset.
    fn prepared(mut space: TestSpace) -> TestSpace {
        let component = component("plugins/go").with_file_name("kiln_go.wasm");
        let config = fs::read_to_string(&space.config).expect("there is a configuration");
        space.config = space.path("presets.toml");
        let plugin = format!("{config}[plugins.go]\nsource = {component:?}\nallow = [\"solve\"]\n");
        fs::write(&space.config, plugin).expect("it is written");
        space
    }

    fn bases(names: &[&str]) -> TestSpace {
        prepared(TestSpace::with_bases(names))
    }

    fn space() -> TestSpace {
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
    fn project(space: &TestSpace, files: &[(&str, &str)]) {
        fs::remove_dir_all(space.context()).expect("the last project goes");
        if !files.iter().any(|(path, _)| path.ends_with("go.mod")) {
            space.write("go.mod", "module example.org/x\n\ngo 1.19\n");
        }
        for (path, text) in files {
            space.write(path, text);
        }
    }

    const MAIN: &str = "package main\n\nfunc main() { println(\"x\") }\n";

    /// Digests of the layers of an image, lowest first.
    fn layers(space: &TestSpace, name: &str) -> Vec<String> {
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
        // As a tar has it: a header of 512 bytes each, and content in blocks.
        let rest = image.tree.iter().filter(|(path, _)| *path != "/usr/local/bin/hello");
        let bytes: u64 = rest.map(|(_, entry)| 512 + entry.size.next_multiple_of(512)).sum();
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

        // What is written down makes the same files.
        let context = space.context();
        space.kiln(&["plan", "--eject", context.to_str().expect("UTF-8")]).ok();
        let text = fs::read_to_string(context.join("Dockerfile")).expect("a Dockerfile is written");
        assert!(text.contains("# - program `server` from `./server`, the only main package\n"), "{text}");
        space.build(&["-t", "ejected"]).ok();
        assert_eq!(output(&space, "ejected", &["Europe/Kiev", "UTC"]), expected);
        let (ours, theirs) = (readback::image(&space, "it"), readback::image(&space, "ejected"));
        assert_eq!(ours.files(), theirs.files());
        for key in ["User", "WorkingDir", "Entrypoint"] {
            assert_eq!(ours.config["config"][key], theirs.config["config"][key], "{key}");
        }
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

    /// A builder that has Go and a C compiler, as an OCI layout.
    fn with_compiler(space: &TestSpace) -> String {
        let text = "FROM gcc\nCOPY --from=golang:1.19 /usr/lib/go-1.19 /usr/lib/go-1.19\n\
                    COPY --from=golang:1.19 /usr/share/go-1.19 /usr/share/go-1.19\n\
                    COPY --from=golang:1.19 /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n\
                    ENV PATH=/usr/lib/go-1.19/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
        let layout = space.path("builder");
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        fs::write(space.path("Builderfile"), text).expect("it is written");
        let file = space.path("Builderfile");
        space.build(&["-f", file.to_str().expect("UTF-8"), "-o", &output]).ok();
        format!("golang:1.19=oci-layout://{}", layout.display())
    }

    const WITH_C: &str = "package main\n\n// #cgo LDFLAGS: -lm\n// #include <math.h>\nimport \"C\"\nimport \"fmt\"\n\n\
                          func main() { fmt.Printf(\"%.0f\\n\", float64(C.cbrt(27))) }\n";

    #[test]
    fn a_program_with_c_brings_its_libraries() {
        needs_root!();
        let space = bases(&[BUILDER, "gcc"]);
        space.write("go.mod", "module example.org/root\n\ngo 1.19\n").write("main.go", WITH_C);
        space.build(&[]).ends(1).says(&[
            "go/cgo-compiler",
            "`example.org/root` uses cgo in main.go, and the builder image `golang:1.19` has no C compiler (`gcc`)",
            "--opt go.cgo=off",
        ]);
        space
            .build(&["--opt", "go.cgo=off"])
            .ends(1)
            .says(&["go/no-main", "left out, as cgo is switched off"]);
        let context = with_compiler(&space);
        let builder = ["--build-context", &context];
        space
            .build(&[&builder[..], &["-t", "it"]].concat())
            .ok()
            .says(&["a program linked with C libraries"]);
        assert_eq!(output(&space, "it", &[]), "3\n");
        let image = readback::image(&space, "it");
        assert!(image.files().iter().any(|path| path.ends_with("/libm.so.6")));
        let before = layers(&space, "it");
        space.write("main.go", WITH_C.replace("27", "64"));
        space.build(&[&builder[..], &["-t", "it"]].concat()).ok();
        assert_eq!(output(&space, "it", &[]), "4\n");
        let after = layers(&space, "it");
        assert_eq!((before.len(), &before[..2]), (3, &after[..2]), "libraries lie below the program");
        assert_ne!(before[2], after[2]);
        space
            .build(&[&builder[..], &["--platform", "linux/arm64"]].concat())
            .ends(1)
            .says(&["go/cgo-platform", "makes programs for linux/amd64, not for linux/arm64"]);
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

    #[test]
    fn every_kind_of_project_becomes_a_program() {
        needs_root!();
        let space = bases(&[BUILDER, "busybox"]);

        // Files without a module.
        fs::remove_dir_all(space.context()).expect("the context goes");
        space.write("main.go", "package main\n\nfunc main() { println(word) }\n");
        space.write("word.go", "package main\n\nconst word = \"alone\"\n");
        space
            .build(&["--opt", "go.version=1.19", "-t", "it-a"])
            .ok()
            .says(&["Go files without go.mod found"]);
        space.kiln(&["run", "it-a"]).ok().says(&["alone"]);

        // Vendored modules.
        project(
            &space,
            &[
                ("go.mod", "module example.org/x\n\ngo 1.19\n\nrequire example.com/dep v1.0.0\n"),
                (
                    "main.go",
                    "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Word) }\n",
                ),
                ("vendor/modules.txt", "# example.com/dep v1.0.0\n## explicit; go 1.19\nexample.com/dep\n"),
                ("vendor/example.com/dep/dep.go", "package dep\n\nconst Word = \"vendored\"\n"),
            ],
        );
        let built = space.build(&["-t", "it-b"]).ok().says(&["dependencies from `vendor`"]);
        assert!(!built.steps().has("go mod download"));
        space.kiln(&["run", "it-b"]).ok().says(&["vendored"]);

        // Files that the program reads.
        let read = "package main\n\nimport \"os\"\n\nfunc main() {\n\ttext, err := os.ReadFile(\"static/a.txt\")\n\t\
                    if err != nil {\n\t\tpanic(err)\n\t}\n\tos.Stdout.Write(text)\n}\n";
        project(&space, &[("main.go", read), ("static/a.txt", "served\n"), ("secret.txt", "stays\n")]);
        space.build(&["--opt", "go.files=static", "--opt", "go.files=go.mod:/srv/x", "-t", "it-c"]).ok();
        assert_eq!(output(&space, "it-c", &[]), "served\n");
        let image = readback::image(&space, "it-c");
        assert!(image.tree.contains_key("/srv/x") && !image.tree.contains_key("/secret.txt"));
        space.build(&["--opt", "go.files=absent"]).ends(1).says(&["absent"]);
        space.build(&["--opt", "go.files=../x"]).ends(1).says(&["go/bad-option", "SOURCE:/PATH"]);

        // Flags and tags.
        project(
            &space,
            &[
                (
                    "main.go",
                    "package main\n\nvar version = \"none\"\n\nfunc main() { println(version, tagged) }\n",
                ),
                ("tagged.go", "//go:build special\n\npackage main\n\nconst tagged = true\n"),
                ("plain.go", "//go:build !special\n\npackage main\n\nconst tagged = false\n"),
            ],
        );
        let options = ["--opt", "go.ldflags=-X 'main.version=1 2'", "--opt", "go.tags=special,timetzdata"];
        let built = space.build(&[&options[..], &["-t", "it-d"]].concat()).ok();
        built.says(&["no time zones in the image, as the tag `timetzdata` is set"]);
        space.kiln(&["run", "it-d"]).ok().says(&["1 2 true"]);
        assert!(!readback::image(&space, "it-d").tree.contains_key("/usr/share/zoneinfo"));

        // A runtime image keeps what it has.
        project(&space, &[("main.go", MAIN)]);
        space.build(&["--opt", "go.runtime=busybox", "--opt", "go.user=1000", "-t", "it-e"]).ok();
        let image = readback::image(&space, "it-e");
        assert_eq!(image.config["config"]["User"], json!("1000"));
        assert!(image.config["config"]["Cmd"].is_null(), "what the base would start is gone");
        assert!(image.tree.contains_key("/bin/busybox") && !image.tree.contains_key("/home/nonroot"));
        space.kiln(&["run", "it-e"]).ok().says(&["x"]);
    }

    /// A module proxy with `example.com/dep` v1.0.0, and the options that lead the go command to it.
    fn proxy() -> (Files, Vec<String>) {
        let files = Files::start();
        let root = files.root.path().display();
        shell(&format!("mkdir -p '{root}/example.com/dep/@v' '{root}/zip/example.com/dep@v1.0.0'"));
        let module = "module example.com/dep\n\ngo 1.19\n";
        files.write(
            "example.com/dep/@v/v1.0.0.info",
            "{\"Version\":\"v1.0.0\",\"Time\":\"2024-01-01T00:00:00Z\"}",
        );
        files.write("example.com/dep/@v/v1.0.0.mod", module);
        files.write("zip/example.com/dep@v1.0.0/go.mod", module);
        files.write("zip/example.com/dep@v1.0.0/dep.go", "package dep\n\nconst Word = \"downloaded\"\n");
        shell(&format!(
            "cd '{root}/zip' && python3 -c 'import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], \"w\") as archive:\n \
             [archive.write(name) for name in sys.argv[2:]]' ../example.com/dep/@v/v1.0.0.zip \
             example.com/dep@v1.0.0/go.mod example.com/dep@v1.0.0/dep.go"
        ));
        let url = files.url("");
        let args = [
            "--network=host",
            "--allow=network.host",
            &format!("--build-arg=GOPROXY={}", url.trim_end_matches('/')),
            "--build-arg=GOSUMDB=off",
            "--build-arg=GOFLAGS=-mod=mod",
        ];
        let args = args.map(str::to_owned).to_vec();
        (files, args)
    }

    #[test]
    fn modules_are_downloaded_once() {
        needs_root!();
        let space = space();
        let main = "package main\n\nimport \"example.com/dep\"\n\nfunc main() { println(dep.Word) }\n";
        project(
            &space,
            &[
                ("go.mod", "module example.org/x\n\ngo 1.19\n\nrequire example.com/dep v1.0.0\n"),
                ("main.go", main),
            ],
        );
        let (files, options) = proxy();
        let with = |more: &[&str]| {
            let options: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
            space.build(&options)
        };
        fs::write(space.path("netrc"), "machine 127.0.0.1 login user password secret\n")
            .expect("it is written");
        let secret = format!("--secret=id=netrc,src={}", space.path("netrc").display());
        let first = with(&[&secret, "-t", "it"]).ok().says(&["modules fetched with the secret `netrc`"]);
        assert!(first.steps().has("go mod download"), "{first}");
        space.kiln(&["run", "it"]).ok().says(&["downloaded"]);
        assert!(!files.answers().is_empty());
        space.write("main.go", main.replace("dep.Word", "dep.Word + \" once\""));
        let again = with(&[&secret, "-t", "it"]).ok();
        again.steps().cached("go list").ran("go build");
        assert_eq!(files.answers(), Vec::<String>::new(), "nothing is fetched again");
        space.kiln(&["run", "it"]).ok().says(&["downloaded once"]);
    }
}
