//! One question per point, each put to a component that was started for it alone.

use std::sync::Arc;

use kiln_core::seams::{Services, TreeView};
use kiln_core::{Cancel, Diagnostic, Graph, Output, Platform, Span, VertexId};

use super::Point;
use super::facts::{
    BuildFacts, Change, ExecVerdict, ExportFacts, ImageFacts, LayerInfo, SourceCheck, SourceVerdict,
};
use crate::bindings::wit::diagnostics::Diagnostic as Finding;
use crate::bindings::wit::policy_types as wit;
use crate::bridge::serve;
use crate::call::{Instance, failed};
use crate::component::Plugin;
use crate::convert::{Fault, findings, policy, told};
use crate::error::{CallError, Failure, LoadError, PluginId, PolicyError};
use crate::limits::Limits;
use crate::plugins::Host;
use crate::record;
use crate::state::Session;
use crate::trees::{ChangeList, OpenTree};

/// Linear memory of a policy: it sees large things in pieces.
const POLICY_MEMORY_BYTES: usize = 64 << 20;

/// A plugin that is asked whether a build may be.
#[derive(Clone)]
pub struct Policy {
    plugin: Arc<Plugin>,
    limits: Limits,
}

/// On whose behalf a policy is asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    pub facts: &'a BuildFacts,
    pub services: &'a dyn Services,
    pub cancel: &'a Cancel,
}

impl Host {
    /// The policy of this name that was added; `None` where no plugin has it, or one that is no policy.
    pub fn policy(&self, name: &str) -> Option<Policy> {
        let plugin = self.added(name)?.plugin.clone();
        points(&plugin).next()?;
        let memory_bytes = self.limits.memory_bytes.min(POLICY_MEMORY_BYTES);
        Some(Policy { plugin, limits: Limits { memory_bytes, ..self.limits } })
    }
}

fn points(plugin: &Plugin) -> impl Iterator<Item = Point> {
    let hooks = &plugin.hooks;
    let has = [
        hooks.policy_source.is_some(),
        hooks.policy_graph.is_some(),
        hooks.policy_exec.is_some(),
        hooks.policy_layer.is_some(),
        hooks.policy_image.is_some(),
        hooks.policy_export.is_some(),
    ];
    Point::ALL.into_iter().zip(has).filter_map(|(point, has)| has.then_some(point))
}

impl Policy {
    pub fn id(&self) -> &PluginId {
        &self.plugin.id
    }

    /// With which it is asked.
    pub fn options(&self) -> &[(String, String)] {
        &self.plugin.options
    }

    pub fn has(&self, point: Point) -> bool {
        self.points().any(|known| known == point)
    }

    pub fn points(&self) -> impl Iterator<Item = Point> {
        points(&self.plugin)
    }

    /// An earlier answer to equal arguments does not stand for one now: it asks others, or its calls are taken down.
    pub fn is_asked_each_time(&self) -> bool {
        self.plugin.resolves || self.plugin.recorder.is_some()
    }

    /// Point 1.
    ///
    /// # Errors
    ///
    /// As all of these: when the component fails, answers what makes no sense, or nobody waits any more.
    pub fn check_source(
        &self,
        asking: Asking<'_>,
        check: &SourceCheck,
    ) -> Result<SourceVerdict, PolicyError> {
        const HOOK: &str = "check-source";
        let asked = policy::source_check(check);
        let kind = policy::kind(&check.source);
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_source()?;
            let verdict = instance.recorded(
                "policy-source.check-source",
                record::arguments!(facts, asked),
                || HOOK.to_owned(),
                |store| guest.call_check_source(store, &facts, &asked),
            )?;
            let rewrite = verdict.rewrite.map(|source| policy::rewrite(source, kind)).transpose();
            Ok(rewrite.and_then(|rewrite| {
                let diagnostics = self.findings(verdict.diagnostics, None, check.spans.first())?;
                Ok(SourceVerdict { rewrite, diagnostics })
            }))
        })
    }

    /// Point 2. Nodes that a finding names are vertices of `graph`.
    ///
    /// # Errors
    ///
    /// As [`Self::check_source`].
    pub fn check_graph(
        &self,
        asking: Asking<'_>,
        graph: &Graph,
        roots: &[Output],
    ) -> Result<Vec<Diagnostic>, PolicyError> {
        const HOOK: &str = "check-graph";
        let (told, roots) = (told::graph(graph), told::outputs(roots));
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_graph()?;
            let found = instance.recorded(
                "policy-graph.check-graph",
                record::arguments!(facts, told, roots),
                || HOOK.to_owned(),
                |store| guest.call_check_graph(store, &facts, &told, &roots),
            )?;
            Ok(self.findings(found, Some(graph), None))
        })
    }

    /// Point 3: one verdict for each of `execs`, in order.
    ///
    /// # Errors
    ///
    /// As [`Self::check_source`].
    pub fn check_exec(
        &self,
        asking: Asking<'_>,
        graph: &Graph,
        execs: &[VertexId],
    ) -> Result<Vec<ExecVerdict>, PolicyError> {
        const HOOK: &str = "check-exec";
        let (told, asked) = (told::graph(graph), told::indexes(execs));
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_exec()?;
            let verdicts = instance.recorded(
                "policy-exec.check-exec",
                record::arguments!(facts, told, asked),
                || HOOK.to_owned(),
                |store| guest.call_check_exec(store, &facts, &told, &asked),
            )?;
            if verdicts.len() != execs.len() {
                let what = format!("{} verdicts on {} commands", verdicts.len(), execs.len());
                return Ok(Err(Fault::new(what)));
            }
            let read = |(verdict, exec): (wit::ExecVerdict, &VertexId)| {
                Ok(ExecVerdict {
                    limits: policy::limits(verdict.limits)?,
                    diagnostics: self.findings(
                        verdict.diagnostics,
                        Some(graph),
                        graph[*exec].origin.first(),
                    )?,
                })
            };
            Ok(verdicts.into_iter().zip(execs).map(read).collect())
        })
    }

    /// Point 4. `changes` are sorted by path.
    ///
    /// # Errors
    ///
    /// As [`Self::check_source`].
    pub fn check_layer(
        &self,
        asking: Asking<'_>,
        layer: &LayerInfo,
        changes: Arc<[Change]>,
        root: Arc<dyn TreeView>,
    ) -> Result<Vec<Diagnostic>, PolicyError> {
        const HOOK: &str = "check-layer";
        let asked = policy::layer_info(layer);
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_layer()?;
            let listed = Arc::clone(&changes);
            let changes = instance.lend(ChangeList(changes))?;
            let root = instance.lend_next(OpenTree(root))?;
            let call = |store: &mut _| guest.call_check_layer(store, &facts, &asked, changes, root);
            let arguments = || {
                let listed: Vec<_> = listed.iter().map(policy::change).collect();
                let mut told = record::arguments!(facts, asked, listed)();
                told.push(record::tree(0));
                told
            };
            let found = instance.recorded("policy-layer.check-layer", arguments, || HOOK.to_owned(), call)?;
            Ok(self.findings(found, None, layer.spans.first()))
        })
    }

    /// Point 5.
    ///
    /// # Errors
    ///
    /// As [`Self::check_source`].
    pub fn check_image(
        &self,
        asking: Asking<'_>,
        image: &ImageFacts,
        root: Arc<dyn TreeView>,
    ) -> Result<Vec<Diagnostic>, PolicyError> {
        const HOOK: &str = "check-image";
        let asked = policy::image_facts(image);
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_image()?;
            let root = instance.lend_next(OpenTree(root))?;
            let arguments = || {
                let mut told = record::arguments!(facts, asked)();
                told.push(record::tree(0));
                told
            };
            let call = |store: &mut _| guest.call_check_image(store, &facts, &asked, root);
            let found = instance.recorded("policy-image.check-image", arguments, || HOOK.to_owned(), call)?;
            Ok(self.findings(found, None, None))
        })
    }

    /// Point 6.
    ///
    /// # Errors
    ///
    /// As [`Self::check_source`].
    pub fn check_export(
        &self,
        asking: Asking<'_>,
        export: &ExportFacts,
    ) -> Result<Vec<Diagnostic>, PolicyError> {
        const HOOK: &str = "check-export";
        let asked = policy::export_facts(export);
        self.ask(asking, HOOK, |instance, facts| {
            let guest = instance.policy_export()?;
            let found = instance.recorded(
                "policy-export.check-export",
                record::arguments!(facts, asked),
                || HOOK.to_owned(),
                |store| guest.call_check_export(store, &facts, &asked),
            )?;
            Ok(self.findings(found, None, None))
        })
    }

    fn ask<R: Send>(
        &self,
        asking: Asking<'_>,
        hook: &str,
        work: impl FnOnce(&mut Instance, wit::BuildFacts) -> Result<Result<R, Fault>, CallError> + Send,
    ) -> Result<R, PolicyError> {
        let facts = policy::build_facts(asking.facts, &self.plugin.options);
        let plugin = &self.plugin;
        let answer = serve(plugin.component.engine(), Some(asking.services), asking.cancel, |line| {
            let session = Session::open(line, self.limits, Platform::host());
            let mut instance = Instance::start(plugin, &session, 0)?;
            work(&mut instance, facts)?
                .map_err(|fault| failed(plugin, hook, Failure::Answer(fault.to_string())))
        })
        .map_err(|source| LoadError::Thread { source })?;
        Ok(answer?)
    }

    /// What was found, each with a place if there is any: its own, that of an operation it names, or `otherwise`.
    fn findings(
        &self,
        found: Vec<Finding>,
        graph: Option<&Graph>,
        otherwise: Option<&Span>,
    ) -> Result<Vec<Diagnostic>, Fault> {
        let places: Vec<Option<Span>> = found
            .iter()
            .map(|finding| {
                let node = finding.nodes.first().map(|node| *node as usize);
                let vertex = graph.and_then(|graph| graph.vertices().get(node?));
                vertex.and_then(|vertex| vertex.origin.first()).or(otherwise).cloned()
            })
            .collect();
        let mut read = findings::diagnostics(found, &self.plugin.id.name)?;
        for (diagnostic, place) in read.iter_mut().zip(places) {
            diagnostic.primary = diagnostic.primary.take().or(place);
        }
        Ok(read)
    }
}
