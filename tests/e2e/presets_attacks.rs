//! Presets meet projects and options that nobody would write by chance: names that are words of a shell or a builder, files
//! that are something else, images for another machine.

use std::fs;

use crate::space::{Ran, TestSpace};

/// Makes the context of a space a project that has these files.
fn project(space: &TestSpace, files: &[(&str, &str)]) {
    fs::remove_dir_all(space.context()).expect("the last project goes");
    for (path, text) in files {
        space.write(path, text);
    }
}

/// `kiln COMMAND ARGS… CONTEXT`.
fn kiln(space: &TestSpace, command: &[&str], args: &[&str]) -> Ran {
    let context = space.context();
    let context = context.to_str().expect("the context has a name in UTF-8");
    space.kiln(&[command, args, &[context]].concat())
}

/// What `kiln plan --eject` prints.
fn ejected(space: &TestSpace, args: &[&str]) -> Ran {
    kiln(space, &["plan", "--eject", "-o", "-"], args)
}

/// A pom with something in it.
fn pom(inside: &str) -> String {
    format!("<project><modelVersion>4.0.0</modelVersion>{inside}</project>")
}

#[test]
fn a_build_file_that_no_tool_would_read_is_refused_by_name() {
    let space = TestSpace::new();
    let nested = pom(&format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000)));
    let fails = |files: &[(&str, &str)], says: &[&str]| {
        project(&space, files);
        kiln(&space, &["build", "--check"], &[]).ends(1).says(says);
    };
    fails(&[("pom.xml", &nested)], &["java/java-pom", "256 elements within each other"]);
    let bomb = "<!DOCTYPE project [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><project><name>&b;</name></project>";
    fails(&[("pom.xml", bomb)], &["java/java-pom", "DTD", "a pom needs none"]);
    fails(&[("pom.xml/x", "")], &["no-build-file", "no pom.xml, build.gradle"]);
    project(&space, &[]);
    space.directory("").link("pom.xml", "/etc/passwd");
    kiln(&space, &["build", "--check"], &[]).ends(1).says(&["no-build-file"]);
    fails(&[("a.c", ""), ("b.c", "")], &["no-build-file", "several source files (`a.c`, `b.c`)"]);
    let beside = "module a\nrequire b v0.0.0\nreplace b => ../b\n";
    fails(
        &[("go.mod", beside), ("main.go", "package main\n")],
        &["go/outside", "go.mod takes `b` from `../b`", "outside of the build context", "go.work"],
    );
    fails(&[("go.work", "use ../x\n")], &["go/outside", "go.work takes a module from `../x`"]);
}

#[test]
fn a_build_file_that_is_long_or_in_an_old_encoding_is_read() {
    let space = TestSpace::new();
    let mut modules = String::from("module x\n");
    for number in 0..30_000 {
        modules += &format!("require a.b/m{number} v0.0.0\nreplace a.b/m{number} => ./m{number}\n");
    }
    project(&space, &[("go.mod", &modules)]);
    kiln(&space, &["build", "--call=targets"], &[]).ok();
    space.write("CMakeLists.txt", "project".repeat(140_000));
    fs::remove_file(space.context().join("go.mod")).expect("the module goes");
    kiln(&space, &["build", "--call=targets"], &[]).ok();
    project(&space, &[]);
    let latin = pom("<name>Gr\u{fc}\u{df}e</name>");
    let latin: Vec<u8> = latin.chars().map(|c| u8::try_from(c).expect("it is in ISO 8859-1")).collect();
    space.write("pom.xml", [&b"<?xml version='1.0' encoding='ISO-8859-1'?>"[..], &latin].concat());
    kiln(&space, &["build", "--check"], &[]).ok();
}

mod as_root {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::presets::output;
    use crate::privileges::needs_root;
    use crate::space::shell;

    const MAIN: &str = "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n";

    /// A space with the builder of C.
    fn c() -> TestSpace {
        TestSpace::with_bases(&["buildpack-deps:bookworm"])
    }

    #[test]
    fn a_source_file_of_any_name_is_compiled_here_and_where_it_was_ejected() {
        needs_root!();
        let space = c();
        for name in ["a b.c", "-x.c", "@y.c", "escape=`.c", "h\u{e4} $(id) 'q'.c"] {
            project(&space, &[(name, MAIN)]);
            space.build(&["-t", "it"]).ok();
            assert_eq!(output(&space, "it", &[]), "built\n", "{name}");
            kiln(&space, &["plan", "-q", "--eject"], &[]).ok();
            space.build(&["-t", "ejected"]).ok().says(&["[build 1/"]);
            assert_eq!(output(&space, "ejected", &[]), "built\n", "{name}");
        }
    }

    /// An ELF file of amd64 that ends at once, without the sections that `strip` looks for.
    fn sectionless() -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for half in [2_u16, 62] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1_u32.to_le_bytes());
        let code = b"\x31\xff\xb8\x3c\0\0\0\x0f\x05";
        let (address, length) = (0x40_0000_u64, 120 + code.len() as u64);
        for long in [address + 120, 64, 0] {
            file.extend(long.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 1, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        for word in [1_u32, 5] {
            file.extend(word.to_le_bytes());
        }
        for long in [0, address, address, length, length, 4096] {
            file.extend(long.to_le_bytes());
        }
        file.extend(code);
        file
    }

    #[test]
    fn what_strip_does_not_know_stays_as_it_is() {
        needs_root!();
        let space = c();
        let makefile = "p: p.c\n\t$(CC) -o p p.c\ninstall: p\n\tinstall -D -t $(DESTDIR)/usr/local/bin p\n\
                        \tinstall -D -t $(DESTDIR)/usr/local/lib/firmware tiny\n";
        project(&space, &[("Makefile", makefile), ("p.c", MAIN)]);
        space.write("tiny", sectionless());
        let options = ["--opt", "program=p"];
        let says = "not stripped, as `strip` does not know what it is: `/usr/local/lib/firmware/tiny`";
        space.build(&[&options[..], &["-o", "files"]].concat()).ok().says(&[says]);
        let taken = fs::read(space.path("files/usr/local/lib/firmware/tiny")).expect("the file is there");
        assert_eq!(taken, sectionless());
        let text = ejected(&space, &options).ok();
        assert!(text.text().contains("strip --strip-all /out/usr/local/bin/p\n"), "{text}");
        assert!(!text.text().contains("firmware/tiny"), "{text}");
    }

    #[test]
    fn files_with_names_and_texts_of_other_encodings_are_no_obstacle() {
        needs_root!();
        let space = c();
        project(&space, &[("a.c", MAIN)]);
        let text =
            b"# Gr\xfc\xdfe\ncmake_minimum_required(VERSION 3.16)\nproject(x C)\nadd_executable(x a.c)\n\
                     install(TARGETS x)\n";
        space.write("CMakeLists.txt", text).link("gone.cmake", "nowhere");
        let name = space.context().join(OsStr::from_bytes(b"bad\xffname"));
        fs::write(name, "").expect("the file is written");
        space.build(&["-t", "it"]).ok().says(&["everything is compiled at each change, as the name of"]);
        assert_eq!(output(&space, "it", &[]), "built\n");
    }

    #[test]
    fn an_image_for_another_machine_is_no_builder() {
        needs_root!();
        let space = c();
        project(&space, &[("a.c", MAIN)]);
        // The one that is served has no list of platforms, so it comes whatever is asked for.
        let other = if cfg!(target_arch = "x86_64") { "linux/arm64" } else { "linux/amd64" };
        space.build(&["--platform", other]).ends(1).says(&[
            "c/image-platform",
            "the image `buildpack-deps:bookworm` is for linux/",
            &format!("one for {other} is needed"),
            "c.builder=IMAGE",
        ]);
        space.build(&["--build-arg", "SOURCE_DATE_EPOCH=1e9"]).ends(1).says(&["c/bad-epoch", "`1e9`"]);
    }

    #[test]
    fn an_ejected_file_says_what_was_asked_for_and_no_more() {
        needs_root!();
        let space = TestSpace::with_bases(&["golang:1.19"]);
        let main = "package main\n\nvar a, b string\n\nfunc main() { println(a, b) }\n";
        let module = "module example.org/x\n\ngo 1.19\n";
        project(
            &space,
            &[
                ("go.mod", module),
                ("main.go", main),
                ("s[a]t/f", "right"),
                ("sat/g", "wrong"),
                ("v1/d", "data"),
            ],
        );
        space.link("current", "v1").link("out", "/etc/passwd");
        let wanted = [
            "--opt",
            "files=s[a]t:/s",
            "--opt",
            "files=current:/d d",
            "--opt",
            r#"ldflags=-X "main.a=$(id) #" -X 'main.b=" \'"#,
            "--opt",
            r#"env=NAME=$HOME "x" \ #"#,
            "--label",
            r#"a b=$c "d" \ #"#,
        ];
        let secret = ["--build-arg", "GOPROXY=https://user:secret@proxy.example/"];
        let text = ejected(&space, &[&wanted[..], &secret[..]].concat()).ok();
        assert!(text.text().contains("\nARG GOPROXY\n") && !text.text().contains("secret@"), "{text}");
        space.build(&[&wanted[..], &["-o", "built"]].concat()).ok();
        space.build(&[&wanted[..], &["-t", "it"]].concat()).ok();
        kiln(&space, &["plan", "-q", "--eject"], &wanted).ok();
        space.build(&["-o", "ejected"]).ok();
        space.build(&["-t", "ejected"]).ok();
        let (here, there) = (space.path("built"), space.path("ejected"));
        let same = format!("diff -r --no-dereference '{}' '{}'", here.display(), there.display());
        assert_eq!(shell(&same), "");
        assert_eq!(fs::read_to_string(there.join("s/f")).expect("the file is there"), "right");
        assert_eq!(fs::read_to_string(there.join("d d/d")).expect("what the link leads to is there"), "data");
        let labels = |image: &str| {
            let inspected = space.kiln(&["image", "inspect", image]).ok().text().to_owned();
            inspected.lines().filter(|line| line.contains(r#""a b""#)).map(str::trim).collect::<String>()
        };
        assert_eq!(labels("it"), labels("ejected"));
        assert!(labels("it").contains("$c"), "{}", labels("it"));
        let ran = space.kiln(&["run", "ejected"]).ok().says(&["$(id) # \" \\"]);
        assert_eq!(ran.text(), "");

        for (option, says) in [
            (["--opt", "env=A=b\nRUN id"], "the variable `A` has a line break"),
            (["--label", "a=b\nRUN id"], "the label `a` has a line break"),
        ] {
            ejected(&space, &[&option[..], &["--frontend=go"]].concat())
                .ends(1)
                .says(&["go/eject-line-break", says]);
        }
        for (option, name) in [("files=nothing", "nothing"), ("files=out:/etc/x", "out")] {
            let says = format!("the option `files` names `{name}`, which is not in the build context");
            space.build(&["--frontend=go", "--opt", option]).ends(1).says(&["go/no-file", &says]);
        }
    }
}
