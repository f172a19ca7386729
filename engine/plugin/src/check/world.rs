//! A small world for plugins that are checked: a few files, and an image for every name.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_core::graph::{ContextSource, GitSource, HttpSource};
use kiln_core::seams::{
    ContextInfo, FileInfo, FileKind, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services,
    TreeView,
};
use kiln_core::{BlobDigest, Diagnostic, Digest, Graph, ImageConfig, Output, Platform};

/// Name of the build file in this world.
pub(crate) const BUILD_FILE: &str = "sample";

/// Answers without looking at anything.
pub(crate) struct World {
    build_file: String,
}

impl World {
    pub(crate) fn new(build_file: &str) -> Self {
        Self { build_file: build_file.to_owned() }
    }
}

/// The tree that plugins are shown.
pub(crate) fn tree() -> Arc<dyn TreeView> {
    files([("README", "A sample.\n"), ("etc/motd", "sample\n"), ("sample", "")])
}

fn files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<dyn TreeView> {
    let own = |(path, text): (&str, &str)| (path.to_owned(), text.as_bytes().to_vec());
    Arc::new(Files(files.into_iter().map(own).collect()))
}

/// Regular files of root's by path; directories are what paths imply.
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn info(path: &str, kind: FileKind, size: usize) -> FileInfo {
        let mode = if kind == FileKind::Directory { 0o755 } else { 0o644 };
        FileInfo {
            path: path.to_owned(),
            kind,
            size: size as u64,
            mode,
            uid: 0,
            gid: 0,
            target: String::new(),
        }
    }

    fn found(&self, path: &str) -> Result<FileInfo, HostError> {
        let path = clean(path);
        if let Some(data) = self.0.get(&path) {
            return Ok(Self::info(&path, FileKind::Regular, data.len()));
        }
        let below = format!("{path}/");
        if path.is_empty() || self.0.keys().any(|known| known.starts_with(&below)) {
            return Ok(Self::info(&path, FileKind::Directory, 0));
        }
        Err(HostError::new("not-found", format!("there is no `{path}`")))
    }
}

fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    parts.join("/")
}

impl TreeView for Files {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        match self.0.get(&clean(path)) {
            Some(data) => {
                let rest = data.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
                Ok(rest[..rest.len().min(max)].to_vec())
            }
            None => {
                let found = self.found(path)?;
                Err(HostError::new("not-a-file", format!("`{}` is a directory", found.path)))
            }
        }
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.found(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        Ok(self.found(path)?.path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        let found = self.found(path)?;
        if found.kind != FileKind::Directory {
            return Err(HostError::new("not-a-directory", format!("`{}` is a file", found.path)));
        }
        let above = if found.path.is_empty() { String::new() } else { format!("{}/", found.path) };
        let mut names: Vec<&str> =
            self.0.keys().filter_map(|path| path.strip_prefix(&above)?.split('/').next()).collect();
        names.dedup();
        names.into_iter().map(|name| self.found(&format!("{above}{name}"))).collect()
    }

    /// Every file, where a pattern has a wildcard, and else those that it names.
    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        let wild = |pattern: &String| pattern.contains(['*', '?', '[']);
        let wanted =
            |path: &&String| patterns.iter().any(|pattern| wild(pattern) || clean(pattern) == **path);
        let found: Vec<_> = self.0.keys().filter(wanted).map(|path| self.found(path)).collect();
        if found.len() > limit {
            return Err(HostError::new("limit", format!("more than {limit} entries match")));
        }
        found.into_iter().collect()
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        let found = self.found(path)?;
        Ok(Digest::of(found.path.as_bytes()).to_string())
    }
}

impl Services for World {
    fn lookup_contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        let main = |name: &String| {
            name.is_empty().then(|| ContextInfo {
                name: String::new(),
                kind: "local".to_owned(),
                location: ".".to_owned(),
                image: None,
                modified: None,
            })
        };
        names.iter().map(main).collect()
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_context(&self, source: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        if source.name.is_empty() {
            return Ok(tree());
        }
        Err(HostError::new("not-found", format!("there is no context `{}`", source.name)))
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        Ok(files([(BUILD_FILE, self.build_file.as_str())]))
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        let info = |request: &ImageRequest| {
            let digest = Digest::of(request.source.reference.as_bytes());
            let name = request.source.reference.split('@').next().unwrap_or_default();
            Ok(ImageInfo {
                reference: format!("{name}@{digest}"),
                manifest: BlobDigest(digest),
                index: None,
                platform: request.platform.clone().unwrap_or_default(),
                config: ImageConfig::default(),
                layers: 1,
                compressed_size: 1000,
                created: None,
                annotations: Vec::new(),
            })
        };
        requests.iter().map(info).collect()
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        let info = |request: &GitSource| {
            let commit = Digest::of(request.url.as_bytes()).hex()[..40].to_owned();
            Ok(GitInfo { reference: request.reference.clone(), commit, modified: 0 })
        };
        requests.iter().map(info).collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        let info = |request: &HttpSource| {
            Ok(HttpInfo {
                checksum: Digest::of(request.url.as_bytes()).to_string(),
                filename: request.filename.clone(),
                size: 0,
                modified: None,
            })
        };
        requests.iter().map(info).collect()
    }

    fn solve(&self, _: Graph, outputs: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        Ok(outputs.iter().map(|_| tree()).collect())
    }

    fn log(&self, _: &str, _: &str, _: &str) {}

    fn report(&self, _: Diagnostic) {}

    fn keep_text(&self, _: &str, _: &str) {}
}
