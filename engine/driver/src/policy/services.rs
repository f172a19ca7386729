//! What a policy may ask while it is asked itself: what names mean, and nothing that belongs to the build.

use std::sync::{Arc, Mutex};

use kiln_core::graph::{ContextSource, GitSource, HttpSource, Output};
use kiln_core::seams::{
    ContextInfo, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services, TreeView,
};
use kiln_core::{Diagnostic, Graph, Platform};

use crate::forms::lock;
use crate::session::Session;

/// Its look-ups are not judged: a policy that asks about a registry would be asked about that registry.
pub(super) struct PolicyServices<'a> {
    session: &'a Session<'a>,
    reported: Mutex<Vec<Diagnostic>>,
}

impl<'a> PolicyServices<'a> {
    pub(super) fn new(session: &'a Session<'a>) -> Self {
        Self { session, reported: Mutex::default() }
    }

    /// Findings that did not wait for the answer.
    pub(super) fn reported(self) -> Vec<Diagnostic> {
        self.reported.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn denied(what: &str) -> HostError {
    HostError::new("denied", format!("a policy has no {what}"))
}

impl Services for PolicyServices<'_> {
    fn lookup_contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        names.iter().map(|_| None).collect()
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_context(&self, _: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        Err(denied("contexts"))
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        Err(denied("build file"))
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        requests.iter().map(|request| self.session.find_pinned(request).map(|image| image.info())).collect()
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        let ask = |source| self.session.found_git_info(source);
        requests.iter().map(|source| ask(source).map_err(|error| self.session.remote_fault(error))).collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        let ask = |source| self.session.found_http_info(source);
        requests.iter().map(|source| ask(source).map_err(|error| self.session.remote_fault(error))).collect()
    }

    fn solve(&self, _: Graph, _: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        Err(denied("solver"))
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        self.session.log(level, plugin, message);
    }

    fn keep_text(&self, _: &str, _: &str) {}

    /// A finding like those that it answers with.
    fn report(&self, diagnostic: Diagnostic) {
        lock(&self.reported).push(diagnostic);
    }
}
