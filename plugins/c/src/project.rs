//! Tells what kind of project a directory holds, by the files at its top.

use kiln_closure::Files;
use kiln_sdk::wit::frontend_types::{Confidence, Detection};
use kiln_sdk::wit::types::HostError;

/// What builds a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum System {
    CMake,
    Meson,
    Autotools,
    Make,
    /// A compiler alone, for the one source file at the top.
    File(String),
}

impl System {
    /// As the option `system` and the script call it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::CMake => "cmake",
            Self::Meson => "meson",
            Self::Autotools => "autotools",
            Self::Make => "make",
            Self::File(_) => "file",
        }
    }
}

/// One way to build what is in a directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Way {
    pub system: System,
    pub confidence: Confidence,
    /// What was found, such as "CMakeLists.txt found, project hello".
    pub reason: String,
}

/// What was looked for, for directories that have none of it.
pub(crate) const LOOKED_FOR: &str = "no CMakeLists.txt, meson.build, configure.ac, configure or Makefile, \
                                     and no *.c, *.cc, *.cpp or *.cxx at the top";

/// Endings of files that are compiled.
pub(crate) const SOURCES: [&str; 5] = [".c", ".cc", ".cpp", ".cxx", ".C"];

/// Endings of files that are C++ beyond doubt.
pub(crate) const CXX: [&str; 4] = [".cc", ".cpp", ".cxx", ".C"];

const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// Every way there is, the best one first.
///
/// # Errors
///
/// The directory cannot be read.
pub(crate) fn ways(files: &dyn Files) -> Result<Vec<Way>, HostError> {
    let names = files.names("/")?;
    let has = |name: &str| names.iter().any(|known| known == name);
    let mut ways = Vec::new();
    let mut add = |system, confidence, reason: String| ways.push(Way { system, confidence, reason });
    if has("CMakeLists.txt") {
        let presets = if has("CMakePresets.json") { "CMakePresets.json and " } else { "" };
        let name =
            name_in(files, "/CMakeLists.txt")?.map_or_else(String::new, |it| format!(", project {it}"));
        add(System::CMake, Confidence::Certain, format!("{presets}CMakeLists.txt found{name}"));
    }
    if has("meson.build") {
        let name = name_in(files, "/meson.build")?.map_or_else(String::new, |it| format!(", project {it}"));
        add(System::Meson, Confidence::Certain, format!("meson.build found{name}"));
    }
    let at_top = sources(&names);
    let mut has_sources = !at_top.is_empty();
    // Any project has these names; what lies below says whether it is one in C.
    let ambiguous = has("configure") || MAKEFILES.iter().any(|name| has(name));
    if ambiguous && !has_sources {
        for ending in SOURCES {
            has_sources = has_sources || !files.matching(&format!("*/*{ending}"))?.is_empty();
        }
    }
    if has("configure.ac") {
        add(System::Autotools, Confidence::Certain, "configure.ac found".to_owned());
    } else if has("configure") && has_sources {
        let reason = "configure found, with C or C++ sources".to_owned();
        add(System::Autotools, Confidence::Likely, reason);
    }
    if let Some(makefile) = MAKEFILES.iter().find(|name| has(name))
        && has_sources
    {
        add(System::Make, Confidence::Likely, format!("{makefile} found, with C or C++ sources"));
    }
    if let [only] = at_top[..] {
        let reason = format!("{only} found, the only source file at the top");
        add(System::File(only.clone()), Confidence::Likely, reason);
    }
    Ok(ways)
}

/// Those of some names that are compiled. What is hidden, editors have left.
fn sources(names: &[String]) -> Vec<&String> {
    let is_source =
        |name: &&String| !name.starts_with('.') && SOURCES.iter().any(|ending| name.ends_with(ending));
    names.iter().filter(is_source).collect()
}

/// Why there is no way to build what is in a directory.
///
/// # Errors
///
/// The directory cannot be read.
pub(crate) fn nothing(files: &dyn Files) -> Result<String, HostError> {
    let names = files.names("/")?;
    Ok(match sources(&names)[..] {
        [first, second, ..] => format!(
            "several source files (`{first}`, `{second}`), and no CMakeLists.txt, meson.build, configure.ac, \
             configure or Makefile that says how they belong together"
        ),
        _ => LOOKED_FOR.to_owned(),
    })
}

/// What the frontend says when it is shown a directory.
pub(crate) fn detect(files: &dyn Files) -> Detection {
    let found = ways(files).and_then(|ways| match ways.into_iter().next() {
        Some(way) => Ok(Detection { confidence: way.confidence, reason: way.reason }),
        None => Ok(Detection { confidence: Confidence::No, reason: nothing(files)? }),
    });
    match found {
        Ok(found) => found,
        Err(error) => {
            let reason = format!("the directory cannot be read: {}", error.message);
            Detection { confidence: Confidence::No, reason }
        }
    }
}

/// Build files have some kilobytes.
pub(crate) const MAX_FILE_BYTES: u32 = 1 << 20;

/// The text of a file of the project; what is no UTF-8 is replaced.
pub(crate) fn text(files: &dyn Files, path: &str) -> Result<String, HostError> {
    Ok(String::from_utf8_lossy(&files.read(path, 0, MAX_FILE_BYTES)?).into_owned())
}

/// The first argument of `project(…)`, which CMake and Meson write alike.
fn name_in(files: &dyn Files, path: &str) -> Result<Option<String>, HostError> {
    const WORD: &str = "project";
    let text = text(files, path)?;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let line = rest.trim_start_matches([' ', '\t']);
        if line.get(..WORD.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(WORD))
            && let Some(arguments) = line[WORD.len()..].trim_start().strip_prefix('(')
        {
            let ends = |c: char| c.is_whitespace() || matches!(c, ')' | ',' | '\'' | '"');
            let name = arguments.trim_start_matches(ends).split(ends).next().unwrap_or_default();
            let is_plain = !name.is_empty() && !name.contains(|c: char| c == '$' || c.is_control());
            return Ok(is_plain.then(|| name.to_owned()));
        }
        rest = line.split_once('\n').map_or("", |(_, rest)| rest);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use kiln_closure::testing::Tree;

    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        paths.iter().fold(Tree::new(), |tree, path| tree.file(&format!("/{path}"), b""))
    }

    #[track_caller]
    fn check(paths: &[&str], expected: Option<(Confidence, System)>) {
        let found = ways(&tree(paths)).unwrap().into_iter().next();
        assert_eq!(found.map(|way| (way.confidence, way.system)), expected, "{paths:?}");
    }

    #[test]
    fn the_build_system_that_says_most_is_taken() {
        let file = |name: &str| Some((Confidence::Likely, System::File(name.to_owned())));
        check(
            &["CMakeLists.txt", "meson.build", "Makefile", "a.c"],
            Some((Confidence::Certain, System::CMake)),
        );
        check(&["meson.build", "configure.ac", "a.c"], Some((Confidence::Certain, System::Meson)));
        check(&["configure.ac", "Makefile.am"], Some((Confidence::Certain, System::Autotools)));
        check(&["configure", "src/a.c", "Makefile"], Some((Confidence::Likely, System::Autotools)));
        check(&["makefile", "a.c", "b.c"], Some((Confidence::Likely, System::Make)));
        check(&["Makefile", "src/a.cpp"], Some((Confidence::Likely, System::Make)));
        check(&["hello.c"], file("hello.c"));
        check(&["hello.cxx", "hello.h", "README"], file("hello.cxx"));
        check(&["a.c", "b.c"], None);
        check(&["src/a.c"], None);
        check(&["a.c", ".#a.c", ".c"], file("a.c"));
        check(&[".c"], None);
    }

    #[test]
    fn sources_without_anything_that_binds_them_are_seen() {
        let reason = detect(&tree(&["b.c", "a.cc"])).reason;
        assert!(
            reason.starts_with("several source files (`a.cc`, `b.c`), and no CMakeLists.txt"),
            "{reason}"
        );
        assert_eq!(detect(&tree(&["src/a.c"])).reason, LOOKED_FOR);
    }

    #[test]
    fn a_makefile_of_another_language_is_none_of_ours() {
        check(&["Makefile", "go.mod", "main.go"], None);
        check(&["configure", "package.json"], None);
        assert_eq!(detect(&tree(&["go.mod", "Makefile"])).reason, LOOKED_FOR);
    }

    #[test]
    fn a_name_is_looked_for_once_in_each_line() {
        let text = "project".repeat(140_000);
        let files = Tree::new().file("/CMakeLists.txt", text.as_bytes());
        assert_eq!(name_in(&files, "/CMakeLists.txt").unwrap(), None);
    }

    #[test]
    fn the_name_of_the_project_is_part_of_the_reason() {
        let reason =
            |file: &str, text: &str| detect(&Tree::new().file(&format!("/{file}"), text.as_bytes())).reason;
        let cmake = |text| reason("CMakeLists.txt", text);
        assert_eq!(cmake("# my project(x)\nPROJECT( hello C )\n"), "CMakeLists.txt found, project hello");
        assert_eq!(cmake("project(${NAME})"), "CMakeLists.txt found");
        assert_eq!(cmake("project"), "CMakeLists.txt found");
        assert_eq!(cmake("project\n(\n  \"a\" C)"), "CMakeLists.txt found, project a");
        assert_eq!(cmake("project(\u{1b}[2Jx)"), "CMakeLists.txt found");
        assert_eq!(cmake("\u{e4}\u{e4}\u{e4}\u{e4}(\nproject(b)"), "CMakeLists.txt found, project b");
        assert_eq!(reason("meson.build", "project('a-b', 'c')"), "meson.build found, project a-b");
    }
}
