//! LABEL: facts about the image (§15.3).

use kiln_sdk::wit::instruction_types::{HeredocForm, Outcome, Stage, Statement};

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
    traits: &["adds-only"],
    validate: pairs::validate,
    apply,
};

fn apply(statement: &Statement, stage: Stage, findings: &mut Findings) -> Option<Outcome> {
    let set = pairs::read(statement, findings)?;
    let mut config = stage.config;
    for pair in &set {
        pairs::set(&mut config.labels, pair);
    }
    Some(configured(config, format!("LABEL{}", pairs::written(&set))))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Line, pair};

    #[test]
    fn labels_are_added_or_replaced() {
        let mut line = Line::new("LABEL a=2 \"b c\"=\"d e\"");
        line.stage.config.labels = vec![pair("a", "1")];
        let applied = line.apply();
        assert_eq!(applied.config().labels, [pair("a", "2"), pair("b c", "d e")]);
        assert_eq!(applied.history(), ["LABEL a=2 b c=d e"]);
        assert!(applied.outcome.set_env.is_empty());
    }

    #[test]
    fn the_legacy_form_is_taken_with_a_warning() {
        Line::new("LABEL a b").apply().finds("LegacyKeyValueFormat");
        Line::new("LABEL a b # c").validated("trailing-comment");
    }
}
