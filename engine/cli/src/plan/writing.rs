//! Writes files into a directory of the person's: all or none, over nothing that is there, through no link.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use kiln_driver::EjectedFile;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::exit::CommandLine;

/// What was done so far, so that it can be undone.
#[derive(Default)]
struct Done {
    /// Directory, name.
    made: Vec<(OwnedFd, OsString)>,
    /// Files beside the place where they belong, not there yet.
    beside: Vec<Beside>,
}

struct Beside {
    directory: OwnedFd,
    name: String,
    temporary: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Written,
    Placed,
    /// What was there before has the temporary name now.
    Exchanged,
}

/// Writes `files`, whose paths are relative and plain, into `root`, which is made if need be.
///
/// # Errors
///
/// [`CommandLine`] when something is in the way; then, and after any other error, everything is as it was.
pub fn write_all(root: &Path, files: &[EjectedFile], force: bool) -> Result<()> {
    std::fs::create_dir_all(root).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            CommandLine(anyhow!("`{}` is no directory, and files are to be written into it", root.display()))
                .into()
        }
        _ => anyhow!(error).context(format!("could not make `{}`", root.display())),
    })?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(root, flags, Mode::empty())
        .with_context(|| format!("could not open `{}`", root.display()))?;
    check_free(&directory, root, files, force)?;
    let mut done = Done::default();
    match done.write(&directory, root, files).and_then(|()| done.place(force)) {
        Ok(()) => {
            done.forget_replaced();
            Ok(())
        }
        Err(error) => {
            done.undo();
            Err(error)
        }
    }
}

/// Everything that is in the way, before anything is written.
fn check_free(directory: &OwnedFd, root: &Path, files: &[EjectedFile], force: bool) -> Result<()> {
    let mut there = Vec::new();
    for file in files {
        let (parents, name) = split(&file.path);
        let Some(parent) = descend(directory, root, &parents, None)? else { continue };
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("could not look at `{}`", root.join(&file.path).display()));
            }
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(CommandLine(anyhow!(
                    "`{}` is a directory, where a file is to be written",
                    root.join(&file.path).display()
                ))
                .into());
            }
            Ok(_) => there.push(format!("`{}`", root.join(&file.path).display())),
        }
    }
    if there.is_empty() || force {
        return Ok(());
    }
    let (what, verb) = if there.len() == 1 { ("is", "it") } else { ("are", "them") };
    Err(CommandLine(anyhow!(
        "{} {what} there already; nothing was written. Say `--force` to write over {verb}, or `-o DIR` to write \
         elsewhere",
        there.join(" and ")
    ))
    .into())
}

fn split(path: &str) -> (Vec<&str>, &str) {
    let mut names: Vec<&str> = path.split('/').collect();
    let name = names.pop().unwrap_or_default();
    (names, name)
}

/// The directory that `names` lead to from `directory`; `None` where it is not there and nothing is to be `made`.
fn descend(
    directory: &OwnedFd,
    root: &Path,
    names: &[&str],
    mut made: Option<&mut Vec<(OwnedFd, OsString)>>,
) -> Result<Option<OwnedFd>> {
    let mut here = directory.try_clone().context("could not copy a descriptor")?;
    let mut shown = root.to_owned();
    for name in names {
        shown.push(name);
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&here, *name, flags, Mode::empty())
        };
        let opened = match (open(), &mut made) {
            (Err(Errno::NOENT), None) => return Ok(None),
            (Err(Errno::NOENT), Some(made)) => {
                rustix::fs::mkdirat(&here, *name, Mode::from_raw_mode(0o777))
                    .with_context(|| format!("could not make `{}`", shown.display()))?;
                let parent = here.try_clone().context("could not copy a descriptor")?;
                made.push((parent, OsString::from(name)));
                open()
            }
            (opened, _) => opened,
        };
        here = match opened {
            Ok(next) => next,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(CommandLine(anyhow!(
                    "`{}` is a link or no directory; files are not written through it",
                    shown.display()
                ))
                .into());
            }
            Err(error) => return Err(error).with_context(|| format!("could not open `{}`", shown.display())),
        };
    }
    Ok(Some(here))
}

impl Done {
    /// Writes each file beside its place.
    fn write(&mut self, directory: &OwnedFd, root: &Path, files: &[EjectedFile]) -> Result<()> {
        for file in files {
            let (parents, name) = split(&file.path);
            let failed = || format!("could not write `{}`", root.join(&file.path).display());
            let parent = descend(directory, root, &parents, Some(&mut self.made))?.with_context(failed)?;
            let temporary = format!(".{}.{}.tmp", std::process::id(), self.beside.len());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(&parent, &*temporary, flags, Mode::from_raw_mode(0o666))
                .with_context(failed)?;
            self.beside.push(Beside {
                directory: parent,
                name: name.to_owned(),
                temporary,
                state: State::Written,
            });
            std::fs::File::from(opened).write_all(file.text.as_bytes()).with_context(failed)?;
        }
        Ok(())
    }

    fn place(&mut self, force: bool) -> Result<()> {
        for file in &mut self.beside {
            let rename = |flags| {
                let at = file.directory.as_fd();
                rustix::fs::renameat_with(at, &*file.temporary, at, &*file.name, flags)
            };
            file.state = match rename(RenameFlags::NOREPLACE) {
                Ok(()) => State::Placed,
                Err(Errno::EXIST) if force => {
                    rename(RenameFlags::EXCHANGE)
                        .with_context(|| format!("could not replace `{}`", file.name))?;
                    State::Exchanged
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("could not put `{}` into its place", file.name));
                }
            };
        }
        Ok(())
    }

    /// Nobody wants what was written over.
    fn forget_replaced(self) {
        for file in self.beside.iter().filter(|file| file.state == State::Exchanged) {
            // It has a name that nobody looks for: a rest is no harm.
            let _ = rustix::fs::unlinkat(&file.directory, &*file.temporary, AtFlags::empty());
        }
    }

    fn undo(self) {
        // Of each of these, the error that led here says more than one of its own would.
        for file in self.beside.iter().rev() {
            let at = file.directory.as_fd();
            let ours = match file.state {
                State::Written => &file.temporary,
                State::Placed => &file.name,
                State::Exchanged => {
                    let flags = RenameFlags::EXCHANGE;
                    let _ = rustix::fs::renameat_with(at, &*file.temporary, at, &*file.name, flags);
                    &file.temporary
                }
            };
            let _ = rustix::fs::unlinkat(at, &**ours, AtFlags::empty());
        }
        for (parent, name) in self.made.iter().rev() {
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn files(paths: &[&str]) -> Vec<EjectedFile> {
        let file = |path: &&str| EjectedFile { path: (*path).to_owned(), text: format!("text of {path}") };
        paths.iter().map(file).collect()
    }

    /// Everything below a directory, by its path.
    fn listed(root: &Path) -> Vec<String> {
        let mut all = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                all.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                }
            }
        }
        all.sort();
        all
    }

    #[test]
    fn files_are_written_with_their_directories() {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().join("new/place");
        write_all(&here, &files(&["Dockerfile", "a/b/c", "a/d"]), false).unwrap();
        assert_eq!(listed(&here), ["Dockerfile", "a", "a/b", "a/b/c", "a/d"]);
        assert_eq!(fs::read_to_string(here.join("a/b/c")).unwrap(), "text of a/b/c");
    }

    #[test]
    fn nothing_is_written_where_one_file_is_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("b"), "mine").unwrap();
        fs::write(root.path().join("d/e"), "mine").unwrap();
        let error = write_all(root.path(), &files(&["a", "b", "d/e"]), false).unwrap_err().to_string();
        assert!(error.contains("/b`") && error.contains("/d/e` are there already"), "{error}");
        assert!(error.contains("--force"), "{error}");
        assert_eq!(listed(root.path()), ["b", "d", "d/e"]);
        write_all(root.path(), &files(&["a", "b", "d/e"]), true).unwrap();
        assert_eq!(listed(root.path()), ["a", "b", "d", "d/e"]);
        assert_eq!(fs::read_to_string(root.path().join("b")).unwrap(), "text of b");
    }

    #[test]
    fn no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let (here, out) = (root.path().join("here"), root.path().join("out"));
        fs::create_dir(&here).unwrap();
        fs::create_dir(&out).unwrap();
        fs::write(out.join("kept"), "mine").unwrap();
        std::os::unix::fs::symlink(&out, here.join("sub")).unwrap();
        std::os::unix::fs::symlink(out.join("kept"), here.join("link")).unwrap();
        std::os::unix::fs::symlink(out.join("new"), here.join("dangling")).unwrap();
        for (path, says) in [("sub/x", "is a link"), ("link", "there already"), ("dangling", "there already")]
        {
            let error = write_all(&here, &files(&["a", path]), false).unwrap_err().to_string();
            assert!(error.contains(says), "{path}: {error}");
        }
        assert!(write_all(&here, &files(&["sub/x"]), true).is_err());
        // The link is what is written over, not what it leads to.
        write_all(&here, &files(&["link"]), true).unwrap();
        assert_eq!(fs::read_to_string(out.join("kept")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(here.join("link")).unwrap(), "text of link");
        assert_eq!(listed(&out), ["kept"]);
    }

    #[test]
    fn what_was_done_is_undone_when_the_rest_fails() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        fs::write(root.path().join("b"), "mine").unwrap();
        // The second name is longer than names can be, which is found out when it is to be placed.
        let long = "x".repeat(300);
        for paths in [vec!["new/a", "b", &long], vec!["b", "d"]] {
            assert!(write_all(root.path(), &files(&paths), true).is_err(), "{paths:?}");
            assert_eq!(listed(root.path()), ["b", "d"], "{paths:?}");
            assert_eq!(fs::read_to_string(root.path().join("b")).unwrap(), "mine");
        }
    }
}
