//! Builds part of a graph while the rest is still being planned, for plugins that have to see files before they can say
//! what is to be done (`solver` in wit/host.wit).

use std::collections::HashMap;
use std::sync::Arc;

use kiln_core::graph::{Op, SourceOp};
use kiln_core::seams::{HostError, TreeView};
use kiln_core::solve::Need;
use kiln_core::{CacheKey, Cancel, Graph, ImageConfig, Output, Plan, Stack, Target};

use crate::error::{BuildError, StepFailure};
use crate::forms::{lock, one_line};
use crate::lazy::Desk;
use crate::outcome::{Counts, Outcome};
use crate::session::Session;
use crate::views::View;

/// What has been built before the plan was there.
#[derive(Default)]
pub(crate) struct Early {
    /// Where opened trees are served, while a plugin is asked.
    desk: Option<Desk>,
    /// Outputs of what ran, by the key of its record: it does not run again in this build, also not where the cache is
    /// not to be used.
    pub(crate) ran: HashMap<CacheKey, Vec<Stack>>,
    pub(crate) counts: Counts,
    /// Of the part that was asked for last: the step that failed, if one did.
    failure: Option<Box<StepFailure>>,
}

impl Session<'_> {
    /// Asks a plugin, which may want to see built files meanwhile.
    pub(crate) fn while_asking<R>(&self, ask: impl FnOnce() -> R) -> R {
        self.with_desk(|desk| {
            lock(&self.early).desk = Some(desk.clone());
            let answer = ask();
            lock(&self.early).desk = None;
            answer
        })
    }

    /// The outputs of a graph as trees, in the order given.
    ///
    /// # Errors
    ///
    /// `build-failed` when the graph is wrong or a step failed, which has been shown to the person; `unavailable` when
    /// something outside said no; `cancelled`; `other` for what is wrong with this machine.
    pub(crate) fn solve_early(
        &self,
        graph: Graph,
        outputs: &[Output],
    ) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        let Some(desk) = lock(&self.early).desk.clone() else {
            return Err(HostError::new("unavailable", "nothing can be built at this point"));
        };
        lock(&self.early).failure = None;
        self.build_part(graph, outputs, &desk).map_err(|error| self.early_fault(error))
    }

    fn build_part(
        &self,
        graph: Graph,
        outputs: &[Output],
        desk: &Desk,
    ) -> Result<Vec<Arc<dyn TreeView>>, BuildError> {
        // A context that is wanted as it is needs no building, and no reading of all that it holds.
        let mut contexts = Vec::new();
        let mut targets = Vec::new();
        for output in outputs {
            let vertex = &graph[output.vertex];
            if let Op::Source(SourceOp::Context(source)) = &vertex.op {
                self.judge_context(source, &vertex.origin)?;
            }
            let context = match &vertex.op {
                Op::Source(SourceOp::Context(source))
                    if self.context_as_image(&source.name, &vertex.platform)?.is_none() =>
                {
                    Some(source.clone())
                }
                _ => None,
            };
            if context.is_none() {
                targets.push(target(&graph, *output));
            }
            contexts.push(context);
        }
        let plan = Plan { graph, targets, ..Plan::default() };
        let secrets = crate::secrets::written_down(self.request, &plan);
        if !secrets.is_empty() {
            return Err(BuildError::Wrong(secrets));
        }
        let mut pinned = self.resolve(plan)?;
        // A step that fails ends the others of this part, and not the build: the plugin may know what to do instead.
        pinned.own_cancel = Some(Cancel::default());
        self.announce(&pinned);
        let (solved, counts) = self.solve_counted(&pinned, Need::Directory);
        lock(&self.early).counts += counts;
        let mut stacks = solved?.stacks.into_iter();
        contexts
            .into_iter()
            .map(|context| match context {
                Some(source) => {
                    let view = View::new(self.local_context(&source)?.view(), &self.forms);
                    Ok(Arc::new(view) as Arc<dyn TreeView>)
                }
                None => Ok(desk.open(stacks.next().unwrap_or_default())),
            })
            .collect()
    }

    /// What the plugin is told, and what is kept for the person in case the plugin can do nothing about it.
    fn early_fault(&self, error: BuildError) -> HostError {
        let failed = |message: String| HostError::new("build-failed", message);
        match error {
            _ if self.cancel.is_cancelled() => BuildError::Cancelled.into_host(),
            BuildError::Step(failure) => {
                let message = failure.diagnostic.message.clone();
                lock(&self.early).failure = Some(failure);
                failed(message)
            }
            BuildError::Wrong(diagnostics) => {
                let messages: Vec<String> = diagnostics.into_iter().map(|one| one.message).collect();
                failed(messages.join("; "))
            }
            BuildError::Refused(diagnostics) => {
                self.note_refusal();
                let messages: Vec<String> = diagnostics.into_iter().map(|one| one.message).collect();
                HostError::new("unavailable", messages.join("; "))
            }
            BuildError::World { .. } => {
                self.note_refusal();
                HostError::new("other", one_line(&error))
            }
            error => error.into_host(),
        }
    }

    /// Counts what ran before there was a plan.
    pub(crate) fn with_early_steps(&self, mut outcome: Outcome) -> Outcome {
        outcome.counts += lock(&self.early).counts;
        outcome
    }

    /// The failed step because of which there is no plan, if that is why.
    pub(crate) fn early_failure(&self) -> Option<Box<StepFailure>> {
        lock(&self.early).failure.take()
    }
}

fn target(graph: &Graph, root: Output) -> Target {
    Target {
        platform: graph[root.vertex].platform.clone(),
        root: Some(root),
        config: ImageConfig::default(),
        history: Vec::new(),
        annotations: Vec::new(),
        attestations: Vec::new(),
        scans: Vec::new(),
        base_name: String::new(),
        base_digest: String::new(),
    }
}
