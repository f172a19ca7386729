//! Opens archives that ADD and others unpack, once per content: what came out is a layer of its own.

use std::io::{BufReader, Cursor, Read, Seek};
use std::sync::Arc;

use kiln_core::graph::Unpack;
use kiln_core::tree::{Content, Place};
use kiln_core::{CacheKey, Digest, FileDigest, LayerId, Tree, TreePath};
use kiln_oci::{Limits, archive};
use kiln_store::{Existing, Unpacking};

use crate::error::BuildError;
use crate::forms::{Forms, Interruptible};
use crate::source::context::elsewhere;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Reads a file as an archive; `None` when it is none of the kind, judged by content.
pub(crate) fn unpack(
    forms: &Forms<'_>,
    content: &Content,
    kind: Unpack,
) -> Result<Option<(LayerId, Arc<Tree>)>, BuildError> {
    let purpose = match kind {
        Unpack::Nothing => return Ok(None),
        Unpack::Tar => "kiln archive 1\n",
        Unpack::Ar => "kiln ar archive 1\n",
        Unpack::Zip => "kiln zip archive 1\n",
        Unpack::Compressed => "kiln compressed file 1\n",
    };
    let key =
        content.digest.map(|digest| CacheKey(Digest::of(&[purpose.as_bytes(), &digest.0[..]].concat())));
    let lost = |error| BuildError::world("could not read the store", error);
    if let Some(key) = &key
        && let Some(record) = forms.store.record(key).map_err(lost)?
        && let Some(layer) = parse(&record)
        && let Some(tree) = forms.store.tree(&layer).map_err(lost)?
        && (tree.is_empty() || forms.store.directory(&layer).map_err(lost)?.is_some())
    {
        return Ok(Some((layer, tree)));
    }
    let open = || -> Result<_, BuildError> {
        let inner = forms.open(None, &TreePath::root(), content)?;
        Ok(Interruptible { inner, cancel: forms.cancel })
    };
    let begin = || {
        let begun = forms.store.unpack_by_content(true);
        begun.map_err(|error| BuildError::world("could not write to the store", error))
    };
    let unpacking = match kind {
        Unpack::Nothing => unreachable!("it was answered above"),
        Unpack::Tar => tar(open()?, &begin)?,
        Unpack::Ar | Unpack::Zip => members(open()?, kind, &begin)?,
        Unpack::Compressed => compressed(&open, &begin)?,
    };
    let Some(unpacking) = unpacking else { return Ok(None) };
    let (layer, tree) = unpacking.finish().map_err(|error| damaged(error.into()))?;
    if let Some(key) = key {
        forms
            .store
            .put_record(&key, layer.hex().as_bytes(), Existing::Replace)
            .map_err(|error| BuildError::world("could not write to the store", error))?;
    }
    Ok(Some((layer, tree)))
}

fn unreadable(error: std::io::Error) -> BuildError {
    BuildError::world("could not read the archive", error)
}

fn damaged(error: Error) -> BuildError {
    BuildError::world("the archive is damaged", error)
}

/// Makes room for what an archive holds.
type Begin<'a> = &'a dyn Fn() -> Result<Unpacking, BuildError>;

/// A tar archive, plain or compressed.
fn tar(bytes: impl Read, begin: Begin<'_>) -> Result<Option<Unpacking>, BuildError> {
    let bytes = BufReader::with_capacity(1 << 17, bytes);
    let (_, mut stream) = kiln_oci::compression::decompress_any(bytes).map_err(unreadable)?;
    // A compressed file that is no archive, or no compressed file after all, is copied as it is.
    let mut head = Vec::new();
    if stream.by_ref().take(512).read_to_end(&mut head).is_err() || !kiln_oci::is_tar(&head) {
        return Ok(None);
    }
    let mut unpacking = begin()?;
    let stream = Cursor::new(head).chain(stream);
    kiln_oci::read_archive(stream, &mut unpacking, &Limits::default())
        .map_err(|error| damaged(error.into()))?;
    Ok(Some(unpacking))
}

/// The members of an ar or zip archive.
fn members(
    mut bytes: impl Read + Seek,
    kind: Unpack,
    begin: Begin<'_>,
) -> Result<Option<Unpacking>, BuildError> {
    let mut head = Vec::new();
    bytes.by_ref().take(8).read_to_end(&mut head).map_err(unreadable)?;
    bytes.rewind().map_err(unreadable)?;
    let is_one = if kind == Unpack::Ar { archive::is_ar(&head) } else { archive::is_zip(&head) };
    if !is_one {
        return Ok(None);
    }
    let (mut unpacking, limits) = (begin()?, Limits::default());
    let read = match kind {
        Unpack::Ar => archive::read_ar(BufReader::new(bytes), &mut unpacking, &limits),
        _ => archive::read_zip(bytes, &mut unpacking, &limits),
    };
    read.map_err(|error| damaged(error.into()))?;
    Ok(Some(unpacking))
}

/// What one compressed file holds.
fn compressed<R: Read>(
    open: &dyn Fn() -> Result<R, BuildError>,
    begin: Begin<'_>,
) -> Result<Option<Unpacking>, BuildError> {
    let mut head = Vec::new();
    open()?.take(kiln_oci::compression::SNIFF_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
    if kiln_oci::sniff(&head) == kiln_oci::Compression::None {
        return Ok(None);
    }
    let stream = || {
        let bytes = open().map_err(std::io::Error::other)?;
        Ok::<_, std::io::Error>(kiln_oci::compression::decompress_any(bytes)?.1)
    };
    // What only looks compressed is copied as it is.
    if stream().and_then(|mut bytes| bytes.read(&mut [0])).is_err() {
        return Ok(None);
    }
    let mut unpacking = begin()?;
    archive::read_compressed(stream, &mut unpacking, &Limits::default())
        .map_err(|error| damaged(error.into()))?;
    Ok(Some(unpacking))
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
