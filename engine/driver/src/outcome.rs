//! What a build came to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use kiln_core::{BlobDigest, Digest, Platform};
use serde_json::{Value, json};

use crate::plugins::{Origin, PluginSource};
use crate::policy::PolicyReport;
use crate::request::BuildRequest;

/// A build that ended well.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One per platform, in the order in which they were asked for.
    pub images: Vec<BuiltImage>,
    /// The manifest or, of several platforms, the index: what a name of the result stands for. Absent when only files
    /// were taken out.
    pub top: Option<Top>,
    pub written: Vec<Written>,
    pub counts: Counts,
    /// What policies had to say.
    pub policy: PolicyReport,
    /// Everything that was asked, by name.
    pub plugins: Vec<UsedPlugin>,
}

/// A plugin that a build asked.
#[derive(Clone, Debug)]
pub struct UsedPlugin {
    pub name: String,
    pub version: String,
    /// Of the component's bytes.
    pub digest: Digest,
    /// Who named it and where it is from; absent of what ships with kiln.
    pub source: Option<(Origin, PluginSource)>,
}

impl fmt::Display for UsedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} (sha256:{})", self.name, self.version, self.digest.short())
    }
}

#[derive(Clone, Debug)]
pub struct BuiltImage {
    pub platform: Platform,
    pub manifest: BlobDigest,
    pub config: BlobDigest,
    pub layers: usize,
    /// Of configuration and layers as they were written.
    pub size_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Top {
    pub digest: Digest,
    pub media_type: String,
    pub size_bytes: u64,
}

/// One thing that an output made, in words.
#[derive(Clone, Debug)]
pub struct Written(pub String);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many steps came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ran: usize,
    pub cached: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.ran += more.ran;
        self.cached += more.cached;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ran, self.cached) {
            (0, _) => write!(f, "nothing to do: every step was found in the cache"),
            (1, cached) => write!(f, "1 step ran, {cached} came from the cache"),
            (ran, cached) => write!(f, "{ran} steps ran, {cached} came from the cache"),
        }
    }
}

impl Outcome {
    /// For `--metadata-file`, with the keys that `docker buildx build` uses.
    pub fn metadata(&self, request: &BuildRequest) -> Value {
        let mut metadata = json!({});
        if let Some(top) = &self.top {
            metadata["containerimage.digest"] = json!(top.digest.to_string());
            metadata["containerimage.descriptor"] = json!({ "mediaType": top.media_type, "digest": top.digest.to_string(), "size": top.size_bytes });
        }
        if let [image] = &self.images[..] {
            metadata["containerimage.config.digest"] = json!(image.config.to_string());
        }
        if !request.tags.is_empty() {
            let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
            metadata["image.name"] = json!(names.join(","));
        }
        let images: Vec<Value> = self
            .images
            .iter()
            .map(|image| {
                json!({
                    "platform": image.platform.to_string(),
                    "manifest": image.manifest.to_string(),
                    "config": image.config.to_string(),
                    "layers": image.layers,
                    "size": image.size_bytes,
                })
            })
            .collect();
        let plugins: Vec<Value> = self.plugins.iter().map(plugin_json).collect();
        metadata["kiln.plugins"] = json!(plugins);
        metadata["kiln.images"] = json!(images);
        if !self.policy.policies.is_empty() {
            metadata["kiln.policy"] = self.policy.metadata();
        }
        metadata["kiln.steps"] = json!({ "ran": self.counts.ran, "cached": self.counts.cached });
        metadata
    }
}

fn plugin_json(plugin: &UsedPlugin) -> Value {
    let mut told = json!({
        "name": plugin.name,
        "version": plugin.version,
        "digest": plugin.digest.to_string(),
    });
    match &plugin.source {
        None => told["origin"] = json!("built-in"),
        Some((origin, source)) => {
            told["origin"] = json!(origin.word());
            // Paths say something about the machine and nothing about the plugin.
            if let PluginSource::Registry(_) = source {
                told["source"] = json!(source.to_string());
            }
        }
    }
    told
}

/// Texts of build files that were read, so that messages can show lines of them.
/// A clone is the same collection.
#[derive(Clone, Debug, Default)]
pub struct SourceTexts(Arc<Mutex<BTreeMap<String, String>>>);

impl SourceTexts {
    /// Of the file that spans call `name`.
    pub fn text(&self, name: &str) -> Option<String> {
        self.lock().get(name).cloned()
    }

    /// Names of the files that were read.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(crate) fn keep(&self, name: &str, text: &[u8]) {
        self.lock().insert(name.to_owned(), String::from_utf8_lossy(text).into_owned());
    }

    /// [`keep`](Self::keep), unless there is a text of that name.
    pub(crate) fn keep_new(&self, name: &str, text: &str) {
        self.lock().entry(name.to_owned()).or_insert_with(|| text.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
