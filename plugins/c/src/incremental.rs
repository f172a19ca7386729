//! Decides whether the directory of an earlier build may be used again.
//!
//! A build in a used directory has to give the bytes that one in an empty directory would. Compilers and ninja see to that for
//! sources and what these include. They do not for what was decided when the project was configured, so the directory belongs
//! to everything that could decide: the contents of all other files, the names of all, the builder image and the options.

use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileInfo, FileKind, HostError};

use crate::project::{MAX_FILE_BYTES, System, text};

/// Endings of files whose contents only a compiler reads, and says so.
const COMPILED: [&str; 15] = [
    ".c", ".cc", ".cpp", ".cxx", ".C", ".h", ".hh", ".hpp", ".hxx", ".H", ".inc", ".inl", ".ipp", ".tcc",
    ".S",
];

/// Words by which a build definition reads sources while it is configured, or runs commands that do not say what they read.
const READING: [&str; 16] = [
    "file(read",
    "file(strings",
    "file(md5",
    "file(sha",
    "file (",
    "try_compile",
    "try_run",
    "execute_process",
    "exec_program",
    "add_custom_",
    "fetchcontent",
    "externalproject",
    "run_command",
    "custom_target",
    "generator(",
    "m4_esyscmd",
];

/// More files than this make a look at all of them slower than a compiler.
const MAX_FILES: usize = 20_000;

fn is_compiled(path: &str) -> bool {
    COMPILED.iter().any(|ending| path.ends_with(ending))
}

fn is_definition(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(name, "CMakeLists.txt" | "meson.build" | "configure.ac" | "configure.in" | "Makefile.am")
        || name.ends_with(".cmake")
        || name.ends_with(".m4")
}

/// The text by which a directory of earlier builds is known, or why there is to be none.
pub(crate) enum Reuse {
    Of(String),
    No(String),
}

/// Looks at the files of a project. `settings` is whatever else the result depends on.
///
/// # Errors
///
/// The context cannot be read.
pub(crate) fn reuse(
    context: &Tree,
    entries: &[FileInfo],
    system: &System,
    settings: &str,
) -> Result<Reuse, HostError> {
    if let Some(why) = never(entries, system) {
        return Ok(Reuse::No(why));
    }
    let mut identity = settings.to_owned();
    for entry in entries.iter().filter(|entry| entry.kind != FileKind::Directory) {
        if is_definition(&entry.path) {
            if entry.size > u64::from(MAX_FILE_BYTES) {
                return Ok(Reuse::No(format!("`{}` is too long to be looked at", entry.path)));
            }
            // A link that leads nowhere is read by nobody.
            let text = match text(context, &format!("/{}", entry.path)) {
                Ok(text) => text.to_ascii_lowercase(),
                Err(error) if error.is_absent() => String::new(),
                Err(error) => return Err(error),
            };
            if let Some(word) = reads(&text) {
                return Ok(Reuse::No(format!("`{}` has `{word}`", entry.path)));
            }
        }
        let content = match entry.kind {
            FileKind::Regular if is_compiled(&entry.path) => "source".to_owned(),
            FileKind::Regular => context.hash(&entry.path)?,
            _ => entry.target.clone(),
        };
        identity.push_str(&format!("{:o} {} {content}\n", entry.mode, entry.path));
    }
    Ok(Reuse::Of(identity))
}

fn reads(text: &str) -> Option<&'static str> {
    READING.into_iter().find(|word| text.contains(word))
}

/// Why no directory is used again, whatever is in the files.
fn never(entries: &[FileInfo], system: &System) -> Option<String> {
    match system {
        System::CMake | System::Meson => {}
        System::Autotools if entries.iter().any(|entry| entry.path == "Makefile.am") => {}
        System::Autotools | System::Make => {
            return Some(
                "a Makefile that somebody wrote need not know all that its targets are made of".to_owned(),
            );
        }
        System::File(_) => return Some("there is one file to compile".to_owned()),
    }
    if entries.len() > MAX_FILES {
        return Some(format!("there are more than {MAX_FILES} files"));
    }
    // The last one stands for what is no UTF-8: such a file cannot be asked for by its name.
    let is_odd = |entry: &&FileInfo| entry.path.contains(['\n', '\\', '\r', char::REPLACEMENT_CHARACTER]);
    entries.iter().find(is_odd).map(|entry| format!("the name of `{}` is unusual", entry.path.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> FileInfo {
        FileInfo {
            path: path.to_owned(),
            kind: FileKind::Regular,
            size: 0,
            mode: 0o644,
            uid: 0,
            gid: 0,
            target: String::new(),
        }
    }

    #[test]
    fn only_build_systems_that_know_all_dependencies_use_a_directory_again() {
        let paths = |paths: &[&str]| paths.iter().map(|path| entry(path)).collect::<Vec<_>>();
        assert_eq!(never(&paths(&["CMakeLists.txt", "a.c"]), &System::CMake), None);
        assert_eq!(never(&paths(&["configure.ac", "Makefile.am"]), &System::Autotools), None);
        assert!(never(&paths(&["configure.ac", "Makefile.in"]), &System::Autotools).is_some());
        assert!(never(&paths(&["Makefile"]), &System::Make).is_some());
        assert!(never(&paths(&["meson.build", "a\nb.c"]), &System::Meson).is_some());
        assert!(never(&paths(&["CMakeLists.txt", "a\u{fffd}.c"]), &System::CMake).is_some());
    }

    #[test]
    fn definitions_that_read_sources_are_told_apart() {
        assert_eq!(reads("project(x c)\nadd_executable(x x.c)\n"), None);
        assert_eq!(reads("file(strings version.h v)"), Some("file(strings"));
        assert!(
            is_definition("lib/CMakeLists.txt") && is_definition("cmake/x.cmake") && !is_definition("x.c")
        );
        assert!(is_compiled("src/a.cc") && !is_compiled("words.txt"));
    }
}
