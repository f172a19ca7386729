//! Commands as a list or as a line for the shell (§11.1, §14.1), and what goes wrong with the latter.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{Stage, Statement};

use crate::findings::{Findings, check};
use crate::json;

/// The text of a line in shell form; empty when there is none.
pub(crate) fn text(statement: &Statement) -> &str {
    statement.arguments.first().map_or("", |text| text.value.as_str())
}

/// The elements of a line in JSON form.
pub(crate) fn elements(statement: &Statement) -> Vec<String> {
    statement.arguments.iter().map(|element| element.value.clone()).collect()
}

/// The list as it stands, or the shell with the line.
pub(crate) fn argv(statement: &Statement, stage: &Stage) -> Vec<String> {
    match statement.json {
        true => elements(statement),
        false => with_shell(stage, text(statement)),
    }
}

pub(crate) fn with_shell(stage: &Stage, text: &str) -> Vec<String> {
    let mut argv = match (stage.shell.is_empty(), stage.platform.os.as_str()) {
        (false, _) => stage.shell.clone(),
        (true, "windows") => ["cmd", "/S", "/C"].map(String::from).to_vec(),
        (true, _) => ["/bin/sh", "-c"].map(String::from).to_vec(),
    };
    argv.push(text.into());
    argv
}

/// Whether a text has the looks of a JSON array of strings.
pub(crate) fn is_like_json(text: &str) -> bool {
    let Some(inner) = text.trim_start().strip_prefix('[') else { return false };
    inner.trim_start().starts_with(['"', '\''])
}

/// Why a text that looks like an array is none, and how it would be right: `['a']` is `["a"]`.
pub(crate) fn why_no_json(text: &str) -> (&'static str, Option<String>) {
    let reason = match json::strings(text) {
        Err(json::NotStrings::NotAnArray(reason)) => reason,
        Err(json::NotStrings::OtherElement) => "all its elements must be strings",
        Ok(_) => "it was not read as one",
    };
    let mended = text.replace('\'', "\"");
    (reason, json::strings(&mended).is_ok().then_some(mended))
}

/// Warns when the text looks like an array but is run by the shell (§5.2). `instruction` is what is to be written
/// before a mended array.
pub(crate) fn warn_of_json(statement: &Statement, text: &str, instruction: &str, findings: &mut Findings) {
    if statement.json || !is_like_json(text) {
        return;
    }
    let (reason, mended) = why_no_json(text);
    let at = statement.arguments.first().map_or(&statement.at, |text| &text.at);
    let message =
        format!("`{text}` looks like a JSON array, but {reason}: this is shell form, run as it stands");
    let mut warning = Diagnostic::warning("looks-like-json", message).at(at);
    warning = match mended {
        Some(mended) => warning.help(format!("write `{instruction} {mended}`")).fix(at, mended),
        None => warning
            .help(format!("write `{instruction} [\"program\", \"argument\"]`, or leave out the brackets")),
    };
    findings.push(warning);
}

/// What CMD and ENTRYPOINT have to be told about shell form.
pub(crate) fn warn_of_shell(statement: &Statement, stage: &Stage, findings: &mut Findings) {
    if statement.json {
        return;
    }
    let keyword = statement.keyword.to_ascii_uppercase();
    warn_of_json(statement, text(statement), &keyword, findings);
    if stage.shell.is_empty() {
        let message =
            format!("{keyword} in shell form: the program does not get the signals that stop a container");
        let help = format!(
            "write a JSON array, `{keyword} [\"program\", \"argument\"]`, or say `SHELL` if the shell is meant"
        );
        findings.push(check("JSONArgsRecommended", message).at(&statement.at).help(help));
    }
    warn_of_no_shell(statement, stage, &keyword, findings);
}

/// Warns that there will be nothing to run a line of shell.
pub(crate) fn warn_of_no_shell(
    statement: &Statement,
    stage: &Stage,
    instruction: &str,
    findings: &mut Findings,
) {
    let shell = with_shell(stage, "").into_iter().next().unwrap_or_default();
    let doubt = match stage.has_base {
        false => "and there are no files here yet",
        true if is_from_scratch(stage) => {
            "which an image made from `scratch` has only if it was copied there"
        }
        true => return,
    };
    let message = format!("{instruction} in shell form runs `{shell}`, {doubt}");
    let help =
        format!("write a JSON array, `{instruction} [\"/program\", \"argument\"]`: it runs without a shell");
    findings.push(Diagnostic::warning("no-shell", message).at(&statement.at).help(help));
}

/// Whether the stage has nothing of a base image, and no command or archive that could have brought a shell.
fn is_from_scratch(stage: &Stage) -> bool {
    let said = |keyword: &str| stage.earlier.iter().any(|earlier| earlier == keyword);
    stage.base.is_empty() && stage.shell.is_empty() && !said("RUN") && !said("ADD")
}
