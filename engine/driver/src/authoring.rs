//! What an author of plugins wants to have done away from builds: calls taken down, asked again, and judged.

use std::path::Path;
use std::sync::Arc;

use kiln_core::Cancel;
use kiln_plugin::record::{Recorder, Rehearsal, RehearsalError};
use kiln_plugin::{CheckReport, LoadError};

use crate::{BuildError, Driver};

impl Driver {
    /// Takes down the calls of plugins that are loaded from here on, each as a file in `directory`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn record_plugins(&self, directory: &Path) -> Result<Arc<Recorder>, BuildError> {
        let recorder = Recorder::new(directory).map_err(|error| {
            BuildError::world(format!("could not make the directory `{}`", directory.display()), error)
        })?;
        let recorder = Arc::new(recorder);
        self.change_plugins(|host| host.record(Arc::clone(&recorder)));
        Ok(recorder)
    }

    /// Loads a plugin for questions that somebody wrote down.
    ///
    /// # Errors
    ///
    /// When it is no plugin.
    pub fn rehearse_plugin(&self, file: &Path) -> Result<Rehearsal, LoadError> {
        self.host().rehearse(file)
    }

    /// Says what is wrong with a plugin, before a build does.
    ///
    /// # Errors
    ///
    /// When the file is no plugin, or `cancel` was raised.
    pub fn check_plugin(&self, file: &Path, cancel: &Cancel) -> Result<CheckReport, RehearsalError> {
        self.host().check_plugin(file, cancel)
    }
}
