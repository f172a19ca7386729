//! Sorts what a project installed into what runs, what runs need, and what only developers want.

use std::collections::{BTreeMap, BTreeSet};

use kiln_closure::{ElfError, Files, read};
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildFailure;
use kiln_sdk::wit::types::{FileInfo, FileKind, HostError};

/// The files below the prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    /// ELF programs by absolute path, sorted.
    pub programs: Vec<String>,
    /// Shared libraries by absolute path, links not among them.
    pub libraries: Vec<String>,
    /// Programs for an interpreter, by absolute path.
    pub scripts: Vec<String>,
    /// What is left out, as a sort of thing, and how many files of each there are.
    pub left_out: BTreeMap<&'static str, usize>,
    /// Files and whole directories that do not go into the image, relative to its root.
    pub excluded: Vec<String>,
}

/// Why nobody misses a file at run time; `None` for one that stays.
fn besides(path: &str) -> Option<&'static str> {
    const DOCUMENTS: [&str; 5] = ["doc", "man", "info", "gtk-doc", "help"];
    let parts: Vec<&str> = path.split('/').collect();
    let (name, directories) = parts.split_last()?;
    let within = |outer: &[&str], inner: &[&str]| {
        directories.windows(2).any(|pair| outer.contains(&pair[0]) && inner.contains(&pair[1]))
    };
    if [".a", ".la", ".o"].iter().any(|ending| name.ends_with(ending)) {
        return Some("static libraries");
    }
    if directories.contains(&"include") {
        return Some("headers");
    }
    if directories.contains(&"pkgconfig")
        || directories.contains(&"cmake")
        || within(&["share"], &["aclocal"])
    {
        return Some("files for building against it");
    }
    if within(&["share"], &DOCUMENTS) || within(&["local", "usr"], &["man", "doc"]) {
        return Some("documentation");
    }
    within(&["share"], &["bash-completion", "zsh", "fish"]).then_some("completions for shells")
}

impl Installed {
    /// Sorts the `entries` of a tree. `only` is the program to be taken where nothing was installed and all programs of the
    /// build lie there; `keeps_scripts` where the image has something to run them with.
    ///
    /// # Errors
    ///
    /// The tree cannot be read.
    pub(crate) fn sort(
        files: &dyn Files,
        entries: &[FileInfo],
        keeps_scripts: bool,
    ) -> Result<Self, HostError> {
        let mut installed = Self::default();
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for entry in entries.iter().filter(|entry| entry.kind != FileKind::Directory) {
            if let Some(sort) = besides(&entry.path) {
                *installed.left_out.entry(sort).or_default() += 1;
                continue;
            }
            let path = format!("/{}", entry.path);
            let name = entry.path.rsplit('/').next().unwrap_or_default();
            let is_library = name.ends_with(".so") || name.contains(".so.");
            if entry.kind == FileKind::Regular && (entry.mode & 0o111 != 0 || is_library) {
                match read(files, &path) {
                    Ok(elf) if elf.is_program && !is_library => installed.programs.push(path),
                    // One for another machine is told by the closure.
                    Ok(_) => installed.libraries.push(path),
                    Err(ElfError::Host(error)) => return Err(error),
                    Err(ElfError::NotElf(head)) if head.starts_with(b"#!") => {
                        installed.scripts.push(path);
                        if !keeps_scripts {
                            *installed.left_out.entry("scripts").or_default() += 1;
                            continue;
                        }
                    }
                    Err(_) => {}
                }
            }
            kept.insert(&entry.path);
        }
        installed.excluded = excluded(entries, &kept);
        Ok(installed)
    }

    /// The program that the image starts, of those in the directories for programs if there are any.
    ///
    /// # Errors
    ///
    /// There is none, there are several, or the one that is asked for is not among them.
    pub(crate) fn entrypoint(&self, wanted: &str, was_installed: bool) -> Result<String, BuildFailure> {
        let is_usual = |path: &&String| {
            let directory = path.rsplit('/').nth(1).unwrap_or_default();
            matches!(directory, "bin" | "sbin")
        };
        let usual: Vec<&String> = self.programs.iter().filter(is_usual).collect();
        let choice = if usual.is_empty() { self.programs.iter().collect() } else { usual };
        let listed = |paths: &[&String]| {
            paths.iter().map(|path| format!("`{}`", base_name(path))).collect::<Vec<_>>().join(", ")
        };
        if !wanted.is_empty() {
            let fits = |path: &&&String| path.as_str() == wanted || base_name(path) == wanted;
            let all: Vec<&String> = self.programs.iter().collect();
            if let Some(found) = all.iter().find(fits) {
                return Ok((*found).clone());
            }
            let all_scripts: Vec<&String> = self.scripts.iter().collect();
            if all_scripts.iter().any(|path| fits(&path)) {
                let message = format!("`{wanted}` is a script, and the image starts programs");
                return Err(Diagnostic::error("c-program", message)
                    .help(format!("there are {}", listed(&all)))
                    .into());
            }
            let message = format!("there is no program `{wanted}`");
            let help = match all.is_empty() {
                true => "the project makes no program".to_owned(),
                false => format!("there are {}", listed(&all)),
            };
            return Err(Diagnostic::error("c-program", message).help(help).into());
        }
        match choice[..] {
            [only] => Ok(only.clone()),
            [] => {
                let message = "the project makes no program, neither by `install` nor in its build directory";
                let help = "a library has no image of its own; if there is a target that makes one, name it with `--opt c.make=TARGET`";
                Err(Diagnostic::error("c-no-program", message).help(help).into())
            }
            _ => {
                let how = if was_installed { "installs" } else { "installs nothing and builds" };
                let message = format!("the project {how} {} programs: {}", choice.len(), listed(&choice));
                let help = format!("choose with `--opt c.program={}`", base_name(choice[0]));
                Err(Diagnostic::error("c-several-programs", message).help(help).into())
            }
        }
    }

    /// Leaves all other programs out.
    pub(crate) fn only(&mut self, program: &str) {
        let others = self.programs.iter().filter(|path| *path != program);
        self.excluded.extend(others.map(|path| path.trim_start_matches('/').to_owned()));
        self.programs.retain(|path| path == program);
    }

    /// What is left out as patterns of ignore files.
    pub(crate) fn patterns(&self) -> Vec<String> {
        self.excluded.iter().map(|path| pattern(path)).collect()
    }
}

pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A path as a pattern that matches nothing else.
fn pattern(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '#') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// Everything that has nothing kept below it, topmost directories only.
fn excluded(entries: &[FileInfo], kept: &BTreeSet<&str>) -> Vec<String> {
    let has_kept = |path: &str| {
        kept.contains(path) || {
            let below = format!("{path}/");
            kept.range(below.as_str()..).next().is_some_and(|first| first.starts_with(&below))
        }
    };
    let mut paths = Vec::new();
    let mut last: Option<String> = None;
    let mut sorted: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    // A directory comes before what is in it, and nothing else between.
    sorted.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    for path in sorted {
        if last.as_ref().is_some_and(|above| path.starts_with(above.as_str())) || has_kept(path) {
            continue;
        }
        paths.push(path.to_owned());
        last = Some(format!("{path}/"));
    }
    paths
}

#[cfg(test)]
mod tests {
    use kiln_closure::testing::{Image, Tree};

    use super::*;

    fn entry(path: &str, kind: FileKind, mode: u32) -> FileInfo {
        FileInfo { path: path.to_owned(), kind, size: 1, mode, uid: 0, gid: 0, target: String::new() }
    }

    fn sorted(paths: &[(&str, &[u8])]) -> Installed {
        let mut tree = Tree::new();
        let mut entries = Vec::new();
        for (path, bytes) in paths {
            for (at, _) in path.match_indices('/') {
                let directory = entry(&path[..at], FileKind::Directory, 0o755);
                if !entries.contains(&directory) {
                    entries.push(directory);
                }
            }
            tree = tree.file(&format!("/{path}"), bytes);
            let is_data = bytes.is_empty();
            entries.push(entry(path, FileKind::Regular, if is_data { 0o644 } else { 0o755 }));
        }
        Installed::sort(&tree, &entries, false).unwrap()
    }

    #[test]
    fn what_runs_stays_and_what_developers_want_goes() {
        let program = Image::program(Image::AMD64, "/lib/ld.so").bytes();
        let library = Image::new(Image::AMD64).bytes();
        let installed = sorted(&[
            ("usr/local/bin/app", &program),
            ("usr/local/bin/app-config", b"#!/bin/sh\n"),
            ("usr/local/include/app/app.h", b""),
            ("usr/local/lib/libapp.a", b""),
            ("usr/local/lib/libapp.so.1", &library),
            ("usr/local/lib/pkgconfig/app.pc", b""),
            ("usr/local/share/app/words", b""),
            ("usr/local/share/doc/app/README", b""),
            ("usr/local/share/man/man1/app.1", b""),
        ]);
        assert_eq!(installed.programs, ["/usr/local/bin/app"]);
        assert_eq!(installed.libraries, ["/usr/local/lib/libapp.so.1"]);
        assert_eq!(
            installed.excluded,
            [
                "usr/local/bin/app-config",
                "usr/local/include",
                "usr/local/lib/libapp.a",
                "usr/local/lib/pkgconfig",
                "usr/local/share/doc",
                "usr/local/share/man"
            ]
        );
        let sorts: Vec<_> = installed.left_out.into_iter().collect();
        assert_eq!(
            sorts,
            [
                ("documentation", 2),
                ("files for building against it", 1),
                ("headers", 1),
                ("scripts", 1),
                ("static libraries", 1)
            ]
        );
    }

    #[test]
    fn one_program_is_started_and_several_are_listed() {
        let with = |paths: &[&str]| Installed {
            programs: paths.iter().map(|path| (*path).to_owned()).collect(),
            scripts: vec!["/usr/local/bin/run.sh".to_owned()],
            ..Installed::default()
        };
        let helper = ["/usr/local/bin/app", "/usr/local/libexec/helper"];
        assert_eq!(with(&helper).entrypoint("", true).unwrap(), helper[0]);
        assert_eq!(with(&helper).entrypoint("helper", true).unwrap(), helper[1]);
        assert_eq!(with(&helper[1..]).entrypoint("", true).unwrap(), helper[1]);
        let several = with(&["/usr/local/bin/a", "/usr/local/sbin/b"]);
        let failure =
            |of: &Installed, name: &str| of.entrypoint(name, true).unwrap_err().diagnostics.remove(0);
        let found = failure(&several, "");
        assert_eq!(found.message, "the project installs 2 programs: `a`, `b`");
        assert_eq!(failure(&several, "c").help, "there are `a`, `b`");
        assert!(failure(&several, "run.sh").message.contains("is a script"));
        assert_eq!(failure(&with(&[]), "").code, "c-no-program");
    }

    #[test]
    fn names_with_signs_of_patterns_match_themselves_only() {
        assert_eq!(pattern("a*b/[c]"), "a\\*b/\\[c\\]");
    }
}
