//! The instructions of `examples/instructions`, in build files.

use crate::plugins::component;
use crate::space::{Ran, TestSpace};

/// The component of a crate in `examples/instructions`.
fn plugin(name: &str) -> String {
    component(&format!("examples/instructions/{name}")).to_str().expect("the path is UTF-8").to_owned()
}

/// Builds `dockerfile` with the instructions of a crate.
#[track_caller]
fn build(space: &TestSpace, name: &str, dockerfile: &str, args: &[&str]) -> Ran {
    space.build_text(dockerfile, &[&["--plugin", &plugin(name)], args].concat())
}

#[test]
fn checks_and_outlines_know_custom_instructions() {
    let space = TestSpace::new();
    let text = "FROM scratch\nAPT Git\nAPT --recomends git\n";
    build(&space, "apt", text, &["--check"]).ends(1).says(&[
        "apt/apt-package",
        "Dockerfile:2:5",
        "^^^",
        "Dockerfile:3:5",
        "write `--recommends`",
    ]);
    space.write(
        "more.docker",
        "ARG INSIDE=1\nRUN --mount=type=secret,id=key x $INSIDE\nIF $A <<X\nARG DEEP\nX\n",
    );
    let text = "FROM scratch\nARG A=1\nINCLUDE more.docker\n";
    let outline = build(&space, "compose", text, &["--call=outline"]).ok();
    for known in ["INSIDE", "DEEP", "key"] {
        assert!(outline.text().contains(known), "no {known} in {outline}");
    }
    build(&space, "compose", "FROM scratch\nINCLUDE mor.docker\n", &["--check"]).ends(1).says(&[
        "compose/include-not-found",
        "Dockerfile:2:9",
        "write `more.docker`",
    ]);
}

#[test]
fn each_passes_the_check_for_plugins() {
    let space = TestSpace::new();
    for name in ["apt", "git", "closure", "compose"] {
        let checked = space.kiln(&["plugin", "check", &plugin(name)]).ok();
        assert!(checked.text().ends_with("good\n"), "{checked}");
    }
}

#[test]
fn an_unknown_keyword_is_compared_with_those_of_plugins() {
    let space = TestSpace::new();
    build(&space, "compose", "FROM scratch\nINCLUD x\n", &[]).ends(1).says(&["INCLUD", "INCLUDE"]);
}

mod as_root {
    use super::{build, plugin};
    use crate::privileges::needs_root;
    use crate::readback;
    use crate::server::Daemon;
    use crate::space::{TestSpace, shell};

    #[test]
    fn text_that_is_read_in_is_part_of_its_stage() {
        needs_root!();
        let space = TestSpace::with_example("instructions/compose/example", &["busybox"]);
        let plugin = plugin("compose");
        let built = |args: &[&str]| {
            space.build(&[&["--plugin", &plugin, "-t", "it"], args].concat()).ok();
            space.kiln(&["run", "it"]).ok().text().to_owned()
        };
        // Build files are no part of images, whatever an ignore file says.
        space.write(".dockerignore", "build\n");
        assert_eq!(built(&["--platform", "linux/amd64"]), "made by kiln\nfast\n");
        assert_eq!(readback::image(&space, "it").config["config"]["Labels"]["org.example.team"], "kiln");
        assert_eq!(built(&["--build-arg", "MODE=debug", "--build-arg", "TEAM=x"]), "made by x\nslow\n");
        space.write("build/local.docker", "RUN echo here >>/app/mode\n");
        assert_eq!(built(&["--build-arg", "MODE=debug"]), "made by kiln\nslow\nhere\n");
    }

    #[test]
    fn what_fails_in_text_that_was_read_in_is_shown_there() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("a.docker", "# first\nINCLUDE b.docker\n");
        space.write("b.docker", "RUN true\n\nRUN echo out && false\n");
        build(&space, "compose", "FROM busybox\nINCLUDE a.docker\n", &[]).ends(1).says(&[
            "b.docker:3:1",
            "RUN echo out && false",
            "a.docker:2:1",
            "read in here",
            "Dockerfile:2:1",
        ]);
        space.write("b.docker", "RUN true\nCOPY absent /\n");
        build(&space, "compose", "FROM busybox\nINCLUDE a.docker\n", &[]).ends(1).says(&[
            "b.docker:2",
            "COPY absent /",
            "a.docker:2:1",
            "Dockerfile:2:1",
        ]);
        space.write("b.docker", "FROM busybox\nRUNN x\nINCLUDE a.docker\n");
        build(&space, "compose", "FROM busybox\nINCLUDE a.docker\n", &[]).ends(1).says(&[
            "b.docker:1:1",
            "a stage cannot begin",
            "b.docker:2:1",
            "write `RUN`",
            "8 levels deep",
        ]);
    }

    #[test]
    fn text_of_a_named_context_is_read_in() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        space.write("shared/x.docker", "ENV SHARED=yes\nRUN false\n");
        let text = "FROM busybox\nINCLUDE --context=team x.docker\n";
        build(&space, "compose", text, &["--build-context", "team=context/shared"]).ends(1).says(&[
            "team:x.docker:2",
            "RUN false",
            "Dockerfile:2:1",
        ]);
        build(&space, "compose", text, &["--build-context", "teem=context/shared"])
            .ends(1)
            .says(&["Dockerfile:2:19", "write `--context=teem`"]);
    }

    #[test]
    fn triggers_may_use_custom_instructions() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nONBUILD INCLUDE mine.docker\nONBUILD IF $X <<A\nRUN echo x >/x\nA\n";
        build(&space, "compose", text, &["-t", "based"]).ok();
        space.write("mine.docker", "ARG X=yes\nRUN echo mine >/mine\n");
        build(&space, "compose", "FROM based\n", &["-t", "it"]).ok();
        let image = readback::image(&space, "it");
        assert_eq!((image.read("/mine"), image.read("/x")), ("mine\n".to_owned(), "x\n".to_owned()));
        space.write("mine.docker", "ARG X=yes\nRUN false\n");
        build(&space, "compose", "FROM based\n", &[]).ends(1).says(&["mine.docker:2", "Dockerfile:1:1"]);
    }

    #[test]
    fn a_repository_is_brought_at_a_commit() {
        needs_root!();
        let (space, daemon) = (TestSpace::new(), Daemon::start());
        let commits = daemon.repository(
            "x",
            "mkdir sub && echo one >sub/file && echo top >top && git add . && git commit -qm one && git tag v1
             git rev-parse HEAD
             echo two >sub/file && git commit -qam two",
        );
        let commit = commits.trim().lines().next().expect("a commit");
        let url = daemon.url("x");
        let files = |line: &str| {
            build(&space, "git", &format!("FROM scratch\nWORKDIR /w\n{line}\n"), &["-o", "out"]).ok();
            space.read("out/w/src/file")
        };
        assert_eq!(files(&format!("GIT --subdir=sub --ref=v1 {url} src")), "one\n");
        assert_eq!(files(&format!("GIT --subdir=sub {url} src")), "two\n");
        assert_eq!(files(&format!("GIT --link --subdir=sub --commit={commit} {url} src")), "one\n");
        let text = format!("FROM scratch\nGIT --ref=gone {url} /\n");
        build(&space, "git", &text, &[]).ends(1).says(&["gone", "Dockerfile:2"]);
        let text = "FROM scratch\nGIT --commit=HEAD https://x.test/y /\n";
        build(&space, "git", text, &[]).ends(1).says(&["git/git-commit", "Dockerfile:2:14"]);
    }

    #[test]
    fn a_program_runs_on_nothing_but_its_closure() {
        needs_root!();
        let space = TestSpace::with_example("instructions", &["gcc"]);
        let plugin = plugin("closure");
        let context = "context/closure/example";
        let again = ["build", "--progress", "plain", "--plugin", &plugin, "-t", "hello", context];
        space.kiln(&again).ok();
        assert_eq!(space.kiln(&["run", "hello"]).ok().text(), "Hello, closure!\n");
        let image = readback::image(&space, "hello");
        let files = image.files();
        for wanted in
            ["/app/bin/hello", "/app/lib/libgreet.so.1", "/app/lib/libgreet.so.1.0", "/etc/ld.so.cache"]
        {
            assert!(files.contains(&wanted), "no {wanted} in {files:?}");
        }
        assert!(files.len() < 14, "{files:?}");
        space.kiln(&again).ok().steps().cached("CLOSURE");
    }

    #[test]
    fn a_closure_lands_on_stages_with_and_without_merged_directories() {
        needs_root!();
        let space = TestSpace::with_bases(&["gcc", "debian", "busybox"]);
        for base in ["debian", "busybox"] {
            let text = format!(
                "FROM gcc AS build\nRUN echo 'int main() {{ return 0; }}' >m.c && gcc -o /usr/bin/mine m.c\n\
                 FROM {base}\nCLOSURE --from=build /usr/bin/mine\nRUN mine && ls /\n"
            );
            build(&space, "closure", &text, &[]).ok();
        }
    }

    #[test]
    fn what_was_derived_is_not_derived_again() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox AS build\nFROM scratch\nCLOSURE --from=build /bin/busybox\n";
        build(&space, "closure", text, &["-t", "it"]).ok().steps().ran("CLOSURE");
        let first = readback::listed(&space, "it");
        assert!(first.contains_key("/bin/busybox"), "{first:?}");
        // The whole image is known, and the plugin is asked for no more than its part of the plan.
        build(&space, "closure", text, &["-t", "it"]).ok().says(&["nothing to do"]);
        assert_eq!(readback::listed(&space, "it"), first);
        // The image is another one, and its files are found.
        build(&space, "closure", &format!("{text}LABEL a=b\n"), &["-t", "it"]).ok().steps().cached("CLOSURE");
        assert_eq!(readback::listed(&space, "it"), first);
        // Inputs that hold the same although another step made them.
        let other = text.replace("AS build\n", "AS build\nRUN true\n");
        build(&space, "closure", &other, &["-t", "it"]).ok();
        assert_eq!(readback::listed(&space, "it"), first);
        // Nobody derives it who is not there.
        space.build(&["-t", "it"]).ends(1).says(&["CLOSURE", "Dockerfile:4"]);
    }

    #[test]
    fn what_a_closure_lacks_is_named_with_who_needs_it() {
        needs_root!();
        let space = TestSpace::with_bases(&["gcc"]);
        let text = "FROM gcc AS build\nRUN echo 'void f() {}' >f.c && echo 'void f(); int main() { f(); }' >m.c \\\n \
                    && gcc -shared -o libf.so f.c && gcc -o /mine m.c ./libf.so -Wl,-rpath,/gone && echo text >/text\n\
                    FROM scratch\nCLOSURE --from=build FILE\n";
        let closure = |file: &str| build(&space, "closure", &text.replace("FILE", file), &[]);
        closure("/mine").ends(1).says(&[
            "closure/closure-missing",
            "`/mine` needs `./libf.so`",
            "Dockerfile:5:22",
        ]);
        closure("/text").ends(1).says(&["closure/closure-file", "no ELF file"]);
        closure("/absent").ends(1).says(&["`/absent` is not there"]);
        closure("/").ends(1).says(&["closure/closure-arguments"]);
        let text = "FROM gcc AS build\nFROM scratch\nCLOSURE --from=bild /x\n";
        build(&space, "closure", text, &[]).says(&["Dockerfile:3:16", "write `--from=build`"]);
    }

    /// A repository of packages in the context: `tool` 1.0 and 2.0, which need `part` and recommend `extra`.
    fn packages(space: &TestSpace) {
        let script = r#"
            package() {
                mkdir -p "$1/DEBIAN" "$1/usr/share/$1"; echo "$2" >"$1/usr/share/$1/version"
                printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@x.test>\nDescription: x\n%s' \
                    "$1" "$2" "$3" >"$1/DEBIAN/control"
                file="$1_$2_all.deb"
                dpkg-deb -Zgzip -b "$1" "$file" >/dev/null; rm -r "$1"
                dpkg-deb -f "$file"
                printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d' ' -f1)"
            }
            {
                package part 1 ''; package extra 1 ''
                package tool 1.0 'Depends: part
Recommends: extra
'
                package tool 2.0 'Depends: part
Recommends: extra
'
            } >Packages
        "#;
        let directory = space.context().join("packages");
        shell(&format!("mkdir -p '{0}' && cd '{0}' && {script}", directory.display()));
    }

    const DEBIAN: &str = "FROM debian\nCOPY packages /packages\n\
        RUN rm -rf /etc/apt/sources.list* && echo 'deb [trusted=yes] file:/packages ./' >/etc/apt/sources.list \\\n \
        && echo 'DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };' >/etc/apt/apt.conf.d/docker-clean\n";

    #[test]
    fn packages_are_installed_and_leave_no_traces() {
        needs_root!();
        let space = TestSpace::with_bases(&["debian"]);
        packages(&space);
        build(&space, "apt", &format!("{DEBIAN}RUN true\nAPT tool\n"), &["-t", "it"]).ok();
        let listed = readback::listed(&space, "it");
        assert!(listed.contains_key("/usr/share/part/version") && !listed.contains_key("/usr/share/extra"));
        let traces = |path: &&String| {
            path.starts_with("/var/lib/apt/lists/")
                || path.starts_with("/var/cache/apt/")
                || path.starts_with("/var/log/apt/")
                || path.starts_with("/dev/shm/")
                || path.ends_with("/dpkg.log")
        };
        assert_eq!(listed.keys().find(traces), None);
        let version = |line: &str| {
            build(
                &space,
                "apt",
                &format!("{DEBIAN}{line}\nCMD cat /usr/share/tool/version\n"),
                &["-t", "it"],
            )
            .ok();
            space.kiln(&["run", "it"]).ok().text().to_owned()
        };
        assert_eq!(version("APT --recommends tool"), "2.0\n");
        assert!(readback::listed(&space, "it").contains_key("/usr/share/extra/version"));
        assert_eq!(version("APT --no-update <<EOF\n# pinned\ntool=1.*\nEOF"), "1.0\n");
    }

    #[test]
    fn a_package_that_is_not_there_and_a_base_without_apt_are_told() {
        needs_root!();
        let space = TestSpace::with_bases(&["debian", "busybox"]);
        packages(&space);
        build(&space, "apt", &format!("{DEBIAN}APT nonesuch\n"), &[])
            .ends(1)
            .says(&["Unable to locate package nonesuch", "Dockerfile:5"]);
        build(&space, "apt", "FROM busybox\nAPT git\n", &[])
            .ends(1)
            .says(&["APT needs a base image with apt-get", "Dockerfile:2"]);
        build(&space, "apt", "FROM scratch\nAPT git\n", &[])
            .ends(1)
            .says(&["apt/apt-base", "Dockerfile:2:1"]);
    }

    #[test]
    fn every_platform_of_a_build_gets_its_own() {
        needs_root!();
        let space = TestSpace::new();
        space.write("one.docker", "COPY one /$TARGETARCH\n").write("one", "1");
        let text = "FROM scratch\nARG TARGETARCH\nIF $TARGETARCH = arm64 <<A\nINCLUDE one.docker\nA\n\
                    COPY one /all\n";
        let platforms = ["--platform", "linux/amd64,linux/arm64", "-o", "out"];
        build(&space, "compose", text, &platforms).ok();
        assert!(space.path("out/linux_arm64/arm64").exists() && space.path("out/linux_arm64/all").exists());
        assert!(!space.path("out/linux_amd64/arm64").exists() && space.path("out/linux_amd64/all").exists());
    }
}
