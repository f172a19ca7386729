//! Keeps the list of paragraphs in README.md and the table of cases in step.

use std::fs;

use crate::bases::repository;
use crate::builders::Builder;

/// Given the names of all cases, says what is wrong.
pub(crate) type Check = fn(&[String]) -> Vec<String>;

/// The checks, by name.
pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("every_paragraph_has_a_case_or_a_reason", every_paragraph_has_a_case_or_a_reason),
    ("every_case_is_of_a_paragraph_in_the_list", every_case_is_of_a_paragraph_in_the_list),
    ("every_known_difference_is_of_a_case", every_known_difference_is_of_a_case),
];

/// A row `| 7.4 | what it says | why there is no case |` of README.md.
struct Paragraph {
    number: String,
    /// Empty where there are cases.
    reason: String,
}

fn paragraphs() -> Vec<Paragraph> {
    let path = repository().join("tests/conformance/README.md");
    let page = fs::read_to_string(path).expect("README.md is there");
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim);
            let number =
                cells.next().filter(|cell| cell.starts_with(|first: char| first.is_ascii_digit()))?;
            Some(Paragraph { number: number.to_owned(), reason: cells.nth(1).unwrap_or_default().to_owned() })
        })
        .collect()
}

/// The paragraphs that a name begins with: `12.4` of `12.4-…`, `4.4` and `4.5` of `4.4+4.5-…`.
fn numbers(name: &str) -> impl Iterator<Item = &str> {
    name.split('-').next().unwrap_or_default().split('+')
}

fn every_paragraph_has_a_case_or_a_reason(names: &[String]) -> Vec<String> {
    let list = paragraphs();
    assert!(!list.is_empty(), "README.md lists no paragraphs");
    let mut found = Vec::new();
    for Paragraph { number, reason } in &list {
        let covered = names.iter().any(|name| numbers(name).any(|other| other == number));
        match (covered, reason.is_empty()) {
            (false, true) => found.push(format!("{number} has neither a case nor a reason")),
            (true, false) => found.push(format!("{number} has cases, and a reason why it has none")),
            _ => {}
        }
    }
    found
}

fn every_case_is_of_a_paragraph_in_the_list(names: &[String]) -> Vec<String> {
    let list = paragraphs();
    let unknown =
        |name: &&String| numbers(name).any(|number| !list.iter().any(|paragraph| paragraph.number == number));
    names.iter().filter(unknown).map(|name| format!("README.md lists no paragraph of `{name}`")).collect()
}

/// Lines `BUILDER CASE REASON` of the file `known-differences`, as builder and case.
fn listed_differences() -> Vec<(String, String)> {
    let path = repository().join("tests/conformance/known-differences");
    let text = fs::read_to_string(path).expect("known-differences is there");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let named = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            assert!(words.next().is_some(), "known-differences: `{line}` gives no reason");
            named
        })
        .collect()
}

/// The cases in which another builder is known to do something else.
pub(crate) fn known_differences(builder: Builder) -> Vec<String> {
    let name = match builder {
        Builder::Kiln => return Vec::new(),
        Builder::BuildKit => "buildkit",
        Builder::Buildah => "buildah",
    };
    listed_differences().into_iter().filter(|(other, _)| other == name).map(|(_, case)| case).collect()
}

fn every_known_difference_is_of_a_case(names: &[String]) -> Vec<String> {
    let unknown = |(builder, case): &&(String, String)| {
        !["buildkit", "buildah"].contains(&builder.as_str()) || !names.contains(case)
    };
    listed_differences()
        .iter()
        .filter(unknown)
        .map(|(builder, case)| {
            format!("known-differences: {builder} {case}: there is no such builder or case")
        })
        .collect()
}
