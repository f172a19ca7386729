//! Opens archives that ADD and others unpack, once per content: what came out is a layer of its own.

use std::io::{BufReader, Read};
use std::sync::Arc;

use kiln_core::graph::Unpack;
use kiln_core::tree::{Content, Place};
use kiln_core::{CacheKey, Digest, FileDigest, LayerId, Tree, TreePath};
use kiln_store::Existing;

use crate::error::BuildError;
use crate::forms::{Forms, Interruptible};
use crate::source::context::elsewhere;

/// Reads a file as an archive; `None` when it is none of the kind, judged by content.
pub(crate) fn unpack(
    forms: &Forms<'_>,
    content: &Content,
    kind: Unpack,
) -> Result<Option<(LayerId, Arc<Tree>)>, BuildError> {
    if kind != Unpack::Tar {
        return Err(BuildError::plain(
            format!("kiln cannot unpack archives of the kind {kind:?} yet"),
            "unpack it in a RUN",
        ));
    }
    let key =
        content.digest.map(|digest| CacheKey(Digest::of(&[b"kiln archive 1\n", &digest.0[..]].concat())));
    let lost = |error| BuildError::world("could not read the store", error);
    if let Some(key) = &key
        && let Some(record) = forms.store.record(key).map_err(lost)?
        && let Some(layer) = parse(&record)
        && let Some(tree) = forms.store.tree(&layer).map_err(lost)?
        && (tree.is_empty() || forms.store.directory(&layer).map_err(lost)?.is_some())
    {
        return Ok(Some((layer, tree)));
    }
    let unreadable = |error: std::io::Error| BuildError::world("could not read the archive", error);
    let bytes = forms.open(None, &TreePath::root(), content)?;
    let (_, mut stream) =
        match kiln_oci::compression::decompress_any(BufReader::with_capacity(1 << 17, bytes)) {
            Ok(opened) => opened,
            Err(error) => return Err(unreadable(error)),
        };
    // A compressed file that is no archive, or no compressed file after all, is copied as it is.
    let mut head = Vec::new();
    if stream.by_ref().take(512).read_to_end(&mut head).is_err() || !kiln_oci::is_tar(&head) {
        return Ok(None);
    }
    let stream = Interruptible { inner: std::io::Cursor::new(head).chain(stream), cancel: forms.cancel };
    let failed =
        |error: Box<dyn std::error::Error + Send + Sync>| BuildError::world("the archive is damaged", error);
    let mut unpacking = forms.store.unpack_by_content(true).map_err(|error| failed(error.into()))?;
    kiln_oci::read_archive(stream, &mut unpacking, &kiln_oci::Limits::default())
        .map_err(|error| failed(error.into()))?;
    let (layer, tree) = unpacking.finish().map_err(|error| failed(error.into()))?;
    if let Some(key) = key {
        forms
            .store
            .put_record(&key, layer.hex().as_bytes(), Existing::Replace)
            .map_err(|error| BuildError::world("could not write to the store", error))?;
    }
    Ok(Some((layer, tree)))
}

fn parse(record: &[u8]) -> Option<LayerId> {
    Digest::from_hex(std::str::from_utf8(record).ok()?).map(LayerId)
}

/// An archive as a build context. Its owners stay, unlike those of a directory (Dockerfile specification §12.5).
pub(crate) fn as_context(forms: &Forms<'_>, bytes: &Arc<[u8]>) -> Result<Tree, BuildError> {
    let content = Content { digest: Some(FileDigest::of(bytes)), place: Place::Inline(bytes.clone()) };
    match unpack(forms, &content, Unpack::Tar)? {
        Some((layer, tree)) => Ok(elsewhere(layer, &tree)),
        None => Err(BuildError::plain(
            "the build context is compressed, but no archive",
            "pipe a tar archive, or a build file as it is",
        )),
    }
}
