//! Reads the table of cases: text in which every case says what is built and what must come of it.

use std::fs;
use std::path::Path;

use crate::entries::unescape;

/// One case: builds in one directory, one after another.
#[derive(Debug)]
pub(crate) struct Case {
    /// `7.4-default-when-unset`: the paragraphs, then words.
    pub(crate) name: String,
    /// File and line of the case, for messages.
    pub(crate) place: String,
    /// Never empty.
    pub(crate) builds: Vec<Build>,
}

/// One build: what is written before it, and what is expected of it.
#[derive(Debug, Default)]
pub(crate) struct Build {
    pub(crate) sections: Vec<Section>,
}

/// A line `--- KIND ARGUMENT…` and the lines below it.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) kind: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) lines: Vec<String>,
}

impl Section {
    /// The lines as the content of a file: each with its end, or, if the section is `escaped`, joined without ends
    /// and with their escapes resolved.
    pub(crate) fn content(&self) -> Vec<u8> {
        if self.arguments.iter().any(|argument| argument == "escaped") {
            return self.lines.iter().flat_map(|line| unescape(line)).collect();
        }
        self.lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect()
    }

    /// The lines that say something, without blank ones.
    pub(crate) fn statements(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.trim().is_empty())
    }
}

impl Build {
    pub(crate) fn one(&self, kind: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

/// All cases of the files `*.cases` in `directory`, by file name and then in the order of the file.
pub(crate) fn read(directory: &Path) -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cases"))
        .collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for case in parse(&file, &text) {
            assert!(
                cases.iter().all(|other| other.name != case.name),
                "{}: there is another case `{}`",
                case.place,
                case.name
            );
            cases.push(case);
        }
    }
    cases
}

fn parse(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if let Some(name) = line.strip_prefix("=== ") {
            let name = name.trim().to_owned();
            assert!(
                name.starts_with(|first: char| first.is_ascii_digit()) && name.contains('-'),
                "{place}: the name of a case begins with the number of a paragraph"
            );
            cases.push(Case { name, place, builds: vec![Build::default()] });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            assert!(line.is_empty() || line.starts_with('#'), "{place}: text before the first case");
            continue;
        };
        if line == "--- then" {
            case.builds.push(Build::default());
            continue;
        }
        let build = case.builds.last_mut().expect("a case begins with a build");
        if let Some(heading) = line.strip_prefix("--- ") {
            let mut words = heading.split_whitespace().map(str::to_owned);
            let kind = words.next().unwrap_or_default();
            assert!(KINDS.contains(&kind.as_str()), "{place}: no section is called `{kind}`");
            build.sections.push(Section { kind, arguments: words.collect(), lines: Vec::new() });
            continue;
        }
        match build.sections.last_mut() {
            // So that a file may hold lines that look like ours.
            Some(section) => section.lines.push(
                line.strip_prefix('\\')
                    .filter(|rest| rest.starts_with("--- ") || rest.starts_with("=== "))
                    .unwrap_or(line)
                    .to_owned(),
            ),
            None => assert!(
                line.is_empty() || line.starts_with('#'),
                "{place}: text before the first section of `{}`",
                case.name
            ),
        }
    }
    for case in &mut cases {
        for section in case.builds.iter_mut().flat_map(|build| &mut build.sections) {
            while section.lines.last().is_some_and(|line| line.trim().is_empty()) {
                section.lines.pop();
            }
        }
    }
    cases
}

/// What README.md explains.
const KINDS: &[&str] = &[
    "Dockerfile",
    "archive",
    "args",
    "builds",
    "cached",
    "config",
    "context",
    "env",
    "environment",
    "fails",
    "file",
    "history",
    "json",
    "platform",
    "ran",
    "repository",
    "same",
    "source",
    "stderr",
    "stdin",
    "stdout",
    "tree",
    "warnings",
];
