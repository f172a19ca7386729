//! LABEL: facts about the image (§15.3).

use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::configured;
use crate::keyword::{Keyword, PAIRS};
use crate::pairs;

pub(crate) static LABEL: Keyword = Keyword {
    name: "LABEL",
    summary: "adds labels to the image",
    usage: "LABEL KEY=VALUE…",
    form: PAIRS,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate: pairs::validate,
    apply,
};

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let set = pairs::read(statement, findings)?;
    let created_by = format!("LABEL{}", pairs::written(&set));
    Some(configured(set.into_iter().map(ConfigChange::Label).collect(), created_by))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Line, pair};

    #[test]
    fn labels_are_added_or_replaced() {
        let mut line = Line::new("LABEL a=2 \"b c\"=\"d e\"");
        line.config.labels = vec![pair("a", "1")];
        let applied = line.apply();
        assert_eq!(applied.config().labels, [pair("a", "2"), pair("b c", "d e")]);
        assert_eq!(applied.history(), ["LABEL a=2 b c=d e"]);
    }

    #[test]
    fn the_legacy_form_is_taken_with_a_warning() {
        Line::new("LABEL a b").apply().finds("LegacyKeyValueFormat");
        Line::new("LABEL a b # c").validated("trailing-comment");
    }
}
