//! ENV: variables of the image and of what follows in the stage (§15.1, §15.2).

use kiln_sdk::wit::instruction_types::{ConfigChange, HeredocForm, Outcome, Stage, Statement};

use crate::findings::{Findings, check};
use crate::history::configured;
use crate::keyword::{Keyword, PAIRS};
use crate::pairs;

pub(crate) static ENV: Keyword = Keyword {
    name: "ENV",
    summary: "sets variables of the image and of later steps",
    usage: "ENV KEY=VALUE…",
    form: PAIRS,
    heredocs: HeredocForm::Refused,
    flags: &[],
    traits: &["stateless"],
    validate: pairs::validate,
    apply,
};

fn apply(statement: &Statement, _: &Stage, findings: &mut Findings) -> Option<Outcome> {
    let set = pairs::read(statement, findings)?;
    for (pair, argument) in set.iter().zip(&statement.arguments) {
        if is_secret(&pair.key) {
            let message = format!("the value of `{}` stays readable in the image and its history", pair.key);
            let help =
                format!("give it to the steps that need it: `RUN --mount=type=secret,id=…,env={}`", pair.key);
            findings.push(check("SecretsUsedInArgOrEnv", message).at(&argument.at).help(help));
        }
    }
    let created_by = format!("ENV{}", pairs::written(&set));
    Some(configured(set.into_iter().map(ConfigChange::Env).collect(), created_by))
}

/// Whether a name says that the value is not for everyone (§21.6).
fn is_secret(key: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let key = key.to_ascii_lowercase();
    let has = |words: &[&str]| key.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use crate::testing::{Line, pair};

    #[test]
    fn variables_are_replaced_in_place_or_appended() {
        let applied = Line::new("ENV A=9 C=3").env(&[("A", "1"), ("B", "2")]).apply();
        assert_eq!(applied.config().env, [pair("A", "9"), pair("B", "2"), pair("C", "3")]);
        assert_eq!(applied.history(), ["ENV A=9 C=3"]);
    }

    #[test]
    fn the_legacy_form_is_one_pair_and_a_warning() {
        let applied = Line::new("ENV A some  value").env(&[]).apply();
        assert_eq!(applied.config().env, [pair("A", "some  value")]);
        applied.finds("LegacyKeyValueFormat");
        assert_eq!(Line::new("ENV A b").apply().finds("LegacyKeyValueFormat").help, "write `ENV A=b`");
        Line::new("ENV A=b").apply().finds_nothing();
        Line::new("ENV \"A B\"=c").apply().finds_nothing();
    }

    #[test]
    fn names_of_secrets_are_warned_of() {
        for key in ["GITHUB_TOKEN", "ApiKey", "DB_PASSWORD", "AUTH"] {
            Line::new(&format!("ENV {key}=x")).apply().finds("SecretsUsedInArgOrEnv");
        }
        for key in ["TOKENS", "PUBLIC_KEY", "PASSWORD_FILE", "KEY_VERSION", "MONKEY"] {
            Line::new(&format!("ENV {key}=x")).apply().finds_nothing();
        }
    }

    #[test]
    fn malformed_pairs_are_errors_before_anything_is_built() {
        for (line, code, message) in [
            ("ENV", "argument-count", "ENV needs at least one argument, `key=value`"),
            ("ENV A", "pair-without-value", "ENV needs a value for `A`"),
            ("ENV A=1 B", "pair-without-equals", "`B` has no `=`"),
            ("ENV A=1 # why", "pair-without-equals", "`#` has no `=`"),
            ("ENV =1", "blank-key", "`=1` has no name before its `=`"),
        ] {
            Line::new(line).is_wrong(code, message);
        }
    }

    #[test]
    fn a_name_that_expands_to_nothing_is_an_error_where_it_is_evaluated() {
        let mut line = Line::new("ENV $A=1");
        line.statement.arguments[0].key = String::new();
        line.is_wrong_when_applied("blank-key");
    }
}
