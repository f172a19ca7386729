//! A file tree as text: one line per entry, for contexts, archives and expected trees alike.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags};

/// One entry of a tree, as far as its line says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// `f` file, `d` directory, `l` symbolic link, `h` hard link, `p` fifo, `c` and `b` devices, `s` socket,
    /// `w` gone (of a tree that is expected), `x` to be removed (from a context).
    pub(crate) kind: char,
    /// Relative to the root, without a slash at either end.
    pub(crate) path: String,
    /// Permission bits; `None` is 0755 for directories and 0644 for the rest.
    pub(crate) mode: Option<u32>,
    pub(crate) owner: (u64, u64),
    /// Seconds since 1970.
    pub(crate) time: Option<i64>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file: what is in it, if that was said.
    pub(crate) content: Option<Vec<u8>>,
    /// Of a file: its size, if that was said instead.
    pub(crate) size: Option<u64>,
    /// Of a link.
    pub(crate) target: String,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
}

impl Entry {
    pub(crate) fn mode(&self) -> u32 {
        self.mode.unwrap_or(if self.kind == 'd' { 0o755 } else { 0o644 })
    }

    /// Reads `KIND PATH [MODE] [UID:GID] [@SECONDS] [+XATTR=VALUE] [dev=MAJOR:MINOR] [#SIZE] [-> TARGET | = CONTENT]`.
    pub(crate) fn parse(line: &str) -> Self {
        let wrong = |what: &str| -> ! { panic!("`{line}`: {what}") };
        let mut entry = Self::default();
        let mut rest = line.trim_start();
        let mut position = 0;
        while !rest.is_empty() {
            if position >= 2 && (rest == "=" || rest.starts_with("= ")) {
                entry.content = Some(unescape(rest[1..].strip_prefix(' ').unwrap_or_default()));
                break;
            }
            if position >= 2 && rest.starts_with("-> ") {
                entry.target = text(&rest[3..]);
                break;
            }
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after.trim_start();
            match position {
                0 => entry.kind = word.chars().next().unwrap_or(' '),
                1 => entry.path = text(word).trim_matches('/').to_owned(),
                _ => entry.attribute(word).unwrap_or_else(|| wrong(&format!("what is `{word}`?"))),
            }
            position += 1;
        }
        if !"fdlhpcbswx".contains(entry.kind) || entry.path.is_empty() {
            wrong("an entry is a letter and a path");
        }
        entry
    }

    fn attribute(&mut self, word: &str) -> Option<()> {
        if let Some(time) = word.strip_prefix('@') {
            self.time = Some(time.parse().ok()?);
        } else if let Some(size) = word.strip_prefix('#') {
            self.size = Some(size.parse().ok()?);
        } else if let Some(xattr) = word.strip_prefix('+') {
            let (name, value) = xattr.split_once('=')?;
            self.xattrs.insert(name.to_owned(), unescape(value));
        } else if let Some(numbers) = word.strip_prefix("dev=") {
            let (major, minor) = numbers.split_once(':')?;
            self.device = (major.parse().ok()?, minor.parse().ok()?);
        } else if let Some((uid, gid)) = word.split_once(':') {
            self.owner = (uid.parse().ok()?, gid.parse().ok()?);
        } else {
            self.mode = Some(u32::from_str_radix(word, 8).ok()?);
        }
        Some(())
    }

    /// Whether it is another than was `expected`, in so far as that says something.
    pub(crate) fn differs_from(&self, expected: &Self) -> bool {
        let has_mode = !matches!(self.kind, 'l' | 'w' | 'h');
        self.kind != expected.kind
            || has_mode && self.mode() != expected.mode()
            || !matches!(self.kind, 'w' | 'h') && self.owner != expected.owner
            || expected.time.is_some() && self.time != expected.time
            || self.kind != 'h' && self.xattrs != expected.xattrs
            || expected.content.is_some() && self.content != expected.content
            || expected.size.is_some()
                && self.content.as_ref().map(|bytes| bytes.len() as u64) != expected.size
            || self.target != expected.target
            || self.device != expected.device
    }

    /// Makes it below `root`, with its parents.
    pub(crate) fn make(&self, root: &Path) -> io::Result<()> {
        let path = root.join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        if self.kind != 'd' && path.symlink_metadata().is_ok() {
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)?
            } else {
                fs::remove_file(&path)?
            }
        }
        let special = |kind, device| rustix::fs::mknodat(CWD, &path, kind, Mode::from(0o644), device);
        let device = rustix::fs::makedev(self.device.0, self.device.1);
        match self.kind {
            'x' => return Ok(()),
            'd' => fs::create_dir_all(&path)?,
            'l' => symlink(&self.target, &path)?,
            'h' => return fs::hard_link(root.join(&self.target), &path),
            'p' => special(FileType::Fifo, 0)?,
            's' => special(FileType::Socket, 0)?,
            'c' => special(FileType::CharacterDevice, device)?,
            'b' => special(FileType::BlockDevice, device)?,
            _ => fs::write(&path, self.bytes())?,
        }
        let (uid, gid) = self.owner;
        std::os::unix::fs::lchown(&path, Some(uid as u32), Some(gid as u32))?;
        if self.kind != 'l' {
            fs::set_permissions(&path, fs::Permissions::from_mode(self.mode()))?;
        }
        for (name, value) in &self.xattrs {
            rustix::fs::lsetxattr(&path, name.as_str(), value, XattrFlags::empty())?;
        }
        self.set_time(root)
    }

    /// Sets its time, if one is said; of a directory that is worth doing after its entries are made.
    pub(crate) fn set_time(&self, root: &Path) -> io::Result<()> {
        if let Some(seconds) = self.time {
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
            };
            rustix::fs::utimensat(CWD, root.join(&self.path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn bytes(&self) -> Vec<u8> {
        match (&self.content, self.size) {
            (Some(content), _) => content.clone(),
            (None, size) => vec![b'x'; size.unwrap_or_default() as usize],
        }
    }

    /// Appends it to an archive.
    pub(crate) fn archive(&self, archive: &mut tar::Builder<impl Write>) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(match self.kind {
            'd' => tar::EntryType::Directory,
            'l' => tar::EntryType::Symlink,
            'h' => tar::EntryType::Link,
            'p' => tar::EntryType::Fifo,
            'c' => tar::EntryType::Char,
            'b' => tar::EntryType::Block,
            _ => tar::EntryType::Regular,
        });
        header.set_mode(self.mode());
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.time.unwrap_or_default() as u64);
        if matches!(self.kind, 'c' | 'b') {
            header.set_device_major(self.device.0)?;
            header.set_device_minor(self.device.1)?;
        }
        if !self.xattrs.is_empty() {
            let named: Vec<_> =
                self.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value)).collect();
            archive
                .append_pax_extensions(named.iter().map(|(name, value)| (name.as_str(), value.as_slice())))?;
        }
        let bytes = if self.kind == 'f' { self.bytes() } else { Vec::new() };
        header.set_size(bytes.len() as u64);
        if matches!(self.kind, 'l' | 'h') {
            return archive.append_link(&mut header, &self.path, &self.target);
        }
        // Written as it stands: an archive may hold names that a writer would refuse.
        let field = &mut header.as_old_mut().name;
        field[..self.path.len()].copy_from_slice(self.path.as_bytes());
        header.set_cksum();
        archive.append(&header, bytes.as_slice())
    }
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, escape(self.path.as_bytes()).replace(' ', "\\s"))?;
        if !matches!(self.kind, 'l' | 'w' | 'h')
            && self.mode() != (Self { mode: None, ..self.clone() }).mode()
        {
            write!(f, " {:04o}", self.mode())?;
        }
        if self.owner != (0, 0) {
            write!(f, " {}:{}", self.owner.0, self.owner.1)?;
        }
        if let Some(time) = self.time {
            write!(f, " @{time}")?;
        }
        for (name, value) in &self.xattrs {
            write!(f, " +{name}={}", escape(value))?;
        }
        if self.device != (0, 0) {
            write!(f, " dev={}:{}", self.device.0, self.device.1)?;
        }
        match (&self.content, self.size) {
            (Some(content), _) if content.len() <= 200 => write!(f, " = {}", escape(content))?,
            (Some(content), _) => write!(f, " #{}", content.len())?,
            (None, Some(size)) => write!(f, " #{size}")?,
            _ => {}
        }
        if !self.target.is_empty() {
            write!(f, " -> {}", self.target)?;
        }
        Ok(())
    }
}

/// Resolves `\n`, `\r`, `\t`, `\s` (a blank), `\xNN`, `\\`, and `\{COUNT TEXT}` (TEXT so many times).
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let wrong = || -> ! { panic!("`{text}`: `\\{after}` is no escape") };
        let mut chars = after.chars();
        let escaped = chars.next();
        rest = chars.as_str();
        match escaped {
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('s') => bytes.push(b' '),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => match rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &rest[2..];
                }
                None => wrong(),
            },
            Some('{') => {
                let repeated = rest.split_once('}').and_then(|(inner, after)| {
                    let (count, text) = inner.split_once(' ')?;
                    Some((count.parse::<usize>().ok()?, text, after))
                });
                let Some((count, text, after)) = repeated else { wrong() };
                bytes.extend(unescape(text).repeat(count));
                rest = after;
            }
            _ => wrong(),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

fn text(word: &str) -> String {
    String::from_utf8(unescape(word)).unwrap_or_else(|_| panic!("`{word}` is no UTF-8"))
}

/// The opposite of [`unescape`], for messages and for comparing lines.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\\' => text.push_str("\\\\"),
                control if control.is_ascii_control() => text.push_str(&format!("\\x{:02x}", control as u32)),
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
