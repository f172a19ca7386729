//! ENTRYPOINT: the program of the image (§14.1, §14.2).

use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::{configured, quoted};
use crate::keyword::{COMMAND, Keyword};
use crate::shell_form::{argv, warn_of_shell};

pub(crate) static ENTRYPOINT: Keyword = Keyword {
    name: "ENTRYPOINT",
    summary: "says which program a container is",
    usage: "ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"…] | ENTRYPOINT COMMAND",
    form: COMMAND,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &[],
    validate: |_, _| {},
    apply,
};

fn apply(statement: &Statement, stage: &Stage, findings: &mut Findings) -> Option<Outcome> {
    warn_of_shell(statement, stage, findings);
    let argv = argv(statement, stage);
    let created_by = format!("ENTRYPOINT {}", quoted(&argv));
    let mut changes = vec![ConfigChange::Entrypoint((!argv.is_empty()).then_some(argv))];
    // A command that was inherited was written for another program.
    if !stage.earlier.iter().any(|keyword| keyword == "CMD") {
        changes.push(ConfigChange::Cmd(None));
    }
    Some(configured(changes, created_by))
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    fn inheriting(text: &str) -> Line {
        let mut line = Line::new(text);
        line.config.cmd = Some(vec!["inherited".into()]);
        line.config.entrypoint = Some(vec!["old".into()]);
        line
    }

    #[test]
    fn an_inherited_command_goes_and_one_of_this_stage_stays() {
        let applied = inheriting(r#"ENTRYPOINT ["/app"]"#).apply();
        assert_eq!(applied.config().cmd, None);
        assert_eq!(applied.config().entrypoint, Some(vec!["/app".into()]));
        assert_eq!(applied.history(), [r#"ENTRYPOINT ["/app"]"#]);

        let applied = inheriting(r#"ENTRYPOINT ["/app"]"#).after(&["CMD", "COPY"]).apply();
        assert_eq!(applied.config().cmd, Some(vec!["inherited".into()]));
    }

    #[test]
    fn an_empty_list_clears_it() {
        let applied = inheriting("ENTRYPOINT []").apply();
        assert_eq!(applied.config().entrypoint, None);
        assert_eq!(applied.history(), ["ENTRYPOINT []"]);
    }

    #[test]
    fn a_line_is_run_by_the_shell() {
        let applied = Line::new("ENTRYPOINT app --x").apply();
        assert_eq!(applied.history(), [r#"ENTRYPOINT ["/bin/sh" "-c" "app --x"]"#]);
        applied.finds("JSONArgsRecommended");
        Line::new("ENTRYPOINT app").on_nothing().apply().finds("no-shell");
    }
}
