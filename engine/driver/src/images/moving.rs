//! Images in and out of the store: archives, layouts, and plain files that become one.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kiln_core::event::Silent;
use kiln_core::plan::{HistoryEntry, Plan};
use kiln_core::seams::EntrySink;
use kiln_core::tree::{Content, Place, Time};
use kiln_core::{Cancel, Digest, Entry, EventSink, ImageRef, Kind, Platform, Request, Stack, TreePath};

use kiln_oci::document::{CONTAINERD_NAME, REF_NAME};
use kiln_oci::{Descriptor, Index, LayoutReader, Manifest, media_type};

use crate::Driver;
use crate::error::BuildError;
use crate::export::{Named, write_archive, write_whole};
use crate::forms::{Forms, Interruptible};
use crate::outcome::SourceTexts;
use crate::policy::Move;
use crate::request::{BuildFile, BuildRequest, Destination, OutputKind, OutputSpec};
use crate::session::Session;
use crate::solve::Solved;

/// In which form images are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    Oci,
    Docker,
}

/// Files that are to be an image.
#[derive(Debug)]
pub struct ImportRequest<'a> {
    /// A directory, or a tar archive, plain or compressed.
    pub source: &'a Path,
    pub name: ImageRef,
    /// Lines of a Dockerfile that set the configuration.
    pub changes: &'a [String],
    pub platform: Platform,
}

impl Driver {
    /// Makes an image of one layer from a directory or an archive of files, with owners and times as they are there.
    pub fn import(
        &self,
        request: &ImportRequest<'_>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Digest, BuildError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            BuildError::world(format!("could not import `{}`", request.source.display()), error)
        };
        let mut unpacking = self.store.unpack_by_content(true).map_err(|error| failed(error.into()))?;
        let interrupted = |error| if cancel.is_cancelled() { BuildError::Cancelled } else { failed(error) };
        if request.source.is_dir() {
            feed_directory(request.source, &TreePath::root(), cancel, &mut unpacking)
                .map_err(|error| interrupted(error.into()))?;
        } else {
            let file = File::open(request.source).map_err(|error| failed(error.into()))?;
            let (_, stream) = kiln_oci::decompress_any(file).map_err(|error| failed(error.into()))?;
            let stream = Interruptible { inner: stream, cancel };
            kiln_oci::read_archive(stream, &mut unpacking, &kiln_oci::Limits::default())
                .map_err(|error| interrupted(error.into()))?;
        }
        let (layer, _) = unpacking.finish().map_err(|error| failed(error.into()))?;

        let text = format!("FROM scratch\n{}\n", request.changes.join("\n"));
        let build = build_request(request, text.as_bytes());
        let sources = SourceTexts::default();
        let session = Session::new(self, &build, &sources, events, cancel);
        session.show_noticed();
        let plan = session.plan()?;
        if plan.targets.iter().any(|target| target.root.is_some()) {
            return Err(BuildError::wrong(
                kiln_core::Diagnostic::error(
                    "bad-change",
                    "a change of an import sets configuration and makes no layer",
                )
                .help("import first, then build `FROM` the result"),
            ));
        }
        let mut pinned = session.resolve(Plan { graph: kiln_core::Graph::default(), ..plan })?;
        for target in &mut pinned.targets {
            let line = HistoryEntry {
                created_by: format!("import {}", request.source.file_name().unwrap_or_default().display()),
                comment: "kiln image import".to_owned(),
                layer: Some(0),
            };
            target.history.insert(0, line);
        }
        let solved = Solved::of_stacks(&pinned, vec![Stack(vec![layer])]);
        let outcome = session.export(&solved)?;
        Ok(outcome.top.unwrap_or_else(|| unreachable!("the store is an output")).digest)
    }
}

/// Gives what lies below a directory to a layer in the making, in order of names.
fn feed_directory(
    root: &Path,
    below: &TreePath,
    cancel: &Cancel,
    to: &mut dyn EntrySink,
) -> std::io::Result<()> {
    let directory = root.join(below.as_os());
    let mut names: Vec<OsString> =
        std::fs::read_dir(&directory)?.map(|entry| Ok(entry?.file_name())).collect::<std::io::Result<_>>()?;
    names.sort();
    for name in names {
        if cancel.is_cancelled() {
            return Err(std::io::Error::other("interrupted"));
        }
        let path = below.join(name.as_encoded_bytes());
        let place = directory.join(&name);
        let metadata = std::fs::symlink_metadata(&place)?;
        let kind = metadata.file_type();
        let entry = Entry {
            kind: if kind.is_dir() {
                Kind::Directory { opaque: false }
            } else if kind.is_file() {
                Kind::File(kiln_core::tree::File {
                    size: metadata.len(),
                    content: Content { digest: None, place: Place::Here },
                })
            } else if kind.is_symlink() {
                Kind::Symlink(std::fs::read_link(&place)?.as_os_str().as_encoded_bytes().into())
            } else if kind.is_fifo() {
                Kind::Fifo
            } else {
                // Devices and sockets of this machine are nothing to build an image from.
                continue;
            },
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: Time {
                seconds: metadata.mtime(),
                nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
            xattrs: None,
        };
        if kind.is_file() {
            to.entry(path, entry, &mut File::open(&place)?)?;
        } else {
            to.entry(path.clone(), entry, &mut std::io::empty())?;
            if kind.is_dir() {
                feed_directory(root, &path, cancel, to)?;
            }
        }
    }
    Ok(())
}

/// The full name that an entry of a layout has. Many layouts have a tag alone, which names nothing outside of them.
fn name_of(entry: &Descriptor) -> Option<&str> {
    let full = |name: &&str| name.contains([':', '/']);
    let annotation = |key| entry.annotations.get(key).map(String::as_str);
    annotation(CONTAINERD_NAME).or_else(|| annotation(REF_NAME).filter(full))
}

/// A build whose file holds nothing but configuration.
fn build_request(request: &ImportRequest<'_>, text: &[u8]) -> BuildRequest {
    let name = "changes".to_owned();
    let nothing = BuildRequest::nothing();
    BuildRequest {
        frontend: Request {
            file: name.clone(),
            platforms: vec![request.platform.clone()],
            ..nothing.frontend
        },
        frontend_name: Some("dockerfile".to_owned()),
        build_file: BuildFile::Text { name, text: text.into() },
        tags: vec![request.name.clone()],
        outputs: vec![OutputSpec {
            kind: OutputKind::Store,
            destination: None,
            compression: None,
            names: Vec::new(),
            rewrite_timestamp: true,
        }],
        ..nothing
    }
}

impl Driver {
    /// Writes images, each with the name it was asked for by, into one archive.
    ///
    /// # Errors
    ///
    /// When there is no such image, a policy denies it, or the archive cannot be written.
    pub fn save(
        &self,
        images: &[String],
        to: &Destination,
        format: SaveFormat,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        let silent = Silent;
        let forms = Forms::new(&self.store, &self.registries, &silent, cancel);
        let tops = images.iter().map(|image| self.find_digest(image)).collect::<Result<Vec<_>, _>>()?;
        let kind = match format {
            SaveFormat::Oci => "oci",
            SaveFormat::Docker => "docker",
        };
        let destination = match to {
            Destination::Path(path) => path.to_string_lossy().into_owned(),
            Destination::Stdout => "-".to_owned(),
        };
        let names = images.iter().filter_map(|image| self.saved_as(image)).collect();
        self.judge_move(Move { kind, destination, names, tops: &tops }, events, cancel)?;
        let mut named = Vec::new();
        for (image, (top, pulled_from)) in images.iter().zip(tops) {
            let bytes = self.document(&top)?;
            let said = kiln_oci::document::media_type_of(&bytes, None)
                .map_err(|error| BuildError::world(format!("the document {top} is damaged"), error))?;
            let mut blobs = Vec::new();
            for (_, stored) in self.images_of(&top, pulled_from)? {
                let document = stored.document(self)?;
                // Layers of a base that nothing has read yet are fetched now.
                for layer in stored.stack(&document, &forms)?.0 {
                    forms.blob_of(&layer)?;
                }
                blobs.extend(stored.manifest.layers.iter().cloned());
                blobs.push(stored.manifest.config.clone());
                let size = self.document(&stored.digest)?.len() as u64;
                blobs.push(Descriptor::new(stored.manifest.media_type.clone(), stored.digest, size));
            }
            let top = Descriptor::new(said, top, bytes.len() as u64);
            if blobs.iter().all(|blob| blob.digest != top.digest) {
                blobs.push(top.clone());
            }
            named.push(Named { top, blobs, names: self.saved_as(image).into_iter().collect() });
        }
        let output = OutputSpec {
            kind: OutputKind::OciArchive,
            destination: Some(to.clone()),
            compression: None,
            names: Vec::new(),
            rewrite_timestamp: true,
        };
        write_whole(&output, |out| write_archive(&forms, &named, format == SaveFormat::Docker, out))
    }

    /// The name that an image has in an archive; none for one that was asked for by its digest.
    fn saved_as(&self, image: &str) -> Option<ImageRef> {
        let name = ImageRef::parse(image).ok().map(ImageRef::or_latest);
        name.filter(|name| name.digest.is_none() && !self.is_digest(image))
    }

    /// The text found its image by digest and is no name for it.
    fn is_digest(&self, image: &str) -> bool {
        let name = ImageRef::parse(image).map(|name| name.or_latest().to_string()).unwrap_or_default();
        let known = |name: &str| matches!(self.store.image(name), Ok(Some(_)));
        !known(&name) && !known(&format!("{}{name}", crate::source::image::PULLED))
    }

    /// Takes all images of an archive or layout directory in; `None` is standard input. Returns names and digests.
    pub fn load(
        &self,
        from: Option<&Path>,
        cancel: &Cancel,
    ) -> Result<Vec<(Option<String>, Digest)>, BuildError> {
        let what = from.map_or_else(|| "standard input".to_owned(), |path| format!("`{}`", path.display()));
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            BuildError::world(format!("could not load images from {what}"), error)
        };
        let scratch = self.store.root().join("tmp");
        let layout = match from {
            Some(path) => LayoutReader::open(path, &scratch),
            None => LayoutReader::open_stream("standard input", std::io::stdin().lock(), &scratch),
        }
        .map_err(|error| failed(error.into()))?;
        let mut loaded = Vec::new();
        for entry in layout.index().images() {
            self.load_document(&layout, entry, cancel).map_err(|error| match error {
                BuildError::World { source: Some(source), .. } => failed(source),
                error => error,
            })?;
            let references: Vec<ImageRef> =
                name_of(entry).and_then(|name| ImageRef::parse(name).ok()).into_iter().collect();
            for name in &references {
                let name = name.clone().or_latest();
                self.store
                    .set_image(&name.to_string(), &entry.digest)
                    .map_err(|error| BuildError::world("could not name the image", error))?;
                loaded.push((Some(name.familiar()), entry.digest.0));
            }
            if references.is_empty() {
                self.store
                    .set_image(&super::unnamed(&entry.digest), &entry.digest)
                    .map_err(|error| BuildError::world("could not name the image", error))?;
                loaded.push((None, entry.digest.0));
            }
        }
        Ok(loaded)
    }

    /// Copies a manifest or index with all below it into the store.
    pub(crate) fn load_document(
        &self,
        layout: &LayoutReader,
        entry: &Descriptor,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> BuildError {
            BuildError::world("the images are damaged", error)
        }
        let bytes = layout.document(entry).map_err(damaged)?;
        if media_type::is_index(&entry.media_type) {
            let index = Index::parse(&bytes, Some(&entry.media_type)).map_err(damaged)?;
            for image in index.images() {
                self.load_document(layout, image, cancel)?;
            }
        } else {
            let manifest = Manifest::parse(&bytes, Some(&entry.media_type)).map_err(damaged)?;
            manifest.check_is_image().map_err(damaged)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                if self.store.has_blob(&blob.digest) {
                    continue;
                }
                let content = layout.blob(blob).map_err(damaged)?;
                let mut content = Interruptible { inner: content, cancel };
                let mut writer = self.store.blob_writer().map_err(damaged)?;
                std::io::copy(&mut content, &mut writer).map_err(|error| {
                    if cancel.is_cancelled() { BuildError::Cancelled } else { damaged(error) }
                })?;
                writer.commit(Some(blob.digest)).map_err(damaged)?;
            }
        }
        self.store.put_blob(&bytes).map_err(damaged)?;
        Ok(())
    }
}
