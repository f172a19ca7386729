//! Build contexts that lie on other machines: repositories, archives and single files (Dockerfile specification §20).

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_core::graph::{GitSource, Unpack};
use kiln_core::tree::{Content, File, Place, Time};
use kiln_core::{Kind, LayerId, Tree, TreePath};
use kiln_oci::web::without_credentials;

use super::address::{self, Remote};
use super::http::Download;
use super::remote::{RemoteError, Why};
use crate::archive;
use crate::error::BuildError;
use crate::session::Session;
use crate::views::MAX_BUILD_FILE_BYTES;

/// What a download that is no archive is called (§20.2, §20.6).
const LONE_FILE: &str = "context";

impl Session<'_> {
    fn address(&self, text: &str) -> Result<Remote, RemoteError> {
        match address::parse(text) {
            Some(Ok(remote)) => Ok(remote),
            Some(Err(why)) => {
                let text = without_credentials(text);
                Err(RemoteError::new(Why::Invalid, format!("`{text}` is no git source: {why}")))
            }
            None => unreachable!("`{text}` was taken for an address"),
        }
    }

    /// The files of a context that has to be fetched. `is_main`: not one of those that have names.
    pub(crate) fn remote_context(&self, text: &str, is_main: bool) -> Result<Tree, RemoteError> {
        match self.address(text)? {
            Remote::Git { mut source, says_times } => {
                source.keep_git_dir |= is_main && self.request.keep_git_dir;
                let pinned = self.pin_git(&source, &[])?;
                let layer = self.git_layer(&GitSource { commit_times: false, ..pinned })?;
                let mut tree = elsewhere(layer, &*self.forms.tree(&layer)?);
                // With one time for the whole build those of the files are to be always the same, too (§23.4).
                if source.commit_times || !says_times && self.has_epoch.load(Ordering::Relaxed) {
                    let time = Time { seconds: self.git_time(&source)?, nanoseconds: 0 };
                    tree.entries_mut().for_each(|(_, entry)| entry.mtime = time);
                }
                Ok(tree)
            }
            Remote::Http(url) => {
                let download = self.judged_download(&url)?;
                let file = self.downloaded(&download)?;
                if is_main
                    && let Some((layer, tree)) = archive::unpack(&self.forms, &file.content, Unpack::Tar)?
                {
                    return Ok(elsewhere(layer, &tree));
                }
                Ok(download.tree(LONE_FILE, file))
            }
        }
    }

    /// The build file that a main context is, if it is no archive and no repository (§20.2).
    pub(crate) fn lone_build_file(&self, text: &str) -> Result<Option<Arc<[u8]>>, RemoteError> {
        let Remote::Http(url) = self.address(text)? else { return Ok(None) };
        let file = self.downloaded(&*self.judged_download(&url)?)?;
        match archive::unpack(&self.forms, &file.content, Unpack::Tar)? {
            Some(_) => Ok(None),
            None => self.text_of(&url, &file).map(Some),
        }
    }

    /// The build file at an address (§1.1).
    pub(crate) fn remote_build_file(&self, url: &str) -> Result<Arc<[u8]>, RemoteError> {
        let file = self.downloaded(&*self.judged_download(url)?)?;
        self.text_of(url, &file)
    }

    /// What an address gives, as far as policies let it be used.
    fn judged_download(&self, url: &str) -> Result<Arc<Download>, RemoteError> {
        let source = self.judged_url(url)?;
        self.download(&source.url, source.checksum.as_deref())
    }

    fn text_of(&self, url: &str, file: &File) -> Result<Arc<[u8]>, RemoteError> {
        let shown = without_credentials(url);
        if file.size > MAX_BUILD_FILE_BYTES {
            let message = format!("`{shown}` has {} bytes, which no build file has", file.size);
            return Err(RemoteError::new(Why::Invalid, message));
        }
        let mut text = Vec::new();
        let mut bytes = self.forms.open(None, &TreePath::root(), &file.content)?;
        bytes
            .read_to_end(&mut text)
            .map_err(|error| BuildError::world(format!("could not read `{shown}`"), error))?;
        Ok(text.into())
    }

    /// A download as a file of any layer.
    pub(crate) fn downloaded(&self, download: &Download) -> Result<File, RemoteError> {
        let (layer, path) = download.place();
        let tree = self.forms.tree(&layer)?;
        match tree.get(&path).map(|entry| &entry.kind) {
            Some(Kind::File(file)) => {
                let content = Content { digest: file.content.digest, place: Place::Layer { layer, path } };
                Ok(File { size: file.size, content })
            }
            _ => unreachable!("the layer of a download holds its file"),
        }
    }

    /// What kind of context an address gives, and its time in seconds since 1970 if it has one (§23.1).
    pub(crate) fn remote_context_time(&self, text: &str) -> (&'static str, Option<i64>) {
        match self.address(text) {
            // What cannot be had is reported where it is used.
            Ok(Remote::Git { source, .. }) => ("git", self.git_time(&source).ok()),
            Ok(Remote::Http(url)) => ("http", self.judged_download(&url).ok().and_then(|it| it.modified)),
            Err(_) => ("git", None),
        }
    }
}

/// A layer's tree for use outside of the layer: every file says where its bytes are.
pub(crate) fn elsewhere(layer: LayerId, tree: &Tree) -> Tree {
    let mut tree = Tree::clone(tree);
    for (path, entry) in tree.entries_mut() {
        if let Kind::File(file) = &mut entry.kind
            && file.content.place == Place::Here
        {
            file.content.place = Place::Layer { layer, path: path.clone() };
        }
    }
    tree
}
