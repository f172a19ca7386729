//! What a plugin is asked when somebody checks it: one question for each hook, small and complete.

use serde_json::{Value, json};

/// Arguments for a hook, as records have them. `keywords` are those of a plugin with instructions; a tree with the number
/// 0 is the sample tree.
pub(crate) fn arguments(hook: &str, keywords: &[String], options: &[(String, String)]) -> Vec<Value> {
    match hook {
        "instruction.validate" => {
            let lines = keywords
                .iter()
                .flat_map(|keyword| [statement(keyword, &[]), statement(keyword, &["sample"])]);
            vec![lines.collect()]
        }
        "instruction.apply" => {
            // Lines come together only where an instruction says that it does not mind; one each does for all.
            let statements: Value =
                keywords.first().map(|keyword| statement(keyword, &["sample"])).into_iter().collect();
            vec![json!({ "stage": stage(), "statements": statements, "options": pairs(options) })]
        }
        "derive.derive" => vec![json!("sample"), json!([{ "tree": 0 }])],
        "frontend.build"
        | "frontend-check.check"
        | "frontend-outline.list-targets"
        | "frontend-outline.describe-target"
        | "frontend-eject.eject" => vec![request(options)],
        "frontend-detect.detect" => vec![json!({ "tree": 0 })],
        "policy-source.check-source" => {
            let check = json!({
                "source": { "image": image() }, "platform": platform(), "spans": [span()], "round": 0,
                "found": { "pin": DIGEST, "image": image_info() },
            });
            vec![facts(options), check]
        }
        "policy-graph.check-graph" => vec![facts(options), graph(), json!([{ "op": 2, "slot": 0 }])],
        "policy-exec.check-exec" => vec![facts(options), graph(), json!([1])],
        "policy-layer.check-layer" => {
            let added = json!({
                "kind": "added", "file": file("etc/motd", "regular"),
                "content": format!("blake3:{}", "0".repeat(64)),
            });
            let removed = json!({ "kind": "removed", "file": file("tmp/x", "regular"), "content": null });
            vec![facts(options), layer(), json!([added, removed]), json!({ "tree": 0 })]
        }
        "policy-image.check-image" => vec![facts(options), image_facts(), json!({ "tree": 0 })],
        "policy-export.check-export" => {
            let export = json!({
                "kind": "registry", "destination": "registry.example", "names": ["registry.example/app:1"],
                "digests": [DIGEST], "images": [image_facts()], "options": [],
            });
            vec![facts(options), export]
        }
        "image-transform.transform" => {
            vec![facts(options), image_facts(), json!({ "tree": 0 }), json!([["build", { "tree": 0 }]])]
        }
        _ => Vec::new(),
    }
}

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn pairs(options: &[(String, String)]) -> Value {
    options.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

fn platform() -> Value {
    json!({ "os": "linux", "arch": "amd64", "variant": "", "os-version": "" })
}

fn span() -> Value {
    json!({ "file": "sample", "start": { "line": 1, "column": 1 }, "end": { "line": 1, "column": 7 } })
}

fn statement(keyword: &str, words: &[&str]) -> Value {
    let argument =
        |word: &&str| json!({ "key": "", "value": word, "original": word, "heredoc": null, "at": span() });
    let arguments: Vec<Value> = words.iter().map(argument).collect();
    let original: Vec<&str> = std::iter::once(keyword).chain(words.iter().copied()).collect();
    json!({
        "keyword": keyword, "json": false, "arguments": arguments, "flag-values": [], "heredocs": [],
        "original": original.join(" "), "at": span(),
    })
}

fn stage() -> Value {
    json!({
        "name": "", "index": 0, "platform": platform(), "build-platform": platform(), "base": "docker.io/library/sample",
        "user": "", "working-dir": "/", "shell": [], "config": config(), "environment": [], "args": [], "earlier": [],
        "has-base": true,
    })
}

fn config() -> Value {
    json!({
        "user": "1000", "working-dir": "/", "env": [{ "key": "PATH", "value": "/bin" }], "entrypoint": null,
        "cmd": ["/bin/sample"], "exposed-ports": [], "volumes": [],
        "labels": [{ "key": "org.opencontainers.image.title", "value": "sample" }], "stop-signal": "", "shell": [],
        "healthcheck": null, "on-build": [], "args-escaped": false, "author": "", "other-json": "",
    })
}

fn request(options: &[(String, String)]) -> Value {
    json!({
        "file": "sample", "target": "", "platforms": [platform()], "build-platform": platform(), "build-args": [],
        "labels": [], "options": pairs(options), "no-cache": [], "secret-ids": [], "ssh-ids": [],
    })
}

fn facts(options: &[(String, String)]) -> Value {
    json!({
        "frontend": "dockerfile", "frontend-digest": DIGEST, "target": "", "platforms": [platform()], "build-args": [],
        "allowed": [], "push-to": [], "today": 1_735_689_600, "options": pairs(options),
    })
}

fn image() -> Value {
    json!({ "reference": "docker.io/library/sample:1", "pinned": DIGEST })
}

fn image_info() -> Value {
    json!({
        "reference": format!("docker.io/library/sample:1@{DIGEST}"), "manifest": DIGEST, "index": null,
        "platform": platform(), "config": config(), "layers": 1, "compressed-size": 1000, "created": 1_700_000_000,
        "annotations": [],
    })
}

fn op(kind: Value, name: &str) -> Value {
    json!({
        "kind": kind, "platform": platform(), "name": name, "group": "", "no-cache": false, "spans": [span()],
    })
}

/// An image, a command on it, a file on top.
fn graph() -> Value {
    let root = json!({
        "target": "/", "readonly": false, "kind": { "bind": { "input": { "op": 0, "slot": 0 }, "selector": "" } },
    });
    let exec = json!({
        "args": ["/bin/sh", "-c", "true"], "env": [{ "key": "PATH", "value": "/bin" }], "secret-env": [], "cwd": "/",
        "user": "", "mounts": [root], "network": "", "security": "", "hostname": "", "host-aliases": [], "ulimits": [],
        "shm-size": 0, "devices": [], "ok-exit-codes": [],
    });
    let write =
        json!({ "make-file": { "path": "/etc/motd", "data": "sample\n", "mode": 420, "owner": null } });
    let file = json!({ "base": { "op": 1, "slot": 0 }, "actions": [write] });
    json!({ "ops": [
        op(json!({ "image": image() }), "FROM sample"),
        op(json!({ "exec": exec }), "RUN true"),
        op(json!({ "file": file }), "a file"),
    ] })
}

fn file(path: &str, kind: &str) -> Value {
    json!({ "path": path, "kind": kind, "size": 7, "mode": 420, "uid": 0, "gid": 0, "target": "" })
}

fn layer() -> Value {
    json!({
        "digest": DIGEST, "media-type": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 1000,
        "created-by": "a file", "from-base": false, "spans": [span()],
    })
}

fn image_facts() -> Value {
    json!({
        "platform": platform(), "config": config(), "annotations": [], "layers": [layer()],
        "history": [{ "created-by": "a file", "comment": "", "layer": 0 }], "base": image_info(), "total-size": 1000,
        "attestation-types": [],
    })
}
