//! Files as plugins see them: of contexts, of solved stacks, and of the person's own directories.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kiln_core::ignore::Ignore;
use kiln_core::merged::{ContentReader, Merged, MergedView};
use kiln_core::seams::{FileInfo, FileKind, HostError, TreeView};
use kiln_core::tree::{Content, Place};
use kiln_core::{FileDigest, TreePath};
use kiln_store::Store;

use crate::context::{LocalContext, read_stored};
use crate::error::BuildError;
use crate::forms::Forms;
use crate::lazy::{Desk, Fetched};
use crate::outcome::SourceTexts;

/// A merged tree whose files lie in contexts of this build or in directories of the store.
pub(crate) struct View {
    merged: Merged,
    store: Store,
    contexts: Vec<Arc<LocalContext>>,
    /// Who makes layers readable that are not, and which are by now.
    desk: Option<(Desk, Fetched)>,
}

impl View {
    pub(crate) fn new(merged: Merged, forms: &Forms<'_>) -> Self {
        Self { merged, store: forms.store.clone(), contexts: forms.contexts(), desk: None }
    }

    /// With layers that become readable when a file of theirs is wanted.
    pub(crate) fn fetching(self, desk: Desk) -> Self {
        Self { desk: Some((desk, Fetched::default())), ..self }
    }

    fn view(&self) -> MergedView<'_> {
        MergedView::new(&self.merged, self)
    }
}

impl ContentReader for View {
    fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        if let (Place::Layer { layer, .. }, Some((desk, fetched))) = (&content.place, &self.desk) {
            fetched.ensure(layer, desk)?;
        }
        let read = match &content.place {
            Place::Context { context, .. } => self.contexts[*context as usize].read(content, offset, max),
            _ => read_stored(&self.store, content, offset, max),
        };
        read.map_err(|error| HostError::new("other", error.to_string()))
    }

    fn digest(&self, content: &Content) -> Result<FileDigest, HostError> {
        match &content.place {
            Place::Context { context, path } => {
                self.contexts[*context as usize].digest(path).map_err(BuildError::into_host)
            }
            _ => unreachable!("files of the store have digests"),
        }
    }
}

impl TreeView for View {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.view().read(path, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.view().stat(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.view().real_path(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        self.view().children(path)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        self.view().glob(patterns, limit)
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.view().hash(path)
    }
}

/// Keeps what is read, so that messages can show lines of it.
pub(crate) struct Recording {
    pub(crate) inner: Arc<dyn TreeView>,
    pub(crate) sources: SourceTexts,
}

impl TreeView for Recording {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let bytes = self.inner.read(path, offset, max)?;
        if offset == 0 {
            self.sources.keep(path, &bytes);
        }
        Ok(bytes)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.inner.stat(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.inner.real_path(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        self.inner.children(path)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        self.inner.glob(patterns, limit)
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.inner.hash(path)
    }
}

/// Files of the person's own: links in a path, also as its last part, mean what they mean to the person.
pub(crate) struct PersonsFiles {
    root: PathBuf,
    /// The build file, if it was given by path. Then only that is there, and what may stand beside it under its name
    /// with an ending (`<file>.dockerignore`): everything else is no part of what was given to the build.
    only: Option<PathBuf>,
}

impl PersonsFiles {
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), only: None }
    }

    pub(crate) fn beside(file: &Path) -> Self {
        Self { root: PathBuf::new(), only: Some(file.to_owned()) }
    }

    fn find(&self, path: &str) -> Result<PathBuf, HostError> {
        let mine = match &self.only {
            None => !path.split('/').any(|part| part == ".."),
            Some(file) => {
                let file = file.as_os_str().as_encoded_bytes();
                let rest = path.as_bytes().strip_prefix(file);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b".") && !rest.contains(&b'/'))
            }
        };
        match mine {
            true if self.only.is_none() => Ok(self.root.join(path.trim_start_matches('/'))),
            true => Ok(path.into()),
            false => Err(HostError::new("not-found", format!("`{path}` is not there"))),
        }
    }

    fn info(&self, path: &str) -> Result<(PathBuf, std::fs::Metadata), HostError> {
        let file = self.find(path)?;
        let metadata = std::fs::metadata(&file).map_err(|error| host_error(&file, &error))?;
        Ok((file, metadata))
    }
}

impl TreeView for PersonsFiles {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        use std::io::{Read, Seek, SeekFrom};
        let (file, metadata) = self.info(path)?;
        if metadata.is_dir() {
            return Err(HostError::new("not-a-file", format!("`{path}` is a directory")));
        }
        // A device has no length, and need not have an end.
        if metadata.len().max(offset) >= MAX_BUILD_FILE_BYTES {
            return Err(too_long(path));
        }
        let read = || {
            let mut open = std::fs::File::open(&file)?;
            if offset > 0 {
                open.seek(SeekFrom::Start(offset))?;
            }
            let mut bytes = Vec::new();
            open.take(max as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error: std::io::Error| host_error(&file, &error))
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        let (_, metadata) = self.info(path)?;
        let kind = if metadata.is_dir() { FileKind::Directory } else { FileKind::Regular };
        Ok(file_info(path, kind, metadata.len()))
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.info(path).map(|_| path.to_owned())
    }

    fn children(&self, _: &str) -> Result<Vec<FileInfo>, HostError> {
        Ok(Vec::new())
    }

    fn glob(&self, _: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        Ok(Vec::new())
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.read(path, 0, usize::MAX >> 1).map(|bytes| FileDigest::of(&bytes).to_string())
    }
}

/// A file of so many bytes is no build file, whatever it is.
pub const MAX_BUILD_FILE_BYTES: u64 = 16 << 20;

/// The error of a file that is too long.
fn too_long(path: &str) -> HostError {
    HostError::new(
        "limit",
        format!("`{path}` is longer than {} MiB, which no build file is", MAX_BUILD_FILE_BYTES >> 20),
    )
}

/// A build file that came without a directory: through standard input, or over HTTP.
pub(crate) struct OneFile {
    /// If it has none, it is the first that is asked for.
    name: OnceLock<String>,
    text: Arc<[u8]>,
}

impl OneFile {
    pub(crate) fn named(name: &str, text: Arc<[u8]>) -> Self {
        Self { name: OnceLock::from(name.to_owned()), text }
    }

    pub(crate) fn unnamed(text: Arc<[u8]>) -> Self {
        Self { name: OnceLock::new(), text }
    }

    fn name(&self) -> &str {
        self.name.get().map_or("", String::as_str)
    }

    fn text(&self, path: &str) -> Result<&[u8], HostError> {
        match path == self.name.get_or_init(|| path.to_owned()) {
            true => Ok(&self.text),
            false => Err(HostError::new("not-found", format!("`{path}` is not there"))),
        }
    }
}

impl TreeView for OneFile {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let text = self.text(path)?;
        if text.len() as u64 >= MAX_BUILD_FILE_BYTES {
            return Err(too_long(path));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        Ok(text[from..from.saturating_add(max).min(text.len())].to_vec())
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.text(path).map(|text| file_info(path, FileKind::Regular, text.len() as u64))
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.text(path).map(|_| path.to_owned())
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        match path.trim_matches('/').is_empty() {
            true => Ok(vec![file_info(self.name(), FileKind::Regular, self.text.len() as u64)]),
            false => Err(HostError::new("not-found", format!("`{path}` is not there"))),
        }
    }

    fn glob(&self, patterns: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        let patterns = Ignore::from_patterns(patterns)
            .map_err(|error| HostError::new("invalid-argument", error.to_string()))?;
        let matches = patterns.excludes(&TreePath::clean(self.name()));
        Ok(if matches {
            vec![file_info(self.name(), FileKind::Regular, self.text.len() as u64)]
        } else {
            Vec::new()
        })
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.text(path).map(|text| FileDigest::of(text).to_string())
    }
}

fn file_info(path: &str, kind: FileKind, size: u64) -> FileInfo {
    FileInfo { path: path.to_owned(), kind, size, mode: 0o644, uid: 0, gid: 0, target: String::new() }
}

fn host_error(file: &Path, error: &std::io::Error) -> HostError {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => "not-found",
        std::io::ErrorKind::NotADirectory => "not-found",
        _ => "other",
    };
    HostError::new(code, format!("`{}`: {error}", file.display()))
}
