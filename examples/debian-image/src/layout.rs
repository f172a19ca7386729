//! From unpacked packages to one file system: the second half of the operation that composes the image.
//!
//! The task is a header of `key: value` lines, an empty line, and the paragraphs of the packages in the order of the
//! inputs: for each its control files, then its data.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::derive::Derivation;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::graph::{
    CopyAction, FileAction, MakeDirAction, MakeFileAction, MakeSymlinkAction, Output, Owner,
};
use kiln_sdk::wit::trees::Tree;
use kiln_sdk::wit::types::{FileInfo, FileKind, HostError};

use crate::control;
use crate::recipe::{Recipe, User};
use crate::status;

/// Directories whose place is below `/usr`, with links from where they were.
const MERGED: [&str; 7] = ["bin", "lib", "lib32", "lib64", "libo32", "libx32", "sbin"];

/// What scripts of packages copy when there is nothing at the destination.
const MASTERS: [(&str, &str); 6] = [
    ("usr/share/base-files/dot.bashrc", "/root/.bashrc"),
    ("usr/share/base-files/dot.profile", "/root/.profile"),
    ("usr/share/base-files/motd", "/etc/motd"),
    ("usr/share/base-files/profile", "/etc/profile"),
    ("usr/share/base-files/nsswitch.conf", "/etc/nsswitch.conf"),
    ("usr/share/libc-bin/nsswitch.conf", "/etc/nsswitch.conf"),
];

const INFO: &str = "/var/lib/dpkg/info";

/// The first half: what is to be made of packages with these paragraphs.
pub fn task(recipe: &Recipe, paragraphs: &[String]) -> String {
    let mut text = format!("merged-usr: {}\n", if recipe.merged_usr { "yes" } else { "no" });
    for pattern in &recipe.exclude {
        text += &format!("exclude: {pattern}\n");
    }
    for User { name, uid, gid, home, shell } in &recipe.users {
        text += &format!("user: {name}:{uid}:{gid}:{home}:{shell}\n");
    }
    format!("{text}\n{}", paragraphs.join("\n"))
}

/// One package in the image.
struct Unpacked<'a> {
    /// What its files in `INFO` are called.
    name: String,
    control: &'a Tree,
    data: &'a Tree,
    files: Vec<FileInfo>,
    inputs: (Output, Output),
}

impl Unpacked<'_> {
    fn has(&self, path: &str) -> bool {
        self.files.binary_search_by(|file| file.path.as_str().cmp(path)).is_ok()
            || self.files.iter().any(|file| file.path == path)
    }

    /// Directories at the root that are to lie below `/usr`.
    fn merged(&self) -> impl Iterator<Item = &'static str> {
        MERGED.into_iter().filter(|name| {
            self.files.iter().any(|file| file.path == *name && file.kind == FileKind::Directory)
        })
    }
}

/// The second half.
///
/// # Errors
///
/// When a package cannot be read.
pub fn derive(task: &str, inputs: &[Tree]) -> Result<Derivation, Vec<Diagnostic>> {
    compose(task, inputs).map_err(|error| vec![Diagnostic::error("debian-package", error.message)])
}

fn compose(task: &str, inputs: &[Tree]) -> Result<Derivation, HostError> {
    let (header, status) = task.split_once("\n\n").unwrap_or((task, ""));
    let values = |key: &str| -> Vec<&str> {
        let lines = header.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| *known == key).map(|(_, value)| value).collect()
    };
    let merged = values("merged-usr") == ["yes"];
    let exclude = values("exclude");
    let mut graph = GraphBuilder::new();
    let mut packages = Vec::new();
    for (number, (paragraph, trees)) in control::paragraphs(status).zip(inputs.chunks(2)).enumerate() {
        let [control, data] = trees else { break };
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        packages.push(Unpacked {
            name: status::info_name(paragraph).unwrap_or_default(),
            control,
            data,
            files: data.glob(&["**".to_owned()], u32::MAX)?,
            inputs: (graph.input(2 * number), graph.input(2 * number + 1)),
        });
    }
    let mut actions = Vec::new();
    if merged {
        for name in MERGED {
            let common = matches!(name, "bin" | "lib" | "sbin");
            if common || packages.iter().any(|package| package.merged().any(|own| own == name)) {
                actions.push(directory(&format!("/usr/{name}"), None));
                actions.push(link(&format!("/{name}"), &format!("usr/{name}")));
            }
        }
    }
    for package in &packages {
        let mut patterns: Vec<String> = exclude.iter().map(|pattern| (*pattern).to_owned()).collect();
        if merged {
            patterns.extend(MERGED.iter().map(|name| format!("/{name}")));
        }
        actions.push(contents(package.inputs.1, "/", "/", patterns));
        for name in package.merged().filter(|_| merged) {
            let patterns = exclude.iter().filter_map(|pattern| below(pattern, name)).collect();
            actions.push(contents(package.inputs.1, &format!("/{name}"), &format!("/usr/{name}/"), patterns));
        }
    }
    let names = |path: &str| packages.iter().any(|package| package.has(path.trim_start_matches('/')));
    for (from, to) in MASTERS {
        if let Some(package) = packages.iter().find(|package| package.has(from))
            && !names(to)
        {
            actions.push(copy(package.inputs.1, from, to));
        }
    }
    if packages.iter().any(|package| package.name == "base-files") {
        actions.push(directory("/var", None));
        for (path, target) in [("/var/lock", "/run/lock"), ("/var/run", "/run")] {
            if !names(path) {
                actions.push(link(path, target));
            }
        }
    }
    users(&packages, &values("user"), &mut actions)?;
    certificates(&packages, &mut actions)?;
    database(&packages, status, &mut actions)?;
    let root = graph.file(None, actions);
    Ok(Derivation { fragment: graph.finish(), root, diagnostics: Vec::new() })
}

/// A pattern of the whole tree as one of a directory at its root that is moved below `/usr`, if it can match there.
fn below(pattern: &str, name: &str) -> Option<String> {
    let (not, pattern) = pattern.strip_prefix('!').map_or(("", pattern), |rest| ("!", rest));
    let pattern = pattern.trim_start_matches('/');
    let inner = match pattern.starts_with("**") {
        true => pattern,
        false => pattern.strip_prefix("usr/").unwrap_or(pattern).strip_prefix(name)?.strip_prefix('/')?,
    };
    Some(format!("{not}{inner}"))
}

/// What `base-passwd` installs, and the users that the file names.
fn users(packages: &[Unpacked<'_>], users: &[&str], actions: &mut Vec<FileAction>) -> Result<(), HostError> {
    const MASTER: &str = "usr/share/base-passwd";
    let (mut passwd, mut group) =
        match packages.iter().find(|package| package.has(&format!("{MASTER}/passwd.master"))) {
            Some(package) => (
                package.data.read_text(&format!("{MASTER}/passwd.master"))?,
                package.data.read_text(&format!("{MASTER}/group.master"))?,
            ),
            None if users.is_empty() => return Ok(()),
            None => ("root:*:0:0:root:/root:/bin/sh\n".to_owned(), "root:*:0:\n".to_owned()),
        };
    for user in users {
        let mut parts = user.split(':');
        let mut next = || parts.next().unwrap_or_default();
        let (name, uid, gid, home, shell) = (next(), next(), next(), next(), next());
        passwd += &format!("{name}:*:{uid}:{gid}::{home}:{shell}\n");
        group += &format!("{name}:*:{gid}:\n");
        actions.push(directory(home, Some(Owner { user: uid.to_owned(), group: gid.to_owned() })));
    }
    actions.push(directory("/etc", None));
    actions.push(file("/etc/passwd", passwd.into_bytes()));
    actions.push(file("/etc/group", group.into_bytes()));
    Ok(())
}

/// The bundle that `update-ca-certificates` makes.
fn certificates(packages: &[Unpacked<'_>], actions: &mut Vec<FileAction>) -> Result<(), HostError> {
    const PLACE: &str = "usr/share/ca-certificates/";
    let (mut bundle, mut list) = (Vec::new(), String::new());
    for package in packages {
        for found in &package.files {
            let name = found.path.strip_prefix(PLACE).filter(|name| name.ends_with(".crt"));
            if let Some(name) = name.filter(|_| found.kind == FileKind::Regular) {
                bundle.extend(package.data.read(&found.path, 0, u32::MAX)?);
                list += &format!("{name}\n");
            }
        }
    }
    if !bundle.is_empty() {
        actions.push(directory("/etc/ssl/certs", None));
        actions.push(file("/etc/ssl/certs/ca-certificates.crt", bundle));
        actions.push(file("/etc/ca-certificates.conf", list.into_bytes()));
    }
    Ok(())
}

/// What dpkg knows of the packages.
fn database(packages: &[Unpacked<'_>], status: &str, actions: &mut Vec<FileAction>) -> Result<(), HostError> {
    actions.push(directory(INFO, None));
    actions.push(directory("/var/lib/dpkg/updates", None));
    actions.push(file(&format!("{INFO}/format"), b"1\n".to_vec()));
    for package in packages {
        for member in package.control.children("")? {
            if member.kind == FileKind::Regular && member.path != "control" {
                let to = format!("{INFO}/{}.{}", package.name, member.path);
                actions.push(copy(package.inputs.0, &member.path, &to));
            }
        }
        let mut list = "/.\n".to_owned();
        for found in &package.files {
            list += &format!("/{}\n", found.path);
        }
        actions.push(file(&format!("{INFO}/{}.list", package.name), list.into_bytes()));
    }
    actions.push(file("/var/lib/dpkg/status", format!("{}\n", status.trim_end()).into_bytes()));
    Ok(())
}

fn directory(path: &str, owner: Option<Owner>) -> FileAction {
    FileAction::MakeDir(MakeDirAction { path: path.to_owned(), mode: 0o755, parents: true, owner })
}

fn link(path: &str, target: &str) -> FileAction {
    FileAction::MakeSymlink(MakeSymlinkAction {
        path: path.to_owned(),
        target: target.to_owned(),
        owner: None,
    })
}

fn file(path: &str, data: Vec<u8>) -> FileAction {
    FileAction::MakeFile(MakeFileAction { path: path.to_owned(), data, mode: 0o644, owner: None })
}

fn copy(input: Output, from: &str, to: &str) -> FileAction {
    FileAction::Copy(CopyAction::new(input, vec![format!("/{from}")], to))
}

fn contents(input: Output, from: &str, to: &str, exclude_patterns: Vec<String>) -> FileAction {
    let copy = CopyAction::new(input, vec![from.to_owned()], to);
    FileAction::Copy(CopyAction { contents_only: true, exclude_patterns, ..copy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_follow_directories_below_usr() {
        assert_eq!(below("**/*.a", "lib").as_deref(), Some("**/*.a"));
        assert_eq!(below("usr/lib/x", "lib").as_deref(), Some("x"));
        assert_eq!(below("!/lib/x/*", "lib").as_deref(), Some("!x/*"));
        assert_eq!(below("usr/share/doc", "lib"), None);
        assert_eq!(below("lib64/x", "lib"), None);
    }
}
