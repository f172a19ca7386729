//! Reads an image out of the archive of an OCI layout, with no code of kiln's, and checks that it is one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::entries::Entry;

/// The entries of an image by path.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// One image for one platform.
pub(crate) struct Image {
    /// Digest of the manifest.
    pub(crate) digest: String,
    /// `linux/arm64`, as the configuration says.
    pub(crate) platform: String,
    pub(crate) config: Value,
    /// Digests of the uncompressed layers, base first.
    pub(crate) diff_ids: Vec<String>,
    pub(crate) tree: Tree,
}

type Blobs = BTreeMap<String, Vec<u8>>;

/// Reads all images of an archive.
///
/// # Errors
///
/// What is wrong with the archive: a digest that does not fit, history that does not fit the layers, …
pub(crate) fn read_archive(path: &Path) -> Result<Vec<Image>, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut files = Blobs::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| format!("the archive: {error}"))?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        files.insert(name, bytes);
    }
    images(&|name| files.get(name).cloned().ok_or_else(|| format!("the archive holds no `{name}`")))
}

/// Reads all images of the directory of an OCI layout.
pub(crate) fn read_layout(directory: &Path) -> Result<Vec<Image>, String> {
    images(&|name| std::fs::read(directory.join(name)).map_err(|error| format!("{name}: {error}")))
}

type Open<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

fn images(open: Open) -> Result<Vec<Image>, String> {
    let index = json(&open("index.json")?)?;
    let mut found = Vec::new();
    for descriptor in list(&index["manifests"]) {
        described(open, descriptor, &mut found)?;
    }
    Ok(found)
}

fn described(open: Open, descriptor: &Value, found: &mut Vec<Image>) -> Result<(), String> {
    let digest = string(&descriptor["digest"]);
    let document = json(&blob(open, &digest)?)?;
    if document["manifests"].is_array() {
        for inner in list(&document["manifests"]) {
            described(open, inner, found)?;
        }
        return Ok(());
    }
    let config = json(&blob(open, &string(&document["config"]["digest"]))?)?;
    if string(&config["os"]) == "unknown" {
        return Ok(());
    }
    let diff_ids: Vec<String> = list(&config["rootfs"]["diff_ids"]).iter().map(string).collect();
    let layers = list(&document["layers"]);
    let history = list(&config["history"]);
    let making = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    if layers.len() != diff_ids.len() || !history.is_empty() && making != layers.len() {
        return Err(format!(
            "{} layers, {} diff IDs, {making} entries of the history that make a layer",
            layers.len(),
            diff_ids.len()
        ));
    }
    let mut tree = Tree::new();
    for (layer, diff_id) in layers.iter().zip(&diff_ids) {
        let bytes = uncompressed(blob(open, &string(&layer["digest"]))?)?;
        if digest_of(&bytes) != *diff_id {
            return Err(format!("a layer is not the {diff_id} that the configuration names"));
        }
        apply(&bytes, &mut tree)?;
    }
    let mut platform = format!("{}/{}", string(&config["os"]), string(&config["architecture"]));
    if let Some(variant) = config["variant"].as_str().filter(|variant| !variant.is_empty()) {
        platform = format!("{platform}/{variant}");
    }
    found.push(Image { digest, platform, config, diff_ids, tree });
    Ok(())
}

fn blob(open: Open, digest: &str) -> Result<Vec<u8>, String> {
    let bytes = open(&format!("blobs/{}", digest.replace(':', "/")))?;
    if digest_of(&bytes) != digest {
        return Err(format!("the blob {digest} holds something else"));
    }
    Ok(bytes)
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn uncompressed(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    let read = match bytes.as_slice() {
        [0x1f, 0x8b, ..] => flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::Decoder::new(bytes.as_slice()).and_then(|mut decoder| decoder.read_to_end(&mut plain))
        }
        _ => return Ok(bytes),
    };
    read.map_err(|error| format!("a layer: {error}"))?;
    Ok(plain)
}

/// Applies one layer.
fn apply(layer: &[u8], tree: &mut Tree) -> Result<(), String> {
    let mut own = Tree::new();
    let mut linked: Vec<(String, String)> = Vec::new();
    let mut archive = tar::Archive::new(layer);
    for read in archive.entries().map_err(|error| error.to_string())? {
        let mut read = read.map_err(|error| format!("a layer: {error}"))?;
        let path = String::from_utf8_lossy(&read.path_bytes()).into_owned();
        let path = path.trim_start_matches("./").trim_matches('/').to_owned();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            let below = if parent.is_empty() { String::new() } else { format!("{parent}/") };
            tree.retain(|other, _| !other.starts_with(&below));
            continue;
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            remove(tree, &if parent.is_empty() { gone.to_owned() } else { format!("{parent}/{gone}") });
            continue;
        }
        if path.is_empty() {
            continue;
        }
        let entry = entry(&mut read, &path).map_err(|error| format!("{path}: {error}"))?;
        if own.contains_key(&path) {
            return Err(format!("a layer holds `{path}` twice"));
        }
        if entry.kind == 'h' {
            linked.push((path.clone(), entry.target.clone()));
        }
        own.insert(path, entry);
    }
    resolve_links(&mut own, &linked)?;
    for (path, entry) in own {
        if entry.kind != 'd' || tree.get(&path).is_some_and(|below| below.kind != 'd') {
            remove(tree, &path);
        }
        tree.insert(path, entry);
    }
    Ok(())
}

/// The first path of a file with several, in the order of names, becomes the file and the others links to it: which
/// of them a builder wrote first does not matter.
fn resolve_links(own: &mut Tree, linked: &[(String, String)]) -> Result<(), String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, target) in linked {
        groups.entry(target).or_default().push(path);
    }
    for (target, mut paths) in groups {
        let file =
            own.get(target).cloned().ok_or_else(|| format!("`{}` links to nothing: `{target}`", paths[0]))?;
        paths.push(target);
        paths.sort_unstable();
        for (index, path) in paths.iter().enumerate() {
            let entry = match index {
                0 => Entry { path: (*path).to_owned(), ..file.clone() },
                _ => Entry {
                    kind: 'h',
                    path: (*path).to_owned(),
                    target: paths[0].to_owned(),
                    ..Entry::default()
                },
            };
            own.insert((*path).to_owned(), entry);
        }
    }
    Ok(())
}

fn remove(tree: &mut Tree, path: &str) {
    let below = format!("{path}/");
    tree.retain(|other, _| other != path && !other.starts_with(&below));
}

fn entry(read: &mut tar::Entry<impl Read>, path: &str) -> std::io::Result<Entry> {
    let header = read.header().clone();
    let kind = match header.entry_type() {
        tar::EntryType::Directory => 'd',
        tar::EntryType::Symlink => 'l',
        tar::EntryType::Link => 'h',
        tar::EntryType::Fifo => 'p',
        tar::EntryType::Char => 'c',
        tar::EntryType::Block => 'b',
        _ => 'f',
    };
    let mut xattrs = BTreeMap::new();
    if let Some(extensions) = read.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    let target = read.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
    let mut content = None;
    if kind == 'f' {
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes)?;
        content = Some(bytes);
    }
    let device = match kind {
        'c' | 'b' => (header.device_major()?.unwrap_or_default(), header.device_minor()?.unwrap_or_default()),
        _ => (0, 0),
    };
    let target = target.unwrap_or_default();
    Ok(Entry {
        kind,
        path: path.to_owned(),
        mode: Some(header.mode()? & 0o7777),
        owner: (header.uid()?, header.gid()?),
        time: i64::try_from(header.mtime()?).ok(),
        xattrs,
        content,
        size: None,
        target: if kind == 'h' {
            target.trim_start_matches("./").trim_matches('/').to_owned()
        } else {
            target
        },
        device,
    })
}

/// What `tree` has that `base` has not, changed, or no longer has (as `w`, without what was below it). Times do not
/// count: making an entry changes that of the directory above.
pub(crate) fn difference(base: &Tree, tree: &Tree) -> Tree {
    let mut found = Tree::new();
    for (path, entry) in tree {
        let same =
            base.get(path).is_some_and(|old| !entry.differs_from(&Entry { time: None, ..old.clone() }));
        if !same {
            found.insert(path.clone(), entry.clone());
        }
    }
    for path in base.keys().filter(|path| !tree.contains_key(*path)) {
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_none_or(|parent| tree.contains_key(parent)) {
            found.insert(path.clone(), Entry { kind: 'w', path: path.clone(), ..Entry::default() });
        }
    }
    found
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("not JSON: {error}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
