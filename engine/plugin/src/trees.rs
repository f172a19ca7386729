//! Trees as components see them: `tree` and `change-list` of `wit/host.wit`.

use std::sync::Arc;

use kiln_core::seams::{HostError, TreeView};
use wasmtime::component::Resource;

use crate::bindings::wit;
use crate::convert::{answers, policy};
use crate::error::Failure;
use crate::limits;
use crate::policy::Change;
use crate::state::State;

/// What a `tree` handle stands for.
#[allow(unreachable_pub)] // The bindings re-export it.
pub struct OpenTree(pub(crate) Arc<dyn TreeView>);

/// What a `change-list` handle stands for, sorted by path.
#[allow(unreachable_pub)] // The bindings re-export it.
pub struct ChangeList(pub(crate) Arc<[Change]>);

type Answer<T> = wasmtime::Result<Result<T, wit::types::HostError>>;

impl State {
    /// Looks at an open tree; time spent in it is not the component's.
    fn look<T>(
        &mut self,
        tree: &Resource<OpenTree>,
        look: impl FnOnce(&dyn TreeView) -> Result<T, HostError>,
    ) -> Answer<T> {
        let view = Arc::clone(&self.table.get(tree)?.0);
        if let Err(error) = Self::count(&mut self.used.tree_calls, limits::TREE_CALLS, "trees") {
            return Ok(Err(answers::host_error(error)));
        }
        let seen = self.paused(|| look(&*view));
        if let Err(error) = &seen {
            self.tell_denied(error);
        }
        Ok(seen.map_err(answers::host_error))
    }

    fn count_read(&mut self, bytes: usize) -> Result<(), HostError> {
        self.used.tree_bytes += bytes as u64;
        if self.used.tree_bytes > limits::TREE_BYTES {
            let limit = limits::TREE_BYTES >> 20;
            return Err(HostError::new("limit", format!("more than {limit} MiB read from trees")));
        }
        Ok(())
    }
}

impl wit::trees::Host for State {}

impl wit::trees::HostTree for State {
    fn read(&mut self, tree: Resource<OpenTree>, path: String, offset: u32, max: u32) -> Answer<Vec<u8>> {
        let max = (max as usize).min(limits::READ_BYTES);
        let read = self.look(&tree, |view| view.read(&path, u64::from(offset), max))?;
        Ok(match read {
            Ok(bytes) => self.count_read(bytes.len()).map(|()| bytes).map_err(answers::host_error),
            error => error,
        })
    }

    fn read_text(&mut self, tree: Resource<OpenTree>, path: String) -> Answer<String> {
        let read = self.look(&tree, |view| {
            let bytes = view.read(&path, 0, limits::READ_BYTES + 1)?;
            if bytes.len() > limits::READ_BYTES {
                let limit = limits::READ_BYTES >> 20;
                return Err(HostError::new("limit", format!("`{path}` is longer than {limit} MiB")));
            }
            String::from_utf8(bytes)
                .map_err(|_| HostError::new("invalid-argument", format!("`{path}` is not UTF-8 text")))
        })?;
        Ok(match read {
            Ok(text) => self.count_read(text.len()).map(|()| text).map_err(answers::host_error),
            error => error,
        })
    }

    fn stat(&mut self, tree: Resource<OpenTree>, path: String) -> Answer<wit::types::FileInfo> {
        self.look(&tree, |view| view.stat(&path).map(answers::file_info))
    }

    fn real_path(&mut self, tree: Resource<OpenTree>, path: String) -> Answer<String> {
        self.look(&tree, |view| view.real_path(&path))
    }

    fn children(&mut self, tree: Resource<OpenTree>, path: String) -> Answer<Vec<wit::types::FileInfo>> {
        self.look(&tree, |view| Ok(view.children(&path)?.into_iter().map(answers::file_info).collect()))
    }

    fn glob(
        &mut self,
        tree: Resource<OpenTree>,
        patterns: Vec<String>,
        limit: u32,
    ) -> Answer<Vec<wit::types::FileInfo>> {
        self.look(&tree, |view| {
            Ok(view.glob(&patterns, limit as usize)?.into_iter().map(answers::file_info).collect())
        })
    }

    fn hash(&mut self, tree: Resource<OpenTree>, path: String) -> Answer<String> {
        self.look(&tree, |view| view.hash(&path))
    }

    fn drop(&mut self, tree: Resource<OpenTree>) -> wasmtime::Result<()> {
        self.table.delete(tree)?;
        Ok(())
    }
}

impl wit::trees::HostChangeList for State {
    fn count(&mut self, list: Resource<ChangeList>) -> wasmtime::Result<u32> {
        let count = self.table.get(&list)?.0.len();
        u32::try_from(count)
            .map_err(|_| Failure::Answer("a layer of more than 2³² changes".to_owned()).into())
    }

    fn page(
        &mut self,
        list: Resource<ChangeList>,
        start: u32,
        limit: u32,
    ) -> wasmtime::Result<Vec<wit::trees::Change>> {
        let changes = &self.table.get(&list)?.0;
        let rest = changes.get(start as usize..).unwrap_or_default();
        Ok(rest[..rest.len().min(limit as usize)].iter().map(policy::change).collect())
    }

    fn drop(&mut self, list: Resource<ChangeList>) -> wasmtime::Result<()> {
        self.table.delete(list)?;
        Ok(())
    }
}
