//! Lets a component say, now that files exist, which of them go where; and does it.

use std::sync::Arc;

use kiln_core::graph::{ContextSource, DeriveOp, GitSource, HttpSource, Op};
use kiln_core::seams::{
    ContextInfo, GitInfo, HostError, HttpInfo, ImageInfo, ImageRequest, Services, TreeView,
};
use kiln_core::{Diagnostic, Event, Graph, Output, Platform, Span, Stack, Vertex};
use kiln_plugin::DeriveError;

use crate::error::BuildError;
use crate::resolve::Pinned;
use crate::session::Session;

impl Session<'_> {
    /// The stack that a deriving component makes of its inputs.
    pub(crate) fn derive(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        op: &DeriveOp,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        let mut stacks = (0..inputs.len())
            .map(|input| self.stack_of(&pinned.graph, vertex, input, inputs))
            .collect::<Result<Vec<_>, _>>()?;
        let services = Inputs::new(self, "a derivation");
        let derived = self.with_desk(|desk| {
            let views = stacks.iter().map(|stack| desk.open(stack.clone())).collect();
            let cancel = self.cancel_of(pinned);
            self.plugins.derive(&op.plugin, &op.task, views, &vertex.platform, &services, cancel)
        });
        let derived = derived.map_err(|error| match error {
            DeriveError::Wrong(diagnostics) => written_at(BuildError::Wrong(diagnostics), &vertex.origin),
            DeriveError::Cancelled => BuildError::Cancelled,
            error => BuildError::world(format!("could not derive `{}`", vertex.name), error),
        })?;
        for diagnostic in derived.diagnostics {
            self.events.emit(Event::Diagnostic(diagnostic));
        }
        self.rearrange(&derived.graph, &mut stacks).map_err(|error| written_at(error, &vertex.origin))?;
        Ok(stacks[derived.root.vertex].clone())
    }

    /// Does what a plugin says with files: a graph of file, merge and diff ops, whose first vertices stand for what is in
    /// `stacks`. Adds the stacks of all others.
    pub(crate) fn rearrange(&self, graph: &Graph, stacks: &mut Vec<Stack>) -> Result<(), BuildError> {
        for id in stacks.len()..graph.len() {
            let vertex = &graph[id];
            let inputs: Vec<Stack> = vertex.inputs.iter().map(|input| stacks[input.vertex].clone()).collect();
            stacks.push(match &vertex.op {
                Op::File(op) => self.evaluate(graph, vertex, op, &inputs)?,
                Op::Merge => Stack(inputs.into_iter().flat_map(|stack| stack.0).collect()),
                Op::Diff => self.difference(graph, vertex, &inputs)?,
                Op::Source(_) => Stack::default(),
                op => unreachable!("a fragment was let through with {op:?}"),
            });
        }
        Ok(())
    }
}

/// What a derivation or a transform may ask: nothing. It sees its inputs, and everything else would not be in its key.
pub(crate) struct Inputs<'s> {
    session: &'s Session<'s>,
    /// Who sees no more, for messages.
    who: &'static str,
}

impl<'s> Inputs<'s> {
    pub(crate) fn new(session: &'s Session<'s>, who: &'static str) -> Self {
        Self { session, who }
    }

    fn refused<T>(&self) -> Result<T, HostError> {
        Err(HostError::new("denied", format!("{} sees its inputs and nothing else", self.who)))
    }
}

impl Services for Inputs<'_> {
    fn lookup_contexts(&self, names: &[String], _: &Platform) -> Vec<Option<ContextInfo>> {
        names.iter().map(|_| None).collect()
    }

    fn context_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn open_context(&self, _: &ContextSource) -> Result<Arc<dyn TreeView>, HostError> {
        self.refused()
    }

    fn open_build_file(&self) -> Result<Arc<dyn TreeView>, HostError> {
        self.refused()
    }

    fn images(&self, requests: &[ImageRequest]) -> Vec<Result<ImageInfo, HostError>> {
        requests.iter().map(|_| self.refused()).collect()
    }

    fn git(&self, requests: &[GitSource]) -> Vec<Result<GitInfo, HostError>> {
        requests.iter().map(|_| self.refused()).collect()
    }

    fn http(&self, requests: &[HttpSource]) -> Vec<Result<HttpInfo, HostError>> {
        requests.iter().map(|_| self.refused()).collect()
    }

    fn solve(&self, _: Graph, _: &[Output]) -> Result<Vec<Arc<dyn TreeView>>, HostError> {
        self.refused()
    }

    fn keep_text(&self, name: &str, text: &str) {
        self.session.keep_text(name, text);
    }

    fn log(&self, level: &str, plugin: &str, message: &str) {
        self.session.log(level, plugin, message);
    }

    fn report(&self, diagnostic: Diagnostic) {
        self.session.report(diagnostic);
    }
}

/// What a component derives stands in no file: findings about it are about the line that asked for it.
fn written_at(error: BuildError, origin: &[Span]) -> BuildError {
    let place = |diagnostics: Vec<Diagnostic>| {
        let place = |diagnostic: Diagnostic| match diagnostic.primary {
            Some(_) => diagnostic,
            None => diagnostic.at_origin(origin),
        };
        diagnostics.into_iter().map(place).collect()
    };
    match error {
        BuildError::Wrong(diagnostics) => BuildError::Wrong(place(diagnostics)),
        BuildError::Refused(diagnostics) => BuildError::Refused(place(diagnostics)),
        error => error,
    }
}
