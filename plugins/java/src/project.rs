//! Finds out what kind of project a directory is, from its build files alone.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileKind, HostError};

use crate::gradle;
use crate::pom::Pom;
use crate::version::Wanted;

/// Files of a project, to be looked at.
pub(crate) trait Look {
    /// `None` when there is no such file.
    fn text(&self, path: &str) -> Result<Option<String>, HostError>;
    /// Paths of files that match patterns of the language of `.dockerignore`, sorted.
    fn matching(&self, patterns: &[&str]) -> Result<Vec<String>, HostError>;
}

/// Build files that are read at most; what is beyond is the tool's business only.
const MAX_BUILD_FILES: u32 = 2_000;

impl Look for Tree {
    fn text(&self, path: &str) -> Result<Option<String>, HostError> {
        match self.text_if_there(path) {
            Err(error) if error.code == "invalid-argument" => bytes(self, path).map(|it| Some(latin(&it))),
            text => text,
        }
    }

    fn matching(&self, patterns: &[&str]) -> Result<Vec<String>, HostError> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let found = self.glob(&patterns, MAX_BUILD_FILES)?;
        // A link counts as what it leads to within the project.
        let is_file = |path: &str| {
            self.real_path(path)
                .and_then(|path| self.stat(&path))
                .is_ok_and(|it| it.kind == FileKind::Regular)
        };
        let files = found.into_iter().filter(|file| match file.kind {
            FileKind::Symlink => is_file(&file.path),
            kind => kind == FileKind::Regular,
        });
        Ok(files.map(|file| file.path).collect())
    }
}

/// The whole file.
fn bytes(tree: &Tree, path: &str) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    loop {
        let piece = tree.read(path, bytes.len() as u32, 4 << 20)?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(piece);
    }
}

/// Text that is no UTF-8, as build files of former days are: ISO 8859-1, in which every byte is a character. What decides is
/// ASCII in any case.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What builds a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Maven,
    Gradle,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Maven => "Maven",
            Self::Gradle => "Gradle",
        }
    }

    /// The script in the project that brings the tool along.
    pub(crate) fn wrapper(self) -> &'static str {
        match self {
            Self::Maven => "mvnw",
            Self::Gradle => "gradlew",
        }
    }
}

/// What was looked for, for messages.
pub(crate) const LOOKED_FOR: &str =
    "pom.xml, build.gradle, build.gradle.kts, settings.gradle or settings.gradle.kts";

const GRADLE_FILES: [&str; 4] =
    ["build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts"];

/// The build files at the top of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) tool: Tool,
    /// The wrapper's script is there.
    pub(crate) has_wrapper: bool,
    /// The file that tells, at the top.
    pub(crate) file: &'static str,
}

/// Looks for a project: a wrapper decides where build files of both tools are.
pub(crate) fn find(files: &dyn Look) -> Result<Option<Found>, HostError> {
    let has = |path: &str| -> Result<bool, HostError> { Ok(!files.matching(&[path])?.is_empty()) };
    let wrapped = |tool: Tool| has(tool.wrapper());
    let maven = has("pom.xml")?.then_some("pom.xml");
    let mut gradle = None;
    for file in GRADLE_FILES {
        if gradle.is_none() && has(file)? {
            gradle = Some(file);
        }
    }
    let found = |tool: Tool, file: &'static str| -> Result<Option<Found>, HostError> {
        Ok(Some(Found { tool, has_wrapper: wrapped(tool)?, file }))
    };
    match (maven, gradle) {
        (Some(_), Some(file)) if wrapped(Tool::Gradle)? && !wrapped(Tool::Maven)? => {
            found(Tool::Gradle, file)
        }
        (Some(file), _) => found(Tool::Maven, file),
        (None, Some(file)) => found(Tool::Gradle, file),
        (None, None) => Ok(None),
    }
}

/// What the build files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) found: Found,
    /// The highest version of Java that a build file asks for.
    pub(crate) java: Option<Wanted>,
    /// A module needs the tests of another one, so that tests have to be compiled.
    pub(crate) shares_tests: bool,
}

/// Why build files could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Host(HostError),
    /// Something is wrong with them.
    Wrong(Vec<Diagnostic>),
}

impl From<HostError> for ReadError {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// Reads the build files of a project.
///
/// # Errors
///
/// All poms that are no poms.
pub(crate) fn read(files: &dyn Look, found: Found) -> Result<Project, ReadError> {
    let (java, shares_tests) = match found.tool {
        Tool::Maven => maven(files)?,
        Tool::Gradle => {
            let mut java = None;
            for path in files.matching(&[
                "**/build.gradle",
                "**/build.gradle.kts",
                "**/*.gradle",
                "**/*.gradle.kts",
            ])? {
                let text = files.text(&path)?.unwrap_or_default();
                java = higher(java, gradle::java(&path, &text));
            }
            (java, false)
        }
    };
    Ok(Project { found, java, shares_tests })
}

fn higher(known: Option<Wanted>, new: Option<Wanted>) -> Option<Wanted> {
    match (known, new) {
        (Some(known), Some(new)) if new.version > known.version => Some(new),
        (Some(known), _) => Some(known),
        (None, new) => new,
    }
}

fn maven(files: &dyn Look) -> Result<(Option<Wanted>, bool), ReadError> {
    let mut poms: BTreeMap<String, Pom> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut java = None;
    // A pom with those it is a module of, nearest first.
    let mut queue: Vec<(String, Vec<String>)> = vec![("pom.xml".to_owned(), Vec::new())];
    while let Some((path, above)) = queue.pop() {
        if poms.contains_key(&path) || poms.len() >= MAX_BUILD_FILES as usize {
            continue;
        }
        // A module that is not there is told by Maven.
        let Some(text) = files.text(&path)? else { continue };
        let pom = match Pom::parse(&path, &text) {
            Ok(pom) => pom,
            Err(problem) => {
                wrong.extend(problem.diagnostics);
                continue;
            }
        };
        let inherited: Vec<&Pom> = above.iter().filter_map(|path| poms.get(path)).collect();
        java = higher(java, pom.java(&path, &inherited));
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut below = vec![path.clone()];
        below.extend(above);
        for module in pom.modules.iter().rev() {
            if let Some(path) = module_file(directory, module) {
                queue.push((path, below.clone()));
            }
        }
        poms.insert(path, pom);
    }
    match wrong.is_empty() {
        true => Ok((java, poms.values().any(|pom| pom.shares_tests))),
        false => Err(ReadError::Wrong(wrong)),
    }
}

/// The pom of a module, written relative to `directory`. `None` when it lies outside of the project.
fn module_file(directory: &str, module: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in module.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    if !module.ends_with(".xml") {
        parts.push("pom.xml");
    }
    Some(parts.join("/"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Files by path; patterns are paths or `**/NAME`.
    impl Look for BTreeMap<&str, &str> {
        fn text(&self, path: &str) -> Result<Option<String>, HostError> {
            Ok(self.get(path).map(|text| (*text).to_owned()))
        }

        fn matching(&self, patterns: &[&str]) -> Result<Vec<String>, HostError> {
            let matches = |path: &str| {
                patterns.iter().any(|pattern| match pattern.strip_prefix("**/") {
                    Some(name) => path.ends_with(name.trim_start_matches('*')),
                    None => path == *pattern,
                })
            };
            Ok(self.keys().filter(|path| matches(path)).map(|path| (*path).to_owned()).collect())
        }
    }

    fn found(paths: &[&'static str]) -> Option<(Tool, bool, &'static str)> {
        let files: BTreeMap<&str, &str> = paths.iter().map(|path| (*path, "")).collect();
        find(&files).unwrap().map(|found| (found.tool, found.has_wrapper, found.file))
    }

    #[test]
    fn a_wrapper_decides_between_two_tools() {
        use Tool::{Gradle, Maven};
        assert_eq!(found(&["pom.xml"]), Some((Maven, false, "pom.xml")));
        assert_eq!(found(&["mvnw", "pom.xml"]), Some((Maven, true, "pom.xml")));
        assert_eq!(found(&["settings.gradle.kts", "gradlew"]), Some((Gradle, true, "settings.gradle.kts")));
        assert_eq!(found(&["build.gradle", "pom.xml"]), Some((Maven, false, "pom.xml")));
        assert_eq!(found(&["build.gradle", "pom.xml", "gradlew"]), Some((Gradle, true, "build.gradle")));
        assert_eq!(found(&["build.gradle", "pom.xml", "gradlew", "mvnw"]), Some((Maven, true, "pom.xml")));
        assert_eq!(
            found(&["mvnw", "src/main/java/A.java", "sub/pom.xml"]),
            None,
            "a script alone is no project"
        );
    }

    #[test]
    fn the_highest_version_of_all_modules_counts() {
        let root = "<project><properties><v>11</v></properties><modules><module>a</module><module>../out</module><module>b/</module></modules></project>";
        let files = BTreeMap::from([
            ("pom.xml", root),
            (
                "a/pom.xml",
                "<project><properties><maven.compiler.release>${v}</maven.compiler.release></properties><modules><module>../a</module></modules></project>",
            ),
            (
                "b/pom.xml",
                "<project><properties><maven.compiler.release>17</maven.compiler.release></properties><type>test-jar</type></project>",
            ),
        ]);
        let project = read(&files, find(&files).unwrap().unwrap()).unwrap();
        let java = project.java.unwrap();
        assert_eq!((java.version, java.from.as_str()), (17, "`maven.compiler.release` in `b/pom.xml`"));
        assert!(project.shares_tests);
    }

    #[test]
    fn every_broken_pom_is_told() {
        let files = BTreeMap::from([
            ("pom.xml", "<project><modules><module>a</module><module>b</module></modules></project>"),
            ("a/pom.xml", "<project>"),
            ("b/pom.xml", "<project><x></project>"),
        ]);
        let Err(ReadError::Wrong(wrong)) = read(&files, find(&files).unwrap().unwrap()) else { panic!() };
        assert_eq!(wrong.len(), 2);
    }

    #[test]
    fn versions_of_gradle_projects_stand_in_any_build_file() {
        let files = BTreeMap::from([
            ("settings.gradle", "include 'a'"),
            ("a/build.gradle", "sourceCompatibility = 11"),
            (
                "buildSrc/src/main/groovy/java.gradle",
                "java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }",
            ),
        ]);
        let project = read(&files, find(&files).unwrap().unwrap()).unwrap();
        assert_eq!(project.java.unwrap().version, 17);
    }
}
