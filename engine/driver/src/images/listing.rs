//! Images, their history and their files, as rows.

use std::collections::HashSet;

use kiln_core::event::Silent;
use kiln_core::merged::Merged;
use kiln_core::{BlobDigest, Cancel, Diagnostic, DiffId, Digest, Kind, TreePath};
use kiln_oci::document::format_time;
use serde_json::{Value, json};

use super::{Kept, StoredImage, kept};
use crate::Driver;
use crate::error::BuildError;
use crate::forms::Forms;

/// One name, or one image without a name.
#[derive(Clone, Debug)]
pub struct ImageRow {
    pub name: Option<String>,
    pub digest: Digest,
    pub platforms: Vec<String>,
    /// As the image says, RFC 3339.
    pub created: Option<String>,
    /// Configuration and layers as they lie in the store, each once.
    pub size_bytes: u64,
    /// A base that builds pulled, and nobody named.
    pub pulled: bool,
}

/// One line of an image's history, newest first.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    pub created: Option<String>,
    pub created_by: String,
    pub comment: String,
    /// Of the layer as it lies in the store; 0 for a line that made none.
    pub size_bytes: u64,
    pub layer: Option<DiffId>,
    /// The image that this line was inherited from, if that is known.
    pub base: Option<String>,
}

/// One file of an image.
#[derive(Clone, Debug)]
pub struct FileRow {
    /// Absolute.
    pub path: String,
    /// As `ls` shows it: `-`, `d`, `l`, `c`, `b`, `p`, `s`.
    pub kind: char,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size_bytes: u64,
    pub target: Option<String>,
    pub mtime_seconds: i64,
}

impl FileRow {
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            'd' => "directory",
            'l' => "symlink",
            'c' => "character-device",
            'b' => "block-device",
            'p' => "fifo",
            's' => "socket",
            _ => "file",
        }
    }
}

impl Driver {
    /// Named images; with `all` also those without a name, and bases that were pulled.
    pub fn images(&self, all: bool) -> Result<Vec<ImageRow>, BuildError> {
        let known =
            self.store.images().map_err(|error| BuildError::world("could not read the store", error))?;
        let mut rows = Vec::new();
        for (reference, digest) in known {
            let (name, pulled) = match kept(&reference) {
                Kept::Named(name) => (Some(name.familiar()), false),
                Kept::Pulled(name) if all => (Some(name.familiar()), true),
                Kept::Unnamed if all => (None, false),
                Kept::Pulled(_) | Kept::Unnamed | Kept::Plugin => continue,
            };
            // Something that was collected under us is no reason to show nothing.
            let Ok(images) = self.images_of(&digest, None) else { continue };
            let mut blobs = HashSet::new();
            let mut size_bytes = 0;
            let mut platforms = Vec::new();
            let mut created = None;
            for (_, image) in &images {
                for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
                    if blobs.insert(blob.digest) {
                        size_bytes += blob.size;
                    }
                }
                if let Ok(document) = image.document(self) {
                    platforms.push(document.platform.to_string());
                    created = created.max(document.created);
                }
            }
            rows.push(ImageRow {
                name,
                digest: digest.0,
                platforms,
                created: created.map(format_time),
                size_bytes,
                pulled,
            });
        }
        rows.sort_by(|a, b| {
            (a.name.is_none(), &a.name, a.digest).cmp(&(b.name.is_none(), &b.name, b.digest))
        });
        Ok(rows)
    }

    /// Manifest and configuration of an image, with digests and sizes.
    pub fn inspect(&self, image: &str) -> Result<Value, BuildError> {
        let (top, pulled_from) = self.find_digest(image)?;
        let mut all = Vec::new();
        for (_, stored) in self.images_of(&top, pulled_from)? {
            let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap_or(Value::Null);
            let document = stored.document(self)?;
            let layers: Vec<Value> = stored
                .manifest
                .layers
                .iter()
                .zip(&document.diff_ids)
                .map(|(blob, diff_id)| {
                    json!({
                        "diffId": diff_id.to_string(),
                        "digest": blob.digest.to_string(),
                        "mediaType": blob.media_type,
                        "size": blob.size,
                    })
                })
                .collect();
            let size: u64 =
                stored.manifest.layers.iter().chain([&stored.manifest.config]).map(|blob| blob.size).sum();
            all.push(json!({
                "digest": stored.digest.to_string(),
                "configDigest": stored.manifest.config.digest.to_string(),
                "platform": document.platform.to_string(),
                "size": size,
                "layers": layers,
                "manifest": parse(&self.document(&stored.digest)?),
                "config": parse(&self.document(&stored.manifest.config.digest)?),
            }));
        }
        let names: Vec<String> = self
            .store
            .images()
            .map_err(|error| BuildError::world("could not read the store", error))?
            .into_iter()
            .filter(|(_, digest)| *digest == top)
            .filter_map(|(reference, _)| match kept(&reference) {
                Kept::Named(name) | Kept::Pulled(name) => Some(name.familiar()),
                Kept::Unnamed | Kept::Plugin => None,
            })
            .collect();
        Ok(json!({ "digest": top.to_string(), "names": names, "images": all }))
    }

    /// Where each layer came from, newest first; lines of a base name the base, as far down as bases are known.
    pub fn history(&self, image: &str) -> Result<Vec<HistoryRow>, BuildError> {
        let image = self.find_image(image)?;
        let document = image.document(self)?;
        let bases = self.bases(&image)?;
        let mut layers = document.diff_ids.iter().zip(&image.manifest.layers);
        let mut rows = Vec::new();
        for (position, line) in document.history.iter().enumerate() {
            let layer = if line.empty_layer { None } else { layers.next() };
            // The innermost base that has so many lines is where the line comes from.
            let base = bases.iter().rev().find(|(lines, _)| position < *lines).map(|(_, name)| name.clone());
            rows.push(HistoryRow {
                created: line.created.map(format_time),
                created_by: line.created_by.clone(),
                comment: line.comment.clone(),
                size_bytes: layer.map_or(0, |(_, blob)| blob.size),
                layer: layer.map(|(diff_id, _)| *diff_id),
                base,
            });
        }
        rows.reverse();
        Ok(rows)
    }

    /// The chain of bases, nearest first: how many lines of history each has, and its name.
    fn bases(&self, image: &StoredImage) -> Result<Vec<(usize, String)>, BuildError> {
        let mut chain = Vec::new();
        let mut current = image.clone();
        while let (Some(name), Some(digest)) = (
            current.manifest.annotations.get("org.opencontainers.image.base.name").cloned(),
            current.manifest.annotations.get("org.opencontainers.image.base.digest").cloned(),
        ) {
            let short =
                digest.strip_prefix("sha256:").unwrap_or(&digest).chars().take(12).collect::<String>();
            let Ok(digest) = digest.parse::<Digest>() else { break };
            let Ok(mut images) = self.images_of(&BlobDigest(digest), None) else { break };
            let base = images.swap_remove(0).1;
            let lines = base.document(self)?.history.len();
            let known = |(_, known): &(usize, String)| known.ends_with(&format!("@{short}"));
            if chain.iter().any(known) {
                break;
            }
            chain.push((lines, format!("{name}@{short}")));
            current = base;
        }
        Ok(chain)
    }

    /// Every file of an image, or those at and below `path`.
    pub fn files(
        &self,
        image: &str,
        path: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Vec<FileRow>, BuildError> {
        let stored = self.find_image(image)?;
        let silent = Silent;
        let forms = Forms::new(&self.store, &self.registries, &silent, cancel);
        let merged = forms.merged(&stored.stack(&stored.document(self)?, &forms)?)?;
        let start = TreePath::clean(path.unwrap_or("/"));
        let Some(found) = merged.get(&start) else {
            return Err(BuildError::wrong(
                Diagnostic::error("no-such-file", format!("`{image}` has no `{}`", start.display()))
                    .help("`kiln image files IMAGE` lists what there is"),
            ));
        };
        let mut rows = Vec::new();
        if !start.is_root() {
            rows.push(row(&merged, &start, &found));
        }
        for (path, found) in merged.walk(&start) {
            rows.push(row(&merged, &path, &found));
        }
        Ok(rows)
    }
}

fn row(merged: &Merged, path: &TreePath, found: &kiln_core::merged::Found<'_>) -> FileRow {
    let entry = merged.entry(found);
    let (kind, size_bytes, target) = match &entry.kind {
        Kind::Directory { .. } => ('d', 0, None),
        Kind::File(file) => ('-', file.size, None),
        Kind::Symlink(target) => {
            ('l', target.len() as u64, Some(String::from_utf8_lossy(target).into_owned()))
        }
        Kind::CharDevice { .. } => ('c', 0, None),
        Kind::BlockDevice { .. } => ('b', 0, None),
        Kind::Fifo => ('p', 0, None),
        Kind::Socket => ('s', 0, None),
        Kind::Link(_) | Kind::Whiteout => unreachable!("a merged view shows neither"),
    };
    FileRow {
        path: path.display(),
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        size_bytes,
        target,
        mtime_seconds: entry.mtime.seconds,
    }
}
