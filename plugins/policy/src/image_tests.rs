use kiln_sdk::wit::policy_types::HistoryLine;
use kiln_sdk::wit::types::{Healthcheck, ImageConfig};

use super::*;
use crate::testing::{self, DAY, Table, build, codes, image_facts, image_info, layer, settings};

fn ask_with(options: &[(&str, &str)], image: &ImageFacts, root: &Table) -> Vec<Diagnostic> {
    let found = check(&settings(options), &build(), image, root);
    assert!(found.iter().all(|finding| !finding.help.is_empty()), "{found:?}");
    found
}

fn ask(options: &[(&str, &str)], config: ImageConfig) -> Vec<Diagnostic> {
    ask_with(
        options,
        &image_facts(config),
        &Table::of(&[("etc/passwd", "root:x:0:0::/:\napp:x:100:100::/:\n")]),
    )
}

fn config(change: impl FnOnce(&mut ImageConfig)) -> ImageConfig {
    let mut config = ImageConfig::default();
    change(&mut config);
    config
}

#[test]
fn nobody_runs_as_root() {
    let as_user = |user: &str| config(|config| config.user = user.into());
    let on = [("require-user", "true")];
    for root in ["", "root", "0", "0:0", "root:app"] {
        assert_eq!(codes(&ask(&on, as_user(root))), ["root-user"], "{root}");
    }
    for other in ["app", "100", "65532:65532", "unknown"] {
        assert_eq!(codes(&ask(&on, as_user(other))), [""; 0], "{other}");
    }
    let numeric = [("require-numeric-user", "true")];
    let found = ask(&numeric, as_user("app"));
    assert_eq!(codes(&found), ["user-not-numeric"]);
    assert_eq!(found[0].help, "write `USER 100`");
    assert_eq!(codes(&ask(&numeric, as_user("root"))), ["root-user"]);
    assert_eq!(codes(&ask(&numeric, as_user("100"))), [""; 0]);
    assert_eq!(codes(&ask(&[], as_user(""))), [""; 0]);
}

#[test]
fn labels_and_annotations_are_there_and_say_what_they_should() {
    let on = [
        ("require-labels", "org.example.owner"),
        ("require-labels", "org.example.source=https://git.example.com/**"),
    ];
    let labelled = |owner: &str, source: &str| {
        config(|config| {
            config.labels = testing::pairs(&[("org.example.owner", owner), ("org.example.source", source)]);
        })
    };
    assert_eq!(codes(&ask(&on, labelled("me", "https://git.example.com/a/b"))), [""; 0]);
    assert_eq!(
        codes(&ask(&on, labelled(" ", "https://github.com/a/b"))),
        ["label-missing", "label-mismatch"]
    );
    assert_eq!(codes(&ask(&on, ImageConfig::default())), ["label-missing", "label-missing"]);
    let on = [("require-annotations", "a=b")];
    let mut image = image_facts(ImageConfig::default());
    assert_eq!(codes(&ask_with(&on, &image, &Table::default())), ["annotation-missing"]);
    image.annotations = testing::pairs(&[("a", "c")]);
    assert_eq!(codes(&ask_with(&on, &image, &Table::default())), ["annotation-mismatch"]);
    let on = [("require-attestations", "https://spdx.dev/Document")];
    assert_eq!(codes(&ask_with(&on, &image, &Table::default())), ["attestation-missing"]);
    image.attestation_types = vec!["https://spdx.dev/Document".into()];
    assert_eq!(codes(&ask_with(&on, &image, &Table::default())), [""; 0]);
}

#[test]
fn ports_are_those_that_may_be() {
    let exposing = |ports: &[&str]| {
        config(|config| config.exposed_ports = ports.iter().map(|&port| port.to_owned()).collect())
    };
    let deny = [("deny-ports", "22"), ("deny-ports", "1-1023/udp")];
    assert_eq!(
        codes(&ask(&deny, exposing(&["22/tcp", "53/udp", "80/tcp", "53/tcp"]))),
        ["port-denied", "port-denied"]
    );
    let allow = [("allow-ports", "8080"), ("allow-ports", "9000-9100/tcp")];
    assert_eq!(codes(&ask(&allow, exposing(&["8080/tcp", "9005/tcp"]))), [""; 0]);
    assert_eq!(
        codes(&ask(&allow, exposing(&["9005/udp", "9000-9200/tcp"]))),
        ["port-not-allowed", "port-not-allowed"]
    );
    assert_eq!(codes(&ask(&[], exposing(&["22/tcp"]))), [""; 0]);
}

#[test]
fn an_image_is_as_large_as_it_may_be() {
    let mut image = image_facts(ImageConfig::default());
    image.total_size = 300_000_000;
    image.layers = vec![layer("RUN make", 250_000_000, false), layer("COPY . .", 50_000_000, false)];
    let found = ask_with(&[("max-size", "200MB"), ("max-layers", "1")], &image, &Table::default());
    assert_eq!(codes(&found), ["image-too-large", "too-many-layers"]);
    assert_eq!(found[0].message, "the image has 300 MB, and 200 MB are allowed");
    assert_eq!(found[0].help, "the largest layer has 250 MB: `RUN make`");
    assert_eq!(
        codes(&ask_with(&[("max-size", "300MB"), ("max-layers", "2")], &image, &Table::default())),
        [""; 0]
    );
}

#[test]
fn a_base_is_one_that_may_be_and_not_too_old() {
    let today = build().today;
    let mut image = image_facts(ImageConfig::default());
    image.base = Some(image_info("docker.io/library/alpine:3@sha256:1", Some(today - 100 * DAY)));
    assert_eq!(
        codes(&ask_with(&[("allow-bases", "alpine"), ("max-base-age", "1y")], &image, &Table::default())),
        [""; 0]
    );
    assert_eq!(codes(&ask_with(&[("max-base-age", "90d")], &image, &Table::default())), ["base-too-old"]);
    assert_eq!(codes(&ask_with(&[("deny-bases", "alpine:3")], &image, &Table::default())), ["base-denied"]);
    image.base = None;
    assert_eq!(
        codes(&ask_with(&[("allow-bases", "alpine")], &image, &Table::default())),
        ["base-not-allowed"]
    );
    assert_eq!(codes(&ask_with(&[("allow-bases", "scratch")], &image, &Table::default())), [""; 0]);
    assert_eq!(codes(&ask_with(&[("max-base-age", "90d")], &image, &Table::default())), [""; 0]);
}

#[test]
fn packages_are_compared_with_the_list() {
    let root = Table::of(&[(
        "var/lib/dpkg/status",
        "Package: telnet\nStatus: install ok installed\nVersion: 0.17\n",
    )]);
    let image = image_facts(ImageConfig::default());
    let found = ask_with(&[("deny-packages", "telnet*")], &image, &root);
    assert_eq!(codes(&found), ["package-denied"]);
    assert_eq!(found[0].message, "the image has the package `telnet` 0.17, which is denied by `telnet*`");
    assert_eq!(codes(&ask_with(&[("deny-packages", "netcat")], &image, &root)), [""; 0]);
    let rpm = Table::of(&[("var/lib/rpm/rpmdb.sqlite", "x")]);
    assert_eq!(codes(&ask_with(&[("deny-packages", "netcat")], &image, &rpm)), ["packages-unreadable"]);
    assert_eq!(codes(&ask_with(&[], &image, &rpm)), [""; 0]);
}

#[test]
fn configuration_and_history_hold_no_secrets() {
    let token = format!("ghp_{}", "aB3dE5gH7jK9".repeat(3));
    let on = [("no-secrets", "true")];
    let found = ask(
        &on,
        config(|config| config.env = testing::pairs(&[("PATH", "/bin"), ("DB_PASSWORD", "hunter2")])),
    );
    assert_eq!(codes(&found), ["secret-in-env"]);
    assert!(!found[0].message.contains("hunter2"));
    let told = config(|config| {
        config.cmd = Some(vec!["run".into(), format!("--token={token}")]);
        config.labels = testing::pairs(&[("x", &token)]);
    });
    assert_eq!(codes(&ask(&on, told)), ["secret-in-history", "secret-in-history"]);
    let mut image = image_facts(ImageConfig::default());
    let line = |text: &str| HistoryLine { created_by: text.into(), comment: String::new(), layer: None };
    image.history = vec![
        line("RUN |2 VERSION=1 NPM_TOKEN=abc /bin/sh -c npm ci # buildkit"),
        line("RUN |1 VERSION=1 /bin/sh -c a | b NPM_TOKEN=c"),
        line(&format!("RUN /bin/sh -c curl -H {token} x")),
    ];
    let found = ask_with(&on, &image, &Table::default());
    assert_eq!(codes(&found), ["secret-in-history", "secret-in-history"]);
    assert!(found[0].message.contains("`NPM_TOKEN`") && !found[1].message.contains("ghp_"), "{found:?}");
}

#[test]
fn a_health_check_is_there() {
    let with = |test: &[&str]| {
        let test = test.iter().map(|&word| word.to_owned()).collect();
        config(|config| config.healthcheck = Some(Healthcheck { test, ..Healthcheck::default() }))
    };
    let on = [("require-healthcheck", "true")];
    assert_eq!(codes(&ask(&on, with(&["CMD", "true"]))), [""; 0]);
    assert_eq!(codes(&ask(&on, with(&["NONE"]))), ["healthcheck-missing"]);
    assert_eq!(codes(&ask(&on, ImageConfig::default())), ["healthcheck-missing"]);
}
