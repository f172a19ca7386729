//! Finds the file that an INCLUDE names, in a build context.

use kiln_sdk::diagnose::nearest;
use kiln_sdk::wit::contexts;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::ContextSource;
use kiln_sdk::wit::instruction_types::{Argument, SourceText, Stage, Statement};
use kiln_sdk::wit::types::HostError;

use crate::INCLUDE;

/// The path that a statement names, without `.` and double slashes.
pub(crate) fn path(statement: &Statement) -> Result<(String, &Argument), Diagnostic> {
    let argument = match &statement.arguments[..] {
        [one] => one,
        arguments => {
            let at = arguments.get(1).map_or(&statement.at, |extra| &extra.at);
            let problem = Diagnostic::error("include-path", "INCLUDE needs the path of one file");
            return Err(problem.at(at).help(format!("write `{INCLUDE}`")));
        }
    };
    let parts: Vec<&str> = argument.value.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() || parts.contains(&"..") {
        let message = format!("`{}` is no file of a build context", argument.value);
        let help = "write a path that counts from the root of the context, without `..`";
        return Err(Diagnostic::error("include-path", message).at(&argument.at).help(help));
    }
    Ok((parts.join("/"), argument))
}

/// The text to be read; nothing for a file that need not be there and is not.
pub(crate) fn text(statement: &Statement, stage: &Stage) -> Result<Option<SourceText>, Diagnostic> {
    let (path, argument) = path(statement)?;
    let (name, prefix) = match statement.flag("context") {
        None => (String::new(), String::new()),
        Some(from) => (context(from, stage)?, format!("{}:", from.value)),
    };
    // An ignore file says what is no part of the image, which this file is not anyway. And the host need not look at
    // more than this.
    let ignore = vec!["**".to_owned(), format!("!{}", escaped(&path))];
    let source = ContextSource { name: name.clone(), ignore: Some(ignore) };
    match contexts::open(&source).and_then(|tree| tree.read_text(&path)) {
        Ok(text) => Ok(Some(SourceText { file: format!("{prefix}{path}"), first_line: 1, text })),
        Err(error) if error.code == "not-found" && statement.is_set("optional") => Ok(None),
        Err(error) => Err(problem(&error, &path, name, argument)),
    }
}

/// The name of the context that the user gave under the name that the flag says.
fn context(from: &Argument, stage: &Stage) -> Result<String, Diagnostic> {
    let found = contexts::lookup(std::slice::from_ref(&from.value), &stage.platform).pop().flatten();
    found.map(|info| info.name).ok_or_else(|| {
        let known = contexts::names();
        let message = format!("there is no build context `{}`", from.value);
        let help = match nearest(&from.value, known.iter().map(String::as_str)) {
            Some(near) => format!("write `--context={near}`, if that is meant"),
            None => format!("give it with `--build-context {}=PATH`", from.value),
        };
        Diagnostic::error("include-path", message).at(&from.at).help(help)
    })
}

/// A pattern that matches `path` and nothing else.
fn escaped(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

fn problem(error: &HostError, path: &str, context: String, argument: &Argument) -> Diagnostic {
    let at = |message: String| Diagnostic::error("include-not-found", message).at(&argument.at);
    match error.code.as_str() {
        "not-found" => {
            at(format!("there is no file `{path}` in the build context")).help(advice(path, context))
        }
        "invalid-argument" => at(format!("`{path}` is no text")).help("save the file as UTF-8"),
        "not-a-file" => at(format!("`{path}` is a directory")).help("name the file in it"),
        "denied" => at(format!("`{path}` may not be read: {}", error.message)),
        _ => at(format!("`{path}` cannot be read: {}", error.message)),
    }
}

/// A file beside the one that is missing whose name is near.
fn advice(path: &str, context: String) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let beside = match directory {
        "" => "*".to_owned(),
        directory => format!("{}/*", escaped(directory)),
    };
    let ignore = vec!["**".to_owned(), format!("!{beside}")];
    let files = contexts::open(&ContextSource { name: context, ignore: Some(ignore) })
        .and_then(|tree| tree.children(directory))
        .unwrap_or_default();
    let names = files.iter().filter_map(|file| file.path.rsplit('/').next());
    match nearest(name, names) {
        Some(near) if directory.is_empty() => format!("write `{near}`, if that is meant"),
        Some(near) => format!("write `{directory}/{near}`, if that is meant"),
        None => "paths count from the root of the build context; `--optional` does without".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_path_is_no_pattern() {
        assert_eq!(escaped("a/[b]*.docker"), "a/\\[b\\]\\*.docker");
    }
}
