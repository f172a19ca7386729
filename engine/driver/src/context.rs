//! Build contexts: directories of the person's, and archives that became layers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kiln_core::graph::ContextSource;
use kiln_core::ignore::Ignore;
use kiln_core::merged::{Follow, Merged};
use kiln_core::tree::{Content, Place};
use kiln_core::{Diagnostic, FileDigest, Kind, Tree, TreePath};
use kiln_store::{ContextIndex, Store};

use crate::error::BuildError;
use crate::forms::lock;
use crate::request::ContextLocation;
use crate::session::Session;

/// Files that are named in one go; what is known of them in between takes memory.
const READ_AT_ONCE: usize = 1024;

/// A context as one build sees it: listed once, its files read when something selects them.
pub(crate) struct LocalContext {
    /// Absent when the files are the store's own.
    index: Option<ContextIndex>,
    ignore: Ignore,
    tree: Mutex<Arc<Tree>>,
    store: Store,
}

impl LocalContext {
    fn directory(store: &Store, number: u32, root: &Path, ignore: Ignore) -> Result<Self, BuildError> {
        let failed = |error| {
            BuildError::world(format!("could not read the build context `{}`", root.display()), error)
        };
        let index = store.context(root).map_err(failed)?;
        let tree = index.walk(number, &ignore).map_err(failed)?;
        Ok(Self { index: Some(index), ignore, tree: Mutex::new(Arc::new(tree)), store: store.clone() })
    }

    fn of_tree(store: &Store, tree: Tree) -> Self {
        Self {
            index: None,
            ignore: Ignore::default(),
            tree: Mutex::new(Arc::new(tree)),
            store: store.clone(),
        }
    }

    /// It was fetched, or came as an archive.
    pub(crate) fn is_fetched(&self) -> bool {
        self.index.is_none()
    }

    pub(crate) fn tree(&self) -> Arc<Tree> {
        lock(&self.tree).clone()
    }

    pub(crate) fn view(&self) -> Merged {
        Merged::of_tree(self.tree())
    }

    pub(crate) fn open(&self, path: &TreePath) -> std::io::Result<File> {
        match &self.index {
            Some(index) => index.open(path),
            None => Err(std::io::Error::other("the context is not a directory")),
        }
    }

    pub(crate) fn digest(&self, path: &TreePath) -> Result<FileDigest, BuildError> {
        match &self.index {
            Some(index) => index.digest(path).map_err(|error| {
                BuildError::world(format!("could not read `{}` of the context", path.display()), error)
            }),
            None => unreachable!("files of the store have digests"),
        }
    }

    /// Up to `max` bytes of a file, from `offset`.
    pub(crate) fn read(&self, content: &Content, offset: u64, max: usize) -> std::io::Result<Vec<u8>> {
        match &content.place {
            Place::Context { path, .. } => read_part(&self.open(path)?, offset, max),
            _ => read_stored(&self.store, content, offset, max),
        }
    }

    /// It is there, but the ignore rules leave it out.
    pub(crate) fn is_ignored(&self, path: &TreePath) -> bool {
        let exists = || {
            self.index
                .as_ref()
                .is_some_and(|index| index.root().join(path.as_os()).symlink_metadata().is_ok())
        };
        self.ignore.excludes(path) && exists()
    }

    /// Reads, several at a time, all files that are not known yet at and below `sources` (of patterns: below the part
    /// that is literal). After this the tree has their digests and attributes.
    pub(crate) fn read_below(&self, sources: &[&str]) -> Result<(), BuildError> {
        let Some(index) = &self.index else { return Ok(()) };
        let tree = self.tree();
        let view = Merged::of_tree(tree.clone());
        let unread = |entry: &kiln_core::Entry| matches!(&entry.kind, Kind::File(file) if file.content.digest.is_none());
        let mut paths: Vec<TreePath> = Vec::new();
        for source in sources {
            let start = literal_part(source);
            let Ok(resolved) = view.resolve(&start, Follow::Last) else { continue };
            let here = tree.get(&resolved.path).map(|entry| (&resolved.path, entry));
            let below = tree.below(&resolved.path).iter().map(|(path, entry)| (path, entry));
            for (path, entry) in here.into_iter().chain(below) {
                // A further name is held by a file that may lie elsewhere.
                let (path, entry) = match &entry.kind {
                    Kind::Link(first) => match tree.get(first) {
                        Some(entry) => (first, entry),
                        None => continue,
                    },
                    // What a pattern matches may be a link that leads elsewhere: that is read when it is needed.
                    _ => (path, entry),
                };
                if unread(entry) {
                    paths.push(path.clone());
                }
            }
        }
        paths.sort();
        paths.dedup();
        if paths.is_empty() {
            return Ok(());
        }
        let mut named = Vec::with_capacity(paths.len());
        for batch in paths.chunks(READ_AT_ONCE) {
            named.extend(index.name_all(batch).map_err(|error| {
                BuildError::world("could not read the files of the build context", error)
            })?);
        }
        drop(view);
        drop(tree);
        let mut current = lock(&self.tree);
        // In place, unless somebody is looking at the tree as it was.
        let tree = Arc::make_mut(&mut current);
        let mut named = paths.iter().zip(named).peekable();
        for (path, entry) in tree.entries_mut() {
            if let Some((_, (digest, xattrs))) = named.next_if(|(wanted, _)| *wanted == path)
                && let Kind::File(file) = &mut entry.kind
            {
                file.content.digest = Some(digest);
                entry.xattrs = xattrs;
            }
        }
        Ok(())
    }
}

/// Up to `max` bytes of a file that is the store's own or in memory.
pub(crate) fn read_stored(
    store: &Store,
    content: &Content,
    offset: u64,
    max: usize,
) -> std::io::Result<Vec<u8>> {
    match &content.place {
        Place::Layer { layer, path } => {
            let file = store.open_content(&Place::Here, layer, path).map_err(std::io::Error::other)?;
            read_part(&file, offset, max)
        }
        Place::Inline(bytes) => {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            Ok(bytes[from..from.saturating_add(max).min(bytes.len())].to_vec())
        }
        Place::Here | Place::Context { .. } => {
            unreachable!("the place was made absolute, and is no context's")
        }
    }
}

fn read_part(file: &File, offset: u64, max: usize) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut bytes = Vec::new();
    let mut piece = vec![0; max.min(1 << 16)];
    while bytes.len() < max {
        let room = piece.len().min(max - bytes.len());
        match file.read_at(&mut piece[..room], offset + bytes.len() as u64)? {
            0 => break,
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
    Ok(bytes)
}

/// The path that a named context is given as; none for an address or an image.
pub fn local_context(value: &str) -> Option<&Path> {
    let path = value.strip_prefix("local:");
    let is_path = path.is_some() || !crate::is_remote_context(value) && !is_of_another_scheme(value);
    is_path.then(|| Path::new(path.unwrap_or(value)))
}

/// `word://…` or `word:…`, as addresses begin.
fn is_of_another_scheme(value: &str) -> bool {
    value.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// The directories of a source before its first wildcard.
fn literal_part(source: &str) -> TreePath {
    let literal = source
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '\\']))
        .collect::<Vec<_>>()
        .join("/");
    TreePath::clean(literal)
}

impl Session<'_> {
    /// Writes down what was read of contexts. What is not remembered is read again next time: no reason to fail.
    pub(crate) fn remember_contexts(&self) {
        for context in self.forms.contexts() {
            if let Some(index) = &context.index {
                let _ = index.save();
            }
        }
    }

    /// The context that a source means, opened once per build and set of ignore rules.
    pub(crate) fn local_context(&self, source: &ContextSource) -> Result<Arc<LocalContext>, BuildError> {
        let key = (source.name.clone(), source.ignore.clone());
        if let Some(context) = lock(&self.contexts).get(&key) {
            return Ok(context.clone());
        }
        self.judge_context(source, &[])?;
        let location = if source.name.is_empty() {
            self.request.context.clone()
        } else {
            self.named_location(&source.name)?
        };
        let store = &self.driver.store;
        let context = match &location {
            ContextLocation::Directory(root) => {
                let ignore = self.ignore_rules(root, source)?;
                self.forms.add_context(|number| LocalContext::directory(store, number, root, ignore))?
            }
            ContextLocation::Empty => {
                self.forms.add_context(|_| Ok(LocalContext::of_tree(store, Tree::default())))?
            }
            ContextLocation::Archive(bytes) => {
                let tree = crate::archive::as_context(&self.forms, bytes)?;
                self.forms.add_context(|_| Ok(LocalContext::of_tree(store, tree)))?
            }
            ContextLocation::Remote(address) => {
                let tree = self.remote_context(address, source.name.is_empty());
                let tree = tree.map_err(|error| error.at(None))?;
                self.forms.add_context(|_| Ok(LocalContext::of_tree(store, tree)))?
            }
        };
        lock(&self.contexts).insert(key, context.clone());
        Ok(context)
    }

    /// Where a context given with `--build-context` lies.
    fn named_location(&self, name: &str) -> Result<ContextLocation, BuildError> {
        let platform = &self.request.frontend.build_platform;
        let Some((_, value)) = self.named_context(name, platform) else {
            return Err(BuildError::wrong(Diagnostic::error(
                "unknown-context",
                format!("there is no build context called `{name}`"),
            )));
        };
        if value == "docker-image://scratch" {
            return Ok(ContextLocation::Empty);
        }
        if crate::is_remote_context(&value) {
            return Ok(ContextLocation::Remote(value));
        }
        let root = PathBuf::from(value.strip_prefix("local:").unwrap_or(&value));
        match std::fs::metadata(&root) {
            Ok(metadata) if metadata.is_dir() => Ok(ContextLocation::Directory(root)),
            Ok(metadata) if metadata.is_file() => self.archive_file(name, &root),
            Ok(_) => Err(BuildError::plain(
                format!("the build context `{name}`: `{}` is not a directory", root.display()),
                "",
            )),
            Err(_) if is_of_another_scheme(&value) => Err(BuildError::wrong(
                Diagnostic::error(
                    "unknown-context",
                    format!("the build context `{name}` is given as `{value}`, which means nothing"),
                )
                .help(
                    "give a directory, an archive, the address of a git repository or download, \
                     `docker-image://NAME` or `oci-layout://DIR`",
                ),
            )),
            Err(error) => Err(BuildError::world(
                format!("could not read the build context `{name}`: `{}`", root.display()),
                error,
            )),
        }
    }

    /// A tar archive, plain or compressed, given in place of a directory.
    fn archive_file(&self, name: &str, path: &Path) -> Result<ContextLocation, BuildError> {
        let what = || format!("the build context `{name}`: `{}`", path.display());
        let bytes = std::fs::read(path)
            .map_err(|error| BuildError::world(format!("could not read {}", what()), error))?;
        match crate::is_archive(&bytes) {
            true => Ok(ContextLocation::Archive(bytes.into())),
            false => Err(BuildError::plain(format!("{} is neither a directory nor an archive", what()), "")),
        }
    }

    /// The frontend's rules, or those of the context's own ignore file.
    fn ignore_rules(&self, root: &Path, source: &ContextSource) -> Result<Ignore, BuildError> {
        let wrong = |file: &str, error: kiln_core::ignore::IgnoreError| {
            BuildError::wrong(Diagnostic::error("bad-ignore-pattern", format!("{file}: {error}")))
        };
        if let Some(patterns) = &source.ignore {
            return Ignore::from_patterns(patterns).map_err(|error| wrong("the ignore file", error));
        }
        match std::fs::read(root.join(".dockerignore")) {
            Ok(text) => Ignore::parse(&text).map_err(|error| wrong(".dockerignore", error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Ignore::default()),
            Err(error) => Err(BuildError::world(
                format!("could not read `{}`", root.join(".dockerignore").display()),
                error,
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_literal_is_known_before_matching() {
        for (source, literal) in
            [("src/*.go", "/src"), ("*", "/"), ("a/b", "/a/b"), ("/a/./b/", "/a/b"), ("a/[x]/c", "/a")]
        {
            assert_eq!(literal_part(source).display(), literal, "{source}");
        }
    }
}
