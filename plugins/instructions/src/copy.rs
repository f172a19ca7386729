//! COPY: files from the build context, a stage or an image (§12.1–§12.11).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::Output;
use kiln_sdk::wit::instruction_types::{Argument, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::git;
use crate::keyword::{Flag, Keyword, PATHS};
use crate::statement::{boolean, flag};
use crate::transfer::{self, Transfer};

pub(crate) static COPY: Keyword = Keyword {
    name: "COPY",
    summary: "copies files from the build context, a stage or an image",
    usage: "COPY [--from=NAME] [--chown=USER[:GROUP]] [--chmod=MODE] [--link] [--parents] [--exclude=PATTERN]… SOURCE… DESTINATION",
    form: PATHS,
    heredocs: HeredocForm::Expanded,
    flags: &[
        Flag::text("chmod").expanded(),
        Flag::text("chown").expanded(),
        Flag::text("exclude").repeatable(),
        Flag::text("from"),
        Flag::boolean("link"),
        Flag::boolean("parents"),
    ],
    traits: &[],
    validate: transfer::validate,
    apply,
};

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let parents = boolean(statement, "parents").unwrap_or(false);
    let mut transfer = Transfer::new(statement, stage, findings)?;
    let input = input(statement, &mut transfer, findings)?;
    for source in transfer.sources.clone() {
        if is_remote(&source.value) {
            let message = format!("COPY cannot fetch `{}`", source.value);
            let help = format!("write `ADD {} {}`", source.original, statement.arguments.last()?.original);
            findings.push(Diagnostic::error("copy-of-url", message).at(&source.at).help(help));
            continue;
        }
        warn_of_nothing(source, findings);
        transfer.local(input, &source.value, parents, "");
    }
    transfer.finish(if parents { " --parents" } else { "" }, findings)
}

/// Where the sources are: what `--from` names, else the build context.
fn input(statement: &Statement, transfer: &mut Transfer, findings: &mut Findings) -> Option<Output> {
    let Some(from) = flag(statement, "from") else { return Some(transfer.graph.context()) };
    if from.original.contains('$') {
        let message = "`--from` takes no variables";
        let help = format!("declare a stage, `FROM {} AS name`, and write `--from=name`", from.value);
        findings.push(Diagnostic::error("variable-in-from", message).at(&from.at).help(help));
        return None;
    }
    if from.value.is_empty() {
        let message = "`--from=` without a name means the build context";
        findings.push(Diagnostic::warning("no-effect", message).at(&from.at));
        return Some(transfer.graph.context());
    }
    let by_number = from.value.bytes().all(|byte| byte.is_ascii_digit());
    Some(transfer.graph.named(&from.value, by_number, &from.at))
}

/// What only ADD can fetch: http(s) and git (§12.15).
pub(crate) fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://") || git::parse(source).is_some()
}

/// A source that is empty is the whole tree, which is hardly meant when a variable made it so.
pub(crate) fn warn_of_nothing(source: &Argument, findings: &mut Findings) {
    if source.value.is_empty() && source.original.contains('$') {
        let message = format!("`{}` expands to nothing, which means everything there is", source.original);
        findings.push(Diagnostic::warning("blank-value", message).at(&source.at));
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
