//! What lies in the context: a workspace, a module, or a few Go files.

use std::collections::BTreeSet;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::{BuildFailure, Confidence, Detection};
use kiln_sdk::wit::types::HostError;

use crate::context::Files;
use crate::modfile::ModFile;

/// The Go that is taken where the project names none.
pub(crate) const DEFAULT_VERSION: &str = "1.25";

/// What there is to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `go.work`, with these directories.
    Workspace(Vec<String>),
    /// `go.mod`
    Module,
    /// Go files in one directory and nothing that says how they are called.
    Files,
}

/// A project, as its own files describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) kind: Kind,
    /// Path of the module; that of the first module in a workspace, empty for files.
    pub(crate) module: String,
    /// Which Go is wanted, and the line that says so, such as ``go.mod has the line `go 1.22` ``.
    pub(crate) version: Option<(String, String)>,
    /// Modules have to be downloaded.
    pub(crate) has_dependencies: bool,
    /// Directories that stand in for modules that `go.mod` requires, without `./`.
    pub(crate) local_modules: Vec<String>,
    /// `vendor/` holds the dependencies.
    pub(crate) is_vendored: bool,
}

impl Project {
    /// Reads the project in the root of a tree; `None` when there is none.
    pub(crate) fn read(files: &dyn Files) -> Result<Option<Self>, HostError> {
        let is_vendored = files.text("vendor/modules.txt")?.is_some();
        if let Some(text) = files.text("go.work")? {
            let work = ModFile::parse(&text);
            let mut modules = Vec::new();
            for directory in &work.directories {
                let path = directory.trim_start_matches("./").trim_end_matches('/');
                let path = if path.is_empty() || path == "." {
                    "go.mod".to_owned()
                } else {
                    format!("{path}/go.mod")
                };
                modules.extend(files.text(&path)?.map(|text| (path, ModFile::parse(&text))));
            }
            let mut version = version("go.work", &work);
            for (path, module) in &modules {
                version = version.or_else(|| self::version(path, module));
            }
            let own: BTreeSet<&str> = modules.iter().map(|(_, module)| module.module.as_str()).collect();
            let has_dependencies = modules.iter().any(|(_, module)| needs_others(module, &own, &work));
            let module = modules.first().map(|(_, module)| module.module.clone()).unwrap_or_default();
            let kind = Kind::Workspace(work.directories);
            let local_modules = Vec::new();
            return Ok(Some(Self { kind, module, version, has_dependencies, local_modules, is_vendored }));
        }
        if let Some(text) = files.text("go.mod")? {
            let module = ModFile::parse(&text);
            return Ok(Some(Self {
                kind: Kind::Module,
                version: version("go.mod", &module),
                has_dependencies: needs_others(&module, &BTreeSet::new(), &ModFile::default()),
                is_vendored,
                local_modules: module.local_directories(),
                module: module.module,
            }));
        }
        let files = files.go_files()?;
        Ok((!files.is_empty()).then(|| Self {
            kind: Kind::Files,
            module: String::new(),
            version: None,
            has_dependencies: false,
            local_modules: Vec::new(),
            is_vendored: false,
        }))
    }

    /// One line about what was found.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Workspace(directories) => {
                let count = directories.len();
                format!("go.work found, a workspace of {count} module{}", if count == 1 { "" } else { "s" })
            }
            Kind::Module if self.module.is_empty() => "go.mod found, which names no module".to_owned(),
            Kind::Module => format!("go.mod found, module {}", self.module),
            Kind::Files => "Go files without go.mod found".to_owned(),
        }
    }
}

/// What is looked for, in words.
const LOOKED_FOR: &str = "no go.work, go.mod or main.go";

/// The project of a build.
///
/// # Errors
///
/// There is none, or the context cannot be read.
pub(crate) fn find(files: &dyn Files) -> Result<Project, BuildFailure> {
    let found = Project::read(files).map_err(|error| {
        Diagnostic::error("no-project", format!("the build context cannot be read: {}", error.message))
    })?;
    found.ok_or_else(|| {
        let help =
            "the root of the build context has to have one of them, and `.dockerignore` must not exclude it";
        Diagnostic::error("no-project", format!("there is {LOOKED_FOR} here")).help(help).into()
    })
}

/// Whether a directory is a Go project.
pub(crate) fn detect(files: &dyn Files) -> Detection {
    let found = match Project::read(files) {
        Ok(found) => found,
        Err(error) => return Detection::because(Confidence::No, error.message),
    };
    match found {
        None => Detection::because(Confidence::No, LOOKED_FOR),
        Some(project) if project.kind != Kind::Files => {
            Detection::because(Confidence::Certain, project.describe())
        }
        Some(_) => match files.text("main.go") {
            Ok(Some(text)) if is_main(&text) => {
                Detection::because(Confidence::Likely, "main.go found, without go.mod")
            }
            _ => {
                Detection::because(Confidence::Possible, "Go files found, but no go.work, go.mod or main.go")
            }
        },
    }
}

fn is_main(text: &str) -> bool {
    text.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("package")
            && words.next().is_some_and(|name| name.trim_end_matches(';') == "main")
    })
}

fn version(name: &str, file: &ModFile) -> Option<(String, String)> {
    if !file.toolchain.is_empty() {
        return Some((
            file.toolchain.clone(),
            format!("{name} has the line `toolchain go{}`", file.toolchain),
        ));
    }
    if file.go.is_empty() {
        return None;
    }
    // The line is a lower bound: of that release, the image with the latest fixes. Release candidates have images of their own.
    let mut parts = file.go.split('.');
    let release = match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if file.go.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
            format!("{major}.{minor}")
        }
        _ => file.go.clone(),
    };
    Some((release, format!("{name} has the line `go {}`", file.go)))
}

/// Whether a module requires one that is neither in the workspace nor in a directory.
fn needs_others(module: &ModFile, own: &BTreeSet<&str>, work: &ModFile) -> bool {
    module.require.iter().any(|required| {
        !own.contains(required.as_str())
            && !module.replaced_by_directory.contains(required)
            && !work.replaced_by_directory.contains(required)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(crate) struct Memory(BTreeMap<&'static str, &'static str>);

    impl Files for Memory {
        fn text(&self, path: &str) -> Result<Option<String>, HostError> {
            Ok(self.0.get(path).map(|text| (*text).to_owned()))
        }

        fn go_files(&self) -> Result<Vec<String>, HostError> {
            let names = self.0.keys().filter(|name| name.ends_with(".go") && !name.contains('/'));
            Ok(names.map(|name| (*name).to_owned()).collect())
        }
    }

    pub(crate) fn tree<const N: usize>(files: [(&'static str, &'static str); N]) -> Memory {
        Memory(files.into())
    }

    fn read<const N: usize>(files: [(&'static str, &'static str); N]) -> Project {
        find(&tree(files)).unwrap()
    }

    #[test]
    fn a_workspace_goes_before_a_module_and_a_module_before_files() {
        let files = [
            ("go.work", "go 1.21\nuse ./a\nuse ./b\n"),
            ("a/go.mod", "module example.com/a\ngo 1.20\nrequire example.com/b v0.0.0\n"),
            ("b/go.mod", "module example.com/b\n"),
            ("go.mod", "module example.com/root\n"),
            ("main.go", "package main\n"),
        ];
        let project = read(files);
        assert_eq!(project.kind, Kind::Workspace(vec!["./a".into(), "./b".into()]));
        assert!(!project.has_dependencies, "what the workspace has itself is not downloaded");
        assert_eq!(project.version.unwrap().1, "go.work has the line `go 1.21`");
        let [_, _, _, module, main] = files;
        assert_eq!(read([module, main]).kind, Kind::Module);
        assert_eq!(read([main]).kind, Kind::Files);
    }

    #[test]
    fn the_version_is_that_of_the_toolchain_or_the_release_of_the_go_line() {
        let check = |text, expected: &str| {
            let version = read([("go.mod", text)]).version.map(|(version, _)| version);
            assert_eq!(version.unwrap_or_default(), expected, "{text}");
        };
        check("go 1.22", "1.22");
        check("go 1.22.3", "1.22");
        check("go 1.23rc1", "1.23rc1");
        check("go 1.21\ntoolchain go1.22.5", "1.22.5");
        check("go 1.21\ntoolchain default", "1.21");
        check("module x", "");
    }

    #[test]
    fn what_a_directory_replaces_is_no_dependency() {
        let local = "module x\nrequire example.com/a v0.0.0\nreplace example.com/a => ./a\n";
        assert!(!read([("go.mod", local)]).has_dependencies);
        assert!(read([("go.mod", "require example.com/a v1.0.0")]).has_dependencies);
    }

    #[test]
    fn a_file_of_very_many_modules_is_read_in_no_time() {
        let mut text = String::from("module x\n");
        for number in 0..100_000 {
            text +=
                &format!("require example.com/{number} v0.0.0\nreplace example.com/{number} => ./{number}\n");
        }
        let module = ModFile::parse(&text);
        assert!(!needs_others(&module, &BTreeSet::new(), &ModFile::default()));
    }

    #[test]
    fn detection_says_what_it_saw() {
        let check = |files: Memory, confidence, reason: &str| {
            let found = detect(&files);
            assert_eq!((found.confidence, found.reason.as_str()), (confidence, reason));
        };
        check(
            tree([("go.mod", "module example.com/x\n")]),
            Confidence::Certain,
            "go.mod found, module example.com/x",
        );
        check(tree([("go.work", "use .\n")]), Confidence::Certain, "go.work found, a workspace of 1 module");
        check(
            tree([("main.go", "// x\npackage main\n")]),
            Confidence::Likely,
            "main.go found, without go.mod",
        );
        check(
            tree([("main.go", "package x\n")]),
            Confidence::Possible,
            "Go files found, but no go.work, go.mod or main.go",
        );
        check(tree([("src/main.go", "package main\n")]), Confidence::No, LOOKED_FOR);
    }
}
