//! Reads images back with skopeo and umoci, and holds what they find against what kiln says is in them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use serde_json::Value;

use crate::space::{TestSpace, shell};

/// One file of an image, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: &'static str,
    /// Permission bits; 0 for symbolic links, which have none.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Bytes of a regular file, 0 for everything else.
    pub(crate) size: u64,
    /// Where a symbolic link leads.
    pub(crate) target: String,
}

pub(crate) type Tree = BTreeMap<String, Entry>;

/// An image as other tools see it.
pub(crate) struct Image {
    /// `skopeo inspect`
    pub(crate) inspected: Value,
    /// `skopeo inspect --config`
    pub(crate) config: Value,
    /// The root file system that umoci unpacked; paths are absolute.
    pub(crate) tree: Tree,
    root: std::path::PathBuf,
}

impl Image {
    /// Content of a file.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        let bytes = fs::read(self.root.join(path.trim_start_matches('/')));
        String::from_utf8_lossy(&bytes.unwrap_or_else(|error| panic!("{path}: {error}"))).into_owned()
    }

    #[track_caller]
    pub(crate) fn entry(&self, path: &str) -> &Entry {
        self.tree
            .get(path)
            .unwrap_or_else(|| panic!("no `{path}` in {:?}", self.tree.keys().collect::<Vec<_>>()))
    }

    /// Bytes of what `is_counted` says, as a tar has them: a header of 512 bytes each, and content in blocks.
    pub(crate) fn tar_bytes(&self, is_counted: impl Fn(&str) -> bool) -> u64 {
        let counted = self.tree.iter().filter(|(path, _)| is_counted(path));
        counted.map(|(_, entry)| 512 + entry.size.next_multiple_of(512)).sum()
    }

    /// Paths of everything that is no directory.
    pub(crate) fn files(&self) -> Vec<&str> {
        self.tree
            .iter()
            .filter(|(_, entry)| entry.kind != "directory")
            .map(|(path, _)| path.as_str())
            .collect()
    }
}

/// Saves `name` from the store, reads it back, and fails unless its files are those that `kiln image files` lists.
///
/// Needs root, as owners are compared too.
#[track_caller]
pub(crate) fn image(space: &TestSpace, name: &str) -> Image {
    let archive = format!("{}.oci.tar", name.replace(['/', ':'], "_"));
    space.kiln(&["image", "save", name, "-o", &archive]).ok();
    let image = oci_archive(space, &archive);
    let listed = listed(space, name);
    for (path, entry) in &image.tree {
        assert_eq!(listed.get(path), Some(entry), "`kiln image files {name}` and umoci disagree on `{path}`");
    }
    let extra: Vec<_> = listed.keys().filter(|path| !image.tree.contains_key(*path)).collect();
    assert!(extra.is_empty(), "`kiln image files {name}` lists what umoci does not unpack: {extra:?}");
    image
}

/// Reads back an archive of an OCI layout that lies in the space.
#[track_caller]
pub(crate) fn oci_archive(space: &TestSpace, archive: &str) -> Image {
    let archive = space.path(archive);
    let layout = archive.with_extension("layout");
    // The name may have been another image's before.
    shell(&format!("rm -rf '{0}' '{0}.bundle'", layout.display()));
    shell(&format!("mkdir '{0}' && tar -xf '{1}' -C '{0}'", layout.display(), archive.display()));
    oci_layout(&layout)
}

/// Reads back the only image of an OCI layout.
#[track_caller]
pub(crate) fn oci_layout(layout: &Path) -> Image {
    let index: Value =
        serde_json::from_slice(&fs::read(layout.join("index.json")).expect("index.json is there"))
            .expect("index.json is JSON");
    let manifests = index["manifests"].as_array().expect("index.json lists manifests");
    assert_eq!(manifests.len(), 1, "{index}");
    let name = manifests[0]["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap_or_default();
    let layout = layout.display();
    let inspect = |flags: &str| {
        serde_json::from_str(&shell(&format!("skopeo inspect {flags} 'oci:{layout}:{name}'")))
            .expect("skopeo prints JSON")
    };
    let (inspected, config) = (inspect(""), inspect("--config"));
    // umoci wants a tag; an unnamed image gets one in a copy, which has skopeo check every digest too.
    let bundle = format!("{layout}.bundle");
    shell(&format!(
        "skopeo copy --quiet 'oci:{layout}:{name}' 'oci:{layout}.tagged:it' && \
         umoci unpack --image '{layout}.tagged:it' '{bundle}' 2>&1"
    ));
    let root = Path::new(&bundle).join("rootfs");
    let mut tree = Tree::new();
    walk(&root, "", &mut tree);
    Image { inspected, config, tree, root }
}

/// The files below a directory, by absolute paths.
pub(crate) fn tree_of(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(directory, "", &mut tree);
    tree
}

fn walk(directory: &Path, prefix: &str, tree: &mut Tree) {
    for child in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let child = child.expect("the directory can be read");
        let path = format!("{prefix}/{}", child.file_name().to_string_lossy());
        let metadata = child.path().symlink_metadata().expect("the file is there");
        let kind = metadata.file_type();
        let entry = Entry {
            kind: match () {
                () if kind.is_dir() => "directory",
                () if kind.is_symlink() => "symlink",
                () if kind.is_fifo() => "fifo",
                () if kind.is_char_device() => "char",
                () if kind.is_block_device() => "block",
                () => "file",
            },
            mode: if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 },
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: if kind.is_file() { metadata.len() } else { 0 },
            target: match kind.is_symlink() {
                true => fs::read_link(child.path()).expect("the link is read").to_string_lossy().into_owned(),
                false => String::new(),
            },
        };
        if kind.is_dir() {
            walk(&child.path(), &path, tree);
        }
        tree.insert(path, entry);
    }
}

/// `kiln image files NAME --format json`.
#[track_caller]
pub(crate) fn listed(space: &TestSpace, name: &str) -> Tree {
    let files = space.kiln(&["image", "files", name, "--format", "json"]).ok().json();
    let text = |file: &Value, field: &str| file[field].as_str().unwrap_or_default().to_owned();
    let number = |file: &Value, field: &str| file[field].as_u64().unwrap_or_default();
    let entry = |file: &Value| {
        let kind = match file["type"].as_str() {
            Some("file") => "file",
            Some("directory") => "directory",
            Some("symlink") => "symlink",
            Some("fifo") => "fifo",
            Some("char") => "char",
            Some("block") => "block",
            _ => panic!("an entry without a known type: {file}"),
        };
        let mode =
            u32::from_str_radix(&text(file, "mode"), 8).unwrap_or_else(|_| panic!("no octal mode in {file}"));
        Entry {
            kind,
            mode: if kind == "symlink" { 0 } else { mode },
            uid: number(file, "uid") as u32,
            gid: number(file, "gid") as u32,
            size: if kind == "file" { number(file, "size") } else { 0 },
            target: if kind == "symlink" { text(file, "target") } else { String::new() },
        }
    };
    files.as_array().expect("a list of files").iter().map(|file| (text(file, "path"), entry(file))).collect()
}
