//! Findings: errors of §24 and checks of §21, over whole files.

use kiln_sdk::wit::diagnostics::Severity;

use super::world::{World, context, pair};
use crate::{answer, outline};

fn found(text: &str) -> Vec<String> {
    World::new(text).findings()
}

#[test]
fn section_21_6_checks_that_need_evaluation() {
    for (text, expected) in [
        ("FROM alpine\nRUN $x", vec![]),
        ("FROM alpine\nCOPY a$x y /z/", vec!["UndefinedVar"]),
        ("FROM alpine\nARG x\nCOPY a$x y /z/", vec![]),
        ("FROM alpine\nENV a=${x:-1}", vec!["UndefinedVar"]),
        ("FROM alpine\nENV a=$PATH", vec![]),
        ("ARG x=1\nFROM alpine\nENV a=$x", vec!["UndefinedVar"]),
        ("FROM alpine:$x", vec!["InvalidDefaultArgInFrom", "UndefinedArgInFrom", "invalid-reference"]),
        ("FROM alpine\nWORKDIR a", vec!["WorkdirRelativePath"]),
        ("FROM alpine\nWORKDIR /a\nWORKDIR b", vec![]),
        ("FROM alpine AS x\nWORKDIR /a\nFROM x\nWORKDIR b", vec![]),
        ("FROM alpine\nCMD [\"a\"]\nCMD [\"b\"]", vec!["MultipleInstructionsDisallowed"]),
        (
            "FROM alpine\nENTRYPOINT [\"a\"]\nENTRYPOINT [\"b\"]\nENTRYPOINT [\"c\"]",
            vec!["MultipleInstructionsDisallowed", "MultipleInstructionsDisallowed"],
        ),
        ("FROM alpine AS x\nCMD [\"a\"]\nFROM x\nCMD [\"b\"]", vec![]),
        ("FROM alpine\nARG DB_PASSWORD", vec!["SecretsUsedInArgOrEnv"]),
        ("FROM alpine\nENV DB_PASSWORD=x", vec!["dockerfile/SecretsUsedInArgOrEnv"]),
        ("FROM alpine\nENV a b", vec!["dockerfile/LegacyKeyValueFormat"]),
        ("FROM alpine\nCMD a", vec!["dockerfile/JSONArgsRecommended"]),
        ("FROM alpine\nMAINTAINER a", vec!["dockerfile/MaintainerDeprecated"]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn section_21_3_comments_silence_one_instruction() {
    assert_eq!(found("FROM alpine\n# check=skip=JSONArgsRecommended\nCMD a"), Vec::<String>::new());
    assert_eq!(found("FROM alpine\n# check=skip=all\nMAINTAINER a"), Vec::<String>::new());
    assert_eq!(found("FROM alpine\n# check=skip=all\nRUN x\nCMD a"), ["dockerfile/JSONArgsRecommended"]);
    assert_eq!(found("# check=skip=JSONArgsRecommended\nFROM alpine\nCMD a"), Vec::<String>::new());
}

#[test]
fn section_21_2_errors_on_demand() {
    let text = "# check=error=true\nFROM alpine\nCMD a";
    assert_eq!(found(text), ["dockerfile/JSONArgsRecommended", "check-failed"]);
    let world = World::new(text).arg("BUILDKIT_DOCKERFILE_CHECK", "skip=all;error=true");
    assert_eq!(world.findings(), Vec::<String>::new());
    assert_eq!(found("# check=bad\nFROM alpine"), ["bad-check-option"]);
    assert_eq!(found("# check=error=true\nFROM alpine\nCMD [\"a\"]"), Vec::<String>::new());
}

#[test]
fn section_21_6_copies_of_ignored_files() {
    let with = |text: &str, ignore: &str| {
        let mut world = World::new(text);
        world.context_files.insert(".dockerignore".to_owned(), ignore.as_bytes().to_vec());
        world
    };
    let text = "FROM alpine\nCOPY a b /x/\nADD c/d /y\nCOPY --from=alpine a /z";
    let built = with(text, "b").build();
    let at = built.0.diagnostics[0].primary.as_ref().unwrap();
    assert_eq!((at.start.line, at.start.column, at.end.column), (2, 8, 9));
    assert_eq!(with(text, "a\nc").findings(), ["CopyIgnoredFile", "CopyIgnoredFile"]);
    assert_eq!(with(text, "a\n!q").findings(), Vec::<String>::new());
    assert_eq!(with("FROM alpine\nCOPY . /x", "a").findings(), Vec::<String>::new());
    assert_eq!(with("FROM alpine\nCOPY . /x", "*").findings(), ["CopyIgnoredFile"]);
    let own = with(text, "a").file("Dockerfile.dockerignore", "zzz");
    assert_eq!(own.findings(), Vec::<String>::new());
    let mut git = with(text, "a");
    git.contexts.insert(String::new(), context("", "git"));
    assert_eq!(git.findings(), Vec::<String>::new());
}

#[test]
fn section_24_all_errors_of_a_file_come_at_once() {
    let text = "FROM alpine as a\nRUNN x\nCOPY --form=x y z\nCOPY a\nENV a\nFROM a b\nHEALTHCHECK --interval=x CMD a\nONBUILD FROM x\n";
    let errors = World::new(text).errors();
    let mut lines: Vec<_> = errors.iter().map(|error| error.primary.as_ref().unwrap().start.line).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8], "{errors:#?}");
    assert!(errors.iter().all(|error| !error.message.is_empty()));
}

#[test]
fn section_24_grammar_is_judged_in_stages_that_are_not_built() {
    for (text, code) in [
        ("FROM alpine AS a\nCOPY x\nFROM alpine", "dockerfile/argument-count"),
        ("FROM alpine AS a\nCMD [1]\nFROM alpine", "json-not-strings"),
        ("FROM alpine AS a\nARG\nFROM alpine", "wrong-argument-count"),
        ("FROM alpine AS a\nRUN --network=nope x\nFROM alpine", "dockerfile/invalid-network"),
        ("FROM alpine AS a\nFOO\nFROM alpine", "unknown-instruction"),
    ] {
        assert_eq!(World::new(text).error_codes(), [code], "{text}");
    }
    assert!(World::new("FROM alpine AS a\nCOPY ${x y z\nFROM alpine").findings().is_empty());
}

#[test]
fn section_2_1_bytes_that_are_no_text() {
    let with = |bytes: &[u8]| {
        let mut world = World::new("");
        world.files.insert("Dockerfile".to_owned(), bytes.to_vec());
        world
    };
    assert!(with(b"# \xff\nFROM alpine\nRUN a \\\n  # \xe9\n b\n").findings().is_empty());
    assert_eq!(with(b"FROM alpine\nMAINTAINER Jos\xe9").findings(), ["dockerfile/MaintainerDeprecated"]);
    let errors = with(b"FROM alpine\nLABEL a=\xff\xfe").errors();
    assert_eq!(
        (errors[0].code.as_str(), errors[0].message.as_str()),
        ("not-utf8", "the byte 0xff is not UTF-8")
    );
    assert_eq!(with(b"FROM alpine\nRUN <<E\n# \xff\nE").error_codes(), ["not-utf8"]);
}

#[test]
fn section_9_5_forward_references_are_errors_in_every_stage_that_is_evaluated() {
    for copy in ["COPY --from=b a /", "COPY --from=a a /", "COPY --from=9 a /"] {
        let text = format!("FROM alpine AS a\n{copy}\nFROM alpine AS b\nFROM a");
        assert_eq!(World::new(&text).error_codes().len(), 1, "{copy}");
    }
}

/// Every code that this crate can give is described.
#[test]
fn every_code_is_listed_with_the_rules() {
    use kiln_sdk::plugin::Plugin;
    let rules = crate::component::Dockerfile::describe().rules;
    let sources = [
        include_str!("../allowance.rs"),
        include_str!("../answer.rs"),
        include_str!("../arguments.rs"),
        include_str!("../checks.rs"),
        include_str!("../epoch.rs"),
        include_str!("../eval.rs"),
        include_str!("../eval/expansion.rs"),
        include_str!("../eval/instruction.rs"),
        include_str!("../findings.rs"),
        include_str!("../load.rs"),
        include_str!("../onbuild.rs"),
        include_str!("../parse.rs"),
        include_str!("../plan.rs"),
        include_str!("../resolve.rs"),
        include_str!("../run.rs"),
        include_str!("../scope.rs"),
        include_str!("../stages.rs"),
    ];
    for source in sources {
        let source = source.split("#[cfg(test)]").next().unwrap();
        for before in ["Diagnostic::error(", "Diagnostic::warning(", "check("] {
            for call in source.split(before).skip(1) {
                let Some(rest) = call.trim_start().strip_prefix('"') else { continue };
                let code = rest.split('"').next().unwrap();
                assert!(rules.iter().any(|rule| rule.code == code), "{code}");
            }
        }
    }
}

#[test]
fn section_24_evaluation_errors_come_together() {
    let text = "FROM alpine\nCOPY ${a b /c\nENV x=${y:?why}\nWORKDIR ${z^}\nCOPY --from=nope /a /b";
    let errors = World::new(text).errors();
    let codes: Vec<_> = errors.iter().map(|error| error.code.as_str()).collect();
    assert_eq!(codes, ["bad-substitution", "required-variable", "bad-substitution", "unknown-stage"]);
    assert_eq!(errors[1].message, "y: why");
}

#[test]
fn section_22_check_looks_at_all_stages() {
    let world = World::new("FROM alpine AS a\nCMD a\nFROM nope AS b\nFROM alpine\nENV a b");
    let codes: Vec<_> = answer::check(&world, &world.request()).into_iter().map(|it| it.code).collect();
    assert_eq!(
        codes,
        ["dockerfile/JSONArgsRecommended", "image-not-found", "dockerfile/LegacyKeyValueFormat"]
    );
    let world = world.ask(|request| request.target = "a".to_owned());
    let codes: Vec<_> = answer::check(&world, &world.request()).into_iter().map(|it| it.code).collect();
    assert_eq!(codes, ["dockerfile/JSONArgsRecommended"]);
}

#[test]
fn section_22_targets_and_outline() {
    let text = "# version is what to build\nARG version=1\nFROM alpine:$version AS base\n# build compiles\nFROM base AS build\n# mode says how\nARG mode=fast\nARG version\nRUN --mount=type=secret,id=s,required --mount=type=cache,id=c,target=/c --mount=type=ssh x\nFROM alpine\n";
    let world = World::new(text).image("alpine:2", |_| {}).arg("version", "2");
    let targets = outline::list_targets(&world, &world.request()).unwrap();
    let listed: Vec<_> = targets
        .iter()
        .map(|it| (it.name.as_str(), it.description.as_str(), it.base.as_str(), it.is_default))
        .collect();
    assert_eq!(
        listed,
        [
            ("base", "", "alpine:$version", false),
            ("build", "compiles", "base", false),
            ("", "", "alpine", true)
        ]
    );
    let world = world.ask(|request| request.target = "build".to_owned());
    let outline = outline::describe_target(&world, &world.request()).unwrap();
    let parameters: Vec<_> = outline
        .parameters
        .iter()
        .map(|it| (it.name.as_str(), it.description.as_str(), it.preset.as_deref(), it.value.as_deref()))
        .collect();
    assert_eq!(
        parameters,
        [
            ("mode", "says how", Some("fast"), Some("fast")),
            ("version", "is what to build", Some("1"), Some("2"))
        ]
    );
    assert_eq!((outline.secrets[0].id.as_str(), outline.secrets[0].required), ("s", true));
    assert_eq!((outline.ssh[0].id.as_str(), outline.caches[0].id.as_str()), ("default", "c"));
    assert!(outline::describe_target(&world, &world.ask_target("nope")).is_err());
}

impl World {
    fn ask_target(&self, name: &str) -> kiln_sdk::wit::frontend_types::BuildRequest {
        kiln_sdk::wit::frontend_types::BuildRequest { target: name.to_owned(), ..self.request() }
    }
}

#[test]
fn warnings_do_not_fail_a_build() {
    let world = World::new("from alpine as B\nMAINTAINER x\ncmd y").arg("q", "1");
    let built = world.build();
    assert!(built.0.diagnostics.iter().all(|it| it.severity != Severity::Error));
    assert_eq!(built.config().labels, [] as [kiln_sdk::wit::types::Pair; 0]);
    assert_eq!(built.config().env, [pair("PATH", "/usr/bin:/bin")]);
}

/// Files of random parts: they may be wrong, and may not bring the planner down.
#[test]
fn no_file_makes_it_panic() {
    let parts = [
        "FROM alpine",
        "FROM alpine AS a",
        "FROM a",
        "RUN x",
        "COPY --from=a b c",
        "COPY a",
        "ENV a=$b",
        "ARG a=1",
        "ARG",
        "ONBUILD RUN x",
        "ONBUILD",
        "RUN <<E",
        "E",
        "CMD [\"a\"]",
        "\\",
        "# check=skip=all",
        "\t",
        "LABEL ${",
        "WORKDIR é",
        "HEALTHCHECK NONE",
        "EXPOSE 1-70000",
        "COPY <<E /x",
        "SHELL [\"a\"]",
        "VOLUME [\"\"]",
        "INCLUDE nothing",
        "USER",
    ];
    let mut state = 0xdead_beef_cafe_f00d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize
    };
    for _ in 0..400 {
        let mut text = String::new();
        for _ in 0..random() % 12 {
            text.push_str(parts[random() % parts.len()]);
            text.push_str(["\n", " ", "\r\n", "\\\n"][random() % 4]);
        }
        let world = World::new(&text);
        let _ = world.findings();
        let _ = answer::check(&world, &world.request());
    }
}

#[test]
fn a_nul_is_no_text() {
    let codes = |text: &str| World::new(text).error_codes();
    assert_eq!(codes("FROM alpine\nRUN a\0b"), ["not-utf8"]);
    assert_eq!(codes("FROM alpine\nRUN <<E\na\0b\nE"), ["not-utf8"]);
    assert_eq!(codes("FROM alpine\nMAINTAINER a\0b"), ["not-utf8"]);
}

#[test]
fn absurd_files_are_wrong_and_told_so() {
    let many = "FROM alpine\n".to_owned() + &"LABEL a=b\n".repeat(30_000);
    assert_eq!(World::new(&many).error_codes(), ["too-many-instructions"]);
    let long = "FROM alpine\nRUN x".to_owned() + &"\\\n y".repeat(600_000);
    assert_eq!(World::new(&long).error_codes(), ["instruction-too-long"]);
}

#[test]
fn an_unset_variable_in_a_default_before_the_first_from_fails_no_build() {
    let text = "# check=error=true\nARG b=${G}x\nFROM alpine\nARG b\nRUN $b\n";
    assert_eq!(World::new(text).build().findings(), ["undefined-default"]);
}
