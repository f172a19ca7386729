//! Asks transforms what is to become of a finished image.

use std::sync::Arc;

use kiln_core::plan::Attestation;
use kiln_core::seams::TreeView;
use kiln_core::{Diagnostic, Graph, ImageConfig, Output, Severity};
use serde_json::json;

use crate::bridge::serve;
use crate::call::{Instance, failed};
use crate::component::Plugin;
use crate::convert::{Fault, findings, policy, transform};
use crate::error::{Failure, LoadError, PluginId, TransformError};
use crate::limits::Limits;
use crate::plugins::Host;
use crate::policy::{Asking, ImageFacts};
use crate::record;
use crate::state::Session;
use crate::trees::OpenTree;

/// What is to become of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transformation {
    /// In place of the one that it has.
    pub config: Option<ImageConfig>,
    pub annotations: Vec<(String, String)>,
    /// Their predicates are JSON objects.
    pub attestations: Vec<Attestation>,
    pub squash: Squash,
    /// In place of its filesystem.
    pub fragment: Option<Fragment>,
    /// To be written beside the image; relative paths without `.` and `..`.
    pub extra_files: Vec<(String, Vec<u8>)>,
    /// Warnings and below.
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Squash {
    KeepLayers,
    /// What is above the base becomes one layer.
    AboveBase,
    All,
}

/// Work on files alone: the first vertex, written as an empty source, stands for the finished filesystem; all others are
/// file, merge and diff ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub graph: Graph,
    pub root: Output,
}

/// A plugin that changes finished images.
#[derive(Clone)]
pub struct Transform {
    plugin: Arc<Plugin>,
    limits: Limits,
}

impl Host {
    /// In the order in which they were added.
    pub fn transforms(&self) -> Vec<Transform> {
        self.all_added()
            .filter(|added| added.plugin.hooks.image_transform.is_some())
            .map(|added| Transform { plugin: Arc::clone(&added.plugin), limits: self.limits })
            .collect()
    }
}

impl Transform {
    pub fn id(&self) -> &PluginId {
        &self.plugin.id
    }

    /// With which it is asked.
    pub fn options(&self) -> &[(String, String)] {
        &self.plugin.options
    }

    /// # Errors
    ///
    /// [`TransformError::Wrong`] when it does not take the image; otherwise it is at fault, or nobody waits any more.
    pub fn ask(
        &self,
        asking: Asking<'_>,
        image: &ImageFacts,
        root: Arc<dyn TreeView>,
        scans: Vec<(String, Arc<dyn TreeView>)>,
    ) -> Result<Transformation, TransformError> {
        const HOOK: &str = "transform";
        let plugin = &self.plugin;
        let facts = policy::build_facts(asking.facts, self.options());
        let asked = policy::image_facts(image);
        let answer = serve(plugin.component.engine(), Some(asking.services), asking.cancel, |line| {
            let session = Session::open(line, self.limits, image.platform.clone());
            let mut instance = Instance::start(plugin, &session, 0)?;
            let guest = instance.image_transform()?;
            let root = instance.lend_next(OpenTree(root))?;
            let mut trees = Vec::with_capacity(scans.len());
            let mut told = Vec::with_capacity(scans.len());
            for ((name, tree), number) in scans.into_iter().zip(1..) {
                told.push((name.clone(), record::tree(number)));
                trees.push((name, instance.lend_next(OpenTree(tree))?));
            }
            let arguments = || {
                let mut arguments = record::arguments!(facts, asked)();
                arguments.push(record::tree(0));
                arguments.push(told.into_iter().map(|(name, tree)| json!([name, tree])).collect());
                arguments
            };
            let call = |store: &mut _| guest.call_transform(store, &facts, &asked, root, &trees);
            let bad = |fault: Fault| failed(plugin, HOOK, Failure::Answer(fault.to_string()));
            match instance.recorded("image-transform.transform", arguments, || HOOK.to_owned(), call)? {
                Ok(changes) => transform::read(changes, &plugin.id, &image.platform).map(Ok).map_err(bad),
                Err(found) => {
                    let found = findings::diagnostics(found, &plugin.id.name).map_err(bad)?;
                    match is_wrong(&found) {
                        true => Ok(Err(found)),
                        false => Err(bad(Fault::new("it refused without naming an error"))),
                    }
                }
            }
        })
        .map_err(|source| LoadError::Thread { source })?;
        match answer? {
            Ok(changes) if is_wrong(&changes.diagnostics) => Err(TransformError::Wrong(changes.diagnostics)),
            Ok(changes) => Ok(changes),
            Err(diagnostics) => Err(TransformError::Wrong(diagnostics)),
        }
    }
}

fn is_wrong(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|found| found.severity == Severity::Error)
}
