//! Finds what `go.mod` and `go.work` name and the build context cannot have: directories above it.

use std::collections::BTreeSet;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::types::HostError;

use crate::context::Files;
use crate::modfile::ModFile;
use crate::project::{Kind, Project};

/// One error for each directory that lies outside. A replacement of what nothing requires is never looked at, and one of
/// what lies in `vendor` is not either.
pub(crate) fn outside(files: &dyn Files, project: &Project) -> Result<Vec<Diagnostic>, HostError> {
    let mut found = Vec::new();
    if project.is_vendored {
        return Ok(found);
    }
    match &project.kind {
        Kind::Files => {}
        Kind::Module => check(files, "", &ModFile::default(), &mut found)?,
        Kind::Workspace(directories) => {
            let work = ModFile::parse(&files.text("go.work")?.unwrap_or_default());
            for directory in directories {
                if is_outside("", directory) {
                    found.push(problem("go.work", "a module", directory));
                } else {
                    check(files, directory.trim_start_matches("./"), &work, &mut found)?;
                }
            }
        }
    }
    Ok(found)
}

/// Looks at the module in `directory` of the workspace `work`.
fn check(
    files: &dyn Files,
    directory: &str,
    work: &ModFile,
    found: &mut Vec<Diagnostic>,
) -> Result<(), HostError> {
    let directory = directory.trim_end_matches('/');
    let path = match directory {
        "" | "." => "go.mod".to_owned(),
        directory => format!("{directory}/go.mod"),
    };
    let Some(text) = files.text(&path)? else { return Ok(()) };
    let module = ModFile::parse(&text);
    let required: BTreeSet<&str> = module.require.iter().map(String::as_str).collect();
    for (file, from, replacements) in
        [("go.work", "", &work.replacements), (path.as_str(), directory, &module.replacements)]
    {
        let outside =
            replacements.iter().filter(|(name, to)| required.contains(name.as_str()) && is_outside(from, to));
        found.extend(outside.map(|(name, to)| problem(file, &format!("`{name}`"), to)));
    }
    Ok(())
}

fn problem(file: &str, what: &str, directory: &str) -> Diagnostic {
    let message = format!("{file} takes {what} from `{directory}`, which lies outside of the build context");
    Diagnostic::error("outside", message).help(
        "build from the directory that holds all of it, with a go.work there that names the modules, and say which program with `--opt go.main=./DIRECTORY`",
    )
}

/// Whether a directory, written relative to `from`, lies outside of what `from` is relative to.
fn is_outside(from: &str, directory: &str) -> bool {
    if directory.starts_with('/') {
        return true;
    }
    let mut depth = 0_usize;
    for part in from.split('/').chain(directory.split('/')) {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::find;
    use crate::project::tests::tree;

    #[track_caller]
    fn check<const N: usize>(files: [(&'static str, &'static str); N], expected: &[&str]) {
        let files = tree(files);
        let found = outside(&files, &find(&files).unwrap()).unwrap();
        let directories: Vec<&str> = found
            .iter()
            .filter_map(|found| found.message.split(" from `").nth(1)?.split('`').next())
            .collect();
        assert_eq!(directories, expected, "{found:?}");
        assert!(found.iter().all(|found| found.help.contains("go.work")));
    }

    #[test]
    fn a_module_from_outside_of_the_context_is_told() {
        let needs = "module a\nrequire b v0.0.0\nreplace b => ../b\n";
        check([("go.mod", needs)], &["../b"]);
        check([("go.mod", "module a\nrequire b v0.0.0\nreplace b => /src/b\n")], &["/src/b"]);
        check([("go.mod", "module a\nrequire b v0.0.0\nreplace b => ./b/../../c\n")], &["./b/../../c"]);
        check([("go.mod", "module a\nrequire b v0.0.0\nreplace b => ./c/../b\n")], &[]);
        check([("go.mod", "module a\nreplace b => ../b\n")], &[]);
        check([("go.mod", needs), ("vendor/modules.txt", "# b\n")], &[]);
        check([("main.go", "package main\n")], &[]);
    }

    #[test]
    fn modules_of_a_workspace_may_lie_beside_each_other_and_not_above_it() {
        let needs = "module a\nrequire b v0.0.0\nreplace b => ../b\n";
        check([("go.work", "use ./a\n"), ("a/go.mod", needs)], &[]);
        check([("go.work", "use ./a\nuse ../c\n"), ("a/go.mod", "module a\n")], &["../c"]);
        check(
            [("go.work", "use .\nreplace b => ../b\n"), ("go.mod", "module a\nrequire b v0.0.0\n")],
            &["../b"],
        );
    }
}
