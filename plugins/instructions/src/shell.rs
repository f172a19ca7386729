//! SHELL: what runs lines in shell form from here on (§13.6).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::{bracketed, configured};
use crate::keyword::{COMMAND, Keyword};
use crate::shell_form::{elements, text, why_no_json};

pub(crate) static SHELL: Keyword = Keyword {
    name: "SHELL",
    summary: "says which shell runs lines that are no JSON array",
    usage: "SHELL [\"PROGRAM\", \"ARGUMENT\"…]",
    form: COMMAND,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate: |statement, findings| {
        judge(statement, findings);
    },
    apply,
};

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    if !judge(statement, findings) {
        return None;
    }
    let shell = elements(statement);
    let created_by = format!("SHELL {}", bracketed(&shell));
    Some(configured(vec![ConfigChange::Shell(shell)], created_by))
}

fn judge(statement: &Statement, findings: &mut Findings) -> bool {
    if statement.json && !statement.arguments.is_empty() {
        return true;
    }
    let mut message = String::from("SHELL needs a JSON array with at least one string");
    let mut help = String::from("write it like `SHELL [\"/bin/bash\", \"-c\"]`");
    let text = text(statement);
    if !statement.json && text.starts_with('[') {
        let (reason, mended) = why_no_json(text);
        message = format!("{message}: `{text}` looks like one, but {reason}");
        if let Some(mended) = mended {
            help = format!("write `SHELL {mended}`");
        }
    }
    let at = statement.arguments.first().map_or(&statement.at, |text| &text.at);
    findings.push(Diagnostic::error("invalid-shell", message).at(at).help(help));
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn the_shell_is_kept_in_the_configuration() {
        let applied = Line::new(r#"SHELL ["/bin/bash", "-o", "pipefail", "-c"]"#).apply();
        assert_eq!(applied.config().shell, ["/bin/bash", "-o", "pipefail", "-c"]);
        assert_eq!(applied.history(), ["SHELL [/bin/bash -o pipefail -c]"]);
    }

    #[test]
    fn anything_but_a_list_is_an_error_before_anything_is_built() {
        let wanted = "SHELL needs a JSON array with at least one string";
        Line::new("SHELL /bin/bash -c").is_wrong("invalid-shell", wanted);
        Line::new("SHELL []").is_wrong("invalid-shell", wanted);
        Line::new("SHELL").is_wrong("invalid-shell", wanted);
        Line::new("SHELL ['/bin/bash', '-c']").is_wrong(
            "invalid-shell",
            "SHELL needs a JSON array with at least one string: `['/bin/bash', '-c']` looks like one, but JSON \
             strings take double quotes, not single ones",
        );
    }
}
