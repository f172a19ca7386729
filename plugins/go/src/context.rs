//! The files of the project, read from the build context or from a tree that detection is shown.

use kiln_sdk::wit::graph::{FileAction, MakeDirAction, MakeFileAction};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::HostError;

use crate::headers;

/// What planning wants to know of a directory.
pub(crate) trait Files {
    /// The text of a file, `None` when there is none.
    fn text(&self, path: &str) -> Result<Option<String>, HostError>;

    /// Names of the `.go` files in the root, tests aside.
    fn go_files(&self) -> Result<Vec<String>, HostError>;
}

impl Files for Tree {
    fn text(&self, path: &str) -> Result<Option<String>, HostError> {
        self.text_if_there(path)
    }

    fn go_files(&self) -> Result<Vec<String>, HostError> {
        let names = self.children("")?.into_iter().map(|file| file.path);
        Ok(names.filter(|name| is_source(name)).collect())
    }
}

/// Whether the go command takes a file for part of a package, by its path.
fn is_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".go")
        && !name.ends_with("_test.go")
        && !path.split('/').any(|part| part.starts_with(['_', '.']) || part == "testdata")
}

/// Beyond this many files the whole sources are shown to `go list`, since looking at each costs more than asking again.
const MAX_HEADERS: u32 = 4_000;

/// What is read at a time; imports of most files end within it.
const PIECE: u32 = 8 << 10;

/// Imports further down are not looked for: then the file is taken whole.
const MAX_BYTES: usize = 1 << 20;

/// File actions that write every Go file of the modules, cut after its imports; `None` when there are too many.
pub(crate) fn headers(tree: &Tree) -> Result<Option<Vec<FileAction>>, HostError> {
    let patterns =
        ["**/*.go", "!**/*_test.go", "!vendor", "!**/testdata", "!**/.*", "!**/_*"].map(str::to_owned);
    let files = match tree.glob(&patterns, MAX_HEADERS) {
        Ok(files) => files,
        Err(error) if error.code == "limit" => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut actions = Vec::new();
    let mut made = String::new();
    for file in files.iter().filter(|file| is_source(&file.path)) {
        let path = format!("/{}", file.path);
        let (parent, _) = path.rsplit_once('/').unwrap_or_default();
        if !parent.is_empty() && parent != made {
            parent.clone_into(&mut made);
            let path = made.clone();
            actions.push(FileAction::MakeDir(MakeDirAction {
                path,
                mode: 0o755,
                parents: true,
                owner: None,
            }));
        }
        let data = header(tree, &file.path)?;
        actions.push(FileAction::MakeFile(MakeFileAction { path, data, mode: 0o644, owner: None }));
    }
    Ok(Some(actions))
}

/// The part of a file that counts, or all of it.
fn header(tree: &Tree, path: &str) -> Result<Vec<u8>, HostError> {
    let mut bytes = Vec::new();
    loop {
        let piece = tree.read(path, bytes.len() as u32, PIECE)?;
        let is_all = piece.is_empty();
        bytes.extend(piece);
        if let Some(end) = headers::end(&bytes) {
            bytes.truncate(end);
            bytes.push(b'\n');
            return Ok(bytes);
        }
        if is_all || bytes.len() > MAX_BYTES {
            return if is_all { Ok(bytes) } else { rest(tree, path, bytes) };
        }
    }
}

fn rest(tree: &Tree, path: &str, mut bytes: Vec<u8>) -> Result<Vec<u8>, HostError> {
    loop {
        let piece = tree.read(path, bytes.len() as u32, MAX_BYTES as u32)?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_what_the_go_command_takes() {
        for path in ["main.go", "a/b/c.go", "x_linux.go"] {
            assert!(is_source(path), "{path}");
        }
        for path in ["main_test.go", "_x.go", ".x.go", "a/testdata/x.go", "_old/x.go", ".git/x.go", "x.c"] {
            assert!(!is_source(path), "{path}");
        }
    }
}
