//! `type=oci` and `type=docker`: an image layout as a directory or archive, and what `docker load` reads.

use std::io::Write;
use std::path::Path;

use kiln_core::{CacheKey, Digest};
use kiln_oci::document::{CONTAINERD_NAME, REF_NAME};
use kiln_oci::{ArchiveWriter, Descriptor, DockerImage, Index, LayoutWriter, Manifest, WriteLayoutError};
use kiln_store::Existing;

use super::files::write_whole;
use super::image::ImageSet;
use crate::error::BuildError;
use crate::forms::{Forms, read_document};
use crate::request::{Destination, OutputKind, OutputSpec};
use crate::session::Session;

/// One image or index and what it is called.
pub(crate) struct Named {
    pub(crate) top: Descriptor,
    /// Everything it consists of, in the order in which it is written.
    pub(crate) blobs: Vec<Descriptor>,
    pub(crate) names: Vec<kiln_core::ImageRef>,
}

pub(super) fn write(session: &Session<'_>, set: &ImageSet, output: &OutputSpec) -> Result<(), BuildError> {
    let named = Named {
        top: set.top.clone(),
        blobs: set.blobs().into_iter().cloned().collect(),
        names: session.request.tags.iter().chain(&output.names).cloned().collect(),
    };
    match (output.kind, &output.destination) {
        (OutputKind::OciLayout, Some(Destination::Path(directory))) => {
            write_directory(&session.forms, &named, directory)
        }
        (kind, Some(Destination::Path(path))) => {
            let content = content(kind, &named);
            if is_there(session, path, &content) {
                return Ok(());
            }
            write_whole(output, |out| {
                write_archive(&session.forms, &[named], kind == OutputKind::DockerArchive, out)
            })?;
            note(session, path, &content);
            Ok(())
        }
        (kind, _) => write_whole(output, |out| {
            write_archive(&session.forms, &[named], kind == OutputKind::DockerArchive, out)
        }),
    }
}

/// What stands for the bytes of an archive: equal texts, equal archives.
fn content(kind: OutputKind, named: &Named) -> String {
    let names: Vec<String> = named.names.iter().map(ToString::to_string).collect();
    format!("{kind:?} {} {}", named.top.digest, names.join(" "))
}

/// Where the store remembers what kiln wrote to a path.
fn note_key(path: &Path) -> Option<CacheKey> {
    let path = std::fs::canonicalize(path).ok()?;
    Some(CacheKey(Digest::of(&[b"kiln output 1\n", path.as_os_str().as_encoded_bytes()].concat())))
}

/// What changes whenever anybody writes to a file or puts another one in its place.
fn state(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(format!(
        "{} {} {} {}.{} {}.{}",
        about.dev(),
        about.ino(),
        about.size(),
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec()
    ))
}

/// The file is the one that kiln wrote with this content, and nobody has touched it since.
fn is_there(session: &Session<'_>, path: &Path, content: &str) -> bool {
    let known = note_key(path).and_then(|key| session.driver.store.record(&key).ok().flatten());
    let now = state(path).map(|state| format!("{state}\n{content}").into_bytes());
    now.is_some() && known == now
}

/// Remembers what was written; if that fails it is only written again.
fn note(session: &Session<'_>, path: &Path, content: &str) {
    if let (Some(key), Some(state)) = (note_key(path), state(path)) {
        let text = format!("{state}\n{content}");
        let _ = session.driver.store.put_record(&key, text.as_bytes(), Existing::Replace);
    }
}

/// Adds images to the layout in a directory; names that are there already now mean these.
fn write_directory(forms: &Forms<'_>, named: &Named, directory: &Path) -> Result<(), BuildError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        BuildError::world(format!("could not write the layout `{}`", directory.display()), error)
    };
    let writer = LayoutWriter::create(directory).map_err(|error| failed(error.into()))?;
    for blob in &named.blobs {
        writer.add_blob(blob, &mut forms.open_blob(&blob.digest)?).map_err(|error| failed(error.into()))?;
    }
    let entries = entries(named);
    let before = writer.index().map_err(|error| failed(error.into()))?;
    let name = |entry: &Descriptor| entry.annotations.get(REF_NAME).cloned();
    let kept = before.into_iter().flat_map(|index| index.manifests).filter(|old| {
        entries.iter().all(|new| name(new) != name(old) && !(name(old).is_none() && new.digest == old.digest))
    });
    let index = Index::new(kept.chain(entries.iter().cloned()).collect());
    writer.finish(&index).map_err(|error| failed(error.into()))
}

/// Writes images as one archive.
pub(crate) fn write_archive(
    forms: &Forms<'_>,
    images: &[Named],
    for_docker: bool,
    out: &mut dyn Write,
) -> Result<(), BuildError> {
    let failed = |error: WriteLayoutError| BuildError::world("could not write the archive", error);
    let mut writer = ArchiveWriter::new(out).map_err(failed)?;
    let mut written = std::collections::HashSet::new();
    for blob in images.iter().flat_map(|image| &image.blobs) {
        if forms.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        if written.insert(blob.digest) {
            writer.add_blob(blob, &mut forms.open_blob(&blob.digest)?).map_err(failed)?;
        }
    }
    let index = Index::new(images.iter().flat_map(entries).collect());
    if !for_docker {
        return writer.finish(&index).map(drop).map_err(failed);
    }
    let mut docker = Vec::new();
    for image in images {
        let bytes = read_document(forms.store, &image.top.digest)?;
        let manifest = Manifest::parse(&bytes, Some(&image.top.media_type)).map_err(|_| {
            BuildError::plain(
                "an archive for `docker load` holds images for one platform each, and this one has several",
                "write type=oci, or build for one platform",
            )
        })?;
        docker.push(DockerImage {
            config: manifest.config.digest,
            layers: manifest.layers.iter().map(|layer| layer.digest).collect(),
            repo_tags: image.names.iter().map(kiln_core::ImageRef::familiar).collect(),
        });
    }
    writer.finish_for_docker(&index, &docker).map(drop).map_err(failed)
}

/// One entry per name, as Docker, containerd and skopeo look for them; one without a name if there is none.
fn entries(image: &Named) -> Vec<Descriptor> {
    if image.names.is_empty() {
        return vec![image.top.clone()];
    }
    let entry = |name: &kiln_core::ImageRef| {
        image
            .top
            .clone()
            .with_annotation(CONTAINERD_NAME, name.to_string())
            .with_annotation(REF_NAME, name.tag.clone().unwrap_or_else(|| "latest".to_owned()))
    };
    image.names.iter().map(entry).collect()
}
