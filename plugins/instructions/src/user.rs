//! USER: whom later steps and the container run as (§13.2). Looked up when something runs, not here.

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::configured;
use crate::keyword::{Keyword, TEXT};
use crate::statement::{comment_in_text, only};

pub(crate) static USER: Keyword = Keyword {
    name: "USER",
    summary: "says whom later steps and the container run as",
    usage: "USER USER[:GROUP]",
    form: TEXT,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate: |statement, findings| {
        only(statement, "the user", findings);
        comment_in_text(statement, "the user's name", findings);
    },
    apply,
};

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let user = only(statement, "the user", findings)?;
    if user.value.trim().is_empty() {
        let message = format!("`{}` expands to nothing, which means root", user.original);
        findings.push(Diagnostic::warning("blank-value", message).at(&user.at));
    }
    Some(configured(vec![ConfigChange::User(user.value.clone())], format!("USER {}", user.value)))
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn the_user_is_stored_as_written() {
        let applied = Line::new("USER app:1000").apply();
        assert_eq!(applied.config().user, "app:1000");
        assert_eq!(applied.history(), ["USER app:1000"]);
        applied.finds_nothing();
    }

    #[test]
    fn a_missing_user_is_an_error_and_an_empty_one_a_warning() {
        Line::new("USER").is_wrong("argument-count", "USER needs one argument, the user");
        let mut line = Line::new("USER $U");
        line.statement.arguments[0].value = String::new();
        line.apply().finds("blank-value");
        Line::new("USER app # who").validated("trailing-comment");
    }
}
