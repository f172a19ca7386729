//! MAINTAINER: the author of the image, in the old way (§13.7).

use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::{Findings, check};
use crate::history::configured;
use crate::keyword::{Keyword, RAW};
use crate::statement::only;

pub(crate) static MAINTAINER: Keyword = Keyword {
    name: "MAINTAINER",
    summary: "names the author of the image",
    usage: "MAINTAINER NAME",
    form: RAW,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["no-on-build", "stateless"],
    validate,
    apply,
};

fn validate(statement: &Statement, findings: &mut Findings) {
    if let Some(name) = only(statement, "a name", findings) {
        let label = format!("LABEL org.opencontainers.image.authors=\"{}\"", name.value.replace('"', "\\\""));
        findings.push(
            check("MaintainerDeprecated", "MAINTAINER is deprecated in favour of a label".into())
                .at(&statement.at)
                .help(format!("write `{label}`"))
                .fix(&statement.at, label),
        );
    }
}

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let name = only(statement, "a name", findings)?;
    let change = ConfigChange::Author(name.value.clone());
    Some(configured(vec![change], format!("MAINTAINER {}", name.value)))
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn the_author_is_set_and_a_label_suggested() {
        let line = Line::new("MAINTAINER Ada <ada@example.com>");
        let applied = line.apply();
        assert_eq!(applied.config().author, "Ada <ada@example.com>");
        assert_eq!(applied.history(), ["MAINTAINER Ada <ada@example.com>"]);
        let found = line.validated("MaintainerDeprecated");
        assert_eq!(found.help, "write `LABEL org.opencontainers.image.authors=\"Ada <ada@example.com>\"`");
        Line::new("MAINTAINER").is_wrong("argument-count", "MAINTAINER needs one argument, a name");
    }
}
