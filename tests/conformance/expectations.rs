//! Holds what a build did against what its case expects.

use serde_json::Value;

use crate::builders::{Builder, Ran};
use crate::cases::{Build, Section};
use crate::entries::Entry;
use crate::images::{Image, Tree, difference};

/// What a build did, and what it stands on.
pub(crate) struct Made<'a> {
    pub(crate) builder: Builder,
    pub(crate) ran: &'a Ran,
    /// Empty if the build failed or wrote its result elsewhere.
    pub(crate) images: &'a [Image],
    /// Base images that a case may build on.
    pub(crate) bases: &'a [Image],
    /// Digest of what the build before made.
    pub(crate) before: Option<&'a str>,
}

/// All differences, as text; none if the build did what was expected.
pub(crate) fn differences(build: &Build, made: &Made) -> Vec<String> {
    let mut found = Vec::new();
    let ran = made.ran;
    if ran.stderr.contains("panicked at") {
        return vec![format!("it panicked\n{ran}")];
    }
    let fails = build.one("fails");
    match (ran.status, fails) {
        (0, Some(_)) => return vec![format!("it was built, and should fail\n{ran}")],
        (status, None) if status != 0 => return vec![format!("it fails, and should be built\n{ran}")],
        (_, Some(fails)) if made.builder == Builder::Kiln => found.extend(failure(fails, ran)),
        _ => {}
    }
    let mut platform = None;
    for section in &build.sections {
        let lines: Vec<&str> = section.statements().collect();
        match section.kind.as_str() {
            "platform" => platform = section.arguments.first(),
            "tree" | "env" | "config" | "history" => {
                let image =
                    made.images.iter().find(|image| platform.is_none_or(|name| *name == image.platform));
                let Some(image) = image else {
                    found.push(format!(
                        "no image{} was made",
                        platform.map(|name| format!(" for {name}")).unwrap_or_default()
                    ));
                    continue;
                };
                let base = made.bases.iter().find(|base| image.diff_ids.starts_with(&base.diff_ids));
                found.extend(match section.kind.as_str() {
                    "tree" => tree(&lines, &image.tree, base),
                    "env" => env(&lines, &image.config),
                    "config" => config(&lines, &image.config),
                    // Buildah writes its history in another form.
                    _ if made.builder == Builder::Buildah => Vec::new(),
                    _ => history(&lines, image, base),
                });
            }
            "warnings" => found.extend(warnings(&lines, made)),
            // Words of kiln's own.
            "stderr" | "stdout" | "json" if made.builder != Builder::Kiln => {}
            // Buildah has words of its own for steps.
            "cached" | "ran" if made.builder == Builder::Buildah => {}
            "stderr" => found.extend(missing("standard error", &lines, &ran.stderr)),
            "stdout" => found.extend(missing("standard output", &lines, &ran.stdout)),
            "json" => found.extend(pointers(&lines, &ran.stdout)),
            "cached" => found.extend(lines.iter().filter_map(|step| ending(&ran.stderr, step, "CACHED"))),
            "ran" => found.extend(lines.iter().filter_map(|step| ending(&ran.stderr, step, "DONE"))),
            "same" => {
                let now = made.images.first().map(|image| image.digest.as_str());
                if now.is_none() || now != made.before {
                    found.push(format!("not the same image: {now:?} after {:?}", made.before));
                }
            }
            _ => {}
        }
    }
    if found.iter().any(|text| text.starts_with("step") || text.starts_with("standard")) {
        found.push(ran.to_string());
    }
    found
}

/// `fails [STATUS|any] [at FILE:LINE[-LINE][:COLUMN[-COLUMN]]]` and texts of the message.
fn failure(section: &Section, ran: &Ran) -> Vec<String> {
    let mut found = Vec::new();
    let mut status = Some(1);
    let mut place = None;
    let mut arguments = section.arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "at" => place = arguments.next(),
            "any" => status = None,
            number => {
                status = Some(number.parse().unwrap_or_else(|_| panic!("`{number}` is no exit status")));
            }
        }
    }
    if let Some(status) = status.filter(|status| ran.status != *status) {
        found.push(format!("status {}, not {status}", ran.status));
    }
    if let Some(place) = place
        && !printed_places(&ran.stderr).iter().any(|printed| within(printed, place))
    {
        found.push(format!("no message points to {place}"));
    }
    for text in section.statements() {
        if !ran.stderr.to_lowercase().contains(&text.trim().to_lowercase()) {
            found.push(format!("the message does not say `{}`", text.trim()));
        }
    }
    if !found.is_empty() {
        found.push(ran.to_string());
    }
    found
}

/// A place that a message points to: a file, a line, the first column, how many columns are underlined.
struct Printed {
    file: String,
    line: usize,
    column: usize,
    width: usize,
}

/// The places under errors.
fn printed_places(stderr: &str) -> Vec<Printed> {
    let mut found = Vec::new();
    let mut error = false;
    for (number, line) in stderr.lines().enumerate() {
        if line.starts_with("error") {
            error = true;
        } else if line.starts_with("warning") {
            error = false;
        }
        let Some(place) = line.trim_start().strip_prefix("--> ").filter(|_| error) else { continue };
        let Some((file, row, column)) = split_place(place) else { continue };
        let carets = stderr.lines().skip(number + 1).take(4).find_map(|line| {
            let (_, marked) = line.split_once('|')?;
            marked.trim_start().starts_with('^').then(|| marked.matches('^').count())
        });
        found.push(Printed { file, line: row, column, width: carets.unwrap_or_default() });
    }
    found
}

/// `FILE:LINE:COLUMN`, or `FILE:LINE` for what is wrong with a whole line.
fn split_place(place: &str) -> Option<(String, usize, usize)> {
    let split = |text: &str| -> Option<(String, usize)> {
        let (before, number) = text.rsplit_once(':')?;
        Some((before.to_owned(), number.parse().ok()?))
    };
    let (before, last) = split(place)?;
    Some(match split(&before) {
        Some((file, row)) => (file, row, last),
        None => (before, last, 1),
    })
}

/// Whether a printed place is the expected one: the file, a line in the range, and, if columns are named, just those.
fn within(printed: &Printed, expected: &str) -> bool {
    let range = |text: &str| -> (usize, usize) {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number =
            |text: &str| text.parse().unwrap_or_else(|_| panic!("`{expected}`: `{text}` is no number"));
        (number(first), number(last))
    };
    let mut parts = expected.split(':');
    let file = parts.next().unwrap_or_default();
    let (first, last) = range(parts.next().unwrap_or_else(|| panic!("`{expected}` names no line")));
    let columns = parts.next().map(range);
    (printed.file == file || printed.file.ends_with(&format!("/{file}")))
        && (first..=last).contains(&printed.line)
        && columns.is_none_or(|(from, to)| printed.column == from && printed.column + printed.width == to + 1)
}

fn tree(lines: &[&str], actual: &Tree, base: Option<&Image>) -> Vec<String> {
    let actual = match base {
        Some(base) => difference(&base.tree, actual),
        None => actual.clone(),
    };
    let expected: Vec<Entry> = lines.iter().map(|line| Entry::parse(line)).collect();
    let mut text = Vec::new();
    for entry in &expected {
        match actual.get(&entry.path) {
            None => text.push(format!("- {entry}")),
            Some(found) if found.differs_from(entry) => {
                let time = entry.time.and(found.time);
                text.push(format!("- {entry}\n+ {}", Entry { time, ..found.clone() }));
            }
            _ => {}
        }
    }
    for (path, entry) in &actual {
        if !expected.iter().any(|expected| expected.path == *path) {
            text.push(format!("+ {}", Entry { time: None, ..entry.clone() }));
        }
    }
    if text.is_empty() { Vec::new() } else { vec![format!("tree\n{}", text.join("\n"))] }
}

/// What every image without an own PATH has.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn env(lines: &[&str], config: &Value) -> Vec<String> {
    let all = strings(&config["config"]["Env"]);
    let own: Vec<String> = all.into_iter().filter(|pair| pair != PATH).collect();
    let own: Vec<String> = own.iter().map(|pair| crate::entries::escape(pair.as_bytes())).collect();
    lists("environment", lines, &own)
}

/// `FIELD = JSON` of the object `config`, or `/FIELD = JSON` of the whole document; `absent` instead of JSON.
fn config(lines: &[&str], config: &Value) -> Vec<String> {
    let mut text = Vec::new();
    for line in lines {
        let (name, expected) =
            line.split_once(" = ").unwrap_or_else(|| panic!("`{line}` is not `FIELD = JSON`"));
        let pointer = if name.starts_with('/') { name.to_owned() } else { format!("/config/{name}") };
        let actual = config.pointer(&pointer).unwrap_or(&Value::Null);
        let empty = actual.is_null()
            || actual.as_object().is_some_and(serde_json::Map::is_empty)
            || matches!(actual, Value::String(text) if text.is_empty());
        if expected == "absent" {
            if !empty {
                text.push(format!("- {name} = absent\n+ {name} = {actual}"));
            }
            continue;
        }
        let expected: Value =
            serde_json::from_str(expected).unwrap_or_else(|error| panic!("`{line}`: {error}"));
        if *actual != expected {
            text.push(format!("- {name} = {expected}\n+ {name} = {actual}"));
        }
    }
    if text.is_empty() { Vec::new() } else { vec![format!("configuration\n{}", text.join("\n"))] }
}

/// `layer TEXT` and `empty TEXT`, for everything on top of the base.
fn history(lines: &[&str], image: &Image, base: Option<&Image>) -> Vec<String> {
    let entries = |image: &Image| image.config["history"].as_array().cloned().unwrap_or_default();
    let below = base.map(|base| entries(base).len()).unwrap_or_default();
    let actual: Vec<String> = entries(image)
        .iter()
        .skip(below)
        .map(|entry| {
            let kind = if entry["empty_layer"] == true { "empty" } else { "layer" };
            let text = entry["created_by"].as_str().unwrap_or_default();
            format!("{kind} {}", crate::entries::escape(text.as_bytes()))
        })
        .collect();
    lists("history", lines, &actual)
}

/// `RULE` or `RULE:LINE`, in any order.
fn warnings(lines: &[&str], made: &Made) -> Vec<String> {
    let mut actual = match made.builder {
        Builder::Kiln => kiln_warnings(&made.ran.stderr),
        Builder::BuildKit => buildkit_warnings(&made.ran.stderr),
        Builder::Buildah => return Vec::new(),
    };
    let mut text = Vec::new();
    for line in lines {
        let (rule, number) = match line.split_once(':') {
            Some((rule, number)) => (rule, Some(number)),
            None => (*line, None),
        };
        let found =
            actual.iter().position(|(other, at)| other == rule && number.is_none_or(|number| at == number));
        match found {
            Some(index) => drop(actual.remove(index)),
            None => text.push(format!("- {line}")),
        }
    }
    text.extend(actual.iter().map(|(rule, number)| format!("+ {rule}:{number}")));
    if text.is_empty() { Vec::new() } else { vec![format!("warnings\n{}", text.join("\n"))] }
}

fn kiln_warnings(stderr: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = stderr.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(code) = line.strip_prefix("warning[").and_then(|rest| rest.split(']').next()) else {
            continue;
        };
        let rule = code.rsplit('/').next().unwrap_or(code);
        // Warnings that are no rules of the specification have codes in lower case.
        if !rule.starts_with(|first: char| first.is_ascii_uppercase()) {
            continue;
        }
        let place = lines.get(index + 1).and_then(|line| line.trim_start().strip_prefix("--> "));
        let row = place.and_then(split_place).map_or(0, |(_, row, _)| row);
        found.push((rule.to_owned(), row.to_string()));
    }
    found
}

fn buildkit_warnings(stderr: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in stderr.lines() {
        // The line before the list leaves the end of its colour on the first one.
        let Some(listed) = line.trim_start_matches("\u{1b}[0m").strip_prefix(" - ") else { continue };
        let Some((rule, message)) = listed.split_once(": ") else { continue };
        let row = message.rsplit_once("(line ").map(|(_, row)| row.trim_end_matches(')')).unwrap_or_default();
        found.push((rule.to_owned(), row.to_owned()));
    }
    found
}

fn missing(what: &str, lines: &[&str], text: &str) -> Vec<String> {
    let absent = |line: &&&str| match line.strip_prefix("! ") {
        Some(unwanted) => text.contains(unwanted),
        None => !text.contains(**line),
    };
    lines.iter().filter(absent).map(|line| format!("{what} and `{line}`")).collect()
}

/// `POINTER = JSON` of what was printed.
fn pointers(lines: &[&str], printed: &str) -> Vec<String> {
    let document: Value = match serde_json::from_str(printed) {
        Ok(document) => document,
        Err(error) => return vec![format!("standard output is no JSON: {error}")],
    };
    let mut found = Vec::new();
    for line in lines {
        let (pointer, expected) =
            line.split_once(" = ").unwrap_or_else(|| panic!("`{line}` is not `POINTER = JSON`"));
        let actual = document.pointer(pointer).unwrap_or(&Value::Null);
        let expected: Value =
            serde_json::from_str(expected).unwrap_or_else(|error| panic!("`{line}`: {error}"));
        if *actual != expected {
            found.push(format!("standard output: {pointer} is {actual}, not {expected}"));
        }
    }
    found
}

/// Nothing if the step whose name holds `text` ended with `ending`.
fn ending(stderr: &str, text: &str, ending: &str) -> Option<String> {
    let split = |line: &str| -> Option<(String, String)> {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        Some((number.to_owned(), rest.to_owned()))
    };
    let lines: Vec<(String, String)> = stderr.lines().filter_map(split).collect();
    let Some((number, _)) = lines.iter().find(|(_, rest)| rest.starts_with('[') && rest.contains(text))
    else {
        return Some(format!("step `{text}` is not among the steps"));
    };
    let ended = lines.iter().filter(|(other, _)| other == number).find_map(|(_, rest)| {
        ["CACHED", "DONE", "ERROR", "CANCELED"].into_iter().find(|word| rest.starts_with(word))
    });
    if ended == Some(ending) {
        return None;
    }
    Some(format!("step `{text}` ended with {}, not {ending}", ended.unwrap_or("nothing")))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn lists(what: &str, expected: &[&str], actual: &[String]) -> Vec<String> {
    if expected.iter().eq(actual.iter()) {
        return Vec::new();
    }
    let side = |sign: &str, lines: Vec<&str>| -> String {
        lines.iter().map(|line| format!("\n{sign} {line}")).collect()
    };
    vec![format!(
        "{what}{}{}",
        side("-", expected.to_vec()),
        side("+", actual.iter().map(String::as_str).collect())
    )]
}
