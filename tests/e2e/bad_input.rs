//! One clear message for each mistake, the right exit status, and a store that works afterwards.

use std::fs;

use crate::space::TestSpace;

/// Fails unless a build of `dockerfile` ends with 1, points at `line`, and says `texts`.
#[track_caller]
fn wrong(dockerfile: &str, line: u32, texts: &[&str]) {
    let space = TestSpace::new();
    let ran = space.build_text(dockerfile, &["-t", "it"]).ends(1);
    let place = format!("Dockerfile:{line}");
    let ran = ran.says(&["error", &place]).says(texts);
    assert!(ran.stderr.contains('^'), "no caret points at the mistake\n{ran}");
}

#[test]
fn a_build_file_that_is_not_there() {
    let space = TestSpace::new();
    space.build(&[]).ends(1).says(&["Dockerfile", "context"]);
    space.build(&["-f", "elsewhere/Build"]).ends(1).says(&["elsewhere/Build"]);
    space.dockerfile("");
    space.build(&[]).ends(1).says(&["instruction"]);
    space.dockerfile("# only\n\n# comments\n");
    space.build(&[]).ends(1).says(&["instruction"]);
    space.dockerfile("ARG A=1\n");
    space.build(&[]).ends(1).says(&["FROM"]);
}

#[test]
fn an_unknown_instruction() {
    wrong("FROM scratch\nCOPPY a b\n", 2, &["COPPY", "COPY"]);
    wrong("RUN true\nFROM scratch\n", 1, &["FROM"]);
}

#[test]
fn an_unknown_flag_is_not_ignored() {
    wrong("FROM scratch\nCOPY --form=x a b\n", 2, &["--form", "--from"]);
    wrong("FROM scratch\nRUN --nonsense true\n", 2, &["--nonsense"]);
    wrong("FROM scratch\nCOPY --chmod=rwx a b\n", 2, &["rwx"]);
}

#[test]
fn every_mistake_is_told_at_once() {
    let space = TestSpace::new();
    let text = "FROM scratch\nCOPPY a b\nRUM true\nENV\n";
    space.build_text(text, &[]).ends(1).says(&[
        "Dockerfile:2",
        "Dockerfile:3",
        "Dockerfile:4",
        "COPPY",
        "RUM",
        "ENV",
    ]);
}

#[test]
fn unknown_later_and_own_stages() {
    let text = "FROM scratch AS one\nCOPY Dockerfile /\nFROM scratch\nCOPY --from=7 a /\n";
    wrong(text, 4, &["7"]);
    wrong("FROM scratch AS one\nCOPY --from=two a /\nFROM scratch AS two\nFROM one\n", 2, &["two", "before"]);
    wrong("FROM scratch AS one\nCOPY --from=one a /\n", 2, &["one"]);
    wrong("FROM scratch AS 1st\n", 1, &["1st"]);
    wrong("FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b\nCOPY --from=a x /\n", 2, &["b"]);
    let space = TestSpace::new();
    space
        .build_text("FROM scratch AS builder\nFROM scratch\n", &["--target", "biulder"])
        .ends(1)
        .says(&["biulder", "builder"]);
}

#[test]
fn a_source_that_is_missing() {
    let space = TestSpace::new();
    space.write("src/main.go", "x").dockerfile("FROM scratch\nCOPY src/mian.go /\n");
    space.build(&["-o", "out"]).ends(1).says(&["Dockerfile:2", "src/mian.go", "src/main.go"]);
    // What stands on a step that cannot be resolved is not resolved either.
    space.dockerfile("FROM scratch\nCOPY src/mian.go /\nCOPY src/main.go /\nWORKDIR /x\n");
    space.build(&["-o", "out"]).ends(1).says(&["Dockerfile:2", "src/mian.go"]);
    wrong("FROM scratch\nCOPY only-one\n", 2, &["destination"]);
    wrong("FROM scratch\nCOPY --from=$STAGE a /\n", 2, &["FROM $STAGE AS"]);
}

#[test]
fn grammar_is_checked_in_stages_that_are_not_built() {
    wrong("FROM scratch AS unused\nENV novalue\nFROM scratch\n", 2, &["novalue"]);
    wrong("FROM scratch\nHEALTHCHECK MAYBE\n", 2, &["MAYBE"]);
    wrong("FROM scratch\nRUN <<EOF\nnever ended\n", 2, &["EOF"]);
    wrong("FROM scratch\nSHELL /bin/sh\n", 2, &["SHELL", "JSON"]);
    wrong("FROM Not:A:Reference\n", 1, &["Not:A:Reference"]);
    wrong("FROM scratch\nEXPOSE 99999\n", 2, &["99999"]);
    wrong("FROM scratch\nENV a=${unclosed\n", 2, &["unclosed"]);
    wrong("FROM ${EMPTY}\n", 1, &["EMPTY"]);
}

#[test]
fn bytes_that_are_no_text() {
    let space = TestSpace::new();
    space.write("Dockerfile", b"FROM scratch\nLABEL a=\xff\xfe\n");
    space.build(&[]).ends(1).says(&["UTF-8"]);
    space.write("Dockerfile", "FROM scratch\nLABEL a=".to_owned() + &"x".repeat(70_000) + "\n");
    space.build(&[]).ends(1).says(&["65535"]);
}

#[test]
fn a_build_file_that_is_no_build_file_is_to_blame_itself() {
    let space = TestSpace::new();
    space.write("Dockerfile", b"FROM scratch\nLABEL a=x\0y\n");
    space.build(&[]).ends(1).says(&["Dockerfile:2", "NUL", "^"]);
    space.write("Dockerfile", b"FROM scratch\nCOPY <<EOF /x\na\0b\nEOF\n");
    space.build(&["-o", "out"]).ok();
    assert_eq!(fs::read(space.path("out/x")).unwrap(), b"a\0b\n", "content may be anything");
    space.write("Dockerfile", vec![0; 4096]);
    space.build(&[]).ends(1);
    for file in ["/dev/zero", "/dev/urandom", "/proc/kmsg-that-is-not-there", "/dev/null"] {
        let ran = space.build(&["-f", file]).ends(1);
        ran.says(&["error"]).does_not_say("plugin");
    }
    let long = "# x\n".repeat(5 << 20);
    space.write("long", &long);
    let path = space.context().join("long").display().to_string();
    space.build(&["-f", &path]).ends(1).says(&["long", "16 MiB"]);
    space.kiln_with_input(&["build", "-f", "-", "context"], long.as_bytes()).ends(1).says(&["16 MiB"]);
    let many = "FROM scratch\n".to_owned() + &"LABEL a=b\n".repeat(40_000);
    space.build_text(&many, &[]).ends(1).says(&["more than 30000 instructions", "Dockerfile:30001"]);
    let wide = "FROM scratch\nRUN <<EOF\n".to_owned() + &"echo\n".repeat(300_000) + "EOF\n";
    space.build_text(&wide, &[]).ends(1).says(&["Dockerfile:2", "1 MiB"]);
}

#[test]
fn ten_thousand_stages_are_many_and_no_failure_of_a_plugin() {
    let space = TestSpace::new();
    let mut text = String::from("FROM scratch AS s0\nCOPY Dockerfile /\n");
    for stage in 1..10_000 {
        text.push_str(&format!("FROM scratch AS s{stage}\nCOPY --from=s{} /Dockerfile /\n", stage - 1));
    }
    let ran = space.build_text(&text, &["-o", "out"]);
    assert!(matches!(ran.status, 0 | 1), "{ran}");
    ran.does_not_say("plugin failed");
}

#[test]
fn a_build_file_can_come_through_a_pipe() {
    let space = TestSpace::new();
    space.write("file", "x");
    let pipe = space.path("pipe").display().to_string();
    crate::space::shell(&format!(
        "mkfifo {pipe}; (printf 'FROM scratch\\nCOPY file /\\n' > {pipe}) >/dev/null 2>&1 &"
    ));
    space.build(&["-f", &pipe, "-o", "out"]).ok();
    assert_eq!(space.read("out/file"), "x");
}

#[test]
fn a_name_that_means_a_removed_file_cannot_be_copied() {
    let space = TestSpace::new();
    space.write("odd/.wh.gone", "x").write("odd/fine", "x");
    space.build_text("FROM scratch\nCOPY odd /odd\n", &["-t", "it"]).ends(1).says(&[
        "reserved-name",
        "/odd/.wh.gone",
        "Dockerfile:2",
        "^",
    ]);
    space.build_text("FROM scratch\nCOPY --exclude=.wh.* odd /odd\n", &["-t", "it"]).ok();
}

#[test]
fn a_frontend_that_kiln_does_not_run_is_not_ignored() {
    let space = TestSpace::new();
    let text = "# syntax=example.com/own/frontend:1\nFROM scratch\nCOPY Dockerfile /\n";
    let ran = space.build_text(text, &[]).ends(1);
    ran.says(&[
        "unknown-syntax",
        "example.com/own/frontend:1",
        "Dockerfile:1",
        "--plugin",
        "remove the line",
    ]);
    for own in ["docker/dockerfile:1", "docker.io/docker/dockerfile-upstream:master-labs"] {
        space.build_text(&format!("# syntax={own}\nFROM scratch\nCOPY Dockerfile /\n"), &[]).ok();
        let argument = format!("BUILDKIT_SYNTAX={own}");
        space.build_text(text, &["--build-arg", &argument]).ok();
    }
    let other = "BUILDKIT_SYNTAX=own/frontend";
    space
        .build_text("FROM scratch\nCOPY Dockerfile /\n", &["--build-arg", other])
        .ends(1)
        .says(&["BUILDKIT_SYNTAX"]);
}

#[test]
fn what_the_command_line_names_has_to_be_there() {
    let space = TestSpace::new();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.kiln(&["build", "no-such-directory"]).ends(2).says(&["no-such-directory", "does not exist"]);
    space.build(&["--plugin", "none.wasm"]).ends(2).says(&["none.wasm", "does not exist"]);
    space.build(&["--secret", "id=a,src=none"]).ends(2).says(&["none", "does not exist"]);
    space.build(&["--ssh", "default=none"]).ends(2).says(&["none", "does not exist"]);
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let space = TestSpace::new();
    space.write("Other", "FROM scratch\nCOPY Other /\n");
    let other = space.context().join("Other").display().to_string();
    space.build(&["-f", "nowhere", "-f", &other, "--progress", "quiet", "--progress", "plain"]).ok();
}

#[test]
fn help_is_given_on_each_command() {
    let space = TestSpace::new();
    for args in [
        &["help"] as &[&str],
        &["help", "build"],
        &["build", "--help"],
        &["help", "image", "ls"],
        &["rmi", "--help"],
    ] {
        let ran = space.kiln(args).ok();
        assert!(ran.text().contains("Usage: kiln"), "{ran}");
    }
}

#[test]
fn a_context_that_cannot_be_read() {
    let space = TestSpace::new();
    let ran = space.kiln(&["build", "no-such-directory"]);
    assert!(matches!(ran.status, 1..=3), "{ran}");
    ran.says(&["no-such-directory"]);
    fs::write(space.path("file"), "").unwrap();
    let ran = space.kiln(&["build", "file"]);
    assert!(matches!(ran.status, 1..=3), "{ran}");
    ran.says(&["file", "directory"]);
    // Loops of links and odd files are met when the context is walked.
    space.write("loop/a", "x").link("loop/loop", ".").link("self", "self");
    std::process::Command::new("mkfifo").arg(space.context().join("pipe")).status().unwrap();
    space.build_text("FROM scratch\nCOPY loop /\n", &["-o", "out"]).ok();
    space.build_text("FROM scratch\nCOPY self /\n", &["-o", "out2"]).ends(1).says(&["self", "Dockerfile:2"]);
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    let space = TestSpace::new();
    space.dockerfile("FROM scratch\n");
    for args in [
        &["build"] as &[&str],
        &["build", "--no-such-option", "context"],
        &["build", "-t", "case/UPPER", "context"],
        &["build", "--build-arg", "=x", "context"],
        &["build", "--platform", "not/a/real/platform", "context"],
        &["build", "--progress", "loud", "context"],
        &["build", "--network", "everything", "context"],
        &["build", "--add-host", "nohost", "context"],
        &["build", "--secret", "nonsense=1", "context"],
        &["build", "--build-context", "novalue", "context"],
        &["image", "frobnicate"],
        &["frobnicate"],
        &[],
    ] {
        let ran = space.kiln(args).ends(2);
        assert!(!ran.stderr.is_empty(), "{ran}");
    }
}

#[test]
fn a_store_that_is_none_is_the_worlds_fault() {
    let mut space = TestSpace::new();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    fs::write(space.path("file"), "").unwrap();
    space.store = space.path("file");
    space.build(&["-t", "it"]).ends(3).says(&["file"]);
    space.store = "/proc/no/such/place".into();
    space.build(&["-t", "it"]).ends(3).says(&["/proc/no/such"]);
    let mut space = TestSpace::new();
    fs::create_dir(&space.store).unwrap();
    fs::write(space.store.join("format"), "version from the future\n").unwrap();
    space.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    space.build(&["-t", "it"]).ends(3).says(&["is no store"]);
    space.config = space.path("no-such-config.toml");
    space.store = space.path("fresh");
    space.build(&["-t", "it"]).ends(3).says(&["no-such-config.toml"]);
    fs::write(space.path("bad.toml"), "[registry\n").unwrap();
    space.config = space.path("bad.toml");
    space.build(&["-t", "it"]).ends(3).says(&["bad.toml"]);
}

mod as_root {
    use crate::privileges::needs_root;
    use crate::space::{TestSpace, shell};

    #[test]
    fn a_step_cannot_leave_a_name_that_means_a_removed_file() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN touch /etc/.wh.passwd\n";
        for _ in 0..2 {
            space.build_text(text, &["-t", "it"]).ends(1).says(&["/etc/.wh.passwd", "Dockerfile:2", "^"]);
        }
    }

    #[test]
    fn damage_in_the_store_is_a_miss_or_an_error_and_no_panic() {
        needs_root!();
        let space = TestSpace::with_bases(&["busybox"]);
        let text = "FROM busybox\nRUN echo x > /x\nRUN cat /x > /y\n";
        space.build_text(text, &["-t", "it"]).ok();
        for file in ["records", "images", "builds", "contexts"] {
            // Every file of that kind, one half of it.
            shell(&format!(
                "find '{}/{file}' -type f -exec sh -c 'truncate -s $(($(stat -c %s \"$1\") / 2)) \"$1\"' _ {{}} \\; 2>/dev/null || true",
                space.store.display()
            ));
            let ran = space.build_text(text, &["-t", "it"]);
            assert!(
                matches!(ran.status, 0 | 3) && !ran.stderr.contains("panicked"),
                "after damage to {file}: {ran}"
            );
        }
        // Nobody is there to be asked.
        space.kiln(&["prune", "--all"]).ok();
        let ran = space.build_text(text, &["-t", "it2", "--no-cache"]);
        assert!(ran.status == 0, "{ran}");
    }
}
