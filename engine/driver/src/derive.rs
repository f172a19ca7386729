//! Lets a component say, now that files exist, which of them go where; and does it.

use std::sync::Arc;

use kiln_core::graph::{DeriveOp, Op};
use kiln_core::merged::{ContentReader, Merged, MergedView};
use kiln_core::seams::{FileInfo, HostError, TreeView};
use kiln_core::tree::{Content, Place};
use kiln_core::{Event, FileDigest, Stack, Vertex};
use kiln_plugin::DeriveError;
use kiln_store::Store;

use crate::context::LocalContext;
use crate::error::BuildError;
use crate::forms::lock;
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
        let mut stacks = Vec::new();
        let mut views: Vec<Arc<dyn TreeView>> = Vec::new();
        for input in 0..inputs.len() {
            let stack = self.stack_of(&pinned.graph, vertex, input, inputs)?;
            views.push(Arc::new(self.stack_view(&stack)?));
            stacks.push(stack);
        }
        let derived = lock(&self.driver.plugins)
            .derive(&op.plugin, &op.task, views, &vertex.platform, self, self.cancel)
            .map_err(|error| match error {
                DeriveError::Wrong(diagnostics) => BuildError::Wrong(
                    diagnostics
                        .into_iter()
                        .map(|diagnostic| match &diagnostic.primary {
                            Some(_) => diagnostic,
                            None => diagnostic.at(vertex.origin.first().cloned()),
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
    fn stack_view(&self, stack: &Stack) -> Result<StackView, BuildError> {
        for layer in &stack.0 {
            let tree = self.forms.tree(layer)?;
            self.forms.directories_for(&tree)?;
            let here = |entry: &kiln_core::Entry| matches!(&entry.kind, kiln_core::Kind::File(file) if file.content.place == Place::Here);
            if tree.entries().iter().any(|(_, entry)| here(entry)) {
                self.forms.directory(layer)?;
            }
        }
        Ok(StackView {
            merged: self.merged(stack)?,
            store: self.driver.store.clone(),
            contexts: self.forms.contexts(),
        })
    }
}

struct StackView {
    merged: Merged,
    store: Store,
    contexts: Vec<Arc<LocalContext>>,
}

impl StackView {
    fn view(&self) -> MergedView<'_> {
        MergedView::new(&self.merged, self)
    }
}

impl ContentReader for StackView {
    fn read(&self, content: &Content, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        let read = match &content.place {
            Place::Context { context, .. } => self.contexts[*context as usize].read(content, offset, max),
            _ => crate::context::read_stored(&self.store, content, offset, max),
        };
        read.map_err(|error| HostError::new("other", error.to_string()))
    }

    fn digest(&self, _: &Content) -> Result<FileDigest, HostError> {
        unreachable!("files of layers have digests")
    }
}

impl TreeView for StackView {
    fn read(&self, path: &str, offset: u64, max: usize) -> Result<Vec<u8>, HostError> {
        self.view().read(path, offset, max)
    }

    fn stat(&self, path: &str) -> Result<FileInfo, HostError> {
        self.view().stat(path)
    }

    fn real_path(&self, path: &str) -> Result<String, HostError> {
        self.view().real_path(path)
    }

    fn children(&self, path: &str) -> Result<Vec<FileInfo>, HostError> {
        self.view().children(path)
    }

    fn glob(&self, patterns: &[String], limit: usize) -> Result<Vec<FileInfo>, HostError> {
        self.view().glob(patterns, limit)
    }

    fn hash(&self, path: &str) -> Result<String, HostError> {
        self.view().hash(path)
    }
}
