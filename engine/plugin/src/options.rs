//! Options of a plugin: what the user gave, checked against what the plugin says it takes, and filled up.

use crate::bindings::hooks::describe::{OptionKind, OptionSpec};
use crate::keywords::nearest;

/// An option that was given and cannot be, or was not given and must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("it has no option `{name}`{}", known(.near.as_deref(), .all))]
    Unknown { name: String, near: Option<String>, all: Vec<String> },
    #[error("its option `{name}` is {wanted}, not `{value}`")]
    Bad { name: String, value: String, wanted: String },
    #[error("its option `{0}` is given twice")]
    Twice(String),
    #[error("it needs the option `{name}` ({summary})")]
    Missing { name: String, summary: String },
}

fn known(near: Option<&str>, all: &[String]) -> String {
    match (near, all) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, []) => ", nor any other".to_owned(),
        (None, all) => {
            let names: Vec<_> = all.iter().map(|name| format!("`{name}`")).collect();
            format!("; there is {}", names.join(", "))
        }
    }
}

/// Checks what is given, and puts it into one form: `true` or `false` for booleans, defaults where nothing is given,
/// in the order in which the plugin declares its options.
///
/// # Errors
///
/// The first that is wrong.
pub(crate) fn check(
    specs: &[OptionSpec],
    given: &[(String, String)],
) -> Result<Vec<(String, String)>, OptionError> {
    for (name, _) in given {
        if !specs.iter().any(|spec| spec.name == *name) {
            let all: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
            let near = nearest(name, all.iter().map(String::as_str)).map(str::to_owned);
            return Err(OptionError::Unknown { name: shortened(name), near, all });
        }
    }
    let mut whole = Vec::new();
    for spec in specs {
        let values: Vec<&String> =
            given.iter().filter(|(name, _)| *name == spec.name).map(|(_, value)| value).collect();
        if values.len() > 1 && spec.kind != OptionKind::TextList {
            return Err(OptionError::Twice(spec.name.clone()));
        }
        for value in &values {
            whole.push((spec.name.clone(), read(spec, value)?));
        }
        if values.is_empty() && !spec.preset.is_empty() {
            whole.push((spec.name.clone(), spec.preset.clone()));
        }
    }
    Ok(whole)
}

/// What has to be given and was not.
///
/// # Errors
///
/// [`OptionError::Missing`].
pub(crate) fn complete(specs: &[OptionSpec], options: &[(String, String)]) -> Result<(), OptionError> {
    let missing = |spec: &&OptionSpec| spec.required && !options.iter().any(|(name, _)| *name == spec.name);
    match specs.iter().find(missing) {
        None => Ok(()),
        Some(spec) => Err(OptionError::Missing { name: spec.name.clone(), summary: spec.summary.clone() }),
    }
}

fn read(spec: &OptionSpec, value: &str) -> Result<String, OptionError> {
    let bad = |wanted: String| OptionError::Bad {
        name: spec.name.clone(),
        // A secret is not shown even where it is none.
        value: if spec.sensitive { "…".to_owned() } else { shortened(value) },
        wanted,
    };
    match spec.kind {
        OptionKind::Text | OptionKind::TextList => Ok(value.to_owned()),
        OptionKind::Boolean => match value {
            "true" | "1" => Ok("true".to_owned()),
            "false" | "0" => Ok("false".to_owned()),
            _ => Err(bad("true or false".to_owned())),
        },
        OptionKind::Integer => match value.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(bad("a whole number".to_owned())),
        },
        OptionKind::Choice if spec.choices.iter().any(|choice| choice == value) => Ok(value.to_owned()),
        OptionKind::Choice => {
            let choices: Vec<_> = spec.choices.iter().map(|choice| format!("`{choice}`")).collect();
            let near = nearest(value, spec.choices.iter().map(String::as_str));
            let near = near.map(|near| format!(" (perhaps `{near}`)")).unwrap_or_default();
            Err(bad(format!("one of {}{near}", choices.join(", "))))
        }
    }
}

fn shortened(text: &str) -> String {
    crate::state::printable(text, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, kind: OptionKind) -> OptionSpec {
        OptionSpec {
            name: name.to_owned(),
            kind,
            summary: format!("the {name}"),
            preset: String::new(),
            required: false,
            choices: Vec::new(),
            sensitive: false,
        }
    }

    fn specs() -> Vec<OptionSpec> {
        vec![
            OptionSpec { preset: "8080".to_owned(), ..spec("port", OptionKind::Integer) },
            spec("debug", OptionKind::Boolean),
            OptionSpec {
                choices: vec!["small".to_owned(), "large".to_owned()],
                ..spec("size", OptionKind::Choice)
            },
            spec("package", OptionKind::TextList),
            OptionSpec { required: true, sensitive: true, ..spec("token", OptionKind::Integer) },
        ]
    }

    fn checked(given: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let given: Vec<_> =
            given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match check(&specs(), &given) {
            Ok(options) => Ok(options.into_iter().map(|(name, value)| format!("{name}={value}")).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn values_are_put_into_one_form_and_defaults_are_filled_in() {
        assert_eq!(checked(&[]).unwrap(), ["port=8080"]);
        let given = [("package", "b"), ("size", "large"), ("debug", "1"), ("package", "a"), ("port", "+7")];
        assert_eq!(
            checked(&given).unwrap(),
            ["port=7", "debug=true", "size=large", "package=b", "package=a"]
        );
    }

    #[test]
    fn what_cannot_be_is_told_exactly() {
        for (name, value, says) in [
            ("prot", "1", "it has no option `prot`; did you mean `port`?"),
            (
                "colour",
                "1",
                "it has no option `colour`; there is `port`, `debug`, `size`, `package`, `token`",
            ),
            ("port", "many", "its option `port` is a whole number, not `many`"),
            ("debug", "yes", "its option `debug` is true or false, not `yes`"),
            ("size", "smal", "its option `size` is one of `small`, `large` (perhaps `small`), not `smal`"),
            ("token", "hunter2", "its option `token` is a whole number, not `…`"),
        ] {
            assert_eq!(checked(&[(name, value)]).unwrap_err(), says);
        }
        assert_eq!(checked(&[("port", "1"), ("port", "2")]).unwrap_err(), "its option `port` is given twice");
        let none = check(&[], &[("a".to_owned(), "b".to_owned())]).unwrap_err();
        assert_eq!(none.to_string(), "it has no option `a`, nor any other");
    }

    #[test]
    fn what_has_to_be_given_is_missed() {
        let missing = complete(&specs(), &[("port".to_owned(), "1".to_owned())]).unwrap_err();
        assert_eq!(missing.to_string(), "it needs the option `token` (the token)");
        assert_eq!(complete(&specs(), &[("token".to_owned(), "1".to_owned())]), Ok(()));
    }
}
