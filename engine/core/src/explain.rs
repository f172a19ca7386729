//! Says in words why a step is not the step that it was: the first difference between two texts of its key.

use std::collections::BTreeMap;

use crate::select;

/// The fields of a step's key as [`crate::key::Explainer`] wrote them. Whoever keeps them may add [`SELECTION`] fields
/// with the texts of selections, [`BASE`] with the base image's reference and digest, and [`FETCHED`], before the others.
pub type Fields = [(String, String)];

/// A [`crate::select::Selection::text`].
pub const SELECTION: &str = "selected";
/// What the base image was resolved to.
pub const BASE: &str = "base-image";
/// What a download or repository was found to be: the beginning of its digest or commit.
pub const FETCHED: &str = "fetched";

/// Longer values are not shown.
const MAX_SHOWN: usize = 60;

/// The first difference in words, such as `environment VERSION: 1.2 → 1.3`, `main.go differs` or `an earlier step
/// changed`; `None` when there is none.
pub fn difference(old: &Fields, new: &Fields) -> Option<String> {
    if old == new {
        return None;
    }
    // Why an input is another one is said by what it holds, if that is known, and otherwise by its own step.
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in new.iter().chain(old) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| rank(name));
    names
        .into_iter()
        .find_map(|name| {
            let of = |fields: &'_ Fields| -> Vec<String> {
                fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
            };
            let (old, new) = (of(old), of(new));
            (old != new).then(|| words(name, &old, &new))
        })
        .or_else(|| Some("its parts are in another order".to_owned()))
}

fn rank(name: &str) -> u8 {
    match name {
        "version" => 0,
        "op" => 1,
        BASE | FETCHED => 2,
        SELECTION => 4,
        "base" | "from" | "input" => 5,
        _ => 3,
    }
}

fn words(name: &str, old: &[String], new: &[String]) -> String {
    match name {
        "version" => "this kiln writes its cache keys differently".to_owned(),
        "op" => "it is another kind of step".to_owned(),
        "argument" => "the command changed".to_owned(),
        "data" => "the text of a file changed".to_owned(),
        BASE => change("the base image moved", old, new),
        FETCHED => change("what is fetched changed", old, new),
        "environment" => environment(old, new),
        SELECTION => {
            let pairs = old.iter().zip(new);
            let first = pairs.filter_map(|(old, new)| select::diff(old, new)).next();
            first.unwrap_or_else(|| "it reads other files".to_owned())
        }
        "base" | "from" | "input" => {
            let selected = |values: &[String]| values.iter().any(|value| value.starts_with("selection "));
            match selected(old) && selected(new) && old.len() == 1 && new.len() == 1 {
                true => "the files that it reads differ".to_owned(),
                false => "an earlier step changed".to_owned(),
            }
        }
        name => {
            let name = name.replace('-', " ");
            match (old, new) {
                ([], _) => added(&name, new),
                (_, []) => format!("{name} removed"),
                _ => change(&name, old, new),
            }
        }
    }
}

fn added(name: &str, new: &[String]) -> String {
    match new {
        [value] if value.len() <= MAX_SHOWN && value != "true" => format!("{name} {value} added"),
        _ => format!("{name} added"),
    }
}

/// `name: old → new`, of the first values that differ, if they are short enough.
fn change(name: &str, old: &[String], new: &[String]) -> String {
    let differ = old.iter().zip(new).find(|(old, new)| old != new);
    match differ {
        Some((old, new)) if old.len() <= MAX_SHOWN && new.len() <= MAX_SHOWN => {
            format!("{name}: {old} → {new}")
        }
        _ if name.contains(' ') && name.starts_with("the ") => name.to_owned(),
        _ => format!("{name} changed"),
    }
}

fn environment(old: &[String], new: &[String]) -> String {
    let read = |values: &'_ [String]| -> BTreeMap<String, String> {
        let pair = |value: &String| {
            let (name, value) = value.split_once('=').unwrap_or((value, ""));
            (name.to_owned(), value.to_owned())
        };
        values.iter().map(pair).collect()
    };
    let (old, new) = (read(old), read(new));
    for (name, value) in &new {
        match old.get(name) {
            None => return format!("environment {name} added"),
            Some(before) if before != value => {
                return change(
                    &format!("environment {name}"),
                    std::slice::from_ref(before),
                    std::slice::from_ref(value),
                );
            }
            Some(_) => {}
        }
    }
    match old.keys().find(|name| !new.contains_key(*name)) {
        Some(name) => format!("environment {name} removed"),
        None => "the order of the environment changed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields as `name: value` lines.
    fn check(old: &str, new: &str, expected: &str) {
        let read = |text: &str| -> Vec<(String, String)> {
            let pair = |line: &str| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.replace('|', "\n"))
            };
            text.lines().map(pair).collect()
        };
        let words = difference(&read(old), &read(new));
        assert_eq!(words.as_deref().unwrap_or("nothing"), expected, "{old}\n{new}");
    }

    #[test]
    fn the_first_difference_is_told() {
        check("op: exec\nargument: a", "op: exec\nargument: a", "nothing");
        check("argument: a", "argument: b", "the command changed");
        check("environment: V=1.2", "environment: V=1.3", "environment V: 1.2 → 1.3");
        check("environment: A=1", "environment: A=1\nenvironment: B=1", "environment B added");
        check("environment: A=1\nenvironment: B=1", "environment: B=1", "environment A removed");
        check("user: a", "user: b", "user: a → b");
        check("op: exec", "op: exec\nuser: b", "user b added");
        check("op: exec\nuser: b", "op: exec", "user removed");
        check("op: exec\ninsecure: true", "op: exec", "insecure removed");
        check("op: exec", "op: file", "it is another kind of step");
        check("base-image: alpine@1", "base-image: alpine@2", "the base image moved: alpine@1 → alpine@2");
        check("fetched: a1\nfrom: x", "fetched: b2\nfrom: y", "what is fetched changed: a1 → b2");
        check("destination: /a", &format!("destination: {}", "x".repeat(99)), "destination changed");
        check("argument: a\nargument: b", "argument: b\nargument: a", "the command changed");
    }

    #[test]
    fn files_are_named_before_the_input_that_holds_them() {
        check(
            "from: selection 1\nselected: aaaa main.go|bbbb x",
            "from: selection 2\nselected: cccc main.go|bbbb x",
            "main.go differs",
        );
        check("from: selection 1", "from: selection 2", "the files that it reads differ");
        check("base: definition 1", "base: definition 2", "an earlier step changed");
        check("base: definition 1\nargument: a", "base: definition 2\nargument: b", "the command changed");
    }
}
