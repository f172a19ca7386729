//! Asks frontends for plans, findings and outlines, and deriving components for the second half of their operations.

use std::sync::Arc;

use kiln_core::seams::{Services, TreeView};
use kiln_core::{Cancel, Diagnostic, Digest, Graph, Output, Plan, Platform, Request, Severity};

use crate::bindings::wit::frontend_types::BuildRequest;
use crate::bridge::serve;
use crate::call::{Instance, failed};
use crate::component::Plugin;
use crate::convert::{Fault, findings, graph, plan};
use crate::error::{CallError, DeriveError, Failure, LoadError, PlanError, PluginId};
use crate::outline::{self, Outline, TargetInfo};
use crate::plugins::Host;
use crate::record;
use crate::state::Session;
use crate::trees::OpenTree;

/// Which component turns the build file into a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FrontendChoice {
    /// The one for Dockerfiles that ships with kiln.
    #[default]
    Dockerfile,
    /// A plugin by its name.
    Named(String),
}

/// What a deriving component made of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    /// The first vertices, one for each input, stand for the inputs and are written as empty sources. All others are
    /// file, merge and diff ops.
    pub graph: Graph,
    /// The result; may be one of the inputs.
    pub root: Output,
    pub diagnostics: Vec<Diagnostic>,
}

impl Host {
    /// The frontend's plan for one build.
    ///
    /// `services` is called on the calling thread, which waits here until the plan is made. Findings below an error are
    /// in the plan.
    ///
    /// # Errors
    ///
    /// [`PlanError::Wrong`] with everything that is wrong with the build file; otherwise a component is at fault or the
    /// build was cancelled.
    pub fn plan(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Plan, PlanError> {
        let plugin = self.frontend(frontend)?;
        let asked = plan::tell(request, &self.frontend_options(&plugin, &request.options)?);
        let answer = self.in_session(&plugin, request, services, cancel, |instance| {
            const HOOK: &str = "build";
            let guest = instance.frontend()?;
            let answer = instance.recorded(
                "frontend.build",
                record::arguments!(asked),
                || HOOK.to_owned(),
                |store| guest.call_build(store, &asked),
            )?;
            match answer {
                Ok(answer) => plan::read(answer, request, &plugin.id.digest, &plugin.id.name)
                    .map(Ok)
                    .map_err(|fault| bad_answer(&plugin, HOOK, &fault)),
                Err(failure) => wrong(&plugin, HOOK, failure.diagnostics).map(Err),
            }
        })?;
        match answer {
            Ok(plan) if is_wrong(&plan.diagnostics) => Err(PlanError::Wrong(plan.diagnostics)),
            Ok(plan) => Ok(plan),
            Err(diagnostics) => Err(PlanError::Wrong(diagnostics)),
        }
    }

    /// Everything that the frontend finds, in all stages when the request names no target. Empty from a frontend that
    /// does not check.
    ///
    /// # Errors
    ///
    /// When a component is at fault or the build was cancelled.
    pub fn check(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Vec<Diagnostic>, PlanError> {
        let plugin = self.frontend(frontend)?;
        if plugin.hooks.frontend_check.is_none() {
            return Ok(Vec::new());
        }
        let asked = plan::tell(request, &self.frontend_options(&plugin, &request.options)?);
        self.in_session(&plugin, request, services, cancel, |instance| {
            const HOOK: &str = "check";
            let guest = instance.frontend_check()?;
            let found = instance.recorded(
                "frontend-check.check",
                record::arguments!(asked),
                || HOOK.to_owned(),
                |store| guest.call_check(store, &asked),
            )?;
            findings::diagnostics(found, &plugin.id.name).map_err(|fault| bad_answer(&plugin, HOOK, &fault))
        })
    }

    /// What can be built; `None` from a frontend that does not say.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub fn targets(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Option<Vec<TargetInfo>>, PlanError> {
        self.outlined(frontend, request, services, cancel, |instance, plugin, asked| {
            const HOOK: &str = "list-targets";
            let guest = instance.frontend_outline()?;
            match instance.recorded(
                "frontend-outline.list-targets",
                record::arguments!(asked),
                || HOOK.to_owned(),
                |store| guest.call_list_targets(store, asked),
            )? {
                Ok(targets) => Ok(Ok(targets.into_iter().map(outline::target).collect())),
                Err(failure) => wrong(plugin, HOOK, failure.diagnostics).map(Err),
            }
        })
    }

    /// What the target of the request takes in; `None` from a frontend that does not say.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub fn outline(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Option<Outline>, PlanError> {
        self.outlined(frontend, request, services, cancel, |instance, plugin, asked| {
            const HOOK: &str = "describe-target";
            let guest = instance.frontend_outline()?;
            match instance.recorded(
                "frontend-outline.describe-target",
                record::arguments!(asked),
                || HOOK.to_owned(),
                |store| guest.call_describe_target(store, asked),
            )? {
                Ok(found) => Ok(Ok(outline::outline(found))),
                Err(failure) => wrong(plugin, HOOK, failure.diagnostics).map(Err),
            }
        })
    }

    /// The second half of a derive op. `inputs` are those of its vertex, in order; `platform` is the vertex's.
    ///
    /// # Errors
    ///
    /// [`DeriveError::Wrong`] when the component says so; otherwise it is at fault, or not there, or cancelled.
    pub fn derive(
        &self,
        plugin: &Digest,
        task: &str,
        inputs: Vec<Arc<dyn TreeView>>,
        platform: &Platform,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Derivation, DeriveError> {
        const HOOK: &str = "derive";
        let Some(plugin) = self.by_digest(plugin)? else {
            return Err(DeriveError::UnknownPlugin(*plugin));
        };
        let limits = self.limits;
        let count = inputs.len();
        let derived = serve(plugin.component.engine(), Some(services), cancel, |line| {
            let session = Session::open(line, limits, platform.clone());
            let mut instance = Instance::start(&plugin, &session, 0)?;
            let guest = instance.derive()?;
            let mut trees = Vec::with_capacity(inputs.len());
            for view in inputs {
                trees.push(instance.lend_next(OpenTree(view))?);
            }
            let answer = instance.recorded(
                "derive.derive",
                || vec![task.into(), (0..).map(record::tree).take(count).collect()],
                || HOOK.to_owned(),
                |store| guest.call_derive(store, task, &trees),
            )?;
            match answer {
                Ok(answer) => {
                    let read = || {
                        let (graph, root) =
                            graph::derived(answer.fragment, answer.root, count, &plugin.id.digest, platform)?;
                        Ok(Derivation {
                            graph,
                            root,
                            diagnostics: findings::diagnostics(answer.diagnostics, &plugin.id.name)?,
                        })
                    };
                    read().map(Ok).map_err(|fault| bad_answer(&plugin, HOOK, &fault))
                }
                Err(diagnostics) => wrong(&plugin, HOOK, diagnostics).map(Err),
            }
        })
        .map_err(|source| LoadError::Thread { source })?;
        match derived? {
            Ok(derivation) if is_wrong(&derivation.diagnostics) => {
                Err(DeriveError::Wrong(derivation.diagnostics))
            }
            Ok(derivation) => Ok(derivation),
            Err(diagnostics) => Err(DeriveError::Wrong(diagnostics)),
        }
    }

    /// Who that is.
    ///
    /// # Errors
    ///
    /// [`PlanError::UnknownFrontend`], or that it does not work here.
    pub fn frontend_id(&self, choice: &FrontendChoice) -> Result<PluginId, PlanError> {
        Ok(self.frontend(choice)?.id.clone())
    }

    pub(crate) fn frontend(&self, choice: &FrontendChoice) -> Result<Arc<Plugin>, PlanError> {
        let name = match choice {
            FrontendChoice::Dockerfile => "dockerfile",
            FrontendChoice::Named(name) => name,
        };
        match self.by_name(name)? {
            Some(plugin) if plugin.hooks.frontend.is_some() => Ok(plugin),
            _ => Err(PlanError::UnknownFrontend { name: name.to_owned(), known: self.frontends()? }),
        }
    }

    /// Starts a frontend where its questions are answered, with every instruction at hand.
    pub(crate) fn in_session<R: Send>(
        &self,
        plugin: &Arc<Plugin>,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
        work: impl FnOnce(&mut Instance) -> Result<R, CallError> + Send,
    ) -> Result<R, PlanError> {
        let platform = request.platforms.first().unwrap_or(&request.build_platform);
        let definers = self.definers()?;
        serve(plugin.component.engine(), Some(services), cancel, |line| {
            let session = Session::open(line, self.limits, platform.clone());
            session.build_file.borrow_mut().clone_from(&request.file);
            session.know(definers, self.preferred(), self.registry())?;
            let mut instance = Instance::start(plugin, &session, 0)?;
            Ok(work(&mut instance)?)
        })
        .map_err(|source| LoadError::Thread { source })?
    }

    fn outlined<R: Send>(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
        work: impl FnOnce(&mut Instance, &Plugin, &BuildRequest) -> Result<Result<R, Vec<Diagnostic>>, CallError>
        + Send,
    ) -> Result<Option<R>, PlanError> {
        let plugin = self.frontend(frontend)?;
        if plugin.hooks.frontend_outline.is_none() {
            return Ok(None);
        }
        let asked = plan::tell(request, &self.frontend_options(&plugin, &request.options)?);
        self.in_session(&plugin, request, services, cancel, |instance| work(instance, &plugin, &asked))?
            .map(Some)
            .map_err(PlanError::Wrong)
    }
}

fn is_wrong(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|found| found.severity == Severity::Error)
}

pub(crate) fn bad_answer(plugin: &Plugin, hook: &str, fault: &Fault) -> CallError {
    failed(plugin, hook, Failure::Answer(fault.to_string()))
}

/// What a component gives as the reason for not answering; it has to give one.
pub(crate) fn wrong(
    plugin: &Plugin,
    hook: &str,
    diagnostics: Vec<crate::bindings::wit::diagnostics::Diagnostic>,
) -> Result<Vec<Diagnostic>, CallError> {
    let diagnostics = findings::diagnostics(diagnostics, &plugin.id.name)
        .map_err(|fault| bad_answer(plugin, hook, &fault))?;
    if !is_wrong(&diagnostics) {
        let fault = Fault::new("it refused without naming an error");
        return Err(bad_answer(plugin, hook, &fault));
    }
    Ok(diagnostics)
}
