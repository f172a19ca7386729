//! Opens a store: makes its directories, checks that they are of a form this version understands.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use kiln_core::{Digest, LayerId, Tree};

use crate::fault::{At, FsError};
use crate::lock::Uses;
use crate::stamp::Durable;
use crate::temp::Existing;

/// What remembers: one directory on local disk, shared by any number of processes and threads.
///
/// ```text
/// <root>/
///   format                  version; owner mapping; three classes of feature flags
///   locks                   empty; one byte-range lock per key in flight and per cache mount in use
///   uses                    empty; one byte-range lock per layer, blob and temporary in use
///   durable                 per boot: up to when everything published is known to be on disk
///   blobs/sha256/<hex>      any OCI blob
///   layers/<aa>/<id>/       tree, dir/, and blob-<settings>: the blobs made of it
///   flat/<stack>/dir/       many adjacent layers as one directory
///   records/<aa>/<key>      what a key led to
///   contexts/<id>           stat index of a context
///   builds/<id>             notes of a context's last builds, for explaining
///   images/<id>             references and the digests they name
///   caches/<id>/<n>/        cache mounts
///   tmp/<random>            work in progress
/// ```
///
/// What has a final name is complete and never changes. A clone is the same store; what one has touched stays in use,
/// safe from every collector, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Store(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    /// Absolute, as overlay mounts want it.
    pub(crate) root: PathBuf,
    pub(crate) mapping: OwnerMapping,
    pub(crate) uses: Uses,
    pub(crate) trees: Mutex<HashMap<LayerId, Arc<Tree>>>,
    /// What was checked against its name in this process and needs no second look.
    pub(crate) checked: Mutex<HashSet<(Checked, Digest)>>,
    durable: OnceLock<Durable>,
}

/// What a check against a name was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Checked {
    Blob,
    Directory,
}

/// Whose ids the files in layers carry. The two kinds of store share no directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerMapping {
    /// The machine's own: kiln runs as root.
    Root,
    /// Those of a user namespace: files belong to the user's sub-ids.
    User,
}

impl OwnerMapping {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
        }
    }
}

/// Why a directory could not be opened as a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("`{}` is not empty and is no store of kiln's; give another directory", path.display())]
    NotAStore { path: PathBuf },
    #[error("the store `{}` is of format {found}, this kiln knows format {known}; use another directory or a kiln that fits", path.display(), known = FORMAT)]
    OtherFormat { path: PathBuf, found: String },
    #[error("the store `{}` needs `{feature}`, which this kiln does not know; use a newer one", path.display())]
    UnknownFeature { path: PathBuf, feature: String },
    #[error("the store `{}` holds files owned under the `{found}` mapping, and this is a build under `{wanted}`; give each its own directory", path.display())]
    OtherMapping { path: PathBuf, found: String, wanted: &'static str },
}

const FORMAT: &str = "1";
/// `read-only`: those who do not know the feature may look and not write; `incompatible`: not even look. This version
/// always writes, and knows none of either.
const FORMAT_KEYS: [&str; 5] = ["kiln-store", "owners", "compatible", "read-only", "incompatible"];
const DIRECTORIES: [&str; 10] =
    ["tmp", "blobs", "blobs/sha256", "layers", "flat", "records", "contexts", "builds", "images", "caches"];

impl Store {
    /// Opens the store at `root`, or makes one there.
    ///
    /// Of an existing one only `format` is read. Directories that somebody deleted from it are made again: without
    /// what was in them nothing is wrong, without them nothing could be written.
    pub fn open(root: &Path, mapping: OwnerMapping) -> Result<Self, OpenError> {
        let format = root.join("format");
        match fs::read_to_string(&format) {
            Ok(text) => {
                check_format(&text, root, mapping)?;
                make_directories(root)?;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => create(root, mapping)?,
            Err(e) => return Err(e).at("read", &format).map_err(OpenError::from),
        }
        let root = fs::canonicalize(root).at("resolve", root)?;
        Ok(Self(Arc::new(Shared {
            uses: Uses::open(&root.join("uses"))?,
            root,
            mapping,
            trees: Mutex::default(),
            checked: Mutex::default(),
            durable: OnceLock::new(),
        })))
    }

    /// Absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub fn mapping(&self) -> OwnerMapping {
        self.0.mapping
    }

    pub(crate) fn durable(&self) -> &Durable {
        self.0.durable.get_or_init(|| Durable::load(&self.0.root))
    }
}

fn create(root: &Path, mapping: OwnerMapping) -> Result<(), OpenError> {
    // Private: layers hold setuid programs of whatever was built.
    DirBuilder::new().recursive(true).mode(0o700).create(root).at("create the directory", root)?;
    // Another process may be making the same store at this moment, and one killed may have left a part of it: what is
    // in the directory has to be of a store, all of it need not be.
    for entry in fs::read_dir(root).at("list the directory", root)? {
        let name = entry.at("list the directory", root)?.file_name();
        if name != "format" && name != "uses" && !DIRECTORIES.iter().any(|known| name == *known) {
            return Err(OpenError::NotAStore { path: root.to_owned() });
        }
    }
    make_directories(root)?;
    let text =
        format!("kiln-store {FORMAT}\nowners {}\ncompatible\nread-only\nincompatible\n", mapping.name());
    let fresh = root.join(format!("tmp/format-{:016x}", crate::temp::random()));
    let write = || {
        let mut file = fs::File::create_new(&fresh)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        // Once in a store's life: without it nothing else is of use.
        file.sync_all()
    };
    write().at("write the file", &fresh)?;
    let format = root.join("format");
    // Last, so that whoever sees it sees all of the layout; and whoever was first decides on the mapping.
    if !crate::temp::rename(&fresh, &format, Existing::Keep)? {
        fs::remove_file(&fresh).at("delete", &fresh)?;
        let text = fs::read_to_string(&format).at("read", &format)?;
        check_format(&text, root, mapping)?;
    }
    Ok(())
}

fn make_directories(root: &Path) -> Result<(), FsError> {
    for name in DIRECTORIES {
        let path = root.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).at("create the directory", path);
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_format(text: &str, root: &Path, mapping: OwnerMapping) -> Result<(), OpenError> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let path = root.to_owned();
    match value("kiln-store") {
        Some(FORMAT) => {}
        Some(found) => {
            return Err(OpenError::OtherFormat { path, found: found.to_owned() });
        }
        None => return Err(OpenError::NotAStore { path }),
    }
    let unknown_line = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .find(|key| !key.is_empty() && !FORMAT_KEYS.contains(key));
    let feature = ["incompatible", "read-only"]
        .into_iter()
        .find_map(|class| value(class).filter(|flags| !flags.is_empty()))
        .or(unknown_line);
    if let Some(feature) = feature {
        return Err(OpenError::UnknownFeature { path, feature: feature.to_owned() });
    }
    match value("owners") {
        Some(found) if found == mapping.name() => Ok(()),
        found => Err(OpenError::OtherMapping {
            path,
            found: found.unwrap_or("unknown").to_owned(),
            wanted: mapping.name(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_opens_again_and_only_under_its_own_mapping() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        Store::open(&root, OwnerMapping::Root).unwrap();
        Store::open(&root, OwnerMapping::Root).unwrap();
        assert!(matches!(Store::open(&root, OwnerMapping::User), Err(OpenError::OtherMapping { .. })));
    }

    #[test]
    fn a_directory_of_other_things_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(Store::open(dir.path(), OwnerMapping::Root), Err(OpenError::NotAStore { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::create_dir(dir.path().join("tmp")).unwrap();
        assert!(matches!(Store::open(dir.path(), OwnerMapping::Root), Err(OpenError::NotAStore { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_store_that_many_make_at_once_is_one_store() {
        for _ in 0..200 {
            let dir = tempfile::tempdir_in("/dev/shm").unwrap();
            let root = dir.path().join("store");
            let start = std::sync::Barrier::new(4);
            let open = || {
                start.wait();
                Store::open(&root, OwnerMapping::Root).map(drop)
            };
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
                all.into_iter().for_each(|one| one.join().unwrap().unwrap());
            });
        }
    }

    #[test]
    fn directories_that_were_deleted_come_back() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path(), OwnerMapping::Root).unwrap();
        for name in ["tmp", "blobs", "images", "records"] {
            fs::remove_dir_all(dir.path().join(name)).unwrap();
        }
        let store = Store::open(dir.path(), OwnerMapping::Root).unwrap();
        let digest = store.put_blob(b"blob").unwrap();
        store.set_image("example.org/app:1", &digest).unwrap();
        assert_eq!(store.images().unwrap().len(), 1);
    }

    #[test]
    fn features_this_version_does_not_know_are_refused_unless_compatible() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let text = |compatible, incompatible| {
            format!(
                "kiln-store 1\nowners root\ncompatible{compatible}\nread-only\nincompatible{incompatible}\n"
            )
        };
        assert!(check_format(&text(" hints", ""), path, OwnerMapping::Root).is_ok());
        assert!(matches!(
            check_format(&text("", " packs"), path, OwnerMapping::Root),
            Err(OpenError::UnknownFeature { feature, .. }) if feature == "packs"
        ));
        assert!(matches!(
            check_format("kiln-store 2\n", path, OwnerMapping::Root),
            Err(OpenError::OtherFormat { .. })
        ));
    }
}
