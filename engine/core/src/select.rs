//! Names what a step takes out of a tree, by content: the list that stands for an input in a key, and its differences.

use std::collections::BTreeMap;

use crate::digest::{Digest, FileDigest};
use crate::fileop::{FileOpError, FileWorld, Form, Piece, hard_links, pieces, whole};
use crate::graph::CopyAction;
use crate::merged::{Follow, Found, Merged};
use crate::tree::{Content, Entry, File, Kind, Place, TreePath};

/// What was taken, in the order in which it arrives: relative names and what they stand for, without times and places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    entries: Vec<(Vec<u8>, [u8; 32])>,
}

impl Selection {
    /// Of names and contents, in order.
    pub fn digest(&self) -> Digest {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        hasher.update(b"kiln selection 1\n");
        for (name, identity) in &self.entries {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update(identity);
        }
        Digest::from_bytes(hasher.finalize().into())
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Followed by another one.
    pub fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// One line for each entry: twelve digits of what it stands for, a space, its name. For [`diff`].
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, identity) in &self.entries {
            let name = String::from_utf8_lossy(name).replace('\\', "\\\\").replace('\n', "\\n");
            text.push_str(&FileDigest(*identity).hex()[..12]);
            text.push(' ');
            text.push_str(&name);
            text.push('\n');
        }
        text
    }

    fn push(&mut self, name: &[u8], form: &[u8], record: &mut Vec<u8>) {
        record.extend_from_slice(form);
        self.entries.push((name.to_vec(), FileDigest::of(record).0));
        record.clear();
    }
}

/// What `action` takes from `input`, evaluated: links followed, wildcards expanded, exclusions applied. Of a literal
/// source only the base name of a file, or the paths below a directory, enter; owners only where they are kept.
///
/// # Errors
///
/// As evaluating the copy: a source is not there, or a file cannot be read.
pub fn select(
    action: &CopyAction,
    input: &Merged,
    world: &mut dyn FileWorld,
) -> Result<Selection, FileOpError> {
    let mut selection = Selection::default();
    for piece in &pieces(action, input, world)? {
        add_piece(piece, input, action.owner.is_none(), &mut selection, world)?;
    }
    Ok(selection)
}

/// What shows at `path`, links followed: a file, or a directory with everything in it. Where it lies does not enter.
pub fn select_path(input: &Merged, path: &str, world: &mut dyn FileWorld) -> Result<Selection, FileOpError> {
    let wanted = TreePath::clean(path);
    let missing = |leads_to| FileOpError::SourceNotFound {
        path: path.to_owned(),
        leads_to,
        near: Vec::new(),
        excluded: false,
    };
    let way = input.resolve(&wanted, Follow::Last)?;
    let Some(top) = way.found else {
        return Err(missing((way.path != wanted).then_some(way.path)));
    };
    let mut selection = Selection::default();
    let mut record = Vec::new();
    write(input, &top, &|| way.path.clone(), true, None, &mut record, world)?;
    selection.push(b"", b"top", &mut record);
    if top.is_directory() {
        add_piece(&whole(input, &way.path), input, true, &mut selection, world)?;
    }
    Ok(selection)
}

fn add_piece(
    piece: &Piece<'_>,
    input: &Merged,
    owners: bool,
    selection: &mut Selection,
    world: &mut dyn FileWorld,
) -> Result<(), FileOpError> {
    let mut record = Vec::new();
    let form: &[u8] = match piece.form {
        Form::File => b"file",
        Form::Contents => b"contents",
        Form::Directory => b"directory",
        Form::Parents => b"parents",
    };
    if matches!(piece.form, Form::File | Form::Directory) {
        write(input, &piece.top, &|| piece.path.clone(), owners, None, &mut record, world)?;
    }
    selection.push(&piece.name_that_arrives(), form, &mut record);
    let links = hard_links(piece);
    for (index, item) in piece.items.iter().enumerate() {
        let first = links.get(&index).filter(|first| **first != index);
        let first = first.map(|first| piece.items[*first].path());
        let at = || piece.path.concat(&item.path());
        write(input, &item.found, &at, owners, first.as_ref(), &mut record, world)?;
        let form: &[u8] = if item.leads { b"leads" } else { b"item" };
        match piece.form {
            Form::Directory => {
                let name = [&piece.name, &b"/"[..], item.bytes()].concat();
                selection.push(&name, form, &mut record);
            }
            _ => selection.push(item.bytes(), form, &mut record),
        }
    }
    Ok(())
}

impl Piece<'_> {
    fn name_that_arrives(&self) -> Vec<u8> {
        match self.form {
            Form::File | Form::Directory => self.name.clone(),
            Form::Contents | Form::Parents => Vec::new(),
        }
    }
}

/// Appends every field of an entry but path, time and place; of a further name of a file, only which.
fn write(
    input: &Merged,
    found: &Found<'_>,
    at: &dyn Fn() -> TreePath,
    owners: bool,
    first: Option<&TreePath>,
    record: &mut Vec<u8>,
    world: &mut dyn FileWorld,
) -> Result<(), FileOpError> {
    let entry = found.entry;
    let kind = match (&entry.kind, first) {
        (_, Some(first)) => Kind::Link(first.clone()),
        (Kind::Directory { .. }, _) => Kind::Directory { opaque: false },
        (Kind::File(file), _) => {
            let mut digest = file.content.digest;
            if digest.is_none()
                && let Some(content) = input.content(found)
            {
                let read = world.digest(&content, file.size);
                digest = Some(read.map_err(|source| FileOpError::Read { path: at(), source })?);
            }
            Kind::File(File { size: file.size, content: Content { digest, place: Place::Here } })
        }
        (kind, _) => kind.clone(),
    };
    let entry = Entry {
        kind,
        mode: entry.mode,
        uid: if owners { entry.uid } else { 0 },
        gid: if owners { entry.gid } else { 0 },
        mtime: Default::default(),
        xattrs: entry.xattrs.clone(),
    };
    entry.write_identity(b"", record);
    Ok(())
}

/// Names shown of several that differ.
const SHOWN: usize = 3;

/// What became different from one [`Selection::text`] to another, in words; `None` when nothing did.
pub fn diff(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    fn read(text: &str) -> BTreeMap<&str, Vec<&str>> {
        let mut entries: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in text.lines() {
            let (identity, name) = line.split_once(' ').unwrap_or((line, ""));
            entries.entry(name).or_default().push(identity);
        }
        entries
    }
    let (before, after) = (read(old), read(new));
    let differ =
        after.iter().filter(|(name, identity)| before.get(*name).is_some_and(|old| old != *identity));
    let differ: Vec<&str> = differ.map(|(name, _)| *name).collect();
    let added: Vec<&str> = after.keys().filter(|name| !before.contains_key(*name)).copied().collect();
    let removed: Vec<&str> = before.keys().filter(|name| !after.contains_key(*name)).copied().collect();
    let one_or_many = |names: &[&str], one: &str, many: &str| match names {
        [] => None,
        [""] => Some(format!("the source {one}")),
        [name] => Some(format!("{name} {one}")),
        names => {
            let shown: Vec<_> = names.iter().filter(|name| !name.is_empty()).take(SHOWN).copied().collect();
            let more = match names.len() - shown.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!("{} files {many}: {}{more}", names.len(), shown.join(", ")))
        }
    };
    let parts = [
        one_or_many(&differ, "differs", "differ"),
        one_or_many(&added, "added", "added"),
        one_or_many(&removed, "removed", "removed"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    Some(match parts.is_empty() {
        true => "the order of files differs".to_owned(),
        false => parts.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fileop::tests::{Memory, copy};
    use crate::merged::tests::tree;

    fn selected(source: &str, action: &str) -> Selection {
        let source = Merged::of_tree(Arc::new(tree(source)));
        select(&copy(action), &source, &mut Memory).unwrap()
    }

    fn same(a: (&str, &str), b: (&str, &str)) {
        assert_eq!(selected(a.0, a.1).digest(), selected(b.0, b.1).digest(), "{a:?} {b:?}");
    }

    fn different(a: (&str, &str), b: (&str, &str)) {
        assert_ne!(selected(a.0, a.1).digest(), selected(b.0, b.1).digest(), "{a:?} {b:?}");
    }

    #[test]
    fn the_directory_of_a_literal_source_does_not_enter() {
        same(("a/ a/f=1", "a/f /x"), ("b/ b/f=1 other=2", "b/f /y"));
        same(("a/ a/f=1", "a /x"), ("b/@700:4:4 b/f=1", "b /x"));
        different(("f=1", "f /x"), ("g=1", "g /x"));
        different(("a/ a/f=1", "--parents a/f /x"), ("b/ b/f=1", "--parents b/f /x"));
    }

    #[test]
    fn everything_that_arrives_enters() {
        different(("f=1", "f /"), ("f=2", "f /"));
        different(("f=1", "f /"), ("f=1@600", "f /"));
        different(("f=1", "f /"), ("f=1@:1:0", "f /"));
        different(("d/ d/f=1", "d /"), ("d/ d/f=1 d/g/", "d /"));
        different(("d/ d/f->1", "d /"), ("d/ d/f->2", "d /"));
        different(("d/ d/a=1 d/b=1", "d /"), ("d/ d/a=1 d/b=>d/a", "d /"));
        different(("d=1", "d /"), ("d/", "d /"));
        same(("f=1", "--chown=5 f /"), ("f=1@:1:2", "--chown=5 f /"));
    }

    #[test]
    fn patterns_are_evaluated() {
        same(("a.go=1 b.go=2", "*.go /"), ("a.go=1 b.go=2 c.md=3", "?.g* /"));
        different(("a.go=1", "*.go /"), ("a.go=1 b.go=1", "*.go /"));
        same(("d/ d/a=1", "d /"), ("d/ d/a=1 d/b=2", "--exclude=b d /"));
    }

    #[test]
    fn a_path_is_selected_with_its_own_metadata_and_without_its_name() {
        let of = |source: &str, path: &str| {
            let source = Merged::of_tree(Arc::new(tree(source)));
            select_path(&source, path, &mut Memory).map(|s| (s.len(), s.digest()))
        };
        assert_eq!(of("a/ a/f=1", "/a"), of("b/ b/f=1 l->b", "l/"));
        assert_ne!(of("a/ a/f=1", "/a"), of("a/@700 a/f=1", "/a"));
        assert_ne!(of("a/ a/f=1", "/a"), of("a/ a/f=1@:1:1", "/a"));
        assert_eq!(of("f=1", "f").unwrap().0, 1);
        assert_eq!(of("f=1", "/g").unwrap_err().to_string(), "`/g` was not found");
    }

    #[test]
    fn differences_are_told_in_words() {
        let words = |old: &str, new: &str| diff(&selected(old, "d /").text(), &selected(new, "d /").text());
        let base = "d/ d/a=1 d/b=1 d/c=1 d/d=1 d/e=1";
        assert_eq!(words(base, base), None);
        assert_eq!(words(base, "d/ d/a=2 d/b=1 d/c=1 d/d=1 d/e=1").unwrap(), "a differs");
        assert_eq!(
            words(base, "d/ d/a=2 d/b=2 d/c=2 d/d=2 d/e=2").unwrap(),
            "5 files differ: a, b, c and 2 more"
        );
        assert_eq!(words(base, &format!("{base} d/x=1")).unwrap(), "x added");
        assert_eq!(words(base, "d/ d/b=1 d/c=1 d/d=1 d/y=1").unwrap(), "y added; 2 files removed: a, e");
    }
}
