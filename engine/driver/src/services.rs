//! What plugins may ask while a build is planned, answered from this build's contexts, images and registries.

use std::sync::Arc;

use kiln_core::graph::{ContextSource, GitSource, HttpSource, Output};
use kiln_core::seams::{
    ContextInfo, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services, TreeView,
};
use kiln_core::{Diagnostic, Digest, Event, Graph, ImageRef, Platform};
use kiln_oci::web::without_credentials;

use crate::error::BuildError;
use crate::forms::{lock, one_line};
use crate::request::{BuildFile, ContextLocation};
use crate::session::Session;
use crate::views::{OneFile, PersonsFiles, Recording, View};

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
        let context = self.local_context(source).map_err(|error| self.context_fault(error))?;
        Ok(Arc::new(View::new(context.view(), &self.forms)))
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        match &self.request.build_file {
            BuildFile::InContext => {
                let inner: Arc<dyn TreeView> = match &self.request.context {
                    // Only the file and its neighbours are looked at: no reason to list the directory. The ignore file
                    // may name them: the builder reads them all the same.
                    ContextLocation::Directory(root) => Arc::new(PersonsFiles::below(root)),
                    ContextLocation::Remote(address) => {
                        let lone = self.lone_build_file(address);
                        match lone.map_err(|error| self.context_fault(error.at(None)))? {
                            Some(text) => Arc::new(OneFile::unnamed(text)),
                            None => self.open_context(&ContextSource {
                                name: String::new(),
                                ignore: Some(Vec::new()),
                            })?,
                        }
                    }
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
                Ok(Arc::new(OneFile::named(name, text.clone())))
            }
            BuildFile::Remote(url) => {
                let text = self.remote_build_file(url);
                let text = text.map_err(|error| self.context_fault(error.at(None)))?;
                let inner = Arc::new(OneFile::named(&self.request.frontend.file, text));
                Ok(Arc::new(Recording { inner, sources: self.sources.clone() }))
            }
        }
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        concurrently(requests, |request| self.pin_image(request).map(|image| image.info()))
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        concurrently(requests, |source| self.git_info(source).map_err(|error| self.remote_fault(error)))
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        concurrently(requests, |source| self.http_info(source).map_err(|error| self.remote_fault(error)))
    }

    fn solve(&self, graph: Graph, outputs: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        self.solve_early(graph, outputs)
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        if level == "warn" {
            self.report(Diagnostic::warning(&format!("{plugin}/log"), message));
        }
    }

    fn used(&self, plugin: &str, version: &str, digest: &Digest) {
        lock(&self.used).entry(*digest).or_insert_with(|| self.driver.used_plugin(plugin, version, digest));
    }

    fn report(&self, diagnostic: Diagnostic) {
        self.events.emit(Event::Diagnostic(diagnostic));
    }

    fn keep_text(&self, name: &str, text: &str) {
        self.sources.keep_new(name, text);
    }
}

/// One thread each: the time that a server takes to answer is paid once, not once per request.
pub(crate) fn concurrently<R: Sync, T: Send>(requests: &[R], ask: impl Fn(&R) -> T + Sync) -> Vec<T> {
    if let [] | [_] = requests {
        return requests.iter().map(ask).collect();
    }
    std::thread::scope(|scope| {
        let asking: Vec<_> = requests.iter().map(|request| scope.spawn(|| ask(request))).collect();
        let join = |answer: std::thread::ScopedJoinHandle<'_, T>| {
            answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        asking.into_iter().map(join).collect()
    })
}

impl Session<'_> {
    /// What a plugin is told when a context cannot be had.
    fn context_fault(&self, error: BuildError) -> HostError {
        if matches!(error, BuildError::Refused(_)) {
            self.note_refusal();
        }
        error.into_host()
    }

    fn lookup_context(&self, name: &str, platform: &Platform) -> Option<ContextInfo> {
        if name.is_empty() {
            let (kind, location, modified) = match &self.request.context {
                ContextLocation::Directory(path) => ("local", path.display().to_string(), None),
                ContextLocation::Empty => ("empty", String::new(), None),
                ContextLocation::Archive(_) => ("stream", "-".to_owned(), self.newest_file(name)),
                ContextLocation::Remote(address) => {
                    let (kind, modified) = self.remote_context_time(address);
                    (kind, without_credentials(address), modified)
                }
            };
            return Some(ContextInfo {
                name: String::new(),
                kind: kind.to_owned(),
                location,
                image: None,
                modified: modified.and_then(|seconds| u64::try_from(seconds).ok()),
            });
        }
        let (name, value) = self.named_context(name, platform)?;
        let info = |kind: &str, image| ContextInfo {
            name: name.clone(),
            kind: kind.to_owned(),
            location: without_credentials(&value),
            image,
            modified: None,
        };
        if value == "docker-image://scratch" {
            return Some(info("empty", None));
        }
        let source = ContextSource { name: name.clone(), ignore: None };
        if self.judge_context(&source, &[]).is_err() {
            // It is not contacted. The build says why when it comes to use it.
            return Some(info("image", None));
        }
        match self.context_image(&value, platform) {
            None if crate::is_remote_context(&value) => {
                let (kind, modified) = self.remote_context_time(&value);
                let modified = modified.and_then(|seconds| u64::try_from(seconds).ok());
                Some(ContextInfo { modified, ..info(kind, None) })
            }
            None => Some(info("local", None)),
            Some(Ok(image)) => Some(info("image", Some(image.info()))),
            // The build says why when it comes to use it.
            Some(Err(error)) if self.is_denial(&error.message) => Some(info("image", None)),
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

    /// The time of the newest file of a context that came as an archive, in seconds since 1970 (§23.1).
    fn newest_file(&self, name: &str) -> Option<i64> {
        let source = ContextSource { name: name.to_owned(), ignore: Some(Vec::new()) };
        let context = self.local_context(&source).ok()?;
        let tree = context.tree();
        let files = tree.entries().iter().filter(|(_, entry)| matches!(entry.kind, kiln_core::Kind::File(_)));
        files.map(|(_, entry)| entry.mtime.seconds).max()
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

impl BuildError {
    /// For a plugin, in its own words.
    pub(crate) fn into_host(self) -> HostError {
        match self {
            Self::Host(error) => error,
            Self::Cancelled => HostError::new("cancelled", "interrupted"),
            Self::Wrong(diagnostics) | Self::Refused(diagnostics) => {
                let messages: Vec<String> = diagnostics.into_iter().map(|one| one.message).collect();
                HostError::new("other", messages.join("; "))
            }
            error => HostError::new("other", one_line(&error)),
        }
    }
}
