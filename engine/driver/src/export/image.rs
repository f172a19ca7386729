//! Makes images of what was solved: blobs of layers, configuration, manifest, index; all of them in the store.

use std::collections::BTreeMap;
use std::num::NonZero;

use kiln_core::tree::Time;
use kiln_core::{CacheKey, Digest, LayerId, Platform, Stack, Target};
use kiln_oci::{
    BlobPipe, Compress, Descriptor, History, Index, LayerWriter, Manifest, NewConfig, Times, config_json,
    media_type,
};
use kiln_store::{BlobNote, Existing};

use super::attestation::{self, Attested};
use super::files::write_entries;
use crate::error::BuildError;
use crate::forms::{AS_PULLED, Forms};
use crate::request::Compression;
use crate::resolve::Pinned;
use crate::session::Session;
use crate::solve::Solved;
use crate::source::image::PinnedImage;

/// What decides the bytes of layers, besides what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageSettings {
    pub(crate) compression: Compression,
    /// One time for every entry of built layers; `None`: files keep theirs.
    pub(crate) epoch: Option<i64>,
    /// Attestations have a place there.
    pub(crate) attested: bool,
}

/// The media type of files beside images, which leave the store under no other name than their path.
const EXTRA_FILE: &str = "application/octet-stream";

/// The name under which the store notes blobs of layers as they are: no compression, times kept.
pub(crate) const PLAIN_BLOB: &str = "kiln 1 none kept";

impl ImageSettings {
    /// A name for these settings; another one where the same layer gives other bytes.
    fn name(&self) -> String {
        let compression = match self.compression {
            Compression::None => "none".to_owned(),
            Compression::Gzip(level) => format!("gzip-{level}"),
            Compression::Zstd(level) => format!("zstd-{level}"),
        };
        let times = self.epoch.map_or_else(|| "kept".to_owned(), |epoch| epoch.to_string());
        format!("kiln 1 {compression} {times}")
    }

    fn compress(&self) -> Compress {
        match self.compression {
            Compression::None => Compress::None,
            Compression::Gzip(level) => Compress::Gzip { level },
            Compression::Zstd(level) => Compress::Zstd { level },
        }
    }

    fn times(&self) -> Times {
        self.epoch.map_or(Times::Kept, Times::Epoch)
    }
}

/// Images of one build, their documents and layers in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageSet {
    /// The one manifest, or the index of several.
    pub(crate) top: Descriptor,
    pub(crate) images: Vec<WrittenImage>,
    /// Files to stand beside the images, by path.
    pub(crate) extra: Vec<(String, Descriptor)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WrittenImage {
    pub(crate) platform: Platform,
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    /// The layers by their names in the store, in the same order.
    pub(crate) stack: Stack,
    pub(crate) attestation: Option<Attested>,
}

impl ImageSet {
    /// Every document and layer, each once.
    pub(crate) fn blobs(&self) -> Vec<&Descriptor> {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        let all =
            self.images.iter().flat_map(|image| image.layers.iter().chain([&image.config, &image.manifest]));
        let attested = self.images.iter().filter_map(|image| image.attestation.as_ref());
        let attested = attested.flat_map(|it| it.statements.iter().chain([&it.config, &it.manifest]));
        for blob in all.chain(attested).chain([&self.top]) {
            if blobs.iter().all(|known| known.digest != blob.digest) {
                blobs.push(blob);
            }
        }
        blobs
    }
}

/// Makes an image of every target.
pub(crate) fn make(
    session: &Session<'_>,
    solved: &Solved<'_>,
    settings: &ImageSettings,
) -> Result<ImageSet, BuildError> {
    let pinned = solved.pinned;
    let mut images = Vec::new();
    for (target, stack) in solved.targets.iter().zip(&solved.stacks) {
        let mut image = image(session, pinned, target, stack, settings)?;
        if settings.attested && !target.attestations.is_empty() {
            image.attestation = Some(attestation::make(session, &image.manifest, &target.attestations)?);
        }
        images.push(image);
    }
    let wants_index = pinned.export_options.iter().any(|(key, value)| key == "index" && value == "true")
        || images.iter().any(|image| image.attestation.is_some());
    let top = match &images[..] {
        [only] if !wants_index => only.manifest.clone(),
        all => {
            let entries =
                all.iter().map(|image| image.manifest.clone().with_platform(image.platform.clone()));
            let attestations = all.iter().filter_map(|image| {
                Some(attestation::entry(image.attestation.as_ref()?, &image.manifest.digest))
            });
            let index = Index::new(entries.chain(attestations).collect());
            put(session, media_type::OCI_INDEX, &index.to_json())?
        }
    };
    let mut extra = Vec::new();
    for file in &solved.extra {
        extra.push((file.path.clone(), put(session, EXTRA_FILE, &file.bytes)?));
    }
    let set = ImageSet { top, images, extra };
    // An imported image has layers that its plan knows nothing of.
    let planned = solved
        .targets
        .iter()
        .zip(&solved.stacks)
        .all(|(target, stack)| target.root.is_some() || stack.0.is_empty());
    if planned {
        remember(session, pinned, settings, &set)?;
    }
    Ok(set)
}

fn image(
    session: &Session<'_>,
    pinned: &Pinned,
    target: &Target,
    stack: &Stack,
    settings: &ImageSettings,
) -> Result<WrittenImage, BuildError> {
    let base = session.base_of(target);
    let base_stack = base.as_ref().map(|base| base.stack());
    let built_from = super::built_from(stack, base_stack.as_ref());
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for (place, layer) in stack.0.iter().enumerate() {
        // Layers of the base go as they came: the same blob everywhere.
        let note = match place < built_from {
            true => session.forms.pulled_blob(layer)?,
            false => blob(&session.forms, layer, settings)?,
        };
        diff_ids.push(note.diff_id);
        layers.push(Descriptor::new(note.media_type, note.blob, note.size));
    }
    let now = Some(pinned.epoch.map_or_else(|| session.now(), |seconds| Time { seconds, nanoseconds: 0 }));
    let history = history_of(target, base.as_deref(), built_from, stack.0.len(), now);
    let config = config_json(&NewConfig {
        platform: &target.platform,
        config: &target.config,
        created: pinned.epoch.and(now).or_else(|| newest(&history)).or(now),
        history: &history,
        diff_ids: &diff_ids,
    })
    .map_err(|error| BuildError::world("the frontend gave a configuration that cannot be written", error))?;
    let config = put(session, media_type::OCI_CONFIG, &config)?;
    let mut manifest = Manifest::new(config.clone(), layers.clone());
    manifest.annotations = annotations_of(session, target);
    let manifest = put(session, media_type::OCI_MANIFEST, &manifest.to_json())?;
    Ok(WrittenImage {
        platform: target.platform.clone(),
        manifest,
        config,
        layers,
        stack: stack.clone(),
        attestation: None,
    })
}

/// The history of an image of so many layers, of which the first `built_from` are the base's.
pub(crate) fn history_of(
    target: &Target,
    base: Option<&PinnedImage>,
    built_from: usize,
    layers: usize,
    now: Option<Time>,
) -> Vec<History> {
    let mut history = match base {
        Some(base) if built_from > 0 || base.document.diff_ids.is_empty() => base.document.history.clone(),
        _ => Vec::new(),
    };
    History::balance(&mut history, built_from);
    let mut added: Vec<History> = target
        .history
        .iter()
        .map(|line| History {
            created: now,
            created_by: line.created_by.clone(),
            author: String::new(),
            comment: line.comment.clone(),
            empty_layer: line.layer.is_none(),
        })
        .collect();
    History::balance(&mut added, layers - built_from);
    history.extend(added);
    history
}

/// What the manifest of a target's image says.
pub(crate) fn annotations_of(session: &Session<'_>, target: &Target) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if !target.base_name.is_empty() {
        annotations.insert("org.opencontainers.image.base.name".to_owned(), target.base_name.clone());
        annotations.insert("org.opencontainers.image.base.digest".to_owned(), target.base_digest.clone());
    }
    annotations.extend(target.annotations.iter().chain(&session.request.annotations).cloned());
    annotations
}

fn newest(history: &[History]) -> Option<Time> {
    history.iter().filter_map(|line| line.created).max()
}

pub(super) fn put(session: &Session<'_>, media_type: &str, bytes: &[u8]) -> Result<Descriptor, BuildError> {
    let digest = session
        .driver
        .store
        .put_blob(bytes)
        .map_err(|error| BuildError::world("could not write to the store", error))?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}

/// The blob of a built layer under the settings, made unless it is there.
pub(crate) fn blob(
    forms: &Forms<'_>,
    layer: &LayerId,
    settings: &ImageSettings,
) -> Result<BlobNote, BuildError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        BuildError::world(format!("could not write layer {}", layer.0.short()), error)
    };
    let name = settings.name();
    if let Some(note) = forms.store.blob_note(layer, &name).map_err(|error| failed(error.into()))?
        && forms.store.has_blob(&note.blob)
    {
        return Ok(note);
    }
    let tree = forms.tree(layer)?;
    forms.directories_for(&tree)?;
    forms.task(&format!("writing layer {}", layer.0.short()), |_| {
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let blob = forms.store.blob_writer().map_err(|error| failed(error.into()))?;
        let pipe = BlobPipe::new(blob, settings.compress(), threads).map_err(|error| failed(error.into()))?;
        let mut writer = LayerWriter::new(pipe, settings.times());
        write_entries(forms, Some(layer), &tree, &mut writer)?;
        let pipe = writer.finish().map_err(|error| failed(error.into()))?;
        let (blob, result) = pipe.finish().map_err(|error| failed(error.into()))?;
        blob.commit(Some(result.digest)).map_err(|error| failed(error.into()))?;
        let note = BlobNote {
            blob: result.digest,
            size: result.size,
            diff_id: result.diff_id,
            media_type: result.media_type.to_owned(),
        };
        forms.store.note_blob(layer, &name, &note).map_err(|error| failed(error.into()))?;
        Ok(note)
    })
}

impl Forms<'_> {
    /// The blob that a layer of a base came as.
    fn pulled_blob(&self, layer: &LayerId) -> Result<BlobNote, BuildError> {
        let failed = |error| BuildError::world("could not read the store", error);
        if let Some(note) = self.store.blob_note(layer, AS_PULLED).map_err(failed)?
            && self.store.has_blob(&note.blob)
        {
            return Ok(note);
        }
        match self.blob_of(layer)? {
            Some(note) => Ok(note),
            None => {
                let plain = ImageSettings { compression: Compression::None, epoch: None, attested: false };
                blob(self, layer, &plain)
            }
        }
    }
}

// ---- the record that makes the no-op ---------------------------------------------------------------------------------

/// What stands for all that decides the bytes of the images: definition keys, configurations, history, settings.
fn request_key(
    session: &Session<'_>,
    pinned: &Pinned,
    settings: &ImageSettings,
) -> Result<Option<CacheKey>, BuildError> {
    use std::fmt::Write;
    let transforms = session.transforms_key()?;
    let mut text = format!("kiln image 1\n{}\n{:?}\n{transforms}", settings.name(), pinned.export_options);
    for target in &pinned.targets {
        let root = match target.root {
            // A context that is the image itself is keyed by nothing: no record.
            Some(root) => match pinned.keys[root.vertex] {
                Some(key) => Some((key, root.slot)),
                None => return Ok(None),
            },
            None => None,
        };
        if target.root.is_some_and(|root| pinned.no_lookup[root.vertex]) {
            return Ok(None);
        }
        for scan in &target.scans {
            // Transforms see it, and a context has no key.
            let Some(key) = pinned.keys[scan.root.vertex].filter(|_| !pinned.no_lookup[scan.root.vertex])
            else {
                return Ok(None);
            };
            let _ = writeln!(text, "scan {:?} {key:?} {}", scan.name, scan.root.slot);
        }
        if settings.attested {
            let _ = writeln!(text, "{:?}", target.attestations);
        }
        let _ = writeln!(
            text,
            "{root:?} {:?} {:?} {:?} {:?} {} {} {:?} {:?}",
            target.platform,
            target.config,
            target
                .history
                .iter()
                .map(|line| (&line.created_by, &line.comment, line.layer.is_some()))
                .collect::<Vec<_>>(),
            target.annotations,
            target.base_name,
            target.base_digest,
            session.request.annotations,
            pinned.epoch,
        );
    }
    // With transforms it is not known yet whether there will be any.
    let attested = settings.attested && !transforms.is_empty();
    let _ = write!(text, "{attested}");
    Ok(Some(CacheKey(Digest::of(text.as_bytes()))))
}

fn remember(
    session: &Session<'_>,
    pinned: &Pinned,
    settings: &ImageSettings,
    set: &ImageSet,
) -> Result<(), BuildError> {
    let Some(key) = request_key(session, pinned, settings)? else { return Ok(()) };
    let mut text = String::from("kiln image 3\n");
    let line =
        |kind: &str, blob: &Descriptor| format!("{kind} {} {} {}\n", blob.digest, blob.size, blob.media_type);
    text.push_str(&line("top", &set.top));
    for image in &set.images {
        text.push_str(&format!("image {}\n", image.platform));
        text.push_str(&line("manifest", &image.manifest));
        text.push_str(&line("config", &image.config));
        for (layer, blob) in image.stack.0.iter().zip(&image.layers) {
            text.push_str(&line(&format!("layer {}", layer.hex()), blob));
        }
        if let Some(attestation) = &image.attestation {
            text.push_str(&line("attestation", &attestation.manifest));
            text.push_str(&line("attested-config", &attestation.config));
            for statement in &attestation.statements {
                text.push_str(&line("statement", statement));
            }
        }
    }
    for (path, blob) in &set.extra {
        // A path may hold anything but its end.
        text.push_str(&line(&format!("extra {}", serde_json::Value::from(path.as_str())), blob));
    }
    session
        .driver
        .store
        .put_record(&key, text.as_bytes(), Existing::Replace)
        .map_err(|error| BuildError::world("could not record the image", error))
}

/// The images that the request makes, if they are known and whole.
pub(crate) fn recall(
    session: &Session<'_>,
    pinned: &Pinned,
    settings: &ImageSettings,
) -> Result<Option<ImageSet>, BuildError> {
    let store = &session.driver.store;
    let Some(key) = request_key(session, pinned, settings)? else { return Ok(None) };
    let read = || {
        let record = store.record(&key).ok()??;
        let set = parse(std::str::from_utf8(&record).ok()?, pinned)?;
        let extra = set.extra.iter().map(|(_, blob)| blob);
        set.blobs().into_iter().chain(extra).all(|blob| store.has_blob(&blob.digest)).then_some(set)
    };
    Ok(read())
}

fn parse(text: &str, pinned: &Pinned) -> Option<ImageSet> {
    let blob = |words: &str| {
        let mut words = words.splitn(3, ' ');
        let digest: Digest = words.next()?.parse().ok()?;
        let size = words.next()?.parse().ok()?;
        Some(Descriptor::new(words.next()?, kiln_core::BlobDigest(digest), size))
    };
    let mut lines = text.strip_prefix("kiln image 3\n")?.lines().peekable();
    let top = blob(lines.next()?.strip_prefix("top ")?)?;
    let mut images = Vec::new();
    for target in &pinned.targets {
        lines.next()?.strip_prefix("image ")?;
        let manifest = blob(lines.next()?.strip_prefix("manifest ")?)?;
        let config = blob(lines.next()?.strip_prefix("config ")?)?;
        let (mut layers, mut stack) = (Vec::new(), Stack::default());
        while let Some(layer) = lines.peek().and_then(|line| line.strip_prefix("layer ")) {
            let (name, rest) = layer.split_once(' ')?;
            stack.0.push(LayerId(Digest::from_hex(name)?));
            layers.push(blob(rest)?);
            lines.next();
        }
        let mut attestation = None;
        if let Some(manifest) = lines.peek().and_then(|line| line.strip_prefix("attestation ")) {
            let manifest = blob(manifest)?;
            lines.next();
            let config = blob(lines.next()?.strip_prefix("attested-config ")?)?;
            let mut statements = Vec::new();
            while let Some(statement) = lines.peek().and_then(|line| line.strip_prefix("statement ")) {
                statements.push(blob(statement)?);
                lines.next();
            }
            attestation = Some(Attested { manifest, config, statements });
        }
        let platform = target.platform.clone();
        images.push(WrittenImage { platform, manifest, config, layers, stack, attestation });
    }
    let mut extra = Vec::new();
    for line in lines {
        let mut read = serde_json::Deserializer::from_str(line.strip_prefix("extra ")?).into_iter::<String>();
        let path = read.next()?.ok()?;
        extra.push((path, blob(line.strip_prefix("extra ")?[read.byte_offset()..].strip_prefix(' ')?)?));
    }
    Some(ImageSet { top, images, extra })
}
