//! Questions that are asked in place of a build, and options that ask for what kiln does otherwise.

use serde_json::Value;

use crate::space::{Ran, TestSpace};

/// Every rule of the specification's §21.6, each with a file that violates it alone.
const RULES: [(&str, &str); 21] = [
    ("StageNameCasing", "FROM scratch AS Base\n"),
    ("FromAsCasing", "FROM scratch as base\n"),
    ("NoEmptyContinuation", "FROM scratch\nCOPY a \\\n\n b\n"),
    ("ConsistentInstructionCasing", "FROM scratch\nCOPY a b\ncopy a c\n"),
    ("DuplicateStageName", "FROM scratch AS a\nFROM scratch AS a\n"),
    ("ReservedStageName", "FROM scratch AS context\n"),
    ("JSONArgsRecommended", "FROM scratch\nCMD run it\n"),
    ("MaintainerDeprecated", "FROM scratch\nMAINTAINER me\n"),
    ("UndefinedArgInFrom", "FROM ${NOPE:-scratch}\n"),
    ("WorkdirRelativePath", "FROM scratch\nWORKDIR here\n"),
    ("UndefinedVar", "FROM scratch\nENV A=$NOPE\n"),
    ("MultipleInstructionsDisallowed", "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n"),
    ("LegacyKeyValueFormat", "FROM scratch\nENV a b\n"),
    ("RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM scratch\n"),
    ("SecretsUsedInArgOrEnv", "FROM scratch\nARG API_TOKEN\n"),
    ("InvalidDefaultArgInFrom", "ARG TAG\nFROM busybox:${TAG}\n"),
    ("FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 scratch\n"),
    ("CopyIgnoredFile", "FROM scratch\nCOPY ignored /\n"),
    ("InvalidDefinitionDescription", "# check=experimental=all\n# what it is\nARG THING=1\nFROM scratch\n"),
    ("ExposeProtoCasing", "FROM scratch\nEXPOSE 80/TCP\n"),
    ("ExposeInvalidFormat", "FROM scratch\nEXPOSE 127.0.0.1:80:80\n"),
];

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("a", "").write("ignored", "").write(".dockerignore", "ignored\n");
    space
}

fn call(space: &TestSpace, text: &str, args: &[&str]) -> Ran {
    space.build_text(text, args)
}

fn rules(answer: &Value) -> Vec<&str> {
    let warnings = answer["warnings"].as_array().map(Vec::as_slice).unwrap_or_default();
    warnings.iter().map(|warning| warning["ruleName"].as_str().unwrap()).collect()
}

#[test]
fn every_rule_can_be_violated_and_skipped() {
    let space = space();
    for (rule, text) in RULES {
        let arguments: &[&str] =
            if rule == "InvalidDefaultArgInFrom" { &["--build-arg", "TAG="] } else { &[] };
        let json: Vec<&str> = [&["--call=check,format=json"], arguments].concat();
        let answer = call(&space, text, &json).json();
        assert!(rules(&answer).contains(&rule), "{rule}: {answer:#}");
        let first =
            answer["warnings"].as_array().unwrap().iter().find(|one| one["ruleName"] == rule).unwrap();
        assert!(first["description"].as_str().is_some_and(|text| !text.is_empty()), "{answer:#}");
        assert!(first["url"].as_str().unwrap().starts_with("https://docs.docker.com/go/dockerfile/rule/"));
        assert!(first["location"]["ranges"][0]["start"]["line"].as_u64().unwrap() >= 1, "{answer:#}");
        // The experimental one is not skipped but not asked for.
        let skipped = match rule {
            "InvalidDefinitionDescription" => text.replace("experimental=all", "skip=StageNameCasing"),
            _ => format!("# check=skip={rule}\n{text}"),
        };
        let answer = call(&space, &skipped, &json).json();
        assert!(!rules(&answer).contains(&rule), "{rule}: {answer:#}");
    }
}

#[test]
fn a_check_ends_with_1_when_there_are_findings() {
    let space = space();
    let bad = "FROM scratch\nENV a b\nCOPY a /\n";
    let ran = call(&space, bad, &["--check"]).ends(1);
    for text in
        ["1 warning has been found!", "WARNING: LegacyKeyValueFormat", "Dockerfile:2", "   2 | >>> ENV a b"]
    {
        assert!(ran.text().contains(text), "`{text}`\n{ran}");
    }
    call(&space, bad, &["--call=check,ignorestatus=true"]).ok();
    let ran = call(&space, "FROM scratch\nCOPY a /\n", &["--check"]).ok();
    assert_eq!(ran.text(), "Check complete, no warnings found.\n");
    let answer = call(&space, "FROM scratch\nCOPY a /\n", &["--call", "check,format=json"]).ok().json();
    assert_eq!(answer["warnings"], Value::Null);
    // An argument that no ARG takes is worth a note, and no reason to call the file bad.
    let ran = call(&space, "FROM scratch\nCOPY a /\n", &["--check", "--build-arg", "X=1"]).ok();
    assert!(ran.text().contains("NOTE: "), "{ran}");
}

#[test]
fn a_file_that_cannot_be_built_is_an_answer_to_check() {
    let space = space();
    let text = "FROM scratch\nADD x\n";
    call(&space, text, &["--check"]).ends(1).says(&["Dockerfile:2", "^"]);
    let answer = call(&space, text, &["--call=check,format=json"]).ends(1).json();
    assert_eq!(answer["buildError"]["location"]["ranges"][0]["start"]["line"], 2, "{answer:#}");
    assert_eq!(answer["sources"][0]["filename"], "Dockerfile");
}

#[test]
fn findings_fail_a_build_that_asks_for_it() {
    let space = space();
    let text = "# check=error=true\nFROM scratch\nENV a b\n";
    call(&space, text, &[]).ends(1).says(&["LegacyKeyValueFormat", "Dockerfile:3"]);
    call(&space, text, &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"]).ok();
    call(&space, "FROM scratch\nENV a b\n", &[]).ok().says(&["LegacyKeyValueFormat"]);
    call(&space, "FROM scratch\nENV a b\n", &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"]).ends(1);
    let local = "FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n";
    let answer = call(&space, local, &["--call=check,format=json"]).json();
    assert_eq!(rules(&answer), ["LegacyKeyValueFormat"]);
    assert_eq!(answer["warnings"][0]["location"]["ranges"][0]["start"]["line"], 4);
}

/// Two stages with descriptions, of which the last does not need the first.
const DESCRIBED: &str = "# VERSION is what to build\nARG VERSION=1\n# tools has a compiler\nFROM scratch AS tools\n\
                         ARG FLAGS=-O2\nRUN --mount=type=secret,id=token,required --mount=type=ssh \
                         --mount=type=cache,target=/c,id=objects [\"/x\"]\n\
                         # app is what ships\nFROM scratch AS app\nARG VERSION\n";

#[test]
fn targets_are_the_stages() {
    let space = space();
    let ran = call(&space, DESCRIBED, &["--call=targets"]).ok();
    assert_eq!(
        ran.text(),
        "TARGET         DESCRIPTION\ntools          has a compiler\napp (default)  is what ships\n"
    );
    let answer = call(&space, DESCRIBED, &["--call=targets,format=json"]).ok().json();
    let targets = answer["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!((&targets[0]["name"], &targets[0]["base"]), (&"tools".into(), &"scratch".into()));
    assert_eq!((&targets[0]["default"], &targets[1]["default"]), (&Value::Null, &true.into()));
    assert_eq!(targets[1]["location"]["ranges"][0]["start"]["line"], 8);
    assert!(answer["sources"][0].as_str().is_some_and(|text| text.len() > 100), "{answer:#}");
}

#[test]
fn an_outline_lists_what_the_target_uses() {
    let space = space();
    let answer = call(&space, DESCRIBED, &["--call=outline,format=json"]).ok().json();
    assert_eq!(answer["name"], "app");
    assert_eq!(answer["description"], "is what ships");
    assert_eq!(answer["args"][0]["name"], "VERSION");
    assert_eq!((&answer["args"][1], &answer["secrets"]), (&Value::Null, &Value::Null), "{answer:#}");
    let answer = call(
        &space,
        DESCRIBED,
        &["--call=outline,format=json", "--target", "tools", "--build-arg", "FLAGS=-O3"],
    );
    let answer = answer.ok().json();
    assert_eq!((&answer["args"][0]["name"], &answer["args"][0]["value"]), (&"FLAGS".into(), &"-O3".into()));
    assert_eq!(
        (&answer["secrets"][0]["name"], &answer["secrets"][0]["required"]),
        (&"token".into(), &true.into())
    );
    assert_eq!(answer["ssh"][0]["name"], "default");
    assert_eq!(answer["cache"][0]["ID"], "objects");
    let ran = call(&space, DESCRIBED, &["--call=outline", "--target", "tools"]).ok();
    for text in ["TARGET:      tools", "BUILD ARG", "FLAGS", "SECRET", "token   true"] {
        assert!(ran.text().contains(text), "`{text}`\n{ran}");
    }
    call(&space, DESCRIBED, &["--call=outline", "--target", "nope"]).ends(1).says(&["nope"]);
}

#[test]
fn a_question_that_there_is_not_is_a_wrong_command_line() {
    let space = space();
    for question in ["nonsense", "check,format=xml", "", "check,outline"] {
        call(&space, "FROM scratch\n", &["--call", question]).ends(2).says(&["--call"]);
    }
    let ran = call(&space, "FROM scratch\n", &["--call=subrequests.describe"]).ok();
    assert!(ran.text().contains("outline"), "{ran}");
}

#[test]
fn options_of_docker_that_kiln_cannot_mean_are_noted_or_refused() {
    let space = space();
    let text = "FROM scratch\nCOPY a /\n";
    for option in
        ["--provenance", "--provenance=mode=max", "--sbom=true", "--attest=type=sbom", "--policy=x.rego"]
    {
        call(&space, text, &[option]).ends(2).says(&[option.split('=').next().unwrap()]);
    }
    for option in
        ["--provenance=false", "--sbom=false", "--attest=type=provenance,disabled=true", "--rm", "--force-rm"]
    {
        call(&space, text, &[option]).ok().does_not_say("note:");
    }
    for option in
        ["--cache-from=type=gha", "--cache-to=a/b", "--builder=x", "--debug", "--squash", "--memory=1g"]
    {
        call(&space, text, &[option]).ok().says(&["note: `--"]);
    }
    for option in ["--no-cache=false", "--pull=false", "--load=true", "--push=0", "--quiet=false"] {
        call(&space, text, &[option]).ok();
    }
    call(&space, text, &["--pull=perhaps"]).ends(2);
    call(&space, text, &["--annotation", "index:a=b"]).ends(2).says(&["index:"]);
    call(&space, text, &["--annotation", "manifest:a=b", "--annotation", "org.example:c=d"]).ok();
    call(&space, text, &["-o", "type=image,oci-mediatypes=true,push=false"]).ok();
}
