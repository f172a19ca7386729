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
        space.kiln(&["prune", "--all", "--force"]);
        let ran = space.build_text(text, &["-t", "it2", "--no-cache"]);
        assert!(ran.status == 0, "{ran}");
    }
}
