//! A plan for people and for programs.

use kiln_core::{ImageConfig, Target};
use kiln_driver::{Proposal, ProposedStep};
use serde_json::{Map, Value, json};

use crate::progress::diagnostic_json;
use crate::report::harmless;

/// Width of the names on the left.
const NAMES: usize = 12;

pub fn text(proposal: &Proposal) -> String {
    let mut text = String::new();
    let frontend = &proposal.frontend;
    let origin = frontend.source.as_ref().map_or_else(
        || "ships with kiln".to_owned(),
        |(origin, source)| format!("{source}, named by {origin}"),
    );
    row(&mut text, "frontend", &format!("{} {} ({origin})", frontend.name, frontend.version));
    row(&mut text, "because", &proposal.reason);
    if !proposal.reasons.is_empty() {
        text.push_str("\nwhy\n");
        for reason in &proposal.reasons {
            let place = reason.primary.as_ref().map(|at| format!(" ({}:{})", at.file, at.start.line));
            text.push_str(&format!("  {}{}\n", reason.message, place.unwrap_or_default()));
            for line in reason.help.lines() {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    let named: Vec<&ProposedStep> = proposal.steps.iter().filter(|step| !step.name.is_empty()).collect();
    text.push_str("\nsteps\n");
    for (number, step) in (1..).zip(&named) {
        text.push_str(&format!("{number:>4}  {}\n", step.name));
    }
    if named.is_empty() {
        text.push_str("  none\n");
    }
    for target in &proposal.targets {
        text.push_str(&format!("\nimage {}\n", target.platform));
        image(&mut text, target);
        if let Some(epoch) = proposal.epoch {
            row(&mut text, "  time", &format!("{epoch} seconds since 1970 on everything that is made"));
        }
    }
    harmless(&text)
}

fn row(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{name:<NAMES$} {value}\n"));
}

fn image(text: &mut String, target: &Target) {
    let ImageConfig {
        user,
        working_dir,
        env,
        entrypoint,
        cmd,
        exposed_ports,
        volumes,
        labels,
        stop_signal,
        ..
    } = &target.config;
    let mut put = |name: &str, value: &str| row(text, &format!("  {name}"), value);
    put("base", if target.base_name.is_empty() { "scratch" } else { &target.base_name });
    put("user", if user.is_empty() { "root" } else { user });
    put("workdir", if working_dir.is_empty() { "/" } else { working_dir });
    for (name, words) in [("entrypoint", entrypoint), ("cmd", cmd)] {
        if let Some(words) = words {
            put(name, &json!(words).to_string());
        }
    }
    for (name, value) in env {
        put("env", &format!("{name}={value}"));
    }
    for (name, list) in [("ports", exposed_ports), ("volumes", volumes)] {
        if !list.is_empty() {
            put(name, &list.join(" "));
        }
    }
    for (name, value) in labels {
        put("label", &format!("{name}={value}"));
    }
    if !stop_signal.is_empty() {
        put("stopsignal", stop_signal);
    }
}

pub fn json(proposal: &Proposal) -> String {
    let frontend = &proposal.frontend;
    let steps = proposal.steps.iter().map(|step| {
        json!({
            "name": step.name,
            "group": step.group,
            "platform": step.platform.to_string(),
            "kind": step.kind,
        })
    });
    let value = json!({
        "frontend": {
            "name": frontend.name,
            "version": frontend.version,
            "digest": frontend.digest.to_string(),
            "builtin": frontend.source.is_none(),
            "reason": proposal.reason,
        },
        "reasons": proposal.reasons.iter().map(diagnostic_json).collect::<Vec<_>>(),
        "findings": proposal.findings.iter().map(diagnostic_json).collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
        "images": proposal.targets.iter().map(image_json).collect::<Vec<_>>(),
        "epoch": proposal.epoch,
    });
    format!("{value:#}\n")
}

fn image_json(target: &Target) -> Value {
    let config = &target.config;
    let pairs = |list: &[(String, String)]| -> Map<String, Value> {
        list.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
    };
    json!({
        "platform": target.platform.to_string(),
        "base": target.base_name,
        "base-digest": target.base_digest,
        "user": config.user,
        "working-dir": config.working_dir,
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "env": pairs(&config.env),
        "ports": config.exposed_ports,
        "volumes": config.volumes,
        "labels": pairs(&config.labels),
        "stop-signal": config.stop_signal,
    })
}
