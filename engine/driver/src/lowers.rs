//! Makes the root of a step or container out of layers: directories to mount, one on top that holds mount points.

use std::path::PathBuf;

use kiln_core::merged::Merged;
use kiln_core::tree::Time;
use kiln_core::{LayerId, Stack, TreePath, fileop};
use kiln_sandbox as sandbox;
use kiln_store::{LayerDir, StepDir};

use crate::error::BuildError;
use crate::forms::Forms;
use crate::run::tree_path;

impl Forms<'_> {
    /// Directories of a stack, base first, each once: of a layer that occurs twice the upper place counts. `held` keeps
    /// them where they are.
    pub(crate) fn lowers(&self, stack: &Stack, held: &mut Vec<LayerDir>) -> Result<Vec<PathBuf>, BuildError> {
        let mut layers: Vec<LayerId> = Vec::new();
        for layer in stack.0.iter().rev() {
            if !layers.contains(layer) && !self.tree(layer)?.is_empty() {
                layers.push(*layer);
            }
        }
        layers.reverse();
        for layer in &layers {
            self.directory(layer)?;
        }
        let directories = self
            .store
            .lowers(&layers)
            .map_err(|error| BuildError::world("could not flatten layers", error))?;
        let paths = directories.iter().map(|directory| directory.path().to_owned()).collect();
        held.extend(directories);
        Ok(paths)
    }

    /// A layer on top of the lowers with whatever must exist for mounts to be made, if anything is missing.
    pub(crate) fn stubs(
        &self,
        root: &Merged,
        spec: &sandbox::Spec,
        held: &mut Vec<LayerDir>,
    ) -> Result<Option<PathBuf>, BuildError> {
        let points: Vec<(TreePath, bool)> =
            sandbox::mount_points(spec).iter().map(|point| (tree_path(point), point.directory)).collect();
        let tree = fileop::mount_stubs(root, &points)
            .map_err(|error| BuildError::world("could not place the mounts of the step", error))?;
        if tree.is_empty() {
            return Ok(None);
        }
        let layer = self.keep(tree)?;
        let directory = self.directory(&layer)?;
        let path = directory.path().to_owned();
        held.push(directory);
        Ok(Some(path))
    }

    /// The directory of a layer that holds nothing.
    pub(crate) fn empty_directory(&self) -> Result<PathBuf, BuildError> {
        self.store.empty_directory().map_err(|error| BuildError::world("could not make a directory", error))
    }

    /// A step directory whose root looks like that of `root`.
    pub(crate) fn begin_step(&self, root: &Merged) -> Result<StepDir, BuildError> {
        let failed = |error| BuildError::world("could not make a directory for the step", error);
        let mut step = self.store.begin_step().map_err(failed)?;
        if let Some(found) = root.get(&TreePath::root()) {
            step.set_root(found.entry).map_err(failed)?;
        }
        Ok(step)
    }

    /// As [`Forms::begin_step`], for the root of a build step: the directories that its kernel file systems lie on are
    /// not taken away with them, so that a root without them has them afterwards, as it has elsewhere.
    pub(crate) fn begin_build_step(&self, root: &Merged, now: Time) -> Result<StepDir, BuildError> {
        let mut step = self.begin_step(root)?;
        for name in ["dev", "proc", "sys"] {
            let path = TreePath::clean(name);
            if root.get(&path).is_none() {
                step.make_directory(&path, now)
                    .map_err(|error| BuildError::world("could not make a directory for the step", error))?;
            }
        }
        Ok(step)
    }
}
