//! Services of a build in which there is nothing to be had.

use std::sync::{Arc, Mutex};

use kiln_core::graph::{ContextSource, GitSource, HttpSource};
use kiln_core::seams::{
    ContextInfo, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services, TreeView,
};
use kiln_core::{Diagnostic, Graph, Output, Platform};

/// Has nothing, and listens.
#[derive(Default)]
pub(crate) struct Nothing {
    pub(crate) log: Mutex<Vec<String>>,
}

impl Services for Nothing {
    fn keep_text(&self, _: &str, _: &str) {}

    fn lookup_contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        names.iter().map(|_| None).collect()
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_context(&self, _: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        Err(HostError::new("not-found", "nothing"))
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        Err(HostError::new("not-found", "nothing"))
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        requests.iter().map(|_| Err(HostError::new("not-found", "nothing"))).collect()
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        requests.iter().map(|_| Err(HostError::new("not-found", "nothing"))).collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        requests.iter().map(|_| Err(HostError::new("not-found", "nothing"))).collect()
    }

    fn solve(&self, _: Graph, _: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        Err(HostError::new("build-failed", "nothing"))
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        self.log.lock().expect("nobody panics here").push(format!("{level} {plugin}: {message}"));
    }

    fn report(&self, _: Diagnostic) {}
}
