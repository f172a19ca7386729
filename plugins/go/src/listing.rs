//! Reads what `go list` says of the packages, and decides which one is the program.

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildFailure;

/// What `go list` prints of each package that is no part of Go itself: fields between tabs. `DepOnly` is true of packages that
/// are there because others import them.
pub(crate) const FORMAT: &str = r#"{{if not .Standard}}{{.ImportPath}}{{"\t"}}{{.Name}}{{"\t"}}{{.DepOnly}}{{"\t"}}{{.Dir}}{{"\t"}}{{join .CgoFiles " "}}{{"\t"}}{{join .Imports " "}}{{"\t"}}{{with .Error}}{{printf "%q" .Err}}{{end}}{{end}}"#;

/// One package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) path: String,
    /// As in its `package` clause; empty when there is none to be read.
    pub(crate) name: String,
    /// It is the project's own.
    pub(crate) is_own: bool,
    /// From the root of the project, `./cmd/x` or `.`; for packages from elsewhere, where they are in the builder.
    pub(crate) directory: String,
    /// Files with C in them.
    pub(crate) cgo_files: Vec<String>,
    imports: Vec<String>,
    /// What the go command complains about, in Go's own quotes.
    error: String,
}

/// All packages of a project, by import path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    packages: BTreeMap<String, Package>,
}

impl Listing {
    /// Reads lines in [`FORMAT`]; `root` is where the project lay.
    pub(crate) fn read(text: &str, root: &str) -> Self {
        let package = |line: &str| {
            let mut fields = line.split('\t');
            let mut next = || fields.next().unwrap_or_default();
            let (path, name, dep_only) = (next().to_owned(), next().to_owned(), next() == "true");
            let directory = match next() {
                own if own == root => ".".to_owned(),
                own => match own.strip_prefix(root) {
                    Some(below) if below.starts_with('/') => format!(".{below}"),
                    _ => own.to_owned(),
                },
            };
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let (cgo_files, imports, error) = (words(next()), words(next()), next().to_owned());
            let package = Package { path, name, is_own: !dep_only, directory, cgo_files, imports, error };
            (!package.path.is_empty()).then(|| (package.path.clone(), package))
        };
        Self { packages: text.lines().filter_map(package).collect() }
    }

    /// The project's own main packages, sorted by directory.
    fn mains(&self) -> Vec<&Package> {
        let mut mains: Vec<&Package> =
            self.packages.values().filter(|package| package.is_own && package.name == "main").collect();
        mains.sort_by(|a, b| a.directory.cmp(&b.directory));
        mains
    }

    /// The program: the one that is asked for, or the only one.
    ///
    /// # Errors
    ///
    /// `no-main`, `several-mains` or `unknown-main`, each with what there is.
    pub(crate) fn main(&self, wanted: &str) -> Result<&Package, BuildFailure> {
        let mains = self.mains();
        if !wanted.is_empty() {
            return self.named(wanted, &mains);
        }
        match mains[..] {
            [] => {
                let found = Diagnostic::error(
                    "no-main",
                    "the project has no main package, so there is nothing to run",
                );
                let complaint =
                    self.packages.values().find(|package| package.is_own && !package.error.is_empty());
                let help = match complaint {
                    Some(package) => format!(
                        "the go command says of `{}`: {}",
                        package.path,
                        package.error.trim_matches('"')
                    ),
                    None if self.packages.is_empty() => "there is no Go package in it at all".to_owned(),
                    None => format!(
                        "there {}; a program begins with `package main`",
                        counted(self.packages.values().filter(|package| package.is_own))
                    ),
                };
                Err(found.help(help).into())
            }
            [only] => Ok(only),
            _ => {
                let names: Vec<String> = mains.iter().map(|main| format!("`{}`", main.directory)).collect();
                let message = format!("the project has {} main packages: {}", mains.len(), names.join(", "));
                let options: Vec<String> =
                    mains.iter().map(|main| format!("`--opt go.main={}`", main.directory)).collect();
                Err(Diagnostic::error("several-mains", message)
                    .help(format!("choose one: {}", options.join(", ")))
                    .into())
            }
        }
    }

    fn named<'l>(&'l self, wanted: &str, mains: &[&'l Package]) -> Result<&'l Package, BuildFailure> {
        let directory = match wanted.trim_start_matches("./").trim_end_matches('/') {
            "" | "." => ".".to_owned(),
            below => format!("./{below}"),
        };
        let fits =
            |package: &&Package| package.is_own && (package.path == wanted || package.directory == directory);
        match self.packages.values().find(fits) {
            Some(found) if found.name == "main" => Ok(found),
            Some(found) if !found.name.is_empty() => {
                let message = format!("`{wanted}` is the package `{}`, and no program", found.name);
                Err(Diagnostic::error("unknown-main", message).help(offered(mains, None)).into())
            }
            _ => {
                let known = mains.iter().flat_map(|main| [main.directory.as_str(), main.path.as_str()]);
                let by_name = mains
                    .iter()
                    .find(|main| main.directory.rsplit('/').next() == directory.rsplit('/').next());
                let near = nearest(&directory, known.clone())
                    .or_else(|| nearest(wanted, known))
                    .or(by_name.map(|main| main.directory.as_str()));
                let message = format!("there is no main package `{wanted}`");
                Err(Diagnostic::error("unknown-main", message).help(offered(mains, near)).into())
            }
        }
    }

    /// Files with C that are part of the program, with the package of each, sorted.
    pub(crate) fn cgo_files(&self, main: &str) -> Vec<(&str, &str)> {
        let reached = self.reached(main);
        let files = reached
            .iter()
            .filter_map(|path| self.packages.get(*path))
            .flat_map(|package| package.cgo_files.iter().map(|file| (package.path.as_str(), file.as_str())));
        files.collect()
    }

    /// Whether the program imports a package, of Go itself perhaps.
    pub(crate) fn imports(&self, main: &str, path: &str) -> bool {
        self.reached(main).contains(path)
    }

    /// The import paths that a package needs, its own among them.
    fn reached<'l>(&'l self, main: &'l str) -> BTreeSet<&'l str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![main];
        while let Some(path) = open.pop() {
            if reached.insert(path)
                && let Some(package) = self.packages.get(path)
            {
                open.extend(package.imports.iter().map(String::as_str));
            }
        }
        reached
    }
}

impl Package {
    /// What `go build` would call the program: the last part of the import path that is no version.
    pub(crate) fn program(&self) -> &str {
        let mut parts = self.path.rsplit('/');
        let last = parts.next().unwrap_or(&self.path);
        let is_version = last.len() > 1
            && last.starts_with('v')
            && last[1..].bytes().all(|b| b.is_ascii_digit())
            && last != "v0"
            && last != "v1";
        if is_version { parts.next().unwrap_or(last) } else { last }
    }
}

fn offered(mains: &[&Package], near: Option<&str>) -> String {
    let names: Vec<String> = mains.iter().map(|main| format!("`{}`", main.directory)).collect();
    match (near, &names[..]) {
        (_, []) => "the project has no main package".to_owned(),
        (Some(near), [_]) => format!("perhaps `--opt go.main={near}`"),
        (Some(near), _) => format!("perhaps `--opt go.main={near}`; there are {}", names.join(", ")),
        (None, [one]) => format!("there is {one}"),
        (None, _) => format!("there are {}", names.join(", ")),
    }
}

fn counted<'p>(packages: impl Iterator<Item = &'p Package>) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = packages.map(|package| format!("`{}`", package.path)).collect();
    match names.len() {
        0 => "is no package of its own".to_owned(),
        1 => format!("is the package {}", names[0]),
        count if count <= SHOWN => format!("are the packages {}", names.join(", ")),
        count => format!("are {count} packages, such as {}", names[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path name own-or-dep directory cgo,files imports,…` per line, `-` for nothing.
    fn listing(text: &str) -> Listing {
        let line = |line: &str| {
            let words: Vec<&str> =
                line.split_whitespace().map(|word| if word == "-" { "" } else { word }).collect();
            let dep = if words[2] == "dep" { "true" } else { "false" };
            [words[0], words[1], dep, words[3], &words[4].replace(',', " "), &words[5].replace(',', " "), ""]
                .join("\t")
        };
        Listing::read(&text.lines().map(line).collect::<Vec<_>>().join("\n\n"), "/src")
    }

    const SEVERAL: &str = "x/cmd/api main own /src/cmd/api - x/lib\n\
        x/cmd/worker main own /src/cmd/worker - x/lib,time/tzdata\n\
        x/lib lib own /src/lib - y\n\
        y y dep /go/y sqlite.go,b.go -\n\
        z/tool main dep /go/z - -";

    #[test]
    fn the_only_main_package_is_the_program() {
        let found = listing("x main own /src - fmt\nx/lib lib own /src/lib - -");
        assert_eq!(found.main("").unwrap().directory, ".");
        assert_eq!(found.main(".").unwrap().path, "x");
    }

    #[test]
    fn of_several_one_has_to_be_named() {
        let several = listing(SEVERAL);
        let told = several.main("").unwrap_err().diagnostics.remove(0);
        assert_eq!(told.message, "the project has 2 main packages: `./cmd/api`, `./cmd/worker`");
        assert_eq!(told.help, "choose one: `--opt go.main=./cmd/api`, `--opt go.main=./cmd/worker`");
        for name in ["./cmd/api", "cmd/api/", "x/cmd/api"] {
            assert_eq!(several.main(name).unwrap().path, "x/cmd/api", "{name}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_compared_with_those_that_are() {
        let check = |name, message: &str, help: &str| {
            let told = listing(SEVERAL).main(name).unwrap_err().diagnostics.remove(0);
            assert_eq!((told.message.as_str(), told.help.as_str()), (message, help));
        };
        let both = "`./cmd/api`, `./cmd/worker`";
        check(
            "./cmd/wroker",
            "there is no main package `./cmd/wroker`",
            &format!("perhaps `--opt go.main=./cmd/worker`; there are {both}"),
        );
        check(
            "api",
            "there is no main package `api`",
            &format!("perhaps `--opt go.main=./cmd/api`; there are {both}"),
        );
        check("./lib", "`./lib` is the package `lib`, and no program", &format!("there are {both}"));
        check("z/tool", "there is no main package `z/tool`", &format!("there are {both}"));
    }

    #[test]
    fn a_library_has_nothing_to_run() {
        let told = listing("x lib own /src - -").main("").unwrap_err().diagnostics.remove(0);
        assert_eq!(
            (told.code.as_str(), told.help.as_str()),
            ("no-main", "there is the package `x`; a program begins with `package main`")
        );
        assert_eq!(
            Listing::default().main("").unwrap_err().diagnostics[0].help,
            "there is no Go package in it at all"
        );
    }

    #[test]
    fn c_counts_only_where_the_program_gets() {
        let several = listing(SEVERAL);
        assert_eq!(several.cgo_files("x/cmd/api"), [("y", "sqlite.go"), ("y", "b.go")]);
        assert!(several.cgo_files("z/tool").is_empty());
        assert!(
            several.imports("x/cmd/worker", "time/tzdata") && !several.imports("x/cmd/api", "time/tzdata")
        );
    }

    #[test]
    fn a_program_is_called_as_the_go_command_calls_it() {
        let named = |path: &str| Package { path: path.into(), ..Package::default() }.program().to_owned();
        assert_eq!(named("example.com/tool/v2"), "tool");
        assert_eq!(named("example.com/cmd/server"), "server");
        assert_eq!((named("app").as_str(), named("example.com/v1").as_str()), ("app", "v1"));
    }
}
