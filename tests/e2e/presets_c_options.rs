//! What can be asked of the preset for C and C++, beside what it finds out by itself.

mod as_root {
    use crate::apt::{HEADER, repository};
    use crate::ejected::same_when_ejected;
    use crate::presets::output;
    use crate::presets_c::as_root::{BUILDER, prepared, project};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::space::TestSpace;

    #[test]
    fn what_the_builder_lacks_is_installed_once() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&["gcc"]));
        let make =
            "mkdir -p $root/usr/bin\nmv /usr/bin/make $root/usr/bin/\ndpkg --force-depends --purge make";
        let builder = format!("FROM gcc\n{}", repository(&[HEADER, ("make", make)]));
        space.build_text(&builder, &["-t", "builder"]).ok();
        let program =
            "#include <frob.h>\n#include <stdio.h>\nint main(void) { printf(\"%d\\n\", FROB); return 0; }\n";
        let makefile = "p: p.c\n\t$(CC) $(CFLAGS) -o p p.c\n";
        project(&space, &[("Makefile", makefile), ("p.c", program)]);
        let with = |options: &[&str]| space.build(&[&["--opt", "builder=builder"], options].concat());

        with(&[]).ends(1).says(&["frob.h: No such file", "error[c/c-build]", "--opt c.packages="]);
        let options = ["--opt", "c.packages=libfrob-dev", "-t", "it"];
        let first = with(&options).ok().says(&["`make` installed, as the builder lacks `make`"]);
        assert!(
            first.steps().did("installing libfrob-dev") && first.steps().did("installing make"),
            "{first}"
        );
        assert_eq!(output(&space, "it", &[]), "27\n");
        space.write("p.c", program.replace("FROB)", "FROB + 1)"));
        let again = with(&options).ok();
        assert!(again.steps().did("building with make") && !again.steps().did("installing"), "{again}");
        assert_eq!(output(&space, "it", &[]), "28\n");

        with(&["--opt", "packages=libfrob-dev,libnone-dev"]).ends(1).says(&[
            "Unable to locate package libnone-dev",
            "error[c/cannot-install]: `libfrob-dev`, `libnone-dev` cannot be installed in the builder image `builder`",
            "--opt c.builder=IMAGE",
        ]);
        with(&["--opt", "libc=musl"]).ends(1).says(&[
            "Unable to locate package musl-tools",
            "`musl-tools`, `make` cannot be installed in the builder image `builder`, which lacks `musl-gcc`, `make`",
        ]);
        same_when_ejected(
            &space,
            "it",
            &["--opt", "builder=builder", "--opt", "c.packages=libfrob-dev"],
            &[],
            &[],
        );
    }

    /// What it was compiled with, an hour in Kyiv, and whether there are certificates.
    const ASKING: &str = "#include <cstdlib>\n#include <ctime>\n#include <fstream>\n#include <iostream>\nint main() {\n    \
                          setenv(\"TZ\", \"Europe/Kiev\", 1);\n    std::time_t when = 1719828000;\n    char text[40];\n    \
                          std::strftime(text, sizeof text, \"%H:%M\", std::localtime(&when));\n    \
                          std::ifstream roots(\"/etc/ssl/certs/ca-certificates.crt\");\n    \
                          std::cout << GREETING << ' ' << text << ' ' << roots.good() << '\\n';\n}\n";

    #[test]
    fn a_preset_of_cmake_and_what_the_image_is_to_have_are_options() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&[BUILDER]));
        let lists = "cmake_minimum_required(VERSION 3.20)\nproject(asking CXX)\nset(GREETING none CACHE STRING \"\")\n\
                     add_executable(asking asking.cpp)\ntarget_compile_definitions(asking PRIVATE GREETING=\"${GREETING}\")\n\
                     install(TARGETS asking)\n";
        let presets = r#"{"version": 3, "configurePresets": [{"name": "shipped", "generator": "Ninja",
            "binaryDir": "${sourceDir}/out", "cacheVariables": {"CMAKE_BUILD_TYPE": "MinSizeRel", "GREETING": "preset"}}]}"#;
        let files = [("CMakeLists.txt", lists), ("CMakePresets.json", presets), ("asking.cpp", ASKING)];
        project(&space, &files);
        let all = ["--opt", "preset=shipped", "--opt", "zoneinfo=true", "--opt", "certificates=yes"];
        space.build(&[&all[..], &["-t", "all"]].concat()).ok().says(&[
            "CMakePresets.json and CMakeLists.txt found, project asking",
            "linked statically with glibc",
        ]);
        assert_eq!(output(&space, "all", &[]), "preset 13:00 1\n");
        space.build(&["--opt", "preset=shiped"]).ends(1).says(&[
            "No such preset",
            "\"shipped\"",
            "configuring with CMake failed",
            "error[c/c-build]",
        ]);
        space.build(&["--opt", "link=dynamic", "-t", "bare"]).ok().says(&["with it come", "libstdc++.so.6"]);
        assert_eq!(output(&space, "bare", &[]), "none 10:00 0\n");
        assert!(!readback::image(&space, "bare").tree.contains_key("/usr/share"));
        same_when_ejected(&space, "all", &all, &[], &[]);
    }

    /// Opens a library when it runs, and reads a file.
    const OPENING: &str = "#include <dlfcn.h>\n#include <stdio.h>\nint main(void) {\n    \
                           printf(\"%d\\n\", dlopen(\"libz.so.1\", RTLD_NOW) != 0);\n    char line[80] = \"\";\n    \
                           FILE *file = fopen(\"/etc/debian_version\", \"r\");\n    \
                           puts(file && fgets(line, sizeof line, file) ? \"read\" : \"none\");\n    return 0;\n}\n";

    #[test]
    fn files_libraries_the_c_library_and_a_runtime_are_options() {
        needs_root!();
        let space = prepared(TestSpace::with_bases(&[BUILDER, "busybox"]));
        let lists = |name: &str| {
            format!(
                "cmake_minimum_required(VERSION 3.20)\nproject({name} C)\nadd_executable({name} {name}.c)\ninstall(TARGETS {name})\n"
            )
        };
        project(&space, &[("CMakeLists.txt", &lists("opening")), ("opening.c", OPENING)]);
        let warned = space.build(&["-t", "bare"]).ok();
        warned.says(&["`/usr/local/bin/opening` opens libraries at run time", "it calls dlopen"]);
        assert_eq!(output(&space, "bare", &[]), "0\nnone\n");
        let options = ["--opt", "with=libz.so.1", "--opt", "files=/etc/debian_version"];
        let told = space.build(&[&options[..], &["-t", "it"]].concat()).ok().says(&["libc.so.6, libz.so.1"]);
        told.does_not_say("opens libraries at run time");
        assert_eq!(output(&space, "it", &[]), "1\nread\n");
        space
            .build(&["--opt", "with=libnone.so.1"])
            .ends(1)
            .says(&["closure-missing", "needs `libnone.so.1`"]);
        space
            .build(&["--opt", "files=/etc/nothing"])
            .ends(1)
            .says(&["error[c/c-files]: `/etc/nothing` is not in the builder image"]);

        // On an image that has no libraries, and gets none of the builder's.
        let on = ["--opt", "runtime=busybox"];
        space.build(&on).ends(1).says(&[
            "`/lib64/ld-linux-x86-64.so.2` of `/usr/local/bin/opening` is not there",
            "the runtime image `busybox` has to have it",
        ]);
        let reading = OPENING.replace("dlopen(\"libz.so.1\", RTLD_NOW) != 0", "1");
        project(&space, &[("CMakeLists.txt", &lists("reading")), ("reading.c", &reading)]);
        let options = ["--opt", "libc=musl", "--opt", "files=/etc/debian_version", "--opt", "zoneinfo=true"];
        let options = [&on[..], &options].concat();
        let told = space.build(&[&options[..], &["-t", "on"]].concat()).ok();
        told.says(&[
            "it runs on `busybox`",
            "linked statically with musl",
            "the option `zoneinfo` does nothing",
        ]);
        assert_eq!(output(&space, "on", &[]), "1\nread\n");
        let image = readback::image(&space, "on");
        assert!(image.tree.contains_key("/bin/busybox") && !image.tree.contains_key("/home/nonroot"));
        assert!(image.config["config"]["Cmd"].is_null(), "what the base would start is gone");
        same_when_ejected(&space, "on", &options, &[], &[]);
    }
}
