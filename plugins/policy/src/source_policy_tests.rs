use kiln_sdk::wit::graph::ContextSource;
use kiln_sdk::wit::policy_types::FoundSource;

use super::*;

fn image(reference: &str) -> Source {
    Source::Image(ImageSource { reference: reference.into(), pinned: None })
}

fn http(url: &str) -> Source {
    Source::Http(HttpSource { url: url.into(), checksum: None, filename: String::new() })
}

fn git(url: &str, reference: &str) -> GitSource {
    GitSource {
        url: url.into(),
        reference: reference.into(),
        commit: String::new(),
        fetch_by_commit: false,
        subdir: String::new(),
        submodules: true,
        keep_git_dir: false,
        commit_times: false,
    }
}

fn asked(source: Source, pin: Option<&str>) -> SourceCheck {
    let found = pin.map(|pin| FoundSource { pin: pin.into(), image: None });
    SourceCheck { source, platform: None, spans: vec![], round: 0, found }
}

fn policy(rules: &str) -> SourcePolicy {
    SourcePolicy::parse(&format!(r#"{{"rules": [{rules}]}}"#))
        .unwrap_or_else(|problem| panic!("{}", problem.message))
}

/// `fine`, the message of the denial, or what it becomes.
fn outcome(policy: &SourcePolicy, check: &SourceCheck) -> String {
    match policy.evaluate(check) {
        Verdict::Fine => "fine".to_owned(),
        Verdict::Denied(problem) => problem.code,
        Verdict::Rewrite(Source::Image(image)) => image.reference,
        Verdict::Rewrite(Source::Http(http)) => {
            format!("{} {} {}", http.url, http.checksum.unwrap_or_default(), http.filename)
                .trim_end()
                .to_owned()
        }
        Verdict::Rewrite(Source::Git(git)) => {
            format!("{} {} {} {} {}", git.url, git.reference, git.subdir, git.commit, git.keep_git_dir)
        }
        Verdict::Rewrite(other) => panic!("{other:?}"),
    }
}

fn rule(action: &str, identifier: &str) -> String {
    format!(r#"{{"action": "{action}", "selector": {{"identifier": "{identifier}"}}}}"#)
}

#[test]
fn the_last_rule_that_matches_holds() {
    let deny = rule("DENY", "docker-image://docker.io/library/alpine:*");
    let allow = rule("ALLOW", "docker-image://docker.io/library/alpine:3.20");
    let check = |rules: &str, reference: &str, expected: &str| {
        assert_eq!(outcome(&policy(rules), &asked(image(reference), None)), expected, "{rules} {reference}");
    };
    check(&format!("{deny}, {allow}"), "alpine:3.20", "fine");
    check(&format!("{deny}, {allow}"), "alpine:3.19", "source-denied");
    check(&format!("{allow}, {deny}"), "alpine:3.20", "source-denied");
    check(&format!("{allow}, {deny}"), "busybox", "fine");
    check(&rule("DENY", "*"), "busybox", "source-denied");
    check(&rule("DENY", "docker-image://docker.io/library/alpine"), "alpine", "fine");
    check("", "alpine", "fine");
}

#[test]
fn the_three_ways_to_match() {
    let check = |match_type: &str, identifier: &str, reference: &str, expected: bool| {
        let rules = format!(
            r#"{{"action": "DENY", "selector": {{"identifier": "{identifier}", "match_type": "{match_type}"}}}}"#
        );
        let denied = outcome(&policy(&rules), &asked(image(reference), None)) == "source-denied";
        assert_eq!(denied, expected, "{rules} {reference}");
    };
    check("WILDCARD", "docker-image://docker.io/*", "a/b:1", true);
    check("WILDCARD", "docker-image://*alpine*", "alpine", true);
    check("WILDCARD", "docker-image://docker.io/library/alpin?:latest", "alpine", false);
    check("EXACT", "docker-image://docker.io/library/alpine:latest", "alpine", true);
    check("EXACT", "docker-image://docker.io/*", "alpine", false);
    check("REGEX", "alpine:3\\\\.[0-9]+$", "alpine:3.20", true);
    check("REGEX", "^alpine", "alpine:3.20", false);
}

#[test]
fn a_denial_by_digest_holds_once_the_digest_is_known() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let rules = policy(&rule("DENY", &format!("docker-image://*@{digest}")));
    assert_eq!(outcome(&rules, &asked(image("alpine"), None)), "fine");
    assert_eq!(outcome(&rules, &asked(image("alpine"), Some(&digest))), "source-denied");
    assert_eq!(outcome(&rules, &asked(image(&format!("alpine@{digest}")), None)), "source-denied");
    let allowed =
        format!("{}, {}", rule("DENY", "*"), rule("ALLOW", "docker-image://docker.io/library/alpine:latest"));
    assert_eq!(outcome(&policy(&allowed), &asked(image("alpine"), Some(&digest))), "fine");
}

#[test]
fn an_image_becomes_another_one() {
    let convert = |selector: &str, match_type: &str, to: &str| {
        policy(&format!(
            r#"{{"action": "CONVERT", "selector": {{"identifier": "{selector}", "matchType": "{match_type}"}},
                "updates": {{"identifier": "{to}"}}}}"#
        ))
    };
    let mirror =
        convert("docker-image://docker.io/library/*", "WILDCARD", "docker-image://m.example.com/${1}");
    assert_eq!(outcome(&mirror, &asked(image("alpine:3"), None)), "m.example.com/alpine:3");
    assert_eq!(outcome(&mirror, &asked(image("m.example.com/alpine:3"), None)), "fine");
    let regex =
        convert("^docker-image://docker.io/([^/]+)/(.*)$", "REGEX", "docker-image://m.example.com/$1-$2");
    assert_eq!(outcome(&regex, &asked(image("a/b"), None)), "m.example.com/a-b:latest");
    let digest = format!("sha256:{}", "a".repeat(64));
    let pin = format!("docker-image://docker.io/library/alpine:3@{digest}");
    let pin = convert("docker-image://docker.io/library/alpine:3", "EXACT", &pin);
    assert_eq!(
        outcome(&pin, &asked(image("alpine:3"), None)),
        format!("docker.io/library/alpine:3@{digest}")
    );
    assert_eq!(outcome(&pin, &asked(image(&format!("alpine:3@{digest}")), None)), "fine");
    let wrong = convert("*", "WILDCARD", "https://example.com/x");
    assert_eq!(outcome(&wrong, &asked(image("alpine"), None)), "source-unmappable");
    assert_eq!(outcome(&wrong, &asked(Source::Git(git("https://h/p", "")), None)), "source-unmappable");
    let context = Source::Context(ContextSource { name: String::new(), ignore: None });
    assert_eq!(outcome(&wrong, &asked(context.clone(), None)), "source-unmappable");
    assert_eq!(outcome(&policy(&rule("DENY", "local://*")), &asked(context, None)), "source-denied");
}

#[test]
fn a_download_gets_a_checksum() {
    let rules = policy(
        r#"{"action": "CONVERT", "selector": {"identifier": "https://example.com/*"},
            "updates": {"attrs": {"http.checksum": "sha256:12"}}}"#,
    );
    assert_eq!(
        outcome(&rules, &asked(http("https://example.com/a"), None)),
        "https://example.com/a sha256:12"
    );
    let Source::Http(mut done) = http("https://example.com/a") else { unreachable!() };
    done.checksum = Some("sha256:12".into());
    assert_eq!(outcome(&rules, &asked(Source::Http(done), None)), "fine");
    assert_eq!(outcome(&rules, &asked(http("https://example.org/a"), None)), "fine");
}

#[test]
fn attributes_decide_with_the_identifier() {
    let rules = policy(
        r#"{"action": "DENY", "selector": {"identifier": "https://*", "constraints": [
            {"key": "http.checksum", "value": "", "condition": "EQUAL"}]}}"#,
    );
    assert_eq!(outcome(&rules, &asked(http("https://example.com/a"), None)), "source-denied");
    let rules = policy(
        r#"{"action": 1, "selector": {"identifier": "*", "match_type": 0, "constraints": [
            {"key": "git.fullurl", "value": "^ssh://", "condition": "MATCHES"},
            {"key": "git.keepgitdir", "value": "true", "condition": 1}]}}"#,
    );
    assert_eq!(outcome(&rules, &asked(Source::Git(git("ssh://git@h/p", "")), None)), "source-denied");
    assert_eq!(outcome(&rules, &asked(Source::Git(git("https://h/p", "")), None)), "fine");
    assert_eq!(outcome(&rules, &asked(http("https://example.com/a"), None)), "fine");
}

#[test]
fn a_repository_becomes_another_one() {
    let rules = policy(
        r#"{"action": "CONVERT", "selector": {"identifier": "git://github.com/*"},
            "updates": {"identifier": "git://git.example.com/$1"}}"#,
    );
    let source = Source::Git(git("https://github.com/a/b.git", "v1"));
    assert_eq!(outcome(&rules, &asked(source.clone(), None)), "https://git.example.com/a/b.git v1   false");
    let rules = policy(
        r#"{"action": "CONVERT", "selector": {"identifier": "git://github.com/a/b.git#v1"},
            "updates": {"attrs": {"git.checksum": "abc", "git.keepgitdir": "true"}}}"#,
    );
    assert_eq!(outcome(&rules, &asked(source, None)), "https://github.com/a/b.git v1  abc true");
}

#[test]
fn what_is_not_understood_is_an_error() {
    let check = |text: &str, message: &str| {
        let Err(problem) = SourcePolicy::parse(text) else { panic!("{text} is taken") };
        assert_eq!(problem.code, "bad-option");
        assert!(problem.message.contains(message), "{text}: {}", problem.message);
    };
    let rule = |body: &str| format!(r#"{{"rules": [{body}]}}"#);
    check("", "not such JSON");
    check("[]", "not such JSON");
    check(r#"{"rules": [], "extra": 1}"#, "unknown field `extra`");
    check(r#"{"version": 2}"#, "version 2");
    check(&rule(r#"{"action": "DENY"}"#), "missing field `selector`");
    check(
        &rule(r#"{"action": "FORBID", "selector": {"identifier": "*"}}"#),
        "rule 1: action `FORBID` is none of",
    );
    check(&rule(r#"{"action": 7, "selector": {"identifier": "*"}}"#), "action 7 is none of");
    check(&rule(r#"{"selector": {"identifier": ""}}"#), "no identifier");
    check(&rule(r#"{"selector": {"identifier": "a**"}}"#), "`**` is no wildcard");
    check(&rule(r#"{"selector": {"identifier": "(", "match_type": "REGEX"}}"#), "no regular expression");
    check(&rule(r#"{"selector": {"identifier": "*", "match_type": "GLOB"}}"#), "match type `GLOB`");
    check(
        &rule(r#"{"selector": {"identifier": "oci-layout://x"}}"#),
        "there are no sources `oci-layout://x`",
    );
    check(&rule(r#"{"action": "CONVERT", "selector": {"identifier": "*"}}"#), "without `updates`");
    check(&rule(r#"{"action": "DENY", "selector": {"identifier": "*"}, "updates": {}}"#), "only a CONVERT");
    let convert = |selector: &str, updates: &str| {
        rule(&format!(
            r#"{{"action": "CONVERT", "selector": {{"identifier": "{selector}"}}, "updates": {updates}}}"#
        ))
    };
    check(&convert("*", r#"{"attrs": {"image.resolvemode": "pull"}}"#), "`image.resolvemode` cannot be set");
    check(&convert("*", r#"{"identifier": "local://x"}"#), "cannot be made `local://x`");
    check(
        &convert("docker-image://*", r#"{"identifier": "git://x"}"#),
        "`docker-image://` cannot be made `git://`",
    );
    let constraint = r#"{"selector": {"identifier": "*", "constraints": [{"key": "image.recordtype"}]}}"#;
    check(&rule(constraint), "attribute `image.recordtype` is none of");
}
