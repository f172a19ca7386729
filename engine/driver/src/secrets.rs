//! Keeps the bytes of secrets where they belong: out of logs, layers, configuration and history.
//!
//! A secret is looked for as it was given, without white space at its ends: the newline that ends a file is seldom
//! written along. One shorter than [`SHORTEST`] is not looked for, for it may stand anywhere by chance.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use kiln_core::graph::Op;
use kiln_core::{Diagnostic, ImageConfig, Plan};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::request::{BuildRequest, Secret};

/// Bytes that a secret has at least to be looked for.
pub(crate) const SHORTEST: usize = 8;

/// Read of a file at once.
const PIECE: usize = 1 << 18;

/// What stands for a secret in a log.
const MASK: &[u8] = b"***";

/// Values to be looked for.
#[derive(Clone, Default)]
pub(crate) struct Watched(Vec<Pattern>);

#[derive(Clone)]
struct Pattern {
    id: String,
    bytes: Arc<[u8]>,
    /// For each byte, how far the next place to look at is when it is the last one of the present place.
    skip: Arc<[usize; 256]>,
    /// For each length of a beginning, the longest shorter beginning that it ends with.
    back: Arc<[u32]>,
}

impl Watched {
    pub(crate) fn all(request: &BuildRequest) -> Self {
        let mut watched = Self::default();
        for secret in &request.secrets {
            watched.add(secret);
        }
        watched
    }

    pub(crate) fn add(&mut self, secret: &Secret) {
        let bytes = secret.value.trim_ascii();
        if bytes.len() < SHORTEST || self.0.iter().any(|known| *known.bytes == *bytes) {
            return;
        }
        let last = bytes.len() - 1;
        let mut skip = [bytes.len(); 256];
        for (index, byte) in bytes[..last].iter().enumerate() {
            skip[usize::from(*byte)] = last - index;
        }
        let mut back = vec![0u32; bytes.len() + 1];
        let mut length = 0;
        for index in 1..bytes.len() {
            while length > 0 && bytes[index] != bytes[length] {
                length = back[length] as usize;
            }
            if bytes[index] == bytes[length] {
                length += 1;
            }
            back[index + 1] = u32::try_from(length).unwrap_or(0);
        }
        self.0.push(Pattern {
            id: secret.id.clone(),
            bytes: bytes.into(),
            skip: Arc::new(skip),
            back: back.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The id of a secret that `bytes` hold.
    fn find(&self, bytes: &[u8]) -> Option<&str> {
        self.0.iter().find(|pattern| pattern.is_in(bytes)).map(|pattern| pattern.id.as_str())
    }

    /// What of the directory holds a secret: a regular file's content, a link's target, or a name.
    ///
    /// # Errors
    ///
    /// When something in the directory cannot be read.
    pub(crate) fn find_below(&self, directory: &Path) -> io::Result<Option<Leak>> {
        let mut open = vec![directory.to_owned()];
        while let Some(inside) = open.pop() {
            for entry in std::fs::read_dir(&inside)? {
                let entry = entry?;
                let (path, kind) = (entry.path(), entry.file_type()?);
                let found = match self.find(entry.file_name().as_bytes()) {
                    Some(id) => Some(id),
                    None if kind.is_file() => self.find_in_file(&path)?,
                    None if kind.is_symlink() => self.find(std::fs::read_link(&path)?.as_os_str().as_bytes()),
                    None => None,
                };
                if let Some(id) = found {
                    let path = path.strip_prefix(directory).unwrap_or(&path).as_os_str().as_bytes();
                    let mut masked = Masked::new(self);
                    let shown = [masked.push(path), masked.finish()].concat();
                    let path = String::from_utf8_lossy(&shown).into_owned();
                    return Ok(Some(Leak { id: id.to_owned(), path }));
                }
                if kind.is_dir() {
                    open.push(path);
                }
            }
        }
        Ok(None)
    }

    /// Holes of the file are skipped: a secret is not made of zeros.
    fn find_in_file(&self, path: &Path) -> io::Result<Option<&str>> {
        let longest = self.0.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or(0);
        let shortest = self.0.iter().map(|pattern| pattern.bytes.len()).min().unwrap_or(0);
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size < shortest as u64 {
            return Ok(None);
        }
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < size {
            let from = match seek(&file, SeekFrom::Data(at)) {
                Ok(from) => from,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => break,
                // A file system that knows of no holes.
                Err(_) => at,
            };
            let to = seek(&file, SeekFrom::Hole(from)).ok().filter(|to| *to > from).unwrap_or(size);
            // Zeros at the ends of a secret may be a hole's.
            let mut position = from.saturating_sub(longest as u64);
            let end = to.saturating_add(longest as u64).min(size);
            buffer.clear();
            while position < end {
                let kept = buffer.len().min(longest - 1);
                buffer.drain(..buffer.len() - kept);
                let wanted = usize::try_from(end - position).unwrap_or(PIECE).min(PIECE.max(longest));
                buffer.resize(kept + wanted, 0);
                let read = file.read_at(&mut buffer[kept..], position)?;
                buffer.truncate(kept + read);
                if read == 0 {
                    break;
                }
                if let Some(id) = self.find(&buffer) {
                    return Ok(Some(id));
                }
                position += read as u64;
            }
            at = to;
        }
        Ok(None)
    }
}

impl Pattern {
    fn is_in(&self, bytes: &[u8]) -> bool {
        let (wanted, last) = (&*self.bytes, self.bytes.len() - 1);
        let mut at = 0;
        while let Some(byte) = bytes.get(at + last) {
            if *byte == wanted[last] && bytes[at..at + last] == wanted[..last] {
                return true;
            }
            at += self.skip[usize::from(*byte)];
        }
        false
    }
}

/// Where a step left a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) id: String,
    /// Relative to the directory that was looked through; for people, and with secrets masked.
    pub(crate) path: String,
}

/// Passes on what a step writes, with secrets masked, also those that come in pieces.
///
/// Held back is only what may be the beginning of a secret.
pub(crate) struct Masked<'a> {
    watched: &'a Watched,
    /// Of each pattern, how long a beginning of it was read last.
    states: Vec<usize>,
    held: Vec<u8>,
    /// Parts of `held` that are secrets, in the order in which they end.
    secrets: Vec<(usize, usize)>,
}

impl<'a> Masked<'a> {
    pub(crate) fn new(watched: &'a Watched) -> Self {
        Self { watched, states: vec![0; watched.0.len()], held: Vec::new(), secrets: Vec::new() }
    }

    /// What may be shown after `data` has come.
    pub(crate) fn push(&mut self, data: &[u8]) -> Vec<u8> {
        if self.watched.is_empty() {
            return data.to_vec();
        }
        for &byte in data {
            self.held.push(byte);
            for (pattern, state) in self.watched.0.iter().zip(&mut self.states) {
                let wanted = &*pattern.bytes;
                while *state > 0 && (*state == wanted.len() || wanted[*state] != byte) {
                    *state = pattern.back[*state] as usize;
                }
                if wanted[*state] == byte {
                    *state += 1;
                }
                if *state == wanted.len() {
                    self.secrets.push((self.held.len() - wanted.len(), self.held.len()));
                }
            }
        }
        let begun = self.watched.0.iter().zip(&self.states).map(|(pattern, state)| {
            // The whole secret is not the beginning of another one unless its end is.
            if *state == pattern.bytes.len() { pattern.back[*state] as usize } else { *state }
        });
        let safe = self.held.len() - begun.max().unwrap_or(0);
        self.take(safe)
    }

    /// What was held back, at the end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.states.fill(0);
        self.take(self.held.len())
    }

    /// The first `safe` bytes, or fewer, masked.
    fn take(&mut self, mut safe: usize) -> Vec<u8> {
        self.secrets.sort_unstable();
        // Secrets may overlap; what is covered by several is one masked part.
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for &(from, to) in &self.secrets {
            match parts.last_mut() {
                Some(last) if from < last.1 => last.1 = last.1.max(to),
                _ => parts.push((from, to)),
            }
        }
        if let Some((from, _)) = parts.iter().find(|(from, to)| *from < safe && safe < *to) {
            safe = *from;
        }
        let mut shown = Vec::with_capacity(safe);
        let mut at = 0;
        for &(from, to) in parts.iter().take_while(|(_, to)| *to <= safe) {
            shown.extend_from_slice(&self.held[at..from]);
            shown.extend_from_slice(MASK);
            at = to;
        }
        shown.extend_from_slice(&self.held[at..safe]);
        self.held.drain(..safe);
        self.secrets.retain(|(_, to)| *to > safe);
        for (from, to) in &mut self.secrets {
            *from -= safe;
            *to -= safe;
        }
        shown
    }
}

/// Secrets in what would be written down of a build: in build arguments, which commands, history and records are made
/// of, and in the configuration that the plan gives the images.
pub(crate) fn written_down(request: &BuildRequest, plan: &Plan) -> Vec<Diagnostic> {
    let watched = Watched::all(request);
    if watched.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut report = |id: &str, place: String, at: Option<kiln_core::Span>| {
        found.push(
            Diagnostic::error("secret-written-down", format!("{place} holds the secret `{id}`"))
                .at(at)
                .help("let the step read it with `RUN --mount=type=secret` and keep it nowhere else"),
        );
    };
    for (name, value) in &request.frontend.build_args {
        if let Some(id) = watched.find(value.as_bytes()) {
            report(id, format!("the build argument `{name}`"), None);
        }
    }
    for vertex in plan.graph.vertices() {
        if let Op::Exec(op) = &vertex.op
            && let Some(id) = op
                .args
                .iter()
                .chain(op.env.iter().map(|(_, value)| value))
                .find_map(|text| watched.find(text.as_bytes()))
        {
            report(id, "what the command is given besides".to_owned(), vertex.origin.first().cloned());
        }
    }
    for target in &plan.targets {
        if let Some(id) = texts(&target.config).find_map(|text| watched.find(text.as_bytes())) {
            report(id, "the configuration of the image".to_owned(), None);
        }
        for entry in &target.history {
            if let Some(id) = watched.find(entry.created_by.as_bytes()) {
                report(id, "the history of the image".to_owned(), None);
            }
        }
    }
    found
}

/// Everything in a configuration that a build can have put there.
fn texts(config: &ImageConfig) -> impl Iterator<Item = &str> {
    let pairs = config.env.iter().chain(&config.labels).flat_map(|(name, value)| [name, value]);
    let test = config.healthcheck.iter().flat_map(|check| &check.test);
    let lists = [&config.exposed_ports, &config.volumes, &config.shell, &config.on_build];
    let commands = [&config.entrypoint, &config.cmd].into_iter().flatten().flatten();
    let single = [&config.user, &config.working_dir, &config.stop_signal, &config.author];
    pairs.chain(test).chain(lists.into_iter().flatten()).chain(commands).chain(single).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(secrets: &[&str]) -> Watched {
        let mut watched = Watched::default();
        for secret in secrets {
            watched.add(&Secret { id: (*secret).to_owned(), value: secret.as_bytes().into() });
        }
        watched
    }

    /// Shows `text` in pieces of every size.
    fn masked(secrets: &[&str], text: &str) -> String {
        let watched = watched(secrets);
        let whole = |size: usize| {
            let mut masked = Masked::new(&watched);
            let mut shown: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| masked.push(piece)).collect();
            shown.extend(masked.finish());
            String::from_utf8(shown).unwrap()
        };
        let shown = whole(1);
        for size in 2..=text.len() {
            assert_eq!(whole(size), shown, "in pieces of {size}");
        }
        shown
    }

    #[test]
    fn a_secret_is_masked_however_it_comes() {
        assert_eq!(masked(&["hunter2-hunter2"], "pw: hunter2-hunter2!\n"), "pw: ***!\n");
        assert_eq!(masked(&["hunter2-hunter2"], "hunter2-hunter2hunter2-hunter"), "***hunter2-hunter");
        assert_eq!(masked(&["aaaaaaaa"], "aaaaaaaaa b"), "*** b", "overlapping");
        assert_eq!(masked(&["abcdefgh", "efghijkl"], "xabcdefghijklx"), "x***x");
        assert_eq!(masked(&["abcdefgh", "cdefghij"], "abcdefghi"), "***i");
        assert_eq!(masked(&["  abcdefgh\n"], "abcdefgh"), "***", "white space at the ends does not count");
        assert_eq!(masked(&["short"], "short"), "short");
    }

    #[test]
    fn output_without_a_beginning_of_a_secret_is_not_held_back() {
        let watched = watched(&["password1"]);
        let mut masked = Masked::new(&watched);
        assert_eq!(masked.push(b"one line\n"), b"one line\n");
        assert_eq!(masked.push(b"pass"), b"");
        assert_eq!(masked.push(b"ed\n"), b"passed\n");
    }

    #[test]
    fn a_secret_is_found_wherever_it_lies_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let secret = "0123456789abcdef";
        let watched = watched(&[secret]);
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        let path = directory.path().join("a/b/file");
        for offset in [0, 1, PIECE - 3, PIECE, 2 * PIECE - 8] {
            let mut bytes = vec![b'0'; offset];
            bytes.extend_from_slice(secret.as_bytes());
            bytes.extend_from_slice(b"tail");
            std::fs::write(&path, &bytes).unwrap();
            let leak = watched.find_below(directory.path()).unwrap();
            assert_eq!(leak, Some(Leak { id: secret.to_owned(), path: "a/b/file".into() }), "at {offset}");
        }
        std::fs::write(&path, &secret.as_bytes()[..15]).unwrap();
        assert_eq!(watched.find_below(directory.path()).unwrap(), None);
    }

    #[test]
    fn a_secret_behind_a_hole_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let watched = watched(&["0123456789abcdef"]);
        let file = File::create(directory.path().join("sparse")).unwrap();
        file.set_len(64 << 20).unwrap();
        assert_eq!(watched.find_below(directory.path()).unwrap(), None);
        file.write_all_at(b"0123456789abcdef", (32 << 20) + 12_345).unwrap();
        assert!(watched.find_below(directory.path()).unwrap().is_some());
    }

    #[test]
    fn names_and_links_are_looked_at() {
        for make in [
            |at: &Path| std::fs::write(at.join("x-0123456789abcdef"), "").unwrap(),
            |at: &Path| std::os::unix::fs::symlink("/0123456789abcdef", at.join("link")).unwrap(),
        ] {
            let directory = tempfile::tempdir().unwrap();
            make(directory.path());
            assert!(watched(&["0123456789abcdef"]).find_below(directory.path()).unwrap().is_some());
        }
    }
}
