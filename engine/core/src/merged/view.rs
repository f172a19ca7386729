//! Shows a merged view to plugins: paths as text, links confined, contents through a reader.

use super::{Follow, Found, Merged, Resolved};
use crate::digest::Digest;
use crate::ignore::Ignore;
use crate::seams::{FileInfo, FileKind, HostError, TreeView};
use crate::tree::{Content, Kind, TreePath};

/// Reads files of a view. Every [`Content`] has an absolute place.
pub trait ContentReader: Sync {
    /// At most `max` bytes from `offset`; none at the end.
    fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError>;
    /// The digest of a file that has none yet.
    fn digest(&self, content: &Content) -> Result<crate::digest::FileDigest, HostError>;
}

/// A [`TreeView`] of a merged view.
#[derive(Clone, Copy)]
pub struct MergedView<'a> {
    merged: &'a Merged,
    reader: &'a dyn ContentReader,
}

impl<'a> MergedView<'a> {
    pub fn new(merged: &'a Merged, reader: &'a dyn ContentReader) -> Self {
        Self { merged, reader }
    }

    /// What is at `path`, which must exist.
    fn at(&self, path: &str, last: Follow) -> Result<(Resolved<'a>, Found<'a>), HostError> {
        let resolved = self.merged.resolve(&TreePath::clean(path), last);
        let resolved = resolved.map_err(|error| HostError::new("not-found", error.to_string()))?;
        let missing = || HostError::new("not-found", format!("there is no `{path}`"));
        let found = resolved.found.ok_or_else(missing)?;
        Ok((resolved, found))
    }

    fn file_digest(&self, found: &Found<'_>) -> Result<Option<crate::digest::FileDigest>, HostError> {
        match self.merged.content(found) {
            None => Ok(None),
            Some(content) => match content.digest {
                Some(digest) => Ok(Some(digest)),
                None => self.reader.digest(&content).map(Some),
            },
        }
    }
}

/// What plugins are told of a path and what shows there.
pub fn describe(path: &TreePath, found: &Found<'_>) -> FileInfo {
    let (kind, size, target) = match &found.entry.kind {
        Kind::File(file) => (FileKind::Regular, file.size, String::new()),
        Kind::Directory { .. } => (FileKind::Directory, 0, String::new()),
        Kind::Symlink(target) => {
            let text = String::from_utf8_lossy(target).into_owned();
            (FileKind::Symlink, target.len() as u64, text)
        }
        Kind::CharDevice { .. } => (FileKind::CharacterDevice, 0, String::new()),
        Kind::BlockDevice { .. } => (FileKind::BlockDevice, 0, String::new()),
        Kind::Fifo => (FileKind::Fifo, 0, String::new()),
        Kind::Socket => (FileKind::Socket, 0, String::new()),
        Kind::Link(_) | Kind::Whiteout => unreachable!("a merged view shows neither links nor whiteouts"),
    };
    FileInfo {
        path: String::from_utf8_lossy(path.as_bytes()).into_owned(),
        kind,
        size,
        mode: found.entry.mode,
        uid: found.entry.uid,
        gid: found.entry.gid,
        target,
    }
}

impl TreeView for MergedView<'_> {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let (_, found) = self.at(path, Follow::Last)?;
        let content = self.merged.content(&found);
        let content =
            content.ok_or_else(|| HostError::new("not-a-file", format!("`{path}` is not a regular file")))?;
        self.reader.read(&content, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        let (_, found) = self.at(path, Follow::NotLast)?;
        Ok(describe(&TreePath::clean(path), &found))
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        let (resolved, _) = self.at(path, Follow::Last)?;
        Ok(String::from_utf8_lossy(resolved.path.as_bytes()).into_owned())
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        let (resolved, found) = self.at(path, Follow::Last)?;
        if !found.is_directory() {
            return Err(HostError::new("not-a-directory", format!("`{path}` is not a directory")));
        }
        let asked = TreePath::clean(path);
        let children = self.merged.children(&resolved.path);
        Ok(children.iter().map(|(child, found)| describe(&asked.join(child.name()), found)).collect())
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        let patterns = Ignore::from_patterns(patterns);
        let patterns = patterns.map_err(|error| HostError::new("invalid-argument", error.to_string()))?;
        let mut matches = Vec::new();
        let mut sieve = crate::ignore::Sieve::exact(&patterns);
        let mut walk = self.merged.walk(&TreePath::root());
        while let Some((path, found)) = walk.next() {
            let matched = if found.is_directory() {
                let verdict = sieve.judge(&path);
                if verdict.settled {
                    walk.skip_below();
                }
                verdict.matched
            } else {
                sieve.matches_file(&path)
            };
            if !matched {
                continue;
            }
            if matches.len() == limit {
                return Err(HostError::new("limit", format!("more than {limit} entries match")));
            }
            matches.push(describe(&path, &found));
        }
        Ok(matches)
    }

    /// `blake3:…` of a file's bytes; `sha256:…` of everything below a directory, without owners and times.
    fn hash(&self, path: &str) -> Result<String, HostError> {
        let (resolved, top) = self.at(path, Follow::Last)?;
        if let Some(digest) = self.file_digest(&top)? {
            return Ok(digest.to_string());
        }
        let mut record = Vec::new();
        for (path, found) in self.merged.walk(&resolved.path) {
            let mut entry = self.merged.entry(&found);
            (entry.uid, entry.gid) = (0, 0);
            if let Kind::File(file) = &mut entry.kind {
                file.content.digest = self.file_digest(&found)?;
            }
            let below = path.below(&resolved.path).unwrap_or_default();
            entry.write_identity(below.as_bytes(), &mut record);
        }
        Ok(Digest::of(&record).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::FileDigest;
    use crate::merged::tests::merged;
    use crate::tree::Place;

    struct Memory;

    impl ContentReader for Memory {
        fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
            let Place::Inline(bytes) = &content.place else {
                return Err(HostError::new("other", "not in memory"));
            };
            let rest = &bytes[bytes.len().min(offset as usize)..];
            Ok(rest[..rest.len().min(max)].to_vec())
        }

        fn digest(&self, _: &Content) -> Result<FileDigest, HostError> {
            Err(HostError::new("other", "every file has one"))
        }
    }

    fn names(infos: &[FileInfo]) -> Vec<&str> {
        infos.iter().map(|info| &*info.path).collect()
    }

    #[test]
    fn plugins_see_a_tree_with_its_links_confined() {
        let root = merged(&["usr/ usr/lib/ usr/lib/a.so=12345 lib->usr/lib etc/ etc/x.conf=1 up->../../etc"]);
        let view = MergedView::new(&root, &Memory);
        assert_eq!(view.read("lib/a.so", 1, 2).unwrap(), b"23");
        assert_eq!(view.read("/usr/lib", 0, 1).unwrap_err().code, "not-a-file");
        assert_eq!(view.read("../x", 0, 1).unwrap_err().code, "not-found");
        assert_eq!(view.stat("lib").unwrap().target, "usr/lib");
        assert_eq!(view.stat("/lib/a.so").unwrap().size, 5);
        assert_eq!(view.real_path("lib/../up/x.conf").unwrap(), "up/x.conf".replace("up", "etc"));
        assert_eq!(names(&view.children("lib").unwrap()), ["lib/a.so"]);
        assert_eq!(view.children("lib/a.so").unwrap_err().code, "not-a-directory");
        assert!(view.hash("lib/a.so").unwrap().starts_with("blake3:"));
        assert_eq!(view.hash("lib").unwrap(), view.hash("usr/lib").unwrap());
        assert_ne!(view.hash("lib").unwrap(), view.hash("etc").unwrap());
    }

    #[test]
    fn a_glob_lists_what_matches_itself_and_never_cuts_in_silence() {
        let root = merged(&["a/ a/node_modules/ a/node_modules/x.js=1 a/y.js=1 z.js=1"]);
        let view = MergedView::new(&root, &Memory);
        let glob = |patterns: &[&str], limit| {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            view.glob(&patterns, limit).map(|found| names(&found).join(" ")).map_err(|error| error.code)
        };
        assert_eq!(glob(&["**/*.js"], 9).unwrap(), "a/node_modules/x.js a/y.js z.js");
        assert_eq!(glob(&["**/*.js", "!**/x.js"], 9).unwrap(), "a/y.js z.js");
        assert_eq!(glob(&["**/node_modules"], 9).unwrap(), "a/node_modules");
        assert_eq!(glob(&["*.js"], 9).unwrap(), "z.js");
        assert_eq!(glob(&["**/*.js"], 2), Err("limit"));
        assert_eq!(glob(&["["], 2), Err("invalid-argument"));
    }
}
