//! `kiln.lock`: what the names of plugins meant when they were first used, so that they mean the same everywhere.
//!
//! A text that people read in reviews: sorted, one entry per name, written only when something changes, and then as a
//! whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_core::{BlobDigest, Diagnostic, ImageRef, Position, Span};
use kiln_plugin::PluginSummary;
use serde::{Deserialize, Serialize};

use super::{Artifact, SCHEME, shown};
use crate::error::BuildError;

/// A lock file of more bytes is none.
const MAX_BYTES: u64 = 4 << 20;
const VERSION: u32 = 1;
const HEAD: &str = "# Which plugins the names of this project stand for. Written by kiln; keep it with the sources.\n\
                    # `kiln plugin update` moves on to what the names mean now.\n";

/// Where the lock file of a build is.
#[derive(Clone, Debug, Default)]
pub struct LockUse {
    /// Absent where the context is no directory: there is nothing to keep it beside.
    pub path: Option<PathBuf>,
    /// It may not change.
    pub locked: bool,
}

/// What one name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockEntry {
    /// As the plugin calls itself.
    pub(super) name: String,
    pub(super) manifest: BlobDigest,
    pub(super) wasm: BlobDigest,
    /// Version of the contract that it was made for.
    pub(super) contract: String,
    /// Sorted.
    pub(super) capabilities: Vec<String>,
}

impl LockEntry {
    pub(super) fn of(artifact: &Artifact, summary: &PluginSummary) -> Self {
        Self {
            name: summary.name.clone(),
            manifest: artifact.manifest,
            wasm: artifact.component.digest,
            contract: contract(summary),
            capabilities: summary.capabilities.iter().map(|&capability| capability.to_owned()).collect(),
        }
    }
}

/// The newest version among the interfaces of the contract that a plugin names.
fn contract(summary: &PluginSummary) -> String {
    let versions = summary.exports.iter().chain(&summary.imports);
    let versions = versions.filter_map(|name| name.strip_prefix("kiln:plugin/")?.split_once('@'));
    let numbers = |version: &str| -> Vec<u32> {
        version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
    };
    let newest = versions.map(|(_, version)| version).max_by_key(|version| numbers(version));
    newest.unwrap_or_default().to_owned()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToml {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    plugin: Vec<EntryToml>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryToml {
    source: Source,
    name: String,
    manifest: DigestText,
    wasm: DigestText,
    contract: String,
    capabilities: Vec<String>,
}

/// `oci://` and a full name with a tag.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Source(ImageRef);

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct DigestText(BlobDigest);

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name =
            text.strip_prefix(SCHEME).ok_or_else(|| format!("`{text}` does not begin with `{SCHEME}`"))?;
        let reference = ImageRef::parse(name).map_err(|error| error.to_string())?;
        match (&reference.tag, reference.digest) {
            (Some(_), None) => Ok(Self(reference)),
            _ => Err(format!("`{text}` is no name with a tag")),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        format!("{SCHEME}{}", source.0)
    }
}

impl TryFrom<String> for DigestText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(digest) => Ok(Self(BlobDigest(digest))),
            Err(_) => Err(format!("`{text}` is no digest: that is `sha256:` and 64 lower-case hex digits")),
        }
    }
}

impl From<DigestText> for String {
    fn from(digest: DigestText) -> Self {
        digest.0.to_string()
    }
}

/// The contents of a lock file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LockFile {
    /// By full name.
    entries: BTreeMap<String, LockEntry>,
}

impl LockFile {
    /// Empty if there is no such file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and on which line.
    pub(super) fn read(path: &Path) -> Result<Self, BuildError> {
        match text(path)? {
            None => Ok(Self::default()),
            Some(text) => Self::parse(&text, &path.display().to_string()),
        }
    }

    fn parse(text: &str, file: &str) -> Result<Self, BuildError> {
        let broken =
            |message: String, at: Option<usize>| {
                let span = at.map(|at| {
                    let start = position(text, at);
                    Span { file: file.to_owned(), start, end: start }
                });
                let found =
                    Diagnostic::error("lock", format!("the lock file `{file}` cannot be used: {message}"));
                BuildError::wrong(found.at(span).help(
                    "restore the file from version control, or remove it: then names are asked for anew",
                ))
            };
        // Said before what else a later version may have.
        #[derive(Deserialize)]
        struct Head {
            version: Option<toml::Spanned<u32>>,
        }
        let wrong = |error: &toml::de::Error| {
            broken(error.message().to_owned(), Some(error.span().map_or(0, |span| span.start)))
        };
        let head: Head = toml::from_str(text).map_err(|error| wrong(&error))?;
        if let Some(version) = head.version.filter(|version| *version.get_ref() > VERSION) {
            let message = format!("it was written by a later kiln, as version {}", version.get_ref());
            return Err(broken(message, Some(version.span().start)));
        }
        let file: FileToml = toml::from_str(text).map_err(|error| wrong(&error))?;
        let mut entries = BTreeMap::new();
        for mut entry in file.plugin {
            entry.capabilities.sort();
            let name = entry.source.0.to_string();
            let known = entries.insert(
                name.clone(),
                LockEntry {
                    name: entry.name,
                    manifest: entry.manifest.0,
                    wasm: entry.wasm.0,
                    contract: entry.contract,
                    capabilities: entry.capabilities,
                },
            );
            if known.is_some() {
                let last = text.rfind(&name);
                return Err(broken(format!("it has two entries for `{SCHEME}{name}`"), last));
            }
        }
        Ok(Self { entries })
    }

    fn to_text(&self) -> String {
        let plugin = self.entries.iter().map(|(name, entry)| EntryToml {
            source: Source(
                ImageRef::parse(name).unwrap_or_else(|_| unreachable!("`{name}` was a reference")),
            ),
            name: entry.name.clone(),
            manifest: DigestText(entry.manifest),
            wasm: DigestText(entry.wasm),
            contract: entry.contract.clone(),
            capabilities: entry.capabilities.clone(),
        });
        let file = FileToml { version: VERSION, plugin: plugin.collect() };
        let body =
            toml::to_string(&file).unwrap_or_else(|error| unreachable!("texts are always TOML: {error}"));
        format!("{HEAD}{body}")
    }

    pub(super) fn get(&self, reference: &ImageRef) -> Option<&LockEntry> {
        self.entries.get(&reference.to_string())
    }

    pub(super) fn put(&mut self, reference: &ImageRef, entry: LockEntry) {
        self.entries.insert(reference.to_string(), entry);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &LockEntry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Reads the file, changes it and writes it back, if something did change. Two processes that do this at a time do
    /// it one after the other.
    pub(super) fn change(path: &Path, change: impl FnOnce(&mut Self)) -> Result<(), BuildError> {
        // A link is not replaced by a file.
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let turn = File::open(directory).map_err(|error| unwritable(&path, error))?;
        // Where directories cannot be locked, the last of two that write at the same time counts.
        let _ = rustix::fs::flock(&turn, rustix::fs::FlockOperation::LockExclusive);
        let mut file = Self::read(&path)?;
        let before = file.clone();
        change(&mut file);
        if file == before {
            return Ok(());
        }
        write(&path, directory, &file.to_text()).map_err(|error| unwritable(&path, error))
    }
}

fn write(path: &Path, directory: &Path, text: &str) -> std::io::Result<()> {
    // As any other file that the person makes, or as the one that was there.
    let mode = std::fs::metadata(path).map_or(0o666, |about| about.permissions().mode());
    let mut new = tempfile::Builder::new()
        .prefix(".kiln.lock-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_data()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn text(path: &Path) -> Result<Option<String>, BuildError> {
    let failed =
        |error| BuildError::world(format!("could not read the lock file `{}`", path.display()), error);
    // A pipe, which a context may hold as well as a file, would not answer.
    let is_file = match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_file(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let broken = |why: &str| {
        let text = format!("the lock file `{}` cannot be used: {why}", path.display());
        BuildError::wrong(
            Diagnostic::error("lock", text).help("restore the file from version control, or remove it"),
        )
    };
    if !is_file {
        return Err(broken("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(broken("it is too large"));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| broken("it is no text"))
}

fn position(text: &str, at: usize) -> Position {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    Position { line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(0) }
}

fn unwritable(path: &Path, error: std::io::Error) -> BuildError {
    BuildError::World {
        what: format!("could not write the lock file `{}`", path.display()),
        source: Some(error.into()),
        help: "keep a lock file that knows all plugins with the sources and build with `--locked`, name another one \
               with `--lock-file`, or name plugins by digest"
            .to_owned(),
    }
}

/// A plugin of which a lock file that may not change knows nothing.
pub(super) fn missing(path: &Path, reference: &ImageRef) -> BuildError {
    let text = format!(
        "the lock file `{}` does not say what the plugin `{}` is, and with `--locked` it may not change",
        path.display(),
        shown(reference)
    );
    BuildError::wrong(
        Diagnostic::error("lock", text).help("build once without `--locked`, and keep what it writes"),
    )
}

/// `--locked` where there can be no lock file.
pub(super) fn nowhere(reference: &ImageRef) -> BuildError {
    let text = format!(
        "with `--locked` the plugin `{}` has to be in a lock file, and a context that is no directory has none",
        shown(reference)
    );
    BuildError::wrong(Diagnostic::error("lock", text).help("name a lock file with `--lock-file`"))
}

/// An entry whose two digests are not of one plugin.
pub(super) fn contradicts(path: &Path, artifact: &Artifact, entry: &LockEntry) -> BuildError {
    let text = format!(
        "the lock file `{}` contradicts itself: the plugin `{}` is {}, whose component is {} and not {}",
        path.display(),
        artifact.shown(),
        entry.manifest,
        artifact.component.digest,
        entry.wasm
    );
    BuildError::wrong(
        Diagnostic::error("lock", text)
            .help("restore the file from version control, or have it made anew with `kiln plugin update`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> BlobDigest {
        BlobDigest(kiln_core::Digest::of(text.as_bytes()))
    }

    fn entry(capabilities: &[&str]) -> LockEntry {
        LockEntry {
            name: "apt".into(),
            manifest: digest("m"),
            wasm: digest("w"),
            contract: "0.1.0".into(),
            capabilities: capabilities.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    fn reference(text: &str) -> ImageRef {
        ImageRef::parse(text).unwrap()
    }

    fn said(error: BuildError) -> (String, u32) {
        let BuildError::Wrong(found) = error else { panic!("{error}") };
        (found[0].message.clone(), found[0].primary.as_ref().map_or(0, |span| span.start.line))
    }

    #[test]
    fn a_lock_file_is_written_sorted_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kiln.lock");
        assert_eq!(LockFile::read(&path).unwrap(), LockFile::default());
        LockFile::change(&path, |file| {
            file.put(&reference("r.example.com/b:1"), entry(&["context", "resolve"]));
            file.put(&reference("apt:1"), entry(&[]));
        })
        .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = format!(
            "{HEAD}version = 1\n\n\
             [[plugin]]\nsource = \"oci://docker.io/library/apt:1\"\nname = \"apt\"\nmanifest = \"{m}\"\n\
             wasm = \"{w}\"\ncontract = \"0.1.0\"\ncapabilities = []\n\n\
             [[plugin]]\nsource = \"oci://r.example.com/b:1\"\nname = \"apt\"\nmanifest = \"{m}\"\n\
             wasm = \"{w}\"\ncontract = \"0.1.0\"\ncapabilities = [\"context\", \"resolve\"]\n",
            m = digest("m"),
            w = digest("w"),
        );
        assert_eq!(text, expected);
        let read = LockFile::read(&path).unwrap();
        assert_eq!(read.get(&reference("docker.io/library/apt:1")), Some(&entry(&[])));
        assert_eq!(read.get(&reference("apt:2")), None);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_does_not_change_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kiln.lock");
        let put = |name: &str| LockFile::change(&path, |file| file.put(&reference(name), entry(&[])));
        put("apt:1").unwrap();
        // By hand, with other spaces and words: as it stands unless something is to be said.
        let text = std::fs::read_to_string(&path).unwrap().replace(" = ", "=") + "# mine\n";
        std::fs::write(&path, &text).unwrap();
        put("apt:1").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        put("apt:2").unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kiln.lock");
        std::fs::create_dir(directory.path().join("real")).unwrap();
        let real = directory.path().join("real/lock");
        std::fs::write(&real, "version = 1\n").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        LockFile::change(&path, |file| file.put(&reference("apt:1"), entry(&[]))).unwrap();
        assert!(std::fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(LockFile::read(&real).unwrap().entries.len(), 1);
    }

    #[test]
    fn what_is_no_text_file_is_told_as_that() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kiln.lock");
        let why = || match LockFile::read(&path).unwrap_err() {
            BuildError::Wrong(found) => found[0].message.clone(),
            other => panic!("{other:?}"),
        };
        // Nobody writes into the pipe, and nobody waits for that.
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        assert!(why().ends_with("it is no regular file"), "{}", why());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"version = 1\n\xff").unwrap();
        assert!(why().ends_with("it is no text"), "{}", why());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(LockFile::read(&path).unwrap(), LockFile::default());
    }

    #[test]
    fn a_broken_lock_file_is_an_error_with_its_line() {
        let whole = LockFile { entries: BTreeMap::from([("docker.io/library/apt:1".into(), entry(&[]))]) };
        let whole = whole.to_text();
        assert!(LockFile::parse(&whole, "kiln.lock").is_ok());
        let twice = whole.clone() + &whole[whole.find("[[plugin]]").unwrap()..];
        for (text, line, word) in [
            ("version = \n".to_owned(), 1, "kiln.lock"),
            ("version = 1\n<<<<<<< HEAD\n".to_owned(), 2, "kiln.lock"),
            ("version = 2\nnew = 1\n".to_owned(), 1, "later kiln"),
            ("\nplugin = []\n".to_owned(), 1, "version"),
            (whole.replace("sha256:", "md5:"), 8, "no digest"),
            (whole.replace("oci://", "http://"), 6, "oci://"),
            (whole.replace("apt:1", "apt"), 6, "tag"),
            (whole.replace("contract", "contrast"), 10, "contrast"),
            (twice, 13, "two entries"),
        ] {
            let (message, found) = said(LockFile::parse(&text, "kiln.lock").unwrap_err());
            assert!(message.contains(word), "{text}\n{message}");
            assert_eq!(found, line, "{text}\n{message}");
        }
    }
}
