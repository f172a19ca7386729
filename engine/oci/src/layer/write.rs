//! Writes entries as a tar stream of which every byte follows from the entries; see [`LayerWriter`].

use std::collections::HashSet;
use std::io::{self, Read, Write};

use kiln_core::tree::{Entry, Kind, Place, Time, TreePath};

use super::header::BLOCK;
use super::{OPAQUE, WHITEOUT, is_image_xattr, is_overlay_xattr, pax};

/// What times the entries carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Their own, to the nanosecond.
    Kept,
    /// This one, in seconds since 1970, whatever they are.
    Epoch(i64),
}

#[derive(Debug, thiserror::Error)]
pub enum WriteLayerError {
    #[error("could not write the tar stream at `{path}`")]
    Write { path: String, source: io::Error },
    #[error("could not read the content of `{path}`")]
    Content { path: String, source: io::Error },
    #[error("`{path}` was to have {expected} bytes, and {found}; did it change while it was read?")]
    ContentSize { path: String, expected: u64, found: Found },
    #[error("`{path}` cannot be in a layer: names that begin with `.wh.` mean removed files there")]
    ReservedName { path: String },
    #[error("`{path}` cannot be written to a tar: {why}")]
    Unwritable { path: String, why: &'static str },
}

/// How many bytes came in place of the expected.
#[derive(Debug)]
pub enum Found {
    Only(u64),
    More,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Only(count) => write!(f, "only {count} came"),
            Self::More => f.write_str("more came"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Changeset,
    Rootfs,
}

/// The largest numbers that the octal fields of 8 and 12 bytes hold.
const MAX_OCTAL_8: u64 = 0o7777777;
const MAX_OCTAL_12: u64 = 0o77777777777;

/// Writes a tar stream, entry by entry.
///
/// The bytes depend on the entries and on [`Times`] alone: ustar headers, a PAX header before an entry only where
/// ustar cannot hold it (long names, large numbers, parts of seconds, extended attributes as `SCHILY.xattr.*`), names
/// as the bytes they are, no owner names, no times but the modification time.
///
/// Sockets have no form in a tar; they and further names of them are left out, as all tar programs do.
pub struct LayerWriter<W> {
    out: W,
    times: Times,
    form: Form,
    last: Option<TreePath>,
    sockets: HashSet<TreePath>,
    buffer: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// Of a changeset, with whiteouts in OCI form. A directory that is opaque is followed by its marker. Of extended
    /// attributes it has file capabilities and no others, as layers have that BuildKit and containerd write.
    pub fn new(out: W, times: Times) -> Self {
        Self { out, times, form: Form::Changeset, last: None, sockets: HashSet::new(), buffer: Vec::new() }
    }

    /// Of a whole tree with nothing below it: opaque marks say nothing there, and a whiteout has no place.
    pub fn rootfs(out: W, times: Times) -> Self {
        Self { form: Form::Rootfs, ..Self::new(out, times) }
    }

    /// Writes one entry. Entries come in the order of their paths, each once.
    ///
    /// `content` gives exactly as many bytes as a file says; for a file held in memory ([`Place::Inline`]) and for
    /// other kinds it may be `None`.
    ///
    /// # Errors
    ///
    /// After any error the stream is broken and to be thrown away.
    ///
    /// # Panics
    ///
    /// When entries come out of order.
    pub fn append(
        &mut self,
        path: &TreePath,
        entry: &Entry,
        content: Option<&mut dyn Read>,
    ) -> Result<(), WriteLayerError> {
        assert!(self.last.as_ref().is_none_or(|last| last < path), "{path:?} comes after {:?}", self.last);
        self.last = Some(path.clone());
        if self.form == Form::Changeset && path.components().any(|part| part.starts_with(WHITEOUT)) {
            return Err(WriteLayerError::ReservedName { path: path.display() });
        }
        match &entry.kind {
            Kind::Whiteout => return self.whiteout(path),
            Kind::Socket => {
                self.sockets.insert(path.clone());
                return Ok(());
            }
            Kind::Link(target) if self.sockets.contains(target) => return Ok(()),
            Kind::Link(target) if target >= path => {
                return Err(unwritable(path, "it links to a name that comes after it"));
            }
            _ => {}
        }
        self.header(path, entry)?;
        match &entry.kind {
            Kind::File(file) => match (content, &file.content.place) {
                (Some(content), _) => self.content(path, file.size, content),
                (None, Place::Inline(bytes)) => self.content(path, file.size, &mut &bytes[..]),
                (None, _) => self.content(path, file.size, &mut io::empty()),
            },
            Kind::Directory { opaque: true } if self.form == Form::Changeset => {
                self.marker(&path.join(OPAQUE))
            }
            _ => Ok(()),
        }
    }

    /// Ends the stream with two blocks of zeros and gives the writer back, not flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn whiteout(&mut self, path: &TreePath) -> Result<(), WriteLayerError> {
        if self.form == Form::Rootfs {
            return Err(unwritable(path, "it is the removal of a file, and there is nothing below"));
        }
        let Some(parent) = path.parent() else {
            return Err(unwritable(path, "the root cannot be removed"));
        };
        self.marker(&parent.join([WHITEOUT, path.name()].concat()))
    }

    /// An empty file of root's that nobody will ever see.
    fn marker(&mut self, path: &TreePath) -> Result<(), WriteLayerError> {
        let entry = Entry { mode: 0, ..Entry::directory() };
        let mut header = self.plain_header(path, &entry)?;
        header.set_entry_type(tar::EntryType::Regular);
        let mut records = Records::default();
        self.time_record(&entry, &mut records);
        self.named(path, path.as_bytes(), header, records)
    }

    fn time(&self, entry: &Entry) -> Time {
        match self.times {
            Times::Kept => entry.mtime,
            Times::Epoch(seconds) => Time { seconds, nanoseconds: 0 },
        }
    }

    /// All that fits without a PAX header; what does not fit is 0.
    fn plain_header(&self, path: &TreePath, entry: &Entry) -> Result<tar::Header, WriteLayerError> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(entry.mode & 0o7777);
        let fitting = |number: u64, max: u64| if number > max { 0 } else { number };
        header.set_uid(fitting(u64::from(entry.uid), MAX_OCTAL_8));
        header.set_gid(fitting(u64::from(entry.gid), MAX_OCTAL_8));
        let seconds = u64::try_from(self.time(entry).seconds).unwrap_or(0);
        header.set_mtime(fitting(seconds, MAX_OCTAL_12));
        header.set_size(0);
        let (major, minor) = match entry.kind {
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        if u64::from(major.max(minor)) > MAX_OCTAL_8 {
            return Err(unwritable(path, "its device number is too large"));
        }
        let set = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
        set.expect("ustar headers have device numbers");
        Ok(header)
    }

    fn header(&mut self, path: &TreePath, entry: &Entry) -> Result<(), WriteLayerError> {
        let mut header = self.plain_header(path, entry)?;
        let mut records = Records::default();
        let mut name = path.as_bytes().to_vec();
        let kind = match &entry.kind {
            Kind::Directory { .. } => {
                name.extend_from_slice(if path.is_root() { b"./" } else { b"/" });
                tar::EntryType::Directory
            }
            Kind::File(file) => {
                if file.size > MAX_OCTAL_12 {
                    records.add(b"size", file.size.to_string().as_bytes());
                } else {
                    header.set_size(file.size);
                }
                tar::EntryType::Regular
            }
            Kind::Link(target) => {
                set_link(&mut header, &mut records, target.as_bytes());
                tar::EntryType::Link
            }
            Kind::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err(unwritable(path, "its target is empty or has a zero byte in it"));
                }
                set_link(&mut header, &mut records, target);
                tar::EntryType::Symlink
            }
            Kind::CharDevice { .. } => tar::EntryType::Char,
            Kind::BlockDevice { .. } => tar::EntryType::Block,
            Kind::Fifo => tar::EntryType::Fifo,
            Kind::Socket | Kind::Whiteout => unreachable!("`append` has dealt with them"),
        };
        if name.is_empty() {
            return Err(unwritable(path, "the root is a directory"));
        }
        header.set_entry_type(kind);
        if u64::from(entry.uid) > MAX_OCTAL_8 {
            records.add(b"uid", entry.uid.to_string().as_bytes());
        }
        if u64::from(entry.gid) > MAX_OCTAL_8 {
            records.add(b"gid", entry.gid.to_string().as_bytes());
        }
        self.time_record(entry, &mut records);
        for (attribute, value) in entry.xattrs.iter().flat_map(|xattrs| xattrs.iter()) {
            if is_overlay_xattr(attribute) || self.form == Form::Changeset && !is_image_xattr(attribute) {
                continue;
            }
            if attribute.is_empty() || attribute.contains(&b'=') || attribute.contains(&0) {
                return Err(unwritable(path, "the name of one of its attributes has a `=` in it"));
            }
            records.add(&[b"SCHILY.xattr.", &attribute[..]].concat(), value);
        }
        self.named(path, &name, header, records)
    }

    fn time_record(&self, entry: &Entry, records: &mut Records) {
        let time = self.time(entry);
        let fits = u64::try_from(time.seconds).is_ok_and(|seconds| seconds <= MAX_OCTAL_12);
        if !fits || time.nanoseconds != 0 {
            records.add(b"mtime", pax::write_time(time).as_bytes());
        }
    }

    /// Writes the header under its name, after a PAX header if one is needed.
    fn named(
        &mut self,
        path: &TreePath,
        name: &[u8],
        mut header: tar::Header,
        mut records: Records,
    ) -> Result<(), WriteLayerError> {
        if !set_name(&mut header, name) {
            records.add(b"path", name);
        }
        self.extended(path, records)
            .and_then(|()| {
                header.set_cksum();
                self.out.write_all(header.as_bytes())
            })
            .map_err(|source| WriteLayerError::Write { path: path.display(), source })
    }

    fn extended(&mut self, path: &TreePath, mut records: Records) -> io::Result<()> {
        if records.0.is_empty() {
            return Ok(());
        }
        records.0.sort();
        let mut data = Vec::new();
        for (key, value) in &records.0 {
            pax::write_record(&mut data, key, value);
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        // Only programs that know nothing of PAX headers see this name, as that of a file.
        let name = [b"PaxHeaders.0/", path.name()].concat();
        set_name(&mut header, &name[..name.len().min(100)]);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        self.out.write_all(&data)
    }

    fn content(&mut self, path: &TreePath, size: u64, content: &mut dyn Read) -> Result<(), WriteLayerError> {
        self.buffer.resize(COPY_BYTES, 0);
        let mut left = size;
        let size_error = |found| WriteLayerError::ContentSize { path: path.display(), expected: size, found };
        let write_error = |source| WriteLayerError::Write { path: path.display(), source };
        loop {
            // At the end one byte more is asked for, to see that there is none.
            let want = usize::try_from(left).map_or(COPY_BYTES, |left| left.clamp(1, COPY_BYTES));
            let count = match content.read(&mut self.buffer[..want]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(WriteLayerError::Content { path: path.display(), source });
                }
            };
            match (count, left) {
                (0, 0) => break,
                (0, _) => return Err(size_error(Found::Only(size - left))),
                (_, 0) => return Err(size_error(Found::More)),
                _ => {}
            }
            self.out.write_all(&self.buffer[..count]).map_err(write_error)?;
            left -= count as u64;
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.out.write_all(&[0; BLOCK][..padding as usize]).map_err(write_error)
    }
}

/// What goes through memory at a time.
const COPY_BYTES: usize = 128 * 1024;

fn unwritable(path: &TreePath, why: &'static str) -> WriteLayerError {
    WriteLayerError::Unwritable { path: path.display(), why }
}

/// Records of one PAX header.
#[derive(Default)]
struct Records(Vec<(Vec<u8>, Vec<u8>)>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.push((key.to_vec(), value.to_vec()));
    }
}

/// Puts as much of the name into the header as fits; whether that is all of it.
fn set_name(header: &mut tar::Header, name: &[u8]) -> bool {
    let ustar = header.as_ustar_mut().expect("it was made as one");
    if name.len() <= ustar.name.len() {
        ustar.name[..name.len()].copy_from_slice(name);
        return true;
    }
    // A prefix of up to 155 bytes and a name of up to 100, joined by a slash that is in neither.
    let last = name.len() - 1;
    let split = (name.len() - 101..=last.min(155)).find(|at| name[*at] == b'/' && *at > 0 && *at < last);
    if let Some(at) = split {
        let (prefix, rest) = (&name[..at], &name[at + 1..]);
        ustar.prefix[..prefix.len()].copy_from_slice(prefix);
        ustar.name[..rest.len()].copy_from_slice(rest);
        return true;
    }
    ustar.name.copy_from_slice(&name[..100]);
    false
}

fn set_link(header: &mut tar::Header, records: &mut Records, target: &[u8]) {
    let field = &mut header.as_ustar_mut().expect("it was made as one").linkname;
    let fitting = target.len().min(field.len());
    field[..fitting].copy_from_slice(&target[..fitting]);
    if fitting < target.len() {
        records.add(b"linkpath", target);
    }
}
