//! Asks frontends whether a directory is theirs, with nothing granted but a look at it.

use std::sync::Arc;

use kiln_core::seams::TreeView;
use kiln_core::{Cancel, Platform};

use crate::bindings::wit::frontend_types::Confidence as Told;
use crate::bridge::serve;
use crate::call::Instance;
use crate::error::{LoadError, PlanError};
use crate::plugins::Host;
use crate::state::{Session, printable};
use crate::trees::OpenTree;

/// How sure a frontend is that a directory is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    No,
    /// It could if asked, and does not volunteer.
    Possible,
    Likely,
    Certain,
}

/// What one frontend says of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    pub frontend: String,
    pub confidence: Confidence,
    /// For people, one line.
    pub reason: String,
    /// The frontend is in every build: where it is certain, what others think does not matter.
    pub is_standard: bool,
}

/// Longer reasons are cut.
const REASON_CHARS: usize = 300;

impl Host {
    /// What the frontends that look for projects say of `context`, the surest first; of those equally sure, what is in
    /// every build before the others, and these by name.
    ///
    /// # Errors
    ///
    /// When a component is at fault or the build was cancelled.
    pub fn detect(&self, context: &Arc<dyn TreeView>, cancel: &Cancel) -> Result<Vec<Detection>, PlanError> {
        const HOOK: &str = "detect";
        let mut all = Vec::new();
        for (plugin, is_standard) in self.everybody()? {
            if plugin.hooks.frontend_detect.is_none() {
                continue;
            }
            let limits = self.limits;
            let asked = serve(plugin.component.engine(), None, cancel, |line| {
                let session = Session::open(line, limits, Platform::default());
                let mut instance = Instance::start(plugin, &session, 0)?;
                let guest = instance.frontend_detect()?;
                let tree = instance.lend(OpenTree(plugin.narrow(Arc::clone(context), None)))?;
                instance.call(HOOK, |store| guest.call_detect(store, tree))
            })
            .map_err(|source| LoadError::Thread { source })?;
            let answer = asked?;
            all.push(Detection {
                frontend: plugin.id.name.clone(),
                confidence: match answer.confidence {
                    Told::No => Confidence::No,
                    Told::Possible => Confidence::Possible,
                    Told::Likely => Confidence::Likely,
                    Told::Certain => Confidence::Certain,
                },
                reason: printable(&answer.reason, REASON_CHARS).replace('\n', " "),
                is_standard,
            });
        }
        all.sort_by(|a, b| {
            let rank = |one: &Detection| (one.confidence, one.is_standard);
            rank(b).cmp(&rank(a)).then_with(|| a.frontend.cmp(&b.frontend))
        });
        Ok(all)
    }
}
