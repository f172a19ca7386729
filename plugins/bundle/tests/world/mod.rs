//! A world without files and network for the components that ship with kiln.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_core::digest::BlobDigest;
use kiln_core::graph::{ContextSource, GitSource, HttpSource};
use kiln_core::seams::{
    ContextInfo, FileInfo, FileKind, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services,
    TreeView,
};
use kiln_core::{Diagnostic, Digest, Graph, ImageConfig, Output, Platform, Request};
use kiln_plugin::Host;

/// Files by path, without directories of their own.
pub struct Files(BTreeMap<String, String>);

impl Files {
    fn find(&self, path: &str) -> Result<&str, HostError> {
        let path = path.trim_start_matches('/');
        self.0
            .get(path)
            .map(String::as_str)
            .ok_or_else(|| HostError::new("not-found", format!("no `{path}`")))
    }

    fn info(path: &str, text: &str) -> FileInfo {
        FileInfo {
            path: path.to_owned(),
            kind: FileKind::Regular,
            size: text.len() as u64,
            mode: 0o644,
            uid: 0,
            gid: 0,
            target: String::new(),
        }
    }
}

impl TreeView for Files {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let bytes = self.find(path)?.as_bytes();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(max)].to_vec())
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.find(path).map(|text| Self::info(path, text))
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.find(path).map(|_| path.to_owned())
    }

    fn children(&self, _: &str) -> Result<Vec<FileInfo>, HostError> {
        Ok(self.0.iter().map(|(path, text)| Self::info(path, text)).collect())
    }

    fn glob(&self, _: &[String], _: usize) -> Result<Vec<FileInfo>, HostError> {
        self.children("")
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.find(path).map(|text| Digest::of(text.as_bytes()).to_string())
    }
}

/// One local context with a Dockerfile, and a registry in which every image exists.
pub struct World {
    files: Arc<Files>,
    pub log: Mutex<Vec<String>>,
}

impl World {
    pub fn with(dockerfile: &str) -> Self {
        let files = BTreeMap::from([("Dockerfile".to_owned(), dockerfile.to_owned())]);
        Self { files: Arc::new(Files(files)), log: Mutex::default() }
    }
}

impl Services for World {
    fn keep_text(&self, _: &str, _: &str) {}

    fn lookup_contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        let main = ContextInfo {
            name: String::new(),
            kind: "local".to_owned(),
            location: ".".to_owned(),
            image: None,
            modified: None,
        };
        names.iter().map(|name| name.is_empty().then(|| main.clone())).collect()
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_context(&self, _: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        Ok(Arc::clone(&self.files) as Arc<dyn TreeView>)
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        Ok(Arc::clone(&self.files) as Arc<dyn TreeView>)
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        let found = |request: &ImageRequest| ImageInfo {
            reference: request.source.reference.clone(),
            manifest: BlobDigest(Digest::of(request.source.reference.as_bytes())),
            index: None,
            platform: Platform::new("linux", "amd64", ""),
            config: ImageConfig {
                env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
                ..ImageConfig::default()
            },
            layers: 1,
            compressed_size: 1,
            created: None,
            annotations: Vec::new(),
        };
        requests.iter().map(|request| Ok(found(request))).collect()
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        requests.iter().map(|_| Err(HostError::new("unavailable", "no network"))).collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        requests.iter().map(|_| Err(HostError::new("unavailable", "no network"))).collect()
    }

    fn solve(&self, _: Graph, _: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        Err(HostError::new("build-failed", "nothing is built here"))
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        self.log.lock().expect("no test panics while it logs").push(format!("{level} {plugin}: {message}"));
    }

    fn report(&self, _: Diagnostic) {}
}

pub fn request() -> Request {
    Request { build_platform: Platform::new("linux", "amd64", ""), ..Request::default() }
}

pub fn host() -> (Host, PathBuf) {
    let cache = std::env::temp_dir().join(format!("kiln-bundle-test-{}", std::process::id()));
    (Host::new(kiln_bundle::BUILTINS, &cache), cache)
}
