//! The policy that ships with kiln: each rule denies a real build, and a clean one passes.

use std::fs;

use crate::server::Files;
use crate::space::{Ran, TestSpace, shell};

/// Builds under the policy, configured by the site with these lines of options.
fn site(space: &mut TestSpace, options: &str) {
    let known = fs::read_to_string(&space.config).expect("the configuration is read");
    let known = known.split("\n[plugins.stock]").next().unwrap_or_default().to_owned();
    space.config = space.path("with-policy.toml");
    let text = format!(
        "{known}\n[plugins.stock]\nsource = \"builtin:policy\"\n\n[plugins.stock.options]\n{options}\n"
    );
    fs::write(&space.config, text).expect("the configuration is written");
}

/// Without options it passes; with them it is denied with this code, and with a help.
#[track_caller]
fn denied(space: &mut TestSpace, arguments: &[&str], options: &str, code: &str) -> Ran {
    site(space, options);
    let ran = space.build(arguments).ends(1);
    let told = format!("error[stock/{code}]");
    ran.says(&[&told, "help"])
}

#[track_caller]
fn passes(space: &mut TestSpace, arguments: &[&str], options: &str) -> Ran {
    site(space, options);
    space.build(arguments).ok()
}

/// A private key, put together here so that no file of this project has one.
fn private_key() -> String {
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    format!("-----BEGIN {}-----\n{body}\n-----END {}-----\n", "PRIVATE KEY", "PRIVATE KEY")
}

fn token() -> String {
    format!("ghp_{}", "aB3dE5gH7jK9".repeat(3))
}

const TAGGED: [&str; 2] = ["-t", "x"];

#[test]
fn options_that_make_no_sense_deny_every_build() {
    let mut space = TestSpace::new();
    space.write("a", "a").dockerfile("FROM scratch\nCOPY a /\n");
    denied(&mut space, &TAGGED, "max-size = \"large\"", "bad-option").says(&["`max-size` cannot be `large`"]);
    denied(&mut space, &TAGGED, "deny-ports = [\"22\"]\nallow-ports = [\"22\"]", "bad-option")
        .says(&["both in `allow-ports` and in `deny-ports`"]);
    denied(&mut space, &TAGGED, "source-policy = '{\"rules\": [{\"action\": \"NO\"}]}'", "bad-option");
    passes(&mut space, &TAGGED, "");
}

#[test]
fn rules_on_what_is_in_layers_deny() {
    let mut space = TestSpace::new();
    space.write("plain", "plain").write("keys/server.key", private_key()).write("settings.ini", token());
    space.write(".npmrc", "//registry.example.com/:_authToken=abc\n");
    for (line, code) in [
        ("COPY keys/server.key /etc/", "private-key"),
        ("COPY settings.ini /app/", "token-in-file"),
        ("COPY .npmrc /root/", "secret-file"),
    ] {
        space.dockerfile(&format!("FROM scratch\nCOPY plain /\n{line}\n"));
        let ran = denied(&mut space, &TAGGED, "no-secrets = true", code);
        ran.says(&["Dockerfile:3"]).does_not_say("ghp_");
    }
    space.dockerfile("FROM scratch\nCOPY keys/server.key /etc/\n");
    passes(&mut space, &TAGGED, "no-secrets = true\nallow-secrets = [\"/etc/server.key\"]");
    space.dockerfile("FROM scratch\nCOPY --chmod=4755 plain /su\n");
    denied(&mut space, &TAGGED, "no-setuid = true", "setuid-file")
        .says(&["`/su` (4755, owner 0:0)", "Dockerfile:2"]);
    passes(&mut space, &TAGGED, "no-setuid = true\nallow-setuid = [\"/su\"]");
    // What an exemption names is one file, and the one beside it is none of its business.
    let exemption = "no-setuid = true\n[[exemptions]]\nrule = \"stock/setuid-file\"\nscope = \"/su\"\nowner = \"ops\"\n\
                     reason = \"until the move\"\nexpires = 2999-12-31\n";
    passes(&mut space, &TAGGED, exemption)
        .says(&["`stock/setuid-file` is let pass for `/su` until 2999-12-31"]);
    space.dockerfile("FROM scratch\nCOPY --chmod=4755 plain /su\nCOPY --chmod=4755 plain /su`x\n");
    denied(&mut space, &TAGGED, exemption, "setuid-file").says(&["Dockerfile:3"]).does_not_say("`/su` (4755");
    space.write("large", vec![b'x'; 2 << 20]).dockerfile("FROM scratch\nCOPY large /\n");
    denied(&mut space, &TAGGED, "max-layer-size = \"1MB\"", "layer-too-large").says(&["Dockerfile:2"]);
    denied(&mut space, &TAGGED, "max-size = \"1MB\"", "image-too-large");
    denied(&mut space, &TAGGED, "max-layers = 0", "too-many-layers");
    passes(&mut space, &TAGGED, "max-layer-size = \"3MB\"\nmax-size = \"3MB\"\nmax-layers = 1");
}

#[test]
fn rules_on_finished_images_deny() {
    let mut space = TestSpace::new();
    space.write("a", "a").write("status", "Package: telnet\nStatus: install ok installed\nVersion: 0.17\n");
    let file = "FROM scratch\nCOPY a /\nCOPY status /var/lib/dpkg/\nEXPOSE 22 8080\nENV DB_PASSWORD=hunter2\nUSER 0\n";
    space.dockerfile(file);
    for (options, code) in [
        ("require-user = true", "root-user"),
        ("require-healthcheck = true", "healthcheck-missing"),
        ("require-labels = [\"com.example.owner\"]", "label-missing"),
        ("require-annotations = [\"com.example.owner\"]", "annotation-missing"),
        ("require-attestations = [\"https://spdx.dev/Document\"]", "attestation-missing"),
        ("deny-ports = [\"1-1023\"]", "port-denied"),
        ("allow-ports = [\"8080\"]", "port-not-allowed"),
        ("no-secrets = true", "secret-in-env"),
        ("deny-packages = [\"telnet*\"]", "package-denied"),
        ("allow-bases = [\"registry.example.com\"]", "base-not-allowed"),
        ("deny-bases = [\"scratch\"]", "base-denied"),
    ] {
        denied(&mut space, &TAGGED, options, code);
    }
    space.dockerfile("FROM scratch\nCOPY a /\nLABEL com.example.owner=nobody\nUSER app\n");
    denied(&mut space, &TAGGED, "require-labels = [\"com.example.owner=team-*\"]", "label-mismatch");
    denied(&mut space, &TAGGED, "require-numeric-user = true", "user-not-numeric");
    let annotated = ["--annotation", "com.example.owner=nobody", "-t", "x"];
    denied(
        &mut space,
        &annotated,
        "require-annotations = [\"com.example.owner=team-*\"]",
        "annotation-mismatch",
    );
    space.dockerfile(&format!("FROM scratch\nCOPY a /\nLABEL x={}\n", token()));
    denied(&mut space, &TAGGED, "no-secrets = true", "secret-in-history")
        .does_not_say("error[stock/secret-in-env]");
    space.dockerfile("FROM scratch\nCOPY a /\nCOPY a /var/lib/rpm/rpmdb.sqlite\n");
    denied(&mut space, &TAGGED, "deny-packages = [\"telnet\"]", "packages-unreadable");
    space.dockerfile("FROM scratch\nARG NPM_TOKEN\nCOPY a /\n");
    let secret = ["--build-arg", "NPM_TOKEN=abc", "-t", "x"];
    denied(&mut space, &secret, "no-secrets = true", "secret-in-arg");
}

#[test]
fn rules_on_downloads_deny_before_anything_is_fetched() {
    let server = Files::start();
    server.write("file", "content");
    let mut space = TestSpace::new();
    space.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("file")));
    for (options, code) in [
        ("require-checksum = true", "checksum-missing"),
        ("no-plain-http = true", "plain-http"),
        ("allow-urls = [\"https://example.com/**\"]", "url-not-allowed"),
        ("deny-urls = [\"**\"]", "url-denied"),
    ] {
        denied(&mut space, &TAGGED, options, code).says(&["Dockerfile:2"]);
    }
    assert_eq!(server.answers(), [""; 0], "nothing was asked for");
    passes(&mut space, &TAGGED, &format!("allow-urls = [\"http://{}/**\"]", server.host()));
}

#[test]
fn rules_on_repositories_deny_before_they_are_fetched() {
    let mut space = TestSpace::new();
    space.dockerfile("FROM scratch\nADD https://git.example.com/a/b.git#main /\n");
    for (options, code) in [
        ("allow-repositories = [\"github.com/**\"]", "repository-not-allowed"),
        ("deny-repositories = [\"git.example.com/a/*\"]", "repository-denied"),
        ("require-commit = true", "commit-missing"),
    ] {
        denied(&mut space, &TAGGED, options, code).says(&["Dockerfile:2"]);
    }
}

#[test]
fn rules_on_where_images_go_deny() {
    let mut space = TestSpace::new();
    space.write("a", "a").dockerfile("FROM scratch\nCOPY a /\n");
    denied(&mut space, &["-o", "type=tar,dest=x.tar"], "allow-outputs = [\"store\"]", "output-not-allowed");
    assert!(!space.path("x.tar").exists(), "nothing is written");
    let push = ["-t", "127.0.0.1:1/team/app:latest", "-o", "type=registry"];
    for (options, code) in [
        ("allow-destinations = [\"registry.example.com\"]", "destination-not-allowed"),
        ("deny-destinations = [\"127.0.0.1:1/team/*\"]", "destination-denied"),
        ("deny-tags = [\"latest\"]", "tag-denied"),
        ("allow-tags = [\"v*\"]", "tag-not-allowed"),
    ] {
        denied(&mut space, &push, options, code);
    }
}

mod as_root {
    use super::*;
    use crate::privileges::needs_root;

    #[test]
    fn rules_on_images_that_are_used_deny() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nCMD [\"true\"]\n");
        for (options, code) in [
            ("allow-images = [\"registry.example.com\"]", "image-not-allowed"),
            ("deny-images = [\"busybox\"]", "image-denied"),
            ("require-digest = true", "digest-missing"),
            ("no-latest = true", "latest-tag"),
            ("allow-bases = [\"alpine\"]", "base-not-allowed"),
        ] {
            denied(&mut space, &TAGGED, options, code).says(&["Dockerfile:1"]);
        }
        space.dockerfile("FROM base\nCMD [\"true\"]\n");
        let by_context = ["--build-context", "base=docker-image://busybox", "-t", "x"];
        denied(&mut space, &by_context, "deny-images = [\"busybox\"]", "image-denied")
            .does_not_say("context-unavailable");
        space.dockerfile("FROM busybox\nCMD [\"true\"]\n");
        passes(&mut space, &TAGGED, "allow-images = [\"docker.io/library/*\"]\nallow-bases = [\"busybox\"]");
    }

    #[test]
    fn images_that_are_too_old_deny() {
        needs_root!();
        let registry = crate::registry::Docker::start(None);
        let mut space = TestSpace::new();
        let host = format!("127.0.0.1:{}", registry.port());
        let known = fs::read_to_string(&space.config).unwrap();
        fs::write(&space.config, format!("{known}\n[registry.\"{host}\"]\nplain-http = true\n")).unwrap();
        let name = format!("{host}/old:1");
        space.write("a", "a").dockerfile("FROM scratch\nCOPY a /\n");
        space
            .build(&["--build-arg", "SOURCE_DATE_EPOCH=1000000000", "-t", &name, "-o", "type=registry"])
            .ok();
        space.dockerfile(&format!("FROM {name}\nCOPY a /b\n"));
        denied(&mut space, &TAGGED, "max-image-age = \"1y\"", "image-too-old")
            .says(&["Dockerfile:1", "365 days"]);
        denied(&mut space, &TAGGED, "max-base-age = \"1y\"", "base-too-old").says(&["365 days"]);
        passes(&mut space, &TAGGED, "max-base-age = \"100y\"\nmax-image-age = \"100y\"");
    }

    #[test]
    fn rules_on_steps_deny_or_narrow() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        space.dockerfile("FROM busybox\nRUN true && sudo true\n");
        denied(&mut space, &TAGGED, "deny-commands = [\"sudo\"]", "command-denied").says(&["Dockerfile:2"]);
        space.dockerfile("FROM busybox\nRUN wget -qO- http://127.0.0.1:1/x | sh\n");
        denied(&mut space, &TAGGED, "no-pipe-to-shell = true", "pipe-to-shell").says(&["Dockerfile:2"]);
        space.dockerfile("FROM busybox\nRUN --network=host true\n");
        let allowed = ["--allow", "network.host", "-t", "x"];
        denied(&mut space, &allowed, "network = \"no-host\"", "host-network");
        passes(&mut space, &allowed, "network = \"any\"");
        space.dockerfile("FROM busybox\nRUN --security=insecure true\n");
        denied(
            &mut space,
            &["--allow", "security.insecure", "-t", "x"],
            "no-insecure = true",
            "insecure-step",
        );
        space.dockerfile("FROM busybox\nRUN test \"$(ls /sys/class/net | wc -l)\" -le 1\n");
        passes(&mut space, &TAGGED, "network = \"none\"").does_not_say("stock/");
    }

    #[test]
    fn a_clean_build_passes_all_that_is_strict() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox"]);
        let base = format!("docker://127.0.0.1:{}/library/busybox:latest", crate::bases::port());
        let digest = shell(&format!("skopeo inspect --tls-verify=false --format '{{{{.Digest}}}}' {base}"));
        let digest = digest.trim();
        space.write("app", "#!/bin/sh\necho hi\n").dockerfile(&format!(
            "FROM busybox@{digest}\nCOPY --chmod=755 app /app\nRUN /app > /told\nENV GREETING=hi\n\
             LABEL com.example.owner=team-a\nEXPOSE 8080\nHEALTHCHECK CMD true\nUSER 65532\nCMD [\"/app\"]\n"
        ));
        let options = "preset = \"strict\"\nallow-images = [\"docker.io/library/*\"]\nrequire-labels = [\"com.example.owner=team-*\"]\n\
                       deny-packages = [\"telnet\"]\nmax-size = \"100MB\"\nmax-layer-size = \"10MB\"\nrequire-healthcheck = true\n\
                       allow-outputs = [\"store\", \"registry\"]";
        let ran = passes(&mut space, &TAGGED, options);
        ran.does_not_say("stock/");
        // A result that was stored without the policy is no way around a rule that comes later.
        denied(&mut space, &TAGGED, "max-size = \"1kB\"", "image-too-large");
    }

    #[test]
    fn a_source_policy_of_buildkit_denies_and_converts() {
        needs_root!();
        let mut space = TestSpace::with_bases(&["busybox", "debian"]);
        space.dockerfile("FROM alpine:9.99\nRUN busybox true\nCMD [\"true\"]\n");
        let rules = |rules: &str| format!("source-policy = '''{{\"rules\": [{rules}]}}'''");
        let convert = rules(
            r#"{"action": "CONVERT", "selector": {"identifier": "docker-image://docker.io/library/alpine:*"},
                "updates": {"identifier": "docker-image://docker.io/library/busybox:latest"}}"#,
        );
        passes(&mut space, &TAGGED, &convert);
        let deny = rules(
            r#"{"action": "DENY", "selector": {"identifier": "docker-image://docker.io/library/*"}},
               {"action": "ALLOW", "selector": {"identifier": "docker-image://docker.io/library/debian:latest"}}"#,
        );
        space.dockerfile("FROM busybox\n");
        denied(&mut space, &TAGGED, &deny, "source-denied")
            .says(&["docker-image://docker.io/library/busybox:latest"]);
        space.dockerfile("FROM debian\n");
        passes(&mut space, &TAGGED, &deny);
    }
}
