//! Files that transforms want to stand beside an output, in the directory `DEST.extra`, and what an output cannot carry.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_core::{Diagnostic, Event};

use super::place;
use crate::error::BuildError;
use crate::outcome::{Outcome, Written};
use crate::request::{Destination, OutputKind, OutputSpec};
use crate::session::Session;
use crate::solve::Solved;

/// Writes `files`, paths with bytes, beside an output that has a place of its own; others are told that they cannot.
pub(super) fn write<'f>(
    session: &Session<'_>,
    output: &OutputSpec,
    files: impl Iterator<Item = Result<(&'f str, Cow<'f, [u8]>), BuildError>>,
    outcome: &mut Outcome,
) -> Result<(), BuildError> {
    let mut files = files.peekable();
    if files.peek().is_none() {
        return Ok(());
    }
    let directory = match (&output.destination, output.kind) {
        (_, OutputKind::Store | OutputKind::Registry) | (None | Some(Destination::Stdout), _) => {
            tell(
                session,
                "extra-files-not-written",
                format!(
                    "the files that transforms made beside the image are not written: {} has no place for them",
                    words(output)
                ),
                "write to a file or a directory with `-o type=oci,dest=…`",
            );
            return Ok(());
        }
        (Some(Destination::Path(path)), _) => {
            let mut name = path.as_os_str().to_owned();
            name.push(".extra");
            PathBuf::from(name)
        }
    };
    for file in files {
        let (path, bytes) = file?;
        put(&directory, path, &bytes).map_err(|error| {
            BuildError::world(format!("could not write `{}`", directory.join(path).display()), error)
        })?;
    }
    outcome.written.push(Written(format!("more files written to {}", directory.display())));
    Ok(())
}

/// Writes one file below a directory, through no link that somebody has put there.
fn put(directory: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut at = directory.to_owned();
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::NotADirectory,
                    format!("`{}` is no directory", at.display()),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&at)?,
            Err(error) => return Err(error),
        }
    }
    let place = at.join(name);
    let unfinished =
        at.join(format!(".{}.{}.tmp", name.chars().take(40).collect::<String>(), std::process::id()));
    // A name replaces a link, and never writes through it.
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, &place));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// Says that an output leaves out what the image has.
pub(super) fn tell_of_attestations(session: &Session<'_>, solved: &Solved<'_>, output: &OutputSpec) {
    let mut types: Vec<&str> = solved
        .targets
        .iter()
        .flat_map(|target| &target.attestations)
        .map(|attestation| attestation.predicate_type.as_str())
        .collect();
    types.sort_unstable();
    types.dedup();
    if types.is_empty() {
        return;
    }
    let types: Vec<String> = types.into_iter().map(|name| format!("`{name}`")).collect();
    tell(
        session,
        "attestations-not-written",
        format!(
            "the attestations of the image ({}) are left out: {} has no place for them",
            types.join(", "),
            words(output)
        ),
        "images in kiln's store, in registries and with type=oci have them",
    );
}

fn words(output: &OutputSpec) -> String {
    let kind = match output.kind {
        OutputKind::Store => return "kiln's own store".to_owned(),
        OutputKind::Registry => return "a registry".to_owned(),
        OutputKind::OciArchive | OutputKind::OciLayout => "oci",
        OutputKind::DockerArchive => "docker",
        OutputKind::Tar => "tar",
        OutputKind::Local => "local",
    };
    format!("an output of type={kind} to {}", place(output))
}

fn tell(session: &Session<'_>, code: &str, message: String, help: &str) {
    session.events.emit(Event::Diagnostic(Diagnostic::warning(code, message).help(help)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_what_is_there_and_follows_no_link() {
        let scratch = tempfile::tempdir().expect("a directory");
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        fs::write(outside.join("file"), "theirs").expect("a file");
        let directory = scratch.path().join("out.extra");
        put(&directory, "a/b/c", b"1").expect("written");
        put(&directory, "a/b/c", b"2").expect("written again");
        assert_eq!(fs::read(directory.join("a/b/c")).expect("a file"), b"2");

        std::os::unix::fs::symlink(outside.join("file"), directory.join("link")).expect("a link");
        put(&directory, "link", b"3").expect("the link is replaced");
        assert_eq!(fs::read(outside.join("file")).expect("a file"), b"theirs");

        std::os::unix::fs::symlink(&outside, directory.join("dir")).expect("a link");
        let error = put(&directory, "dir/file", b"4").expect_err("a link is no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert_eq!(fs::read(outside.join("file")).expect("a file"), b"theirs");
    }
}
