//! The Go preset: projects of other kinds than the examples, and modules from elsewhere.

mod as_root {
    use std::fs;

    use serde_json::json;

    use crate::apt::{HEADER, repository};
    use crate::ejected::same_when_ejected;
    use crate::presets::output;
    use crate::presets_go::as_root::{BUILDER, MAIN, bases, layers, project, space};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::server::Files;
    use crate::space::{TestSpace, shell};

    /// A builder that has Go, a C compiler and a package with a header, as an OCI layout.
    fn with_compiler(space: &TestSpace) -> String {
        let text = "FROM gcc\nCOPY --from=golang:1.19 /usr/lib/go-1.19 /usr/lib/go-1.19\n\
                    COPY --from=golang:1.19 /usr/share/go-1.19 /usr/share/go-1.19\n\
                    COPY --from=golang:1.19 /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n\
                    ENV PATH=/usr/lib/go-1.19/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
        let text = format!("{text}{}", repository(&[HEADER]));
        let layout = space.path("builder");
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        fs::write(space.path("Builderfile"), text).expect("it is written");
        let file = space.path("Builderfile");
        space.build(&["-f", file.to_str().expect("UTF-8"), "-o", &output]).ok();
        format!("golang:1.19=oci-layout://{}", layout.display())
    }

    const WITH_C: &str = "package main\n\n// #cgo LDFLAGS: -lm\n// #include <math.h>\n// #include <frob.h>\nimport \"C\"\nimport \"fmt\"\n\n\
                          func main() { fmt.Printf(\"%.0f\\n\", float64(C.cbrt(C.FROB))) }\n";

    #[test]
    fn a_program_with_c_brings_its_libraries() {
        needs_root!();
        let space = bases(&[BUILDER, "gcc", "debian"]);
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
        let options = [&builder[..], &["--opt", "go.packages=libfrob-dev"]].concat();
        let first = space.build(&[&options[..], &["-t", "it"]].concat()).ok();
        let first = first.says(&[
            "a program linked with C libraries",
            "libfrob-dev installed in the builder, as the option",
        ]);
        assert!(first.steps().did("installing libfrob-dev"), "{first}");
        assert_eq!(output(&space, "it", &[]), "3\n");
        let image = readback::image(&space, "it");
        assert!(image.files().iter().any(|path| path.ends_with("/libm.so.6")));
        let before = layers(&space, "it");
        space.write("main.go", WITH_C.replace("C.FROB", "C.FROB + 37"));
        let again = space.build(&[&options[..], &["-t", "it"]].concat()).ok();
        assert!(!again.steps().did("installing libfrob-dev"), "{again}");
        assert_eq!(output(&space, "it", &[]), "4\n");
        let after = layers(&space, "it");
        assert_eq!((before.len(), &before[..2]), (3, &after[..2]), "libraries lie below the program");
        assert_ne!(before[2], after[2]);
        space
            .build(&[&builder[..], &["--platform", "linux/arm64"]].concat())
            .ends(1)
            .says(&["go/cgo-platform", "makes programs for linux/amd64, not for linux/arm64"]);
        let packages = ["--opt", "go.packages=libfrob-dev"];
        same_when_ejected(&space, "it", &packages, &builder, &[]);

        // On an image whose `/lib` is a link, also when it is ejected.
        fs::remove_file(space.context().join("Dockerfile")).expect("it was written");
        let on = [&packages[..], &["--opt", "go.runtime=debian"]].concat();
        space.build(&[&builder[..], &on, &["-t", "on"]].concat()).ok();
        same_when_ejected(&space, "on", &on, &builder, &[]);
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

    /// A module proxy with `example.com/dep` v1.0.0, and the lines that `go.sum` has of it.
    fn proxy() -> (Files, String) {
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
        // A digest is that of the list that sha256sum prints (golang.org/x/mod/sumdb/dirhash, "Hash1").
        let sums = shell(&format!(
            "cd '{root}/zip' && python3 -c 'import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], \"w\") as archive:\n \
             [archive.write(name) for name in sys.argv[2:]]' ../example.com/dep/@v/v1.0.0.zip \
             example.com/dep@v1.0.0/go.mod example.com/dep@v1.0.0/dep.go\n\
             sum() {{ sha256sum \"$@\" | sha256sum | python3 -c 'import base64\nprint(base64.b64encode(bytes.fromhex(input()[:64])).decode())'; }}\n\
             echo \"example.com/dep v1.0.0 h1:$(sum example.com/dep@v1.0.0/dep.go example.com/dep@v1.0.0/go.mod)\"\n\
             cd example.com/dep@v1.0.0 && echo \"example.com/dep v1.0.0/go.mod h1:$(sum go.mod)\""
        ));
        (files, sums)
    }

    #[test]
    fn modules_are_downloaded_once() {
        needs_root!();
        let space = space();
        let (files, sums) = proxy();
        let main = "package main\n\nimport (\n\t\"os\"\n\n\t\"example.com/dep\"\n\t\"example.org/gen/lib\"\n)\n\n\
                    func main() { os.Stdout.WriteString(lib.Word + dep.Word + \"\\n\") }\n";
        project(
            &space,
            &[
                ("go.work", "go 1.19\n\nuse (\n\t./services/api\n\t./tools/gen/lib/\n)\n"),
                (
                    "services/api/go.mod",
                    "module example.org/api\n\ngo 1.19\n\nrequire example.com/dep v1.0.0\n",
                ),
                ("services/api/go.sum", &sums),
                ("services/api/main.go", main),
                ("tools/gen/lib/go.mod", "module example.org/gen/lib\n\ngo 1.19\n"),
                ("tools/gen/lib/lib.go", "package lib\n\nconst Word = \"nested and \"\n"),
            ],
        );
        let url = files.url("");
        let from = format!("--build-arg=GOPROXY={}", url.trim_end_matches('/'));
        fs::write(space.path("netrc"), "machine 127.0.0.1 login user password boojum\n")
            .expect("it is written");
        let secret = format!("--secret=id=netrc,src={}", space.path("netrc").display());
        let needed = ["--network=host", "--allow=network.host", &secret, &from];
        let build = || space.build(&[&needed[..], &["-t", "it"]].concat()).ok();
        let first = build().says(&["a workspace of 2 modules", "modules fetched with the secret `netrc`"]);
        assert!(first.steps().has("go mod download"), "{first}");
        assert_eq!(output(&space, "it", &[]), "nested and downloaded\n");
        assert!(!files.answers().is_empty());
        space.write("services/api/main.go", main.replace("dep.Word", "dep.Word + \" once\""));
        let again = build();
        again.steps().cached("go list").ran("go build");
        assert_eq!(files.answers(), Vec::<String>::new(), "nothing is fetched again");
        assert_eq!(output(&space, "it", &[]), "nested and downloaded once\n");

        // Nothing of the secret is written down, nor what was said for this build alone.
        same_when_ejected(&space, "it", &[], &needed, &[]);
        let text = space.read("context/Dockerfile");
        assert!(text.contains("--mount=type=secret,id=netrc,target=/root/.netrc"), "{text}");
        assert!(text.contains("\nARG GOPROXY\n") && !text.contains("127.0.0.1"), "{text}");
        let kept = shell(&format!(
            "grep -rl boojum '{}' '{}' || true",
            space.store.display(),
            space.context().display()
        ));
        assert_eq!(kept, "", "the secret is nowhere");
    }
}
