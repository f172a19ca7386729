//! What plugins may ask while a build is planned, answered from this build's contexts, images and registries.

use std::sync::Arc;

use kiln_core::graph::{ContextSource, GitSource, HttpSource, Output};
use kiln_core::seams::{
    ContextInfo, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services, TreeView,
};
use kiln_core::{Diagnostic, Event, Graph, ImageRef, Platform};

use crate::error::BuildError;
use crate::forms::one_line;
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
        let context = self.local_context(source).map_err(BuildError::into_host)?;
        Ok(Arc::new(View::new(context.view(), &self.forms)))
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
