//! `type=local` and `type=tar`: the files of an image without the image.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use kiln_core::{Kind, Tree, TreePath};
use kiln_oci::{LayerWriter, Times};

use super::{place, whole_tree};
use crate::error::BuildError;
use crate::forms::Forms;
use crate::outcome::{Outcome, Written};
use crate::request::{Destination, OutputSpec};
use crate::session::Session;
use crate::solve::Solved;

/// Into a directory, beside what it holds already; with several platforms, each into a directory of its own.
pub(super) fn local(
    session: &Session<'_>,
    solved: &Solved<'_>,
    output: &OutputSpec,
    outcome: &mut Outcome,
) -> Result<(), BuildError> {
    let Some(Destination::Path(directory)) = &output.destination else {
        unreachable!("a local output has a directory");
    };
    for (target, prefix) in targets(solved) {
        let directory = match &prefix {
            Some(prefix) => directory.join(prefix),
            None => directory.clone(),
        };
        std::fs::create_dir_all(&directory).map_err(|error| {
            BuildError::world(format!("could not make the directory `{}`", directory.display()), error)
        })?;
        let tree = whole_tree(&session.merged(&solved.stacks[target])?);
        session.forms.task(&format!("writing files to {}", directory.display()), |_| {
            write_files(&session.forms, &tree, &directory)
        })?;
    }
    outcome.written.push(Written(format!("files written to {}", place(output))));
    Ok(())
}

/// Into one tar archive; with several platforms, each below a directory of its own.
pub(super) fn tar(
    session: &Session<'_>,
    solved: &Solved<'_>,
    output: &OutputSpec,
    outcome: &mut Outcome,
) -> Result<(), BuildError> {
    let times = match solved.pinned.epoch {
        Some(epoch) if output.rewrite_timestamp => Times::Epoch(epoch),
        _ => Times::Kept,
    };
    let mut all = Vec::new();
    for (target, prefix) in targets(solved) {
        let tree = whole_tree(&session.merged(&solved.stacks[target])?);
        all.push(match prefix {
            None => tree,
            Some(prefix) => below(tree, &prefix),
        });
    }
    let tree = Tree::new(all.into_iter().flat_map(Tree::into_entries).collect());
    session.forms.task(&format!("writing {}", place(output)), |_| {
        write_whole(output, |out| write_tar(&session.forms, &tree, LayerWriter::rootfs(out, times)).map(drop))
    })?;
    outcome.written.push(Written(format!("files written to {}", place(output))));
    Ok(())
}

/// The targets with the directory each is written to when there are several.
fn targets<'s>(solved: &'s Solved<'_>) -> impl Iterator<Item = (usize, Option<String>)> + 's {
    let several = solved.pinned.targets.len() > 1;
    solved
        .pinned
        .targets
        .iter()
        .enumerate()
        .map(move |(index, target)| (index, several.then(|| target.platform.to_string().replace('/', "_"))))
}

/// The same tree in a directory.
fn below(tree: Tree, prefix: &str) -> Tree {
    let prefix = TreePath::clean(prefix);
    let mut entries: Vec<_> = tree.into_entries();
    for (path, entry) in &mut entries {
        *path = prefix.concat(path);
        if let Kind::Link(first) = &mut entry.kind {
            *first = prefix.concat(first);
        }
    }
    Tree::new(entries)
}

/// Writes every entry of a tree, with the bytes of its files, and gives the stream back.
pub(crate) fn write_tar<W: Write>(
    forms: &Forms<'_>,
    tree: &Tree,
    mut writer: LayerWriter<W>,
) -> Result<W, BuildError> {
    write_entries(forms, None, tree, &mut writer)?;
    writer.finish().map_err(|error| BuildError::world("could not write the archive", error))
}

/// As [`write_tar`]; `layer` is whose tree it is, for files that lie in it.
pub(crate) fn write_entries<W: Write>(
    forms: &Forms<'_>,
    layer: Option<&kiln_core::LayerId>,
    tree: &Tree,
    writer: &mut LayerWriter<W>,
) -> Result<(), BuildError> {
    for (path, entry) in tree.entries() {
        if forms.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let result = match &entry.kind {
            Kind::File(file) if file.size > 0 => {
                let mut bytes = forms.open_checked(layer, path, file)?;
                let written = writer.append(path, entry, Some(&mut bytes));
                if written.is_ok() {
                    bytes.finish(path)?;
                }
                written
            }
            _ => writer.append(path, entry, Some(&mut std::io::empty())),
        };
        result.map_err(|error| BuildError::world(format!("could not write `{}`", path.display()), error))?;
    }
    Ok(())
}

/// Calls `write` with the destination of an output: standard output, or a file that gets its name when all is written.
pub(crate) fn write_whole(
    output: &OutputSpec,
    write: impl FnOnce(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let path = match &output.destination {
        Some(Destination::Path(path)) => path,
        Some(Destination::Stdout) | None => {
            let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
            write(&mut out)?;
            return out
                .flush()
                .map_err(|error| BuildError::world("could not write to standard output", error));
        }
    };
    let failed = |error| BuildError::world(format!("could not write `{}`", path.display()), error);
    if path.is_dir() {
        return Err(BuildError::plain(
            format!("`{}` is a directory, and the output is one file", path.display()),
            "give a file with `dest=`",
        ));
    }
    let beside = Beside::new(path);
    let file = File::create(&beside.0).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    write(&mut out)?;
    out.flush().map_err(failed)?;
    std::fs::rename(&beside.0, path).map_err(failed)
}

/// A file on its way to its name; removed if it never gets there.
struct Beside(PathBuf);

impl Beside {
    fn new(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a whole tree into a directory of the person's. What stands in the way is replaced, unless it is a directory
/// that a file would have to replace. Files belong to whoever runs kiln.
fn write_files(forms: &Forms<'_>, tree: &Tree, to: &Path) -> Result<(), BuildError> {
    forms.directories_for(tree)?;
    for (path, entry) in tree.entries() {
        if forms.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        if !path.is_root() {
            write_file(forms, tree, (path, entry), to)?;
        }
    }
    // Directories last: writing what they hold has changed their times, and their modes may forbid it.
    for (path, entry) in
        tree.entries().iter().rev().filter(|(path, entry)| entry.is_directory() && !path.is_root())
    {
        let place = to.join(path.as_os());
        settle(&place, entry).map_err(|error| could_not_write(&place, error))?;
    }
    Ok(())
}

fn write_file(
    forms: &Forms<'_>,
    tree: &Tree,
    (path, entry): (&TreePath, &kiln_core::Entry),
    to: &Path,
) -> Result<(), BuildError> {
    use std::os::unix::ffi::OsStrExt;
    let place = to.join(path.as_os());
    let failed = |error| could_not_write(&place, error);
    let there = std::fs::symlink_metadata(&place).ok();
    match (&entry.kind, &there) {
        (Kind::Directory { .. }, Some(there)) if there.is_dir() => return Ok(()),
        (_, Some(there)) if there.is_dir() => {
            return Err(BuildError::plain(
                format!("`{}` is a directory, and the image has something else there", place.display()),
                "remove it, or write to another directory",
            ));
        }
        (_, Some(_)) => std::fs::remove_file(&place).map_err(failed)?,
        (_, None) => {}
    }
    match &entry.kind {
        Kind::Directory { .. } => std::fs::create_dir(&place).map_err(failed)?,
        Kind::File(file) => {
            let mut bytes = forms.open_checked(None, path, file)?;
            let mut out = File::create_new(&place).map_err(failed)?;
            std::io::copy(&mut bytes, &mut out).map_err(failed)?;
            bytes.finish(path)?;
            settle(&place, entry).map_err(failed)?;
        }
        Kind::Link(first) => {
            debug_assert!(tree.get(first).is_some());
            std::fs::hard_link(to.join(first.as_os()), &place).map_err(failed)?;
        }
        Kind::Symlink(target) => {
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), &place).map_err(failed)?;
        }
        Kind::Fifo => rustix::fs::mknodat(
            rustix::fs::CWD,
            &place,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(entry.mode),
            0,
        )
        .map_err(|error| failed(error.into()))?,
        // Devices and sockets mean nothing outside of the image.
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Socket | Kind::Whiteout => {}
    }
    Ok(())
}

/// Mode and time of a file or directory that was just written.
fn settle(place: &Path, entry: &kiln_core::Entry) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = File::open(place)?;
    let since = std::time::Duration::new(entry.mtime.seconds.unsigned_abs(), entry.mtime.nanoseconds);
    if entry.mtime.seconds >= 0 {
        file.set_modified(std::time::UNIX_EPOCH + since)?;
    }
    // Set-id bits would be those of whoever runs kiln, which is not what the image means.
    file.set_permissions(std::fs::Permissions::from_mode(entry.mode & 0o1777))
}

fn could_not_write(place: &Path, error: std::io::Error) -> BuildError {
    BuildError::world(format!("could not write `{}`", place.display()), error)
}
