//! Reads names of packages out of arguments and here-documents, and says which cannot be any.

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};
use kiln_sdk::wit::instruction_types::{Heredoc, Statement};

/// One package and where it is named.
struct Named {
    text: String,
    at: Span,
}

/// What `statement` asks for, in order, and everything that is wrong with it.
pub(crate) fn packages(statement: &Statement) -> (Vec<String>, Vec<Diagnostic>) {
    let mut named: Vec<Named> = Vec::new();
    for argument in &statement.arguments {
        match argument.heredoc.and_then(|index| statement.heredocs.get(index as usize)) {
            Some(heredoc) => named.extend(lines(heredoc, statement)),
            None => named.push(Named { text: argument.value.clone(), at: argument.at.clone() }),
        }
    }
    let mut problems: Vec<Diagnostic> = named.iter().filter_map(problem).collect();
    if named.is_empty() {
        let problem = Diagnostic::error("apt-nothing", "APT needs the name of a package");
        problems.push(problem.at(&statement.at).help("write one, or several on lines of a here-document"));
    }
    problems.extend(twice(&named));
    (named.into_iter().map(|named| named.text).collect(), problems)
}

/// Packages of a here-document: one on each line, what follows a `#` aside.
fn lines<'h>(heredoc: &'h Heredoc, statement: &'h Statement) -> impl Iterator<Item = Named> + 'h {
    heredoc.content.lines().zip(0..).filter_map(move |(line, index)| {
        let before = line.split('#').next().unwrap_or_default();
        let text = before.trim();
        let column = |bytes: usize| line[..bytes].chars().count() as u32 + 1;
        let start = before.len() - before.trim_start().len();
        let mut at = Span::on_line(
            &heredoc.at.file,
            heredoc.at.start.line + index,
            column(start),
            column(start + text.len()),
        );
        if heredoc.strip_tabs {
            // The tabs that were in front are gone.
            (at.start.column, at.end.column) = (0, 0);
        }
        if heredoc.at == statement.at {
            // A trigger of a base image stands in no file.
            at = statement.at.clone();
        }
        (!text.is_empty()).then(|| Named { text: text.to_owned(), at })
    })
}

fn problem(named: &Named) -> Option<Diagnostic> {
    let text = named.text.as_str();
    let wrong = |message: String, help: &str| {
        Some(Diagnostic::error("apt-package", message).at(&named.at).help(help))
    };
    if text.starts_with('-') {
        return wrong(format!("`{text}` is no package"), "flags of APT begin with `--` and come first");
    }
    if text.contains('/') || text.ends_with(".deb") {
        return wrong(format!("`{text}` is no package"), "for a file, COPY it and install it with RUN");
    }
    let (package, version) =
        text.split_once('=').map_or((text, None), |(package, version)| (package, Some(version)));
    let (name, architecture) = package.split_once(':').map_or((package, None), |(name, of)| (name, Some(of)));
    if name.ends_with('-') {
        return wrong(format!("`{text}` would remove a package"), "leave out the `-`, or remove it with RUN");
    }
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = name.len() > 1
        && name.starts_with(letter)
        && name.chars().all(|c| letter(c) || matches!(c, '+' | '-' | '.'))
        && architecture.is_none_or(|it| !it.is_empty() && it.chars().all(|c| letter(c) || c == '-'));
    if !is_name {
        let help =
            "names have lower-case letters, digits, `+`, `-` and `.`, and begin with a letter or digit";
        return wrong(format!("`{package}` cannot be the name of a package"), help);
    }
    let in_version = |c: char| c.is_ascii_alphanumeric() || ".+-:~*".contains(c);
    match version {
        Some(version) if version.is_empty() || !version.chars().all(in_version) => {
            let help = "write the version as `apt-cache policy` prints it, `*` for any rest of it";
            wrong(format!("`{version}` cannot be a version of `{name}`"), help)
        }
        _ => None,
    }
}

fn twice(named: &[Named]) -> Option<Diagnostic> {
    let package = |named: &Named| named.text.split('=').next().map(str::to_owned);
    let (index, again) = named
        .iter()
        .enumerate()
        .find(|(index, it)| named[..*index].iter().any(|earlier| package(earlier) == package(it)))?;
    let earlier = named[..index].iter().find(|earlier| package(earlier) == package(again))?;
    let message = format!("`{}` is named twice", package(again).unwrap_or_default());
    let make = if earlier.text == again.text { Diagnostic::warning } else { Diagnostic::error };
    Some(make("apt-twice", message).at(&again.at).label(&earlier.at, "here first").help("keep one of them"))
}
