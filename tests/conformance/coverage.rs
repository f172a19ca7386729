//! Keeps the list of paragraphs in README.md and the table of cases in step.

use std::fs;

use crate::bases::repository;

/// Given the names of all cases, says what is wrong.
pub(crate) type Check = fn(&[String]) -> Vec<String>;

/// The checks, by name.
pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("every_paragraph_has_a_case_or_a_reason", every_paragraph_has_a_case_or_a_reason),
    ("every_case_is_of_a_paragraph_in_the_list", every_case_is_of_a_paragraph_in_the_list),
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
