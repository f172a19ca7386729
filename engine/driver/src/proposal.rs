//! What a build would do, told and not done; and what its frontend would write for the person to build instead.

use kiln_core::graph::{Op, SourceOp};
use kiln_core::{Cancel, Diagnostic, EventSink, Plan, Platform, Target};
use kiln_plugin::EjectedFile;

use crate::Driver;
use crate::error::BuildError;
use crate::outcome::{SourceTexts, UsedPlugin};
use crate::request::BuildRequest;
use crate::session::Session;

/// The plan of a build, with the reasons for it.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub frontend: UsedPlugin,
    /// What decided that it is this one.
    pub reason: String,
    /// Why the frontend does what it does.
    pub reasons: Vec<Diagnostic>,
    /// What else it has to say.
    pub findings: Vec<Diagnostic>,
    /// Those that the images need, each after what it reads; without a name where there is nothing to be told.
    pub steps: Vec<ProposedStep>,
    pub targets: Vec<Target>,
    /// Seconds since 1970 that everything made here carries; absent: times stay as they come.
    pub epoch: Option<i64>,
}

/// One step that a build would make, or find in the cache.
#[derive(Clone, Debug)]
pub struct ProposedStep {
    pub name: String,
    /// The stage; empty for none.
    pub group: String,
    pub platform: Platform,
    /// `context`, `source`, `run`, `files`, `merge`, `diff` or `derive`.
    pub kind: &'static str,
}

impl Driver {
    /// Plans a build, and does nothing of it but what the frontend has to see built.
    ///
    /// # Errors
    ///
    /// As [`Self::build`], as far as that is known before anything is done.
    pub fn propose(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Proposal, BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.show_noticed();
        session.choose_frontend()?;
        let Plan { graph, targets, epoch, diagnostics, .. } = session.asked_plan()?;
        let id = session
            .plugins
            .frontend_id(&session.choice.frontend)
            .map_err(|error| session.not_planned(error))?;
        session.remember_contexts();
        let mut needed = vec![false; graph.len()];
        for root in targets.iter().filter_map(|target| target.root) {
            needed[root.vertex] = true;
        }
        for vertex in (0..graph.len()).rev() {
            if needed[vertex] {
                graph[vertex].inputs.iter().for_each(|input| needed[input.vertex] = true);
            }
        }
        let (reasons, findings) = diagnostics.into_iter().partition(|found| session.is_reason(found));
        let steps = (0..graph.len()).filter(|vertex| needed[*vertex]).map(|vertex| ProposedStep {
            name: graph[vertex].name.clone(),
            group: graph[vertex].group.clone(),
            platform: graph[vertex].platform.clone(),
            kind: kind(&graph[vertex].op),
        });
        Ok(Proposal {
            frontend: self.used_plugin(&id.name, &id.version, &id.digest),
            reason: session.choice.reason.clone(),
            reasons,
            findings,
            steps: steps.collect(),
            targets,
            epoch,
        })
    }

    /// An equivalent of the build in files that the person can keep: never empty.
    ///
    /// # Errors
    ///
    /// As [`Self::propose`]; [`BuildError::Wrong`] when the frontend has nothing to write.
    pub fn eject(
        &self,
        request: &BuildRequest,
        sources: &SourceTexts,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(UsedPlugin, Vec<EjectedFile>), BuildError> {
        let mut session = Session::new(self, request, sources, events, cancel);
        session.show_noticed();
        session.choose_frontend()?;
        let frontend = &session.choice.frontend;
        let answer =
            session.while_asking(|| session.plugins.eject(frontend, &session.asked(), &session, cancel));
        let files = answer.map_err(|error| session.not_planned(error))?;
        let id = session.plugins.frontend_id(frontend).map_err(|error| session.not_planned(error))?;
        session.remember_contexts();
        let nothing = |message: String, help: &str| {
            BuildError::wrong(Diagnostic::error("nothing-to-eject", message).help(help))
        };
        match files {
            None => Err(nothing(
                format!("the frontend `{}` cannot write its plan as files", id.name),
                "presets can; what is built from a build file is written down already",
            )),
            Some(files) if files.is_empty() => Err(nothing(
                format!("the frontend `{}` has nothing to write for this project", id.name),
                "`kiln plan` shows what it does",
            )),
            Some(files) => Ok((self.used_plugin(&id.name, &id.version, &id.digest), files)),
        }
    }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Source(SourceOp::Context(_)) => "context",
        Op::Source(_) => "source",
        Op::Exec(_) => "run",
        Op::File(_) => "files",
        Op::Merge => "merge",
        Op::Diff => "diff",
        Op::Derive(_) => "derive",
    }
}
