//! The preset for C and C++: what it builds from projects of every build system, and what it says about those that it cannot.

pub(crate) mod as_root {
    use std::collections::BTreeSet;
    use std::fs;

    use crate::ejected::same_when_ejected;
    use crate::plugins::component;
    use crate::presets::{Runtime, Service, free_port, output, same_elsewhere};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::{Ran, TestSpace, shell};

    /// The builder of projects that name none.
    pub(crate) const BUILDER: &str = "buildpack-deps:bookworm";

    /// Makes kiln know the preset.
    pub(crate) fn prepared(mut space: TestSpace) -> TestSpace {
        let component = component("plugins/c").with_file_name("kiln_c.wasm");
        let config = fs::read_to_string(&space.config).expect("there is a configuration");
        space.config = space.path("presets.toml");
        let plugin = format!("{config}[plugins.c]\nsource = {component:?}\nallow = [\"solve\"]\n");
        fs::write(&space.config, plugin).expect("it is written");
        space
    }

    fn space() -> TestSpace {
        prepared(TestSpace::with_bases(&[BUILDER]))
    }

    fn service() -> TestSpace {
        prepared(TestSpace::with_example("presets/c-service", &[BUILDER]))
    }

    /// Makes the context of a space a project that has these files.
    pub(crate) fn project(space: &TestSpace, files: &[(&str, &str)]) {
        fs::remove_dir_all(space.context()).expect("the last project goes");
        for (path, text) in files {
            space.write(path, text);
        }
    }

    const MAIN: &str = "#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n";

    const GREET: &str = "const char *greet(void) { return \"built\"; }\n";

    /// A program that needs a library of [`GREET`].
    const GREETING: &str =
        "#include <stdio.h>\nconst char *greet(void);\nint main(void) { puts(greet()); return 0; }\n";

    /// Digests of the layers of an image, lowest first.
    fn layers(space: &TestSpace, name: &str) -> Vec<String> {
        let image = readback::image(space, name);
        let layers = image.config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
        layers.iter().map(|layer| layer.to_string()).collect()
    }

    #[test]
    fn a_single_file_becomes_an_image_of_its_program_and_little_else() {
        needs_root!();
        let space = prepared(TestSpace::with_example("presets/c-hello", &[BUILDER]));
        space.build(&["-t", "hello"]).ok().says(&["hello.c found", "linked statically with musl"]);
        assert_eq!(output(&space, "hello", &[]), "Hello from C\n");
        same_elsewhere(&space, &[]);
        let image = readback::image(&space, "hello");
        assert!(image.entry("/usr/local/bin/hello").size < 60_000);
        let rest = image.tar_bytes(|path| path != "/usr/local/bin/hello");
        assert!(rest <= 20 << 10, "everything but the program is {rest} bytes: {:?}", image.files());
        // glibc, where it is asked for.
        space.build(&["--opt", "libc=glibc", "-t", "large"]).ok().says(&["linked statically with glibc"]);
        assert_eq!(output(&space, "large", &[]), "Hello from C\n");
        same_when_ejected(&space, "hello", &[], &[], &[]);
        // Any name, and C++.
        let threads = "#include <iostream>\n#include <thread>\nint main() {\n    \
                       std::thread other([] { std::cout << \"built\\n\"; });\n    other.join();\n}\n";
        project(&space, &[("two words.cpp", threads)]);
        space.build(&["-t", "threads"]).ok().says(&["two words.cpp found", "linked statically with glibc"]);
        assert_eq!(output(&space, "threads", &[]), "built\n");
        same_when_ejected(&space, "threads", &[], &[], &[]);
    }

    #[test]
    fn a_service_has_the_libraries_that_it_asks_for_and_no_others() {
        needs_root!();
        let space = service();
        let ran = space.build(&["--opt", "test=true", "-t", "wordsd"]).ok();
        let ran =
            ran.says(&["tests passed", "linked dynamically", "libssl.so.3", "libz.so.1", "documentation"]);
        ran.does_not_say("CA certificates");
        assert_eq!(output(&space, "wordsd", &["0"]), "hello\ngood morning\nwelcome\n");
        for runtime in [Runtime::Kiln, Runtime::Runc] {
            let port = free_port();
            let service = Service::start(&space, runtime, "wordsd", &[&port.to_string()], port);
            assert_eq!(service.get("/words"), "hello\ngood morning\nwelcome\n", "{runtime:?}");
        }
        let image = readback::image(&space, "wordsd");
        for path in ["/usr/local/share/doc", "/etc/ssl", "/work"] {
            assert!(!image.tree.contains_key(path), "{path} is in the image");
        }
        let is_library = |path: &str| path.contains(".so");
        let name = |path: &str| {
            path.rsplit('/').next().and_then(|name| name.split(['.', '-']).next()).map(str::to_owned)
        };
        let libraries: BTreeSet<_> =
            image.files().into_iter().filter(|path| is_library(path)).filter_map(name).collect();
        assert_eq!(libraries.into_iter().collect::<Vec<_>>(), ["ld", "libc", "libcrypto", "libssl", "libz"]);
        let is_own =
            |path: &str| path == "/usr/local/bin/wordsd" || path == "/usr/local/share/wordsd/greetings";
        let rest = image.tar_bytes(|path| !is_library(path) && !is_own(path));
        assert!(
            rest <= 50 << 10,
            "everything but program and libraries is {rest} bytes: {:?}",
            image.files()
        );
        same_when_ejected(&space, "wordsd", &["--opt", "test=true"], &[], &["0"]);
        let text = space.read("context/Dockerfile");
        assert!(text.contains("# libssl.so.3: needed by /usr/local/bin/wordsd"), "{text}");
    }

    #[test]
    fn a_changed_line_is_compiled_alone_and_gives_what_an_empty_directory_would() {
        needs_root!();
        let space = service();
        space.build(&["-t", "before"]).ok();
        let source = fs::read_to_string(space.context().join("src/main.c")).expect("there is a source");
        space.write("src/main.c", source.replace("Accept-Encoding: gzip", "accept-encoding: gzip"));
        let ran = space.build(&["-t", "after"]).ok();
        let ran = ran.says(&["src/main.c.o"]).does_not_say("src/answer.c.o");
        ran.does_not_say("The C compiler identification");
        let (before, after) = (layers(&space, "before"), layers(&space, "after"));
        assert_eq!(
            before[..before.len() - 1],
            after[..after.len() - 1],
            "the layers below the program are the same"
        );
        assert_ne!(before.last(), after.last());
        same_elsewhere(&space, &[]);
        // Older than what was made of the newer one, and yet another text.
        space.write("src/main.c", &source);
        shell(&format!("touch -d 2001-01-01 '{}/src/main.c'", space.context().display()));
        space.build(&["-t", "again"]).ok();
        assert_eq!(layers(&space, "again"), before);
    }

    #[test]
    fn meson_autotools_and_make_are_built_as_well() {
        needs_root!();
        let space = space();
        let meson = "project('m', 'c')\nlib = shared_library('greet', 'greet.c', install: true)\n\
                     executable('m', 'm.c', link_with: lib, install: true)\n";
        project(&space, &[("meson.build", meson), ("greet.c", GREET), ("m.c", GREETING)]);
        space.build(&["-t", "meson"]).ok().says(&["meson.build found, project m", "linked dynamically"]);
        assert_eq!(output(&space, "meson", &[]), "built\n");
        same_when_ejected(&space, "meson", &[], &[], &[]);

        let configure = "AC_INIT([a], [1])\nAM_INIT_AUTOMAKE([foreign])\nAC_PROG_CC\nAC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n";
        project(
            &space,
            &[
                ("configure.ac", configure),
                ("Makefile.am", "bin_PROGRAMS = a\na_SOURCES = a.c\n"),
                ("a.c", MAIN),
            ],
        );
        space.build(&["-t", "autotools"]).ok().says(&["configure.ac found", "linked statically with glibc"]);
        assert_eq!(output(&space, "autotools", &[]), "built\n");
        same_when_ejected(&space, "autotools", &[], &[], &[]);

        let makefile = "p: p.c\n\t$(CC) $(CFLAGS) -o p p.c\n";
        let lookup = "#include <netdb.h>\n#include <stdio.h>\nint main(int argc, char **argv) {\n  struct addrinfo *a;\n  \
                      if (argc > 1) getaddrinfo(argv[1], 0, 0, &a);\n  puts(\"built\");\n  return 0;\n}\n";
        project(&space, &[("Makefile", makefile), ("p.c", lookup)]);
        space.build(&["-t", "make"]).ok().says(&["installs nothing", "it calls getaddrinfo"]);
        assert_eq!(output(&space, "make", &[]), "built\n");
        same_when_ejected(&space, "make", &[], &[], &[]);
    }

    #[test]
    fn symbols_are_an_image_of_their_own() {
        needs_root!();
        let space = service();
        space.build(&["--target", "debug"]).ends(1).says(&["c-no-symbols", "debug-file=true"]);
        space.build(&["--target", "debug", "--opt", "debug-file=true", "-o", "symbols"]).ok();
        let found = shell(&format!("cd '{}' && find . -name '*.debug'", space.path("symbols").display()));
        assert!(found.contains("./usr/lib/debug/.build-id/"), "{found}");
    }

    #[test]
    fn what_cannot_be_built_is_told_in_a_sentence() {
        needs_root!();
        let space = space();
        let fails = |files: &[(&str, &str)], options: &[&str], texts: &[&str]| -> Ran {
            project(&space, files);
            space.build(&[&["--frontend", "c"], options].concat()).ends(1).says(texts)
        };
        fails(&[("README", "")], &[], &["c-no-project", "no CMakeLists.txt"]);
        let two = "cmake_minimum_required(VERSION 3.20)\nproject(two C)\nadd_executable(one a.c)\nadd_executable(two a.c)\n\
                   install(TARGETS one two)\n";
        fails(
            &[("CMakeLists.txt", two), ("a.c", MAIN)],
            &[],
            &["installs 2 programs: `one`, `two`", "program=one"],
        );
        let library = "cmake_minimum_required(VERSION 3.20)\nproject(l C)\nadd_library(l STATIC a.c)\ninstall(TARGETS l)\n";
        fails(&[("CMakeLists.txt", library), ("a.c", "int a;\n")], &[], &["c-no-program"]);
        fails(&[("a.c", "int main(void) { return nothing; }\n")], &[], &["undeclared", "c-build"]);
        let wants = "cmake_minimum_required(VERSION 3.20)\nproject(w C)\nmessage(FATAL_ERROR \"libfrob is not here\")\n";
        fails(&[("CMakeLists.txt", wants)], &[], &["libfrob is not here", "configuring with CMake failed"]);
        // Linked with a library that stays in the directory of the build.
        let gone = "all: p\np: p.c\n\tcc -shared -fPIC -o libgone.so -x c /dev/null\n\tcc -o p p.c -Wl,--no-as-needed ./libgone.so -Wl,-soname,x\n\
                    install: p\n\tmkdir -p $(DESTDIR)/usr/local/bin\n\tcp p $(DESTDIR)/usr/local/bin/\n";
        fails(
            &[("Makefile", gone), ("p.c", MAIN)],
            &["--opt", "link=dynamic"],
            &["closure-missing", "libgone.so", "/usr/local/bin/p"],
        );
        let interpreter = "p: p.c\n\tcc -o p p.c -Wl,--dynamic-linker,/lib/ld-none.so\n";
        fails(
            &[("Makefile", interpreter), ("p.c", MAIN)],
            &["--opt", "link=dynamic"],
            &["/lib/ld-none.so", "/usr/local/bin/p"],
        );
        // A library of another machine: as `e_machine` says, two bytes at 18 (gABI, "ELF Header"), and a real one of 32 bits.
        for (machine, command) in [
            ("riscv64", "printf '\\363' | dd of=$(LIBRARY) bs=1 seek=18 conv=notrunc status=none"),
            ("386", "as --32 -o greet32.o /dev/null && ld -m elf_i386 -shared -o $(LIBRARY) greet32.o"),
        ] {
            let makefile = format!(
                "LIBRARY = $(DESTDIR)$(PREFIX)/lib/libgreet.so\np: m.c libgreet.so\n\t$(CC) $(CFLAGS) -o p m.c -L. -lgreet\n\
                 libgreet.so: greet.c\n\t$(CC) -shared -fPIC -o libgreet.so greet.c\n\
                 install: p\n\tinstall -D p $(DESTDIR)$(PREFIX)/bin/p\n\tinstall -D libgreet.so $(LIBRARY)\n\t{command}\n"
            );
            let needs = format!(
                "`/usr/local/bin/p` is for amd64 and needs `libgreet.so`, and `/usr/local/lib/libgreet.so` is for {machine}"
            );
            let files = [("Makefile", makefile.as_str()), ("greet.c", GREET), ("m.c", GREETING)];
            let ran = fails(&files, &[], &["error[c/closure-machine]", &needs, "for one machine"]);
            assert_eq!(ran.stderr.matches("error[").count(), 1, "one library, one message\n{ran}");
        }
    }

    #[test]
    fn a_builder_without_compilers_is_named_with_what_it_lacks() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["busybox"]));
        space.write("a.c", MAIN);
        let ran = space.build(&["--opt", "builder=busybox"]).ends(1);
        ran.says(&["missing-tool", "the builder image `busybox` has no `cc`", "c.builder"]);
    }
}
