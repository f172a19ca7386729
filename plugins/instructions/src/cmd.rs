//! CMD: what a container runs, or gives to its entry point (§14.1, §14.3).

use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::{configured, quoted};
use crate::keyword::{COMMAND, Keyword};
use crate::shell_form::{argv, warn_of_shell};

pub(crate) static CMD: Keyword = Keyword {
    name: "CMD",
    summary: "says what a container runs by default",
    usage: "CMD [\"PROGRAM\", \"ARGUMENT\"…] | CMD COMMAND",
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
    let created_by = format!("CMD {}", quoted(&argv));
    Some(configured(vec![ConfigChange::Cmd(Some(argv)), ConfigChange::ArgsEscaped(true)], created_by))
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn a_list_is_stored_as_it_is() {
        let applied = Line::new(r#"CMD ["a", "b c"]"#).apply();
        assert_eq!(applied.config().cmd.as_deref(), Some(["a".into(), "b c".into()].as_slice()));
        assert!(applied.config().args_escaped);
        assert_eq!(applied.history(), [r#"CMD ["a" "b c"]"#]);
        applied.finds_nothing();
    }

    #[test]
    fn an_empty_list_stays_one() {
        let applied = Line::new("CMD []").apply();
        assert_eq!(applied.config().cmd, Some(vec![]));
        assert_eq!(applied.history(), ["CMD []"]);
    }

    #[test]
    fn a_line_is_run_by_the_shell_of_the_stage() {
        let applied = Line::new("CMD exec app \"$X\"").apply();
        assert_eq!(applied.history(), [r#"CMD ["/bin/sh" "-c" "exec app \"$X\""]"#]);
        applied.finds("JSONArgsRecommended");

        let mut line = Line::new("CMD app");
        line.stage.shell = vec!["/bin/bash".into(), "-c".into()];
        let applied = line.apply();
        assert_eq!(applied.history(), [r#"CMD ["/bin/bash" "-c" "app"]"#]);
        applied.finds_nothing();
    }

    #[test]
    fn nothing_at_all_is_an_empty_line() {
        assert_eq!(Line::new("CMD").apply().history(), [r#"CMD ["/bin/sh" "-c" ""]"#]);
    }

    #[test]
    fn brackets_that_are_no_array_are_explained() {
        for (text, reason, help) in [
            ("['./hello']", "JSON strings take double quotes, not single ones", r#"write `CMD ["./hello"]`"#),
            (r#"["a" "b"]"#, "a comma is missing between two elements", ""),
            (r#"["a",]"#, "a comma stands before the closing bracket", ""),
            (r#"[ "a""#, "the closing bracket is missing", ""),
            (r#"["a"] && b"#, "something follows the closing `]`", ""),
        ] {
            let applied = Line::new(&format!("CMD {text}")).apply();
            let found = applied.finds("looks-like-json");
            let expected = format!(
                "`{text}` looks like a JSON array, but {reason}: this is shell form, run as it stands"
            );
            assert_eq!(found.message, expected);
            if !help.is_empty() {
                assert_eq!((found.help.as_str(), found.fixes.len()), (help, 1));
            }
        }
        Line::new("CMD [ -f x ] && y").apply().lacks("looks-like-json");
    }

    #[test]
    fn a_line_of_shell_is_doubted_where_no_shell_can_be() {
        Line::new("CMD ./hello").on_nothing().apply().finds("no-shell");
        Line::new("CMD ./hello").on_scratch(&["COPY"]).apply().finds("no-shell");
        Line::new("CMD ./hello").on_scratch(&["ADD"]).apply().lacks("no-shell");
        Line::new(r#"CMD ["./hello"]"#).on_scratch(&["COPY"]).apply().finds_nothing();
        Line::new("CMD ./hello").apply().lacks("no-shell");
    }
}
