//! Finds out what a copy takes: each source with everything in it, under the names with which it will arrive.

use std::borrow::Cow;
use std::collections::HashMap;

use super::FileWorld;
use super::error::FileOpError;
use super::wildcard::{expand, is_pattern};
use crate::graph::CopyAction;
use crate::ignore::{Ignore, Sieve, Verdict};
use crate::merged::{Follow, Found, Merged, Spot, follow};
use crate::tree::{Kind, TreePath};

/// Similar paths shown when a source is missing, and how many entries are looked at for them.
const MAX_NEAR: usize = 3;
const MAX_LOOKED_AT: usize = 200_000;

/// How a source is put at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Anything but a directory.
    File,
    /// The items of a directory, into the destination.
    Contents,
    /// The directory itself.
    Directory,
    /// Items with their directories, into the destination.
    Parents,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) form: Form,
    /// Where it lies in its input, without links.
    pub(crate) path: TreePath,
    /// Its last component as written or matched.
    pub(crate) name: Vec<u8>,
    pub(crate) top: Found<'a>,
    /// In order; empty for a file.
    pub(crate) items: Vec<Item<'a>>,
}

#[derive(Debug)]
pub(crate) struct Item<'a> {
    /// Where it lies, of which only what follows the first `skip` bytes is kept. There may be many items, and so none
    /// gets a path of its own that has one already.
    full: Cow<'a, TreePath>,
    skip: usize,
    pub(crate) found: Found<'a>,
    /// A directory that is there only because something in it is.
    pub(crate) leads: bool,
}

impl Item<'_> {
    /// Below the destination, or below the directory's own new place.
    pub(crate) fn path(&self) -> TreePath {
        TreePath::clean(self.bytes())
    }

    /// The bytes of [`Item::path`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.full.as_bytes()[self.skip..]
    }

    pub(crate) fn name(&self) -> &[u8] {
        self.full.name()
    }

    /// How many directories it lies in.
    pub(crate) fn depth(&self) -> usize {
        self.bytes().iter().filter(|b| **b == b'/').count()
    }
}

/// What is left out and let in below a source directory.
struct Filters {
    include: Option<Ignore>,
    exclude: Ignore,
}

/// Everything that `action` takes from `input`, in the order of its paths.
pub(crate) fn pieces<'a>(
    action: &CopyAction,
    input: &'a Merged,
    world: &mut dyn FileWorld,
) -> Result<Vec<Piece<'a>>, FileOpError> {
    let list = |patterns: &[String]| Ignore::from_patterns(patterns).map_err(FileOpError::Filter);
    let include = &action.include_patterns;
    let filters = Filters {
        include: if include.is_empty() { None } else { Some(list(include)?) },
        exclude: list(&action.exclude_patterns)?,
    };
    let last = match action.follow_symlinks {
        true => Follow::Last,
        false => Follow::NotLast,
    };
    let mut pieces = Vec::new();
    for path in &action.paths {
        let wild = action.allow_wildcard && is_pattern(path.as_bytes());
        let before = pieces.len();
        if action.keep_parents {
            with_parents(action, path, last, input, &filters, &mut pieces)
                .map_err(|error| with_hints(error, action, input, world))?;
        } else if wild {
            let matches = expand(&input, path.as_bytes())
                .map_err(|why| FileOpError::Pattern { pattern: path.clone(), why })?;
            for found in matches {
                let name = found.path.name().to_vec();
                let (at, spot) = match found.at.found.entry.kind {
                    Kind::Symlink(_) => must_exist(&found.path, path, last, input)?,
                    _ => (found.path, found.at),
                };
                pieces.push(piece(action, at, spot, name, &filters));
            }
        } else {
            let clean = TreePath::clean(path);
            let name = clean.name().to_vec();
            let (at, spot) = must_exist(&clean, path, last, input)
                .map_err(|error| with_hints(error, action, input, world))?;
            pieces.push(piece(action, at, spot, name, &filters));
        }
        if wild && pieces.len() == before && !action.allow_empty_wildcard {
            return Err(FileOpError::NoMatch { pattern: path.clone() });
        }
    }
    Ok(pieces)
}

fn piece<'a>(
    action: &CopyAction,
    path: TreePath,
    spot: Spot<'a>,
    name: Vec<u8>,
    filters: &Filters,
) -> Piece<'a> {
    let form = match (spot.is_directory(), action.contents_only) {
        (false, _) => Form::File,
        (true, true) => Form::Contents,
        (true, false) => Form::Directory,
    };
    let mut items = Vec::new();
    if form != Form::File {
        let (include, exclude) = (filters.include.as_ref(), &filters.exclude);
        gather(&path, &TreePath::root(), &spot, include, exclude, &mut items);
    }
    Piece { form, path, name, top: spot.found, items }
}

fn must_exist<'a>(
    path: &TreePath,
    written: &str,
    last: Follow,
    input: &'a Merged,
) -> Result<(TreePath, Spot<'a>), FileOpError> {
    let way = follow(&input, path, last)?;
    if way.is_whole {
        return Ok((way.path, way.last));
    }
    Err(FileOpError::SourceNotFound {
        path: written.to_owned(),
        leads_to: (way.path != *path).then_some(way.path),
        near: Vec::new(),
        excluded: false,
    })
}

/// Adds what lies below `spot`, which is at `at` in its input, each under `under` and the path below `spot`.
fn gather<'a>(
    at: &TreePath,
    under: &TreePath,
    spot: &Spot<'a>,
    include: Option<&Ignore>,
    exclude: &Ignore,
    items: &mut Vec<Item<'a>>,
) {
    let mut included = include.map(Sieve::new);
    let mut excluded = (!exclude.is_empty()).then(|| Sieve::new(exclude));
    let mut leading: Vec<Item<'a>> = Vec::new();
    let skip = if at.is_root() { 0 } else { at.as_bytes().len() + 1 };
    let as_they_lie = under.is_root() && included.is_none() && excluded.is_none();
    let mut walk = spot.walk();
    while let Some((path, found)) = walk.next() {
        if as_they_lie {
            items.push(Item { full: path, skip, found, leads: false });
            continue;
        }
        let path = under.concat(&path.below(at).unwrap_or_default());
        let directory = found.is_directory();
        let ask = |sieve: &mut Option<Sieve<'_>>, without: bool| match sieve {
            None => Verdict { matched: without, settled: true },
            Some(sieve) if directory => sieve.judge(&path),
            Some(sieve) => Verdict { matched: sieve.matches_file(&path), settled: true },
        };
        let yes = ask(&mut included, true);
        let no = ask(&mut excluded, false);
        while leading.last().is_some_and(|above| path.below(&above.full).is_none()) {
            leading.pop();
        }
        let item = Item { full: Cow::Owned(path), skip: 0, found, leads: false };
        if yes.matched && !no.matched {
            items.append(&mut leading);
            items.push(item);
        } else if directory {
            if (no.matched && no.settled) || (!yes.matched && yes.settled) {
                walk.skip_below();
            } else {
                leading.push(Item { leads: true, ..item });
            }
        }
    }
}

/// `--parents`: what a path names arrives with the directories of the path, from a `/./` in it on.
fn with_parents<'a>(
    action: &CopyAction,
    written: &str,
    last: Follow,
    input: &'a Merged,
    filters: &Filters,
    pieces: &mut Vec<Piece<'a>>,
) -> Result<(), FileOpError> {
    let (base, rest) = written.split_once("/./").unwrap_or(("", written));
    let wild = |text: &str| action.allow_wildcard && is_pattern(text.as_bytes());
    let bases = if wild(base) {
        let matches = expand(&input, base.as_bytes())
            .map_err(|why| FileOpError::Pattern { pattern: written.to_owned(), why })?;
        matches.into_iter().map(|found| (found.path, found.at)).collect()
    } else {
        let clean = TreePath::clean(base);
        match must_exist(&clean, written, Follow::Last, input) {
            Err(FileOpError::SourceNotFound { .. }) if wild(rest) => Vec::new(),
            found => vec![found?],
        }
    };
    for (path, spot) in bases {
        let mut items = Vec::new();
        if wild(rest) {
            let only = Ignore::of_pattern(rest.as_bytes())
                .map_err(|why| FileOpError::Pattern { pattern: written.to_owned(), why })?;
            let exclude = &filters.exclude;
            gather(&path, &TreePath::root(), &spot, Some(&only), exclude, &mut items);
        } else {
            let rest = TreePath::clean(rest);
            let mut under = TreePath::root();
            let mut end = (path.clone(), spot.clone());
            for name in rest.components() {
                under = under.join(name);
                let is_last = under == rest;
                let follow = if is_last { last } else { Follow::Last };
                end = must_exist(&path.concat(&under), written, follow, input)?;
                let full = Cow::Owned(under.clone());
                items.push(Item { full, skip: 0, found: end.1.found, leads: !is_last });
            }
            gather(&end.0, &under, &end.1, filters.include.as_ref(), &filters.exclude, &mut items);
        }
        if !items.is_empty() {
            pieces.push(Piece { form: Form::Parents, name: Vec::new(), top: spot.found, path, items });
        }
    }
    Ok(())
}

/// All that a directory holds; nothing when `path`, which has no links in it, is none.
pub(crate) fn whole<'a>(input: &'a Merged, path: &TreePath) -> Piece<'a> {
    let spot = input.spot(path).unwrap_or_else(|| input.root());
    let mut items = Vec::new();
    gather(path, &TreePath::root(), &spot, None, &Ignore::default(), &mut items);
    Piece { form: Form::Contents, path: path.clone(), name: Vec::new(), top: spot.found, items }
}

/// Which items are names of one file, by number; only those of which there are several.
pub(crate) fn hard_links(piece: &Piece<'_>) -> HashMap<usize, usize> {
    let mut groups = HashMap::new();
    if !piece.items.iter().any(|item| item.found.home.is_some_and(|home| home.linked)) {
        return groups;
    }
    let mut first: HashMap<(usize, &TreePath), usize> = HashMap::new();
    for (index, item) in piece.items.iter().enumerate() {
        let (Kind::File(_), Some(home)) = (&item.found.entry.kind, item.found.home) else {
            continue;
        };
        let at = *first.entry((home.layer, home.path)).or_insert(index);
        if at != index {
            groups.insert(at, at);
            groups.insert(index, at);
        }
    }
    groups
}

/// Says more about a source that is missing.
fn with_hints(
    error: FileOpError,
    action: &CopyAction,
    input: &Merged,
    world: &mut dyn FileWorld,
) -> FileOpError {
    let FileOpError::SourceNotFound { path, leads_to, .. } = error else {
        return error;
    };
    let wanted = leads_to.clone().unwrap_or_else(|| TreePath::clean(&path));
    let excluded = world.excluded(action.input, &wanted);
    let mut near = Vec::new();
    if !excluded {
        let like = wanted.name().to_ascii_lowercase();
        let mut other: Vec<TreePath> = Vec::new();
        for (path, _) in input.walk(&TreePath::root()).take(MAX_LOOKED_AT) {
            if path.name() == wanted.name() {
                near.push(path.into_owned());
            } else if other.len() < MAX_NEAR
                && path.parent() == wanted.parent()
                && is_typo(path.name(), &like)
            {
                other.push(path.into_owned());
            }
            if near.len() == MAX_NEAR {
                break;
            }
        }
        near.extend(other);
        near.truncate(MAX_NEAR);
    }
    FileOpError::SourceNotFound { path, leads_to, near, excluded }
}

/// Equal but for case, or but for one character too many, too few or wrong, or two swapped.
fn is_typo(name: &[u8], wanted: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let start = name.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let (a, b) = (&name[start..], &wanted[start..]);
    match (a, b) {
        ([], []) => true,
        _ if name.len() < 3 || wanted.len() < 3 => false,
        ([x, y, rest @ ..], [z, w, other @ ..]) if x == w && y == z && rest == other => true,
        ([_, rest @ ..], [_, other @ ..]) if rest == other => true,
        ([_, rest @ ..], other) if rest == other => true,
        (rest, [_, other @ ..]) => rest == other,
        _ => false,
    }
}
