//! VOLUME: paths that a container keeps outside its image (§13.3).

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::Findings;
use crate::history::{bracketed, configured};
use crate::keyword::{Keyword, PATHS};
use crate::shell_form::{elements, is_like_json, why_no_json};
use crate::statement::{at_least_one, comment_in_words, listed};

pub(crate) static VOLUME: Keyword = Keyword {
    name: "VOLUME",
    summary: "declares paths that a container keeps outside its image",
    usage: "VOLUME PATH… | VOLUME [\"PATH\"…]",
    form: PATHS,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate,
    apply,
};

fn validate(statement: &Statement, findings: &mut Findings) {
    if !judge(statement, findings) {
        return;
    }
    comment_in_words(
        statement,
        |words| format!("{} become volumes", listed(words.iter().map(|word| word.original.as_str()))),
        findings,
    );
    let words: Vec<&str> = statement.arguments.iter().map(|word| word.original.as_str()).collect();
    let text = words.join(" ");
    if !statement.json && is_like_json(&text) {
        let (reason, mended) = why_no_json(&text);
        let message = format!("`{text}` looks like a JSON array, but {reason}: its words are taken as paths");
        let help = mended.map_or("write `VOLUME /path`".into(), |mended| format!("write `VOLUME {mended}`"));
        findings.push(Diagnostic::warning("looks-like-json", message).at(&statement.at).help(help));
    }
}

fn judge(statement: &Statement, findings: &mut Findings) -> bool {
    let mut good = at_least_one(statement, "a path", findings);
    for path in statement.arguments.iter().filter(|path| path.value.trim().is_empty()) {
        findings.push(Diagnostic::error("blank-volume", "a volume needs a path").at(&path.at));
        good = false;
    }
    good
}

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    if !judge(statement, findings) {
        return None;
    }
    let paths = elements(statement);
    let created_by = format!("VOLUME {}", bracketed(&paths));
    Some(configured(paths.into_iter().map(ConfigChange::Volume).collect(), created_by))
}

#[cfg(test)]
mod tests {
    use crate::testing::Line;

    #[test]
    fn paths_are_added_once() {
        let mut line = Line::new("VOLUME /a /b");
        line.config.volumes = vec!["/b".into()];
        let applied = line.apply();
        assert_eq!(applied.config().volumes, ["/b", "/a"]);
        assert_eq!(applied.history(), ["VOLUME [/a /b]"]);
        assert_eq!(Line::new(r#"VOLUME ["/a b"]"#).apply().config().volumes, ["/a b"]);
    }

    #[test]
    fn blank_and_missing_paths_are_errors() {
        Line::new("VOLUME").is_wrong("argument-count", "VOLUME needs at least one argument, a path");
        Line::new("VOLUME []").is_wrong("argument-count", "VOLUME needs at least one argument, a path");
        Line::new(r#"VOLUME ["/a", " "]"#).is_wrong("blank-volume", "a volume needs a path");
    }

    #[test]
    fn words_that_are_hardly_meant_are_warned_of() {
        let found = Line::new("VOLUME /data # keep").validated("trailing-comment");
        assert_eq!(found.message, "`#` does not start a comment here: `#` and `keep` become volumes");
        assert_eq!(
            Line::new("VOLUME ['/data']").validated("looks-like-json").help,
            r#"write `VOLUME ["/data"]`"#
        );
    }
}
