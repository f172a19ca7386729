//! Asks the frontend for a plan, and says to the person what it found.

use std::sync::atomic::Ordering;

use kiln_core::graph::Op;
use kiln_core::{Event, Plan};
use kiln_plugin::{FrontendChoice, LoadError, PlanError};

use crate::error::{BuildError, StepFailure};
use crate::forms::{lock, one_line};
use crate::resolve::Pinned;
use crate::session::Session;

impl Session<'_> {
    pub(crate) fn plan(&self) -> Result<Plan, BuildError> {
        let plan = self.asked_plan()?;
        for diagnostic in plan.diagnostics.iter().cloned() {
            self.events.emit(match self.is_reason(&diagnostic) {
                true => Event::Reason(diagnostic),
                false => Event::Diagnostic(diagnostic),
            });
        }
        Ok(plan)
    }

    /// Whether the frontend says with it why it does what it does: information of its own.
    pub(crate) fn is_reason(&self, diagnostic: &kiln_core::Diagnostic) -> bool {
        let name = match &self.choice.frontend {
            FrontendChoice::Dockerfile => return false,
            FrontendChoice::Named(name) => name,
        };
        let whose = diagnostic.code.split_once('/').map_or("", |(plugin, _)| plugin);
        diagnostic.severity == kiln_core::Severity::Info && whose == name
    }

    /// As [`Self::plan`]; nobody is told what the frontend has to say of it.
    pub(crate) fn asked_plan(&self) -> Result<Plan, BuildError> {
        let plan = self
            .while_asking(|| self.plugins.plan(&self.choice.frontend, &self.asked(), self, self.cancel))
            .map_err(|error| self.not_planned(error))?;
        if let Some(seconds) = plan.epoch {
            *lock(&self.now) = kiln_core::tree::Time { seconds, nanoseconds: 0 };
            self.has_epoch.store(true, Ordering::Relaxed);
            // Those of commits have other times now.
            lock(&self.contexts).retain(|_, context| !context.is_fetched());
        }
        let secrets = crate::secrets::written_down(self.request, &plan);
        if !secrets.is_empty() {
            return Err(BuildError::Wrong(secrets));
        }
        Ok(plan)
    }

    pub(crate) fn not_planned(&self, error: PlanError) -> BuildError {
        match error {
            _ if self.cancel.is_cancelled() => BuildError::Cancelled,
            PlanError::Cancelled => BuildError::Cancelled,
            PlanError::Wrong(diagnostics) if self.is_denied() => {
                BuildError::Wrong(self.with_denied(diagnostics))
            }
            PlanError::Wrong(diagnostics) if self.refused() => BuildError::Refused(diagnostics),
            PlanError::Wrong(diagnostics) => match self.early_failure() {
                Some(failure) => {
                    BuildError::Step(Box::new(StepFailure { findings: diagnostics, ..*failure }))
                }
                None => BuildError::Wrong(diagnostics),
            },
            PlanError::UnknownFrontend { .. } => {
                BuildError::wrong(kiln_core::Diagnostic::error("unknown-frontend", error.to_string()))
            }
            PlanError::Options { .. } => {
                BuildError::wrong(kiln_core::Diagnostic::error("option", error.to_string()))
            }
            PlanError::Plugin(error) => {
                BuildError::world("a plugin failed; the build file is not to blame", error)
            }
            // Such as two plugins that define one keyword: the person says whose it is.
            PlanError::Load(error @ (LoadError::Refused { .. } | LoadError::Preference { .. })) => {
                BuildError::wrong(kiln_core::Diagnostic::error("plugin", one_line(&error)))
            }
            PlanError::Load(error) => BuildError::world("a plugin cannot be used", error),
        }
    }

    /// Tells whoever shows progress what there is to do.
    pub(crate) fn announce(&self, pinned: &Pinned) {
        let shown = |id: &usize| pinned.reachable[*id] && !pinned.graph[*id].name.is_empty();
        let vertices = (0..pinned.graph.len())
            .filter(shown)
            .map(|id| (pinned.shown(id), pinned.graph[id].name.clone(), pinned.graph[id].group.clone()))
            .collect();
        self.events.emit(Event::Planned { vertices });
    }
}

/// Whether people count it as a step: it runs or copies, and is not where something comes from.
pub(crate) fn is_step(op: &Op) -> bool {
    !matches!(op, Op::Source(_))
}
