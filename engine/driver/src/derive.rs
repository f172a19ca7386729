//! Lets a component say, now that files exist, which of them go where; and does it.

use std::sync::Arc;

use kiln_core::graph::{DeriveOp, Op};
use kiln_core::seams::TreeView;
use kiln_core::tree::Place;
use kiln_core::{Event, Stack, Vertex};
use kiln_plugin::DeriveError;

use crate::error::BuildError;
use crate::resolve::Pinned;
use crate::session::Session;
use crate::views::View;

impl Session<'_> {
    /// The stack that a deriving component makes of its inputs.
    pub(crate) fn derive(
        &self,
        pinned: &Pinned,
        vertex: &Vertex,
        op: &DeriveOp,
        inputs: &[Stack],
    ) -> Result<Stack, BuildError> {
        let mut stacks = Vec::new();
        let mut views: Vec<Arc<dyn TreeView>> = Vec::new();
        for input in 0..inputs.len() {
            let stack = self.stack_of(&pinned.graph, vertex, input, inputs)?;
            views.push(Arc::new(self.stack_view(&stack)?));
            stacks.push(stack);
        }
        let derived = self
            .plugins
            .derive(&op.plugin, &op.task, views, &vertex.platform, self, self.cancel)
            .map_err(|error| match error {
            DeriveError::Wrong(diagnostics) => BuildError::Wrong(
                diagnostics
                    .into_iter()
                    .map(|diagnostic| match &diagnostic.primary {
                        Some(_) => diagnostic,
                        None => diagnostic.at_origin(&vertex.origin),
                    })
                    .collect(),
            ),
            DeriveError::Cancelled => BuildError::Cancelled,
            error => BuildError::world(format!("could not derive `{}`", vertex.name), error),
        })?;
        for diagnostic in derived.diagnostics {
            self.events.emit(Event::Diagnostic(diagnostic));
        }
        let graph = &derived.graph;
        for id in stacks.len()..graph.len() {
            let vertex = &graph[id];
            let inputs: Vec<Stack> = vertex.inputs.iter().map(|input| stacks[input.vertex].clone()).collect();
            stacks.push(match &vertex.op {
                Op::File(op) => self.evaluate(graph, vertex, op, &inputs)?,
                Op::Merge => Stack(inputs.into_iter().flat_map(|stack| stack.0).collect()),
                Op::Diff => self.difference(graph, vertex, &inputs)?,
                Op::Source(_) => Stack::default(),
                op => unreachable!("a derivation was let through with {op:?}"),
            });
        }
        Ok(stacks[derived.root.vertex].clone())
    }

    /// A stack as plugins see it, every layer's files at hand.
    fn stack_view(&self, stack: &Stack) -> Result<View, BuildError> {
        for layer in &stack.0 {
            let tree = self.forms.tree(layer)?;
            self.forms.directories_for(&tree)?;
            let here = |entry: &kiln_core::Entry| matches!(&entry.kind, kiln_core::Kind::File(file) if file.content.place == Place::Here);
            if tree.entries().iter().any(|(_, entry)| here(entry)) {
                self.forms.directory(layer)?;
            }
        }
        Ok(View::new(self.merged(stack)?, &self.forms))
    }
}
