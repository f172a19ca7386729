//! What plugins may ask while a build is planned, answered from this build's contexts, images and registries.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_core::graph::{ContextSource, GitSource, HttpSource, Output};
use kiln_core::ignore::Ignore;
use kiln_core::merged::{Merged, MergedView};
use kiln_core::seams::{
    ContextInfo, FileInfo, FileKind, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services,
    TreeView,
};
use kiln_core::tree::{Content, Place};
use kiln_core::{Diagnostic, Event, FileDigest, Graph, ImageRef, Platform};

use crate::context::LocalContext;
use crate::error::BuildError;
use crate::forms::one_line;
use crate::outcome::SourceTexts;
use crate::request::{BuildFile, ContextLocation};
use crate::session::Session;

impl Services for Session<'_> {
    fn lookup_contexts(&self, names: &[String], platform: &Platform) -> Vec<Option<ContextInfo>> {
        names.iter().map(|name| self.lookup_context(name, platform)).collect()
    }

    fn context_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.request.named_contexts.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    fn open_context(&self, source: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        let context = self.local_context(source).map_err(BuildError::into_host)?;
        Ok(Arc::new(ContextView { merged: context.view(), context }))
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        match &self.request.build_file {
            BuildFile::InContext => {
                let inner: Arc<dyn TreeView> = match &self.request.context {
                    // Only the file and its neighbours are looked at: no reason to list the directory. The ignore file
                    // may name them: the builder reads them all the same.
                    ContextLocation::Directory(root) => Arc::new(PersonsFiles::below(root)),
                    _ => {
                        self.open_context(&ContextSource { name: String::new(), ignore: Some(Vec::new()) })?
                    }
                };
                Ok(Arc::new(Recording { inner, sources: self.sources.clone() }))
            }
            BuildFile::Path(path) => {
                let inner = Arc::new(PersonsFiles::beside(path));
                Ok(Arc::new(Recording { inner, sources: self.sources.clone() }))
            }
            BuildFile::Text { name, text } => {
                self.sources.keep(name, text);
                Ok(Arc::new(OneFile { name: name.clone(), text: text.clone() }))
            }
        }
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        // One thread each: a registry's latency is paid once, not once per image.
        std::thread::scope(|scope| {
            let pulls: Vec<_> = match requests {
                [] | [_] => Vec::new(),
                many => many.iter().map(|request| scope.spawn(|| self.pin_image(request))).collect(),
            };
            let pinned: Vec<_> = match (&pulls[..], requests) {
                ([], requests) => requests.iter().map(|request| self.pin_image(request)).collect(),
                _ => pulls
                    .into_iter()
                    .map(|pull| pull.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect(),
            };
            pinned.into_iter().map(|image| image.map(|image| image.info())).collect()
        })
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        requests
            .iter()
            .map(|source| Err(self.unsupported(&format!("`{}` is a git repository", source.url))))
            .collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        requests
            .iter()
            .map(|source| Err(self.unsupported(&format!("`{}` is a download", source.url))))
            .collect()
    }

    fn solve(&self, _: Graph, _: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        Err(HostError::new("unavailable", "this kiln does not build while it plans; use a derive op"))
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        if level == "warn" {
            self.report(Diagnostic::warning(&format!("{plugin}/log"), message));
        }
    }

    fn report(&self, diagnostic: Diagnostic) {
        self.events.emit(Event::Diagnostic(diagnostic));
    }
}

impl Session<'_> {
    fn unsupported(&self, what: &str) -> HostError {
        HostError::new("other", format!("{what}, and this kiln fetches none"))
    }

    fn lookup_context(&self, name: &str, platform: &Platform) -> Option<ContextInfo> {
        if name.is_empty() {
            let (kind, location) = match &self.request.context {
                ContextLocation::Directory(path) => ("local", path.display().to_string()),
                ContextLocation::Empty => ("empty", String::new()),
                ContextLocation::Archive(_) => ("stream", "-".to_owned()),
                ContextLocation::Remote(address) => ("http", address.clone()),
            };
            return Some(ContextInfo {
                name: String::new(),
                kind: kind.to_owned(),
                location,
                image: None,
                modified: None,
            });
        }
        let (name, value) = self.named_context(name, platform)?;
        let info = |kind: &str, image| ContextInfo {
            name: name.clone(),
            kind: kind.to_owned(),
            location: value.clone(),
            image,
            modified: None,
        };
        if value == "docker-image://scratch" {
            return Some(info("empty", None));
        }
        match self.context_image(&value, platform) {
            None => Some(info("local", None)),
            Some(Ok(image)) => Some(info("image", Some(image.info()))),
            Some(Err(error)) => {
                self.report(
                    Diagnostic::error(
                        "context-unavailable",
                        format!("the build context `{name}`: {}", error.message),
                    )
                    .help(format!("it was given as `--build-context {name}={value}`")),
                );
                Some(info("image", None))
            }
        }
    }

    /// The context that `name` means, by the rules for image references, one for this platform first.
    pub(crate) fn named_context(&self, name: &str, platform: &Platform) -> Option<(String, String)> {
        let normal = |name: &str| {
            ImageRef::parse(name).map_or_else(|_| name.to_owned(), |r| r.or_latest().to_string())
        };
        let wanted = normal(name);
        let find = |suffix: &str| {
            self.request.named_contexts.iter().find(|(known, _)| match (known.split_once("::"), suffix) {
                (None, "") => *known == name || normal(known) == wanted,
                (Some((known, on)), suffix) => on == suffix && (known == name || normal(known) == wanted),
                _ => false,
            })
        };
        find(&platform.to_string()).or_else(|| find("")).cloned()
    }
}

/// A context as plugins see it.
struct ContextView {
    merged: Merged,
    context: Arc<LocalContext>,
}

impl ContextView {
    fn view(&self) -> MergedView<'_> {
        MergedView::new(&self.merged, self)
    }
}

impl kiln_core::merged::ContentReader for ContextView {
    fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.context.read(content, offset, max).map_err(|error| HostError::new("other", error.to_string()))
    }

    fn digest(&self, content: &Content) -> Result<FileDigest, HostError> {
        match &content.place {
            Place::Context { path, .. } => self.context.digest(path).map_err(BuildError::into_host),
            _ => unreachable!("files of the store have digests"),
        }
    }
}

impl TreeView for ContextView {
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
struct Recording {
    inner: Arc<dyn TreeView>,
    sources: SourceTexts,
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
struct PersonsFiles {
    root: PathBuf,
    /// The build file, if it was given by path. Then only that is there, and what may stand beside it under its name
    /// with an ending (`<file>.dockerignore`): everything else is no part of what was given to the build.
    only: Option<PathBuf>,
}

impl PersonsFiles {
    fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), only: None }
    }

    fn beside(file: &Path) -> Self {
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

/// A build file that came through standard input.
struct OneFile {
    name: String,
    text: Arc<[u8]>,
}

impl OneFile {
    fn text(&self, path: &str) -> Result<&[u8], HostError> {
        match path == self.name {
            true => Ok(&self.text),
            false => Err(HostError::new("not-found", format!("`{path}` is not there"))),
        }
    }
}

impl TreeView for OneFile {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let text = self.text(path)?;
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
            true => Ok(vec![file_info(&self.name, FileKind::Regular, self.text.len() as u64)]),
            false => Err(HostError::new("not-found", format!("`{path}` is not there"))),
        }
    }

    fn glob(&self, patterns: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        let patterns = Ignore::from_patterns(patterns)
            .map_err(|error| HostError::new("invalid-argument", error.to_string()))?;
        let matches = patterns.excludes(&kiln_core::TreePath::clean(&self.name));
        Ok(if matches {
            vec![file_info(&self.name, FileKind::Regular, self.text.len() as u64)]
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

impl BuildError {
    /// For a plugin, in its own words.
    pub(crate) fn into_host(self) -> HostError {
        match self {
            Self::Host(error) => error,
            Self::Cancelled => HostError::new("cancelled", "interrupted"),
            error => HostError::new("other", one_line(&error)),
        }
    }
}
