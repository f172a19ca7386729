//! RUN: a command whose changes become a layer (§11), its here-documents (§6.8), and its place in the history.

use std::collections::BTreeMap;

use kiln_sdk::GraphBuilder;
use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{BindMount, Device, ExecOp, Mount, MountKind};
use kiln_sdk::wit::instruction_types::{FlagValue, Heredoc, HeredocForm, Outcome, Stage, Statement};
use kiln_sdk::wit::types::Pair;

use crate::findings::Findings;
use crate::git::boolean;
use crate::history::entry;
use crate::keyword::{COMMAND, Flag, Keyword};
use crate::mount::Mounts;
use crate::mount_fields;
use crate::path::absolute;
use crate::shell_form::{elements, text, warn_of_json, warn_of_no_shell, with_shell};
use crate::statement::{flag, flags};
use crate::transfer::judge_name;

pub(crate) static RUN: Keyword = Keyword {
    name: "RUN",
    summary: "runs a command and keeps what it changes",
    usage: "RUN [--mount=FIELDS]… [--network=default|none|host] [--security=sandbox|insecure] [--device=NAME]… COMMAND",
    form: COMMAND,
    heredocs: HeredocForm::Verbatim,
    flags: &[
        Flag::fields("device"),
        Flag::fields("mount").expanded(),
        Flag::text("network"),
        Flag::text("security"),
    ],
    traits: &["environment"],
    validate,
    apply,
};

/// Where scripts of here-documents are mounted.
const PIPES: &str = "/dev/pipes";

fn validate(statement: &Statement, findings: &mut Findings) {
    for flag in flags(statement, "mount") {
        mount_fields::validate(flag, findings);
    }
    network(statement, findings);
    security(statement, findings);
    for flag in flags(statement, "device") {
        device(flag, findings);
    }
}

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
    let mut mounts = Mounts::default();
    for flag in flags(statement, "mount") {
        mounts.add(flag, &stage.working_dir, &mut graph, findings);
    }
    let network = network(statement, findings);
    let security = security(statement, findings);
    let devices = flags(statement, "device").filter_map(|flag| device(flag, findings)).collect();
    let args = command(statement, stage, &mut graph, &mut mounts, findings)?;
    if !stage.has_base && mounts.mounts.is_empty() && !statement.json {
        warn_of_no_shell(statement, stage, "RUN", findings);
    }

    let created_by = format!("RUN {}{} # buildkit", declared(stage), args.join(" "));
    let mut env = stage.environment.clone();
    if let Some(socket) = mounts.ssh_socket
        && !env.iter().any(|known| known.key == "SSH_AUTH_SOCK")
    {
        env.push(Pair { key: "SSH_AUTH_SOCK".into(), value: socket });
    }
    let base = if stage.has_base { graph.base() } else { graph.scratch() };
    let root = graph.exec(
        base,
        ExecOp {
            args,
            env,
            secret_env: mounts.secret_env,
            cwd: absolute("/", &stage.working_dir),
            user: stage.user.clone(),
            mounts: mounts.mounts,
            network: network.into(),
            security: security.into(),
            devices,
            ..ExecOp::default()
        },
    );
    Some(Outcome {
        fragment: graph.finish(),
        root: Some(root),
        history: vec![entry(created_by, Some(root.op))],
        ..Outcome::default()
    })
}

/// What is run; a script of its own is mounted. None together with an error.
fn command(
    statement: &Statement,
    stage: &Stage,
    graph: &mut GraphBuilder,
    mounts: &mut Mounts,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    if statement.json {
        let argv = elements(statement);
        if argv.is_empty() {
            let error = Diagnostic::error("empty-command", "RUN with an empty list has nothing to run");
            findings.push(error.at(&statement.at));
            return None;
        }
        return Some(argv);
    }
    let line = text(statement);
    let line = match statement.heredocs.as_slice() {
        [] => {
            warn_of_json(statement, line, "RUN", findings);
            line.to_owned()
        }
        [only] if is_alone(statement, only) => {
            let script = stripped(only);
            // As written: with a tab before it, it is a comment to the shell (§6.8).
            if only.content.starts_with("#!") && stage.platform.os != "windows" {
                if !judge_name(only, &statement.at, findings) {
                    return None;
                }
                let file = graph.make_file(None, format!("/{}", only.name), script.into_bytes(), 0o755);
                graph.rename(file, format!("script {}", only.name));
                let bind = BindMount { input: Some(file), selector: String::new() };
                mounts.mounts.push(Mount {
                    target: PIPES.into(),
                    readonly: true,
                    kind: MountKind::Bind(bind),
                });
                format!("{PIPES}/{}", only.name)
            } else {
                script
            }
        }
        several => {
            // The shell does the rest: expansion, tabs, file descriptors.
            let bodies = several.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
            std::iter::once(line.to_owned()).chain(bodies).collect()
        }
    };
    Some(with_shell(stage, &line))
}

/// Whether the here-document is the whole command.
fn is_alone(statement: &Statement, heredoc: &Heredoc) -> bool {
    matches!(statement.arguments.as_slice(), [line] if line.heredoc.is_some() || line.value.trim() == heredoc.operator.trim())
}

fn stripped(heredoc: &Heredoc) -> String {
    match heredoc.strip_tabs {
        false => heredoc.content.clone(),
        true => heredoc.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect(),
    }
}

/// `|2 a=1 b= ` for the arguments declared so far (§17.4).
fn declared(stage: &Stage) -> String {
    if stage.args.is_empty() {
        return String::new();
    }
    let values: BTreeMap<&str, &str> =
        stage.environment.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
    let mut text = format!("|{} ", stage.args.len());
    for name in &stage.args {
        let value = values.get(name.as_str()).copied().unwrap_or_default();
        text.extend([name, "=", value, " "]);
    }
    text
}

/// Empty for the network of the request, which `default` means as well (§11.6).
fn network(statement: &Statement, findings: &mut Findings) -> &'static str {
    match word(statement, "network", "invalid-network", &["default", "none", "host"], findings) {
        Some("none") => "none",
        Some("host") => "host",
        _ => "",
    }
}

/// Empty for the sandbox (§11.7).
fn security(statement: &Statement, findings: &mut Findings) -> &'static str {
    match word(statement, "security", "invalid-security", &["sandbox", "insecure"], findings) {
        Some("insecure") => "insecure",
        _ => "",
    }
}

fn word<'a>(
    statement: &'a Statement,
    name: &str,
    code: &str,
    known: &[&'static str],
    findings: &mut Findings,
) -> Option<&'a str> {
    let value = flag(statement, name)?;
    let text = value.value.as_str();
    if known.contains(&text) {
        return Some(text);
    }
    let message = format!("no `--{name}={text}`; there are {}", known.join(", "));
    let error = Diagnostic::error(code, message).at(&value.at);
    findings.push(match nearest(text, known.iter().copied()) {
        Some(near) => error.help(format!("write `--{name}={near}`")),
        None => error,
    });
    None
}

/// `name[,required]`, or `name=…,required=…` (§11.8).
fn device(flag: &FlagValue, findings: &mut Findings) -> Option<Device> {
    let mut device = Device { name: String::new(), required: false };
    for field in &flag.values {
        let written = unquoted(&field.original);
        let (key, value) = written.split_once('=').map_or((written, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_lowercase().as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) if boolean(value).is_some() => {
                device.required = boolean(value) == Some(true)
            }
            ("name", Some(value)) => device.name = value.into(),
            // `vendor/class=device` is a name with an `=` of its own.
            (_, _) if device.name.is_empty() && key != "required" => device.name = written.into(),
            _ => {
                let message = format!("`{written}` is no option of a device");
                let help = "write `--device=vendor/class=name,required`";
                findings.push(Diagnostic::error("invalid-device", message).at(&field.at).help(help));
                return None;
            }
        }
    }
    if device.name.is_empty() {
        let error = Diagnostic::error("invalid-device", "`--device` names no device").at(&flag.at);
        findings.push(error.help("write `--device=vendor/class=name`"));
        return None;
    }
    Some(device)
}

/// A field without the quotes around it.
fn unquoted(field: &str) -> &str {
    field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(field)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
