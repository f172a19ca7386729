//! Opens images that lie in files, whatever the files are: a layout directory, an archive of one, or what
//! `docker save` wrote, compressed or not.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kiln_core::ImageRef;
use kiln_core::digest::BlobDigest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::verify::Verified;
use super::{DOCKER_MANIFEST_JSON, INDEX_JSON, OCI_LAYOUT, ReadBlobError, blob_path};
use crate::compression::{self, Compression};
use crate::document::{
    CONTAINERD_NAME, Descriptor, DocumentError, ImageDocument, Index, MAX_DOCUMENT_BYTES, Manifest, REF_NAME,
    media_type,
};

/// Files in an archive; no image comes near it.
const MAX_MEMBERS: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum OpenLayoutError {
    #[error("could not read `{place}`")]
    Read { place: String, source: io::Error },
    #[error("`{place}` is neither an image layout nor an archive of images: {why}")]
    NotAnImage { place: String, why: String },
    #[error("`{name}` of `{place}` is broken")]
    Document { place: String, name: String, source: DocumentError },
    #[error("`{place}` names `{name}`, and does not have it")]
    MissingMember { place: String, name: String },
    #[error("there is no `{wanted}` in `{place}`; it has {}", or_nothing(.names))]
    NoSuchImage { place: String, wanted: String, names: Vec<String> },
    #[error("`{place}` holds several images, and none was named; it has {}", or_nothing(.names))]
    Ambiguous { place: String, names: Vec<String> },
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "none that is named".to_owned() } else { names.join(", ") }
}

/// Images in files. Nothing is read before it is asked for, but the list of what there is.
#[derive(Debug)]
pub struct LayoutReader {
    /// For messages.
    place: String,
    index: Index,
    blobs: Blobs,
}

#[derive(Debug)]
enum Blobs {
    Directory(PathBuf),
    Archive {
        file: File,
        blobs: HashMap<BlobDigest, Member>,
        /// Manifests that the archive of an old `docker save` does not have.
        made: HashMap<BlobDigest, Vec<u8>>,
    },
}

/// Where a file lies within an archive.
#[derive(Clone, Copy, Debug)]
struct Member {
    offset: u64,
    size: u64,
}

impl LayoutReader {
    /// A directory or a file. A compressed archive is unpacked into a nameless file in `scratch`.
    pub fn open(path: &Path, scratch: &Path) -> Result<Self, OpenLayoutError> {
        let place = path.display().to_string();
        let read = |source| OpenLayoutError::Read { place: place.clone(), source };
        if std::fs::metadata(path).map_err(read)?.is_dir() {
            return Self::open_directory(path);
        }
        let mut file = File::open(path).map_err(read)?;
        let mut first = Vec::with_capacity(16);
        file.by_ref().take(16).read_to_end(&mut first).map_err(read)?;
        // A pipe that has a name cannot go back.
        let is_plain = compression::sniff(&first) == Compression::None && file.rewind().is_ok();
        if is_plain {
            return Self::index_archive(place, file);
        }
        let stream: Box<dyn Read> = match file.rewind() {
            Ok(()) => Box::new(file),
            Err(_) => Box::new(io::Cursor::new(first).chain(file)),
        };
        Self::open_stream(&place, stream, scratch)
    }

    /// An archive that comes as a stream; it is kept, uncompressed, in a nameless file in `scratch`. `place` is its
    /// name in messages.
    pub fn open_stream(place: &str, stream: impl Read, scratch: &Path) -> Result<Self, OpenLayoutError> {
        let read = |source| OpenLayoutError::Read { place: place.to_owned(), source };
        let (_, mut stream) = compression::decompress_any(stream).map_err(read)?;
        let mut file = tempfile::tempfile_in(scratch).map_err(read)?;
        io::copy(&mut stream, &mut file).map_err(read)?;
        file.rewind().map_err(read)?;
        Self::index_archive(place.to_owned(), file)
    }

    /// An image layout.
    pub fn open_directory(path: &Path) -> Result<Self, OpenLayoutError> {
        let place = path.display().to_string();
        let document = |name: &str| {
            let mut bytes = Vec::new();
            let file = File::open(path.join(name))?;
            file.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes).map(|_| bytes)
        };
        match document(OCI_LAYOUT) {
            Ok(text) => check_version(&place, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = format!("it has no file `{OCI_LAYOUT}`");
                return Err(OpenLayoutError::NotAnImage { place, why });
            }
            Err(source) => return Err(OpenLayoutError::Read { place, source }),
        }
        let index = match document(INDEX_JSON) {
            Ok(bytes) => parse_index(&place, &bytes)?,
            Err(source) => return Err(OpenLayoutError::Read { place, source }),
        };
        Ok(Self { place, index, blobs: Blobs::Directory(path.to_owned()) })
    }

    fn index_archive(place: String, file: File) -> Result<Self, OpenLayoutError> {
        let members = Members::list(&place, &file)?;
        let layout = members.document(&file, OCI_LAYOUT)?;
        let docker = members.document(&file, DOCKER_MANIFEST_JSON)?;
        let (index, blobs, made) = match (layout, docker) {
            // What newer programs write is both; the layout says more.
            (Some(layout), _) => {
                check_version(&place, &layout)?;
                let bytes =
                    members.document(&file, INDEX_JSON)?.ok_or_else(|| members.missing(INDEX_JSON))?;
                (parse_index(&place, &bytes)?, members.blobs(), HashMap::new())
            }
            (None, Some(list)) => members.read_docker(&file, &list)?,
            (None, None) => {
                let why = format!("it has neither `{OCI_LAYOUT}` nor `{DOCKER_MANIFEST_JSON}` in it");
                return Err(OpenLayoutError::NotAnImage { place, why });
            }
        };
        Ok(Self { place, index, blobs: Blobs::Archive { file, blobs, made } })
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What the images are called, each with its entry of the index. An image may have several names or none.
    pub fn images(&self) -> impl Iterator<Item = (Vec<&str>, &Descriptor)> {
        self.index.images().map(|entry| (names_of(entry).collect(), entry))
    }

    /// The image of this tag, full name or digest, or the only one there is.
    pub fn find(&self, wanted: Option<&str>) -> Result<&Descriptor, OpenLayoutError> {
        let Some(wanted) = wanted else {
            let mut images = self.index.images();
            let first = images.next();
            // Several names of one image are one image.
            return match first {
                Some(first) if images.all(|other| other.digest == first.digest) => Ok(first),
                _ => Err(OpenLayoutError::Ambiguous { place: self.place.clone(), names: self.names() }),
            };
        };
        if let Ok(digest) = wanted.parse().map(BlobDigest) {
            let found = self.index.manifests.iter().find(|entry| entry.digest == digest);
            return found.ok_or_else(|| self.no_such_image(wanted));
        }
        // First the name as it stands, then what it means: `busybox` is `docker.io/library/busybox:latest`.
        let normal = |name: &str| ImageRef::parse(name).ok().map(|name| name.or_latest().to_string());
        let mut images = self.index.images();
        let exact = images.find(|entry| names_of(entry).any(|name| name == wanted));
        let same = || {
            let wanted = normal(wanted)?;
            self.index
                .images()
                .find(|entry| names_of(entry).any(|name| normal(name).as_ref() == Some(&wanted)))
        };
        exact.or_else(same).ok_or_else(|| self.no_such_image(wanted))
    }

    fn names(&self) -> Vec<String> {
        self.index.images().flat_map(names_of).map(|name| format!("`{name}`")).collect()
    }

    fn no_such_image(&self, wanted: &str) -> OpenLayoutError {
        let (place, wanted) = (self.place.clone(), wanted.to_owned());
        OpenLayoutError::NoSuchImage { place, wanted, names: self.names() }
    }

    /// A manifest, index or configuration, with length and digest checked.
    pub fn document(&self, blob: &Descriptor) -> Result<Vec<u8>, ReadBlobError> {
        if blob.size > MAX_DOCUMENT_BYTES {
            return Err(ReadBlobError::Document {
                place: self.place.clone(),
                digest: blob.digest,
                source: DocumentError::TooLarge { size: blob.size },
            });
        }
        let mut bytes = Vec::new();
        self.blob(blob)?.read_to_end(&mut bytes).map_err(|source| self.read_error(blob, source))?;
        Ok(bytes)
    }

    /// The bytes of a blob; reading fails at their end if length or digest are wrong. Several may be read at a time.
    pub fn blob(&self, blob: &Descriptor) -> Result<Verified<Box<dyn Read + Send + '_>>, ReadBlobError> {
        let missing = || ReadBlobError::Missing { place: self.place.clone(), digest: blob.digest };
        let content: Box<dyn Read + Send + '_> = match &self.blobs {
            Blobs::Directory(path) => match File::open(path.join(blob_path(&blob.digest))) {
                Ok(file) => Box::new(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
                Err(source) => return Err(self.read_error(blob, source)),
            },
            Blobs::Archive { file, blobs, made } => match (made.get(&blob.digest), blobs.get(&blob.digest)) {
                (Some(bytes), _) => Box::new(&bytes[..]),
                (None, Some(member)) => Box::new(member.reader(file)),
                (None, None) => return Err(missing()),
            },
        };
        Ok(Verified::new(content, blob.digest, blob.size))
    }

    fn read_error(&self, blob: &Descriptor, source: io::Error) -> ReadBlobError {
        ReadBlobError::Read { place: self.place.clone(), digest: blob.digest, source }
    }
}

fn names_of(entry: &Descriptor) -> impl Iterator<Item = &str> {
    let full = entry.annotations.get(CONTAINERD_NAME);
    let short = entry.annotations.get(REF_NAME).filter(|name| Some(*name) != full);
    full.into_iter().chain(short).map(String::as_str)
}

fn check_version(place: &str, text: &[u8]) -> Result<(), OpenLayoutError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let document =
        |source| OpenLayoutError::Document { place: place.to_owned(), name: OCI_LAYOUT.to_owned(), source };
    let layout: Layout =
        serde_json::from_slice(text).map_err(|source| document(DocumentError::Json { source }))?;
    // Minor versions only add (image-layout.md).
    if !layout.image_layout_version.starts_with("1.") {
        return Err(document(DocumentError::Value {
            field: "imageLayoutVersion",
            expected: "version that kiln knows",
            value: layout.image_layout_version,
        }));
    }
    Ok(())
}

fn parse_index(place: &str, bytes: &[u8]) -> Result<Index, OpenLayoutError> {
    Index::parse(bytes, Some(media_type::OCI_INDEX)).map_err(|source| OpenLayoutError::Document {
        place: place.to_owned(),
        name: INDEX_JSON.to_owned(),
        source,
    })
}

impl Member {
    fn reader(self, file: &File) -> MemberReader<'_> {
        MemberReader { file, offset: self.offset, left: self.size }
    }
}

/// Reads by position, so that several readers share one file.
struct MemberReader<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// The files of an archive by name.
struct Members {
    place: String,
    files: HashMap<String, Member>,
    /// Names that stand for others; `docker save` of old linked equal layers.
    links: HashMap<String, String>,
}

type DockerParts = (Index, HashMap<BlobDigest, Member>, HashMap<BlobDigest, Vec<u8>>);

impl Members {
    fn list(place: &str, file: &File) -> Result<Self, OpenLayoutError> {
        let read = |source| OpenLayoutError::Read { place: place.to_owned(), source };
        let not_an_image =
            |why: &str| OpenLayoutError::NotAnImage { place: place.to_owned(), why: why.to_owned() };
        let mut first = [0; 512];
        if file.read_at(&mut first, 0).map_err(read)? < first.len() || !compression::is_tar(&first) {
            return Err(not_an_image("it is no tar"));
        }
        let mut stream = BufReader::new(file);
        stream.seek(SeekFrom::Start(0)).map_err(read)?;
        let mut archive = tar::Archive::new(stream);
        let mut members = Self { place: place.to_owned(), files: HashMap::new(), links: HashMap::new() };
        for entry in archive.entries_with_seek().map_err(read)? {
            let entry = entry.map_err(read)?;
            // Other names cannot be those that are looked for here.
            let Ok(name) = std::str::from_utf8(&entry.path_bytes()).map(clean) else { continue };
            let kind = entry.header().entry_type();
            if kind.is_file() {
                let member = Member { offset: entry.raw_file_position(), size: entry.size() };
                members.links.remove(&name);
                members.files.insert(name, member);
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let Ok(target) = std::str::from_utf8(&target) else { continue };
                let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                let target =
                    if kind.is_symlink() { clean(&format!("{directory}/{target}")) } else { clean(target) };
                members.links.insert(name, target);
            }
            if members.files.len() + members.links.len() > MAX_MEMBERS {
                return Err(not_an_image("it has too many files"));
            }
        }
        Ok(members)
    }

    fn get(&self, name: &str) -> Option<Member> {
        let mut name = clean(name);
        // Chains are not longer than an archive has links, unless they are loops.
        for _ in 0..16 {
            if let Some(member) = self.files.get(&name) {
                return Some(*member);
            }
            name.clone_from(self.links.get(&name)?);
        }
        None
    }

    fn missing(&self, name: &str) -> OpenLayoutError {
        OpenLayoutError::MissingMember { place: self.place.clone(), name: name.to_owned() }
    }

    fn broken(&self, name: &str, source: DocumentError) -> OpenLayoutError {
        OpenLayoutError::Document { place: self.place.clone(), name: name.to_owned(), source }
    }

    fn read_error(&self, source: io::Error) -> OpenLayoutError {
        OpenLayoutError::Read { place: self.place.clone(), source }
    }

    fn document(&self, file: &File, name: &str) -> Result<Option<Vec<u8>>, OpenLayoutError> {
        let Some(member) = self.get(name) else { return Ok(None) };
        if member.size > MAX_DOCUMENT_BYTES {
            return Err(self.broken(name, DocumentError::TooLarge { size: member.size }));
        }
        let mut bytes = Vec::new();
        member.reader(file).read_to_end(&mut bytes).map_err(|source| self.read_error(source))?;
        Ok(Some(bytes))
    }

    /// The blobs of a layout, by the names of their files.
    fn blobs(&self) -> HashMap<BlobDigest, Member> {
        let names = self.files.keys().chain(self.links.keys());
        let blobs = names.filter_map(|name| {
            let hex = name.strip_prefix(super::BLOBS)?.strip_prefix('/')?;
            Some((BlobDigest(kiln_core::Digest::from_hex(hex)?), self.get(name)?))
        });
        blobs.collect()
    }

    /// Makes manifests for what an old `docker save` wrote: configurations and layers by file name, no digests.
    fn read_docker(&self, file: &File, list: &[u8]) -> Result<DockerParts, OpenLayoutError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            config: String,
            #[serde(default)]
            repo_tags: Option<Vec<String>>,
            #[serde(default)]
            layers: Option<Vec<String>>,
        }
        let images: Vec<Image> = serde_json::from_slice(list)
            .map_err(|source| self.broken(DOCKER_MANIFEST_JSON, DocumentError::Json { source }))?;
        let mut blobs = HashMap::new();
        let mut made = HashMap::new();
        let mut entries = Vec::new();
        for image in images {
            let bytes = self.document(file, &image.config)?.ok_or_else(|| self.missing(&image.config))?;
            let document =
                ImageDocument::parse(&bytes).map_err(|source| self.broken(&image.config, source))?;
            let layers = image.layers.unwrap_or_default();
            if layers.len() != document.diff_ids.len() {
                let value = format!("{} for {} layers", document.diff_ids.len(), layers.len());
                let (field, expected) = ("rootfs.diff_ids", "list with one digest for each layer");
                return Err(self.broken(&image.config, DocumentError::Value { field, expected, value }));
            }
            let config = Descriptor::of(media_type::OCI_CONFIG, &bytes);
            made.insert(config.digest, bytes);
            let mut descriptors = Vec::new();
            for (name, diff_id) in layers.iter().zip(&document.diff_ids) {
                let member = self.get(name).ok_or_else(|| self.missing(name))?;
                let descriptor = self.layer(file, member, BlobDigest(diff_id.0))?;
                blobs.insert(descriptor.digest, member);
                descriptors.push(descriptor);
            }
            let manifest = Manifest::new(config, descriptors).to_json();
            let descriptor =
                Descriptor::of(media_type::OCI_MANIFEST, &manifest).with_platform(document.platform);
            made.insert(descriptor.digest, manifest);
            let tags = image.repo_tags.unwrap_or_default();
            if tags.is_empty() {
                entries.push(descriptor);
            } else {
                entries.extend(tags.into_iter().map(|tag| descriptor.clone().with_annotation(REF_NAME, tag)));
            }
        }
        Ok((Index::new(entries), blobs, made))
    }

    /// An uncompressed layer is named by its diff ID, a compressed one must be read to be named.
    fn layer(&self, file: &File, member: Member, diff_id: BlobDigest) -> Result<Descriptor, OpenLayoutError> {
        let mut first = Vec::new();
        let begin = Member { size: member.size.min(16), ..member };
        begin.reader(file).read_to_end(&mut first).map_err(|source| self.read_error(source))?;
        let media_type = match compression::sniff(&first) {
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
            Compression::None => return Ok(Descriptor::new(media_type::OCI_LAYER, diff_id, member.size)),
            Compression::Bzip2 | Compression::Xz => {
                let why = "a layer in it is compressed in a way that images do not have".to_owned();
                return Err(OpenLayoutError::NotAnImage { place: self.place.clone(), why });
            }
        };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 * 1024];
        let mut content = member.reader(file);
        loop {
            match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.read_error(source)),
            }
        }
        let digest = BlobDigest(kiln_core::Digest::from_bytes(hasher.finalize().into()));
        Ok(Descriptor::new(media_type, digest, member.size))
    }
}

/// A name without `.`, `..` and empty parts, as it would be found below the root of the archive.
fn clean(name: &str) -> String {
    String::from_utf8_lossy(kiln_core::TreePath::clean(name).as_bytes()).into_owned()
}
