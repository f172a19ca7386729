//! Sources on other machines: fixes what each of them is at this moment, and makes layers of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kiln_core::graph::{Op, SourceOp};
use kiln_core::seams::HostError;
use kiln_core::{Diagnostic, Graph, LayerId, Vertex, VertexId};

use crate::error::BuildError;
use crate::forms::lock;
use crate::services::concurrently;
use crate::session::Session;

/// Servers that are asked at a time.
const AT_ONCE: usize = 8;

/// Why something on another machine could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{message}")]
    Refused { why: Why, message: String, help: String },
    #[error(transparent)]
    Build(#[from] BuildError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not there.
    NotFound,
    /// It is not what it was said to be.
    Mismatch,
    /// What was asked for cannot be.
    Invalid,
    /// It is not for everybody.
    Unauthorized,
    /// The server, or the way to it, is at fault.
    Unavailable,
    /// A program that is needed is missing on this machine.
    NoProgram,
}

impl Why {
    /// As in [`Diagnostic::code`].
    fn code(self) -> &'static str {
        match self {
            Self::NotFound => "source-not-found",
            Self::Mismatch => "checksum-mismatch",
            Self::Invalid => "invalid-source",
            Self::Unauthorized => "source-unauthorized",
            Self::Unavailable => "source-unavailable",
            Self::NoProgram => "program-missing",
        }
    }

    /// As in [`HostError::code`].
    fn host_code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Mismatch | Self::Invalid => "invalid-argument",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable | Self::NoProgram => "unavailable",
        }
    }

    /// The build asks for something that is not to be had, and would anywhere.
    fn is_wrong(self) -> bool {
        matches!(self, Self::NotFound | Self::Mismatch | Self::Invalid)
    }
}

impl RemoteError {
    pub(crate) fn new(why: Why, message: impl Into<String>) -> Self {
        Self::Refused { why, message: message.into(), help: String::new() }
    }

    pub(crate) fn with_help(mut self, text: impl Into<String>) -> Self {
        if let Self::Refused { help, .. } = &mut self {
            *help = text.into();
        }
        self
    }

    /// As a finding at the place that asks for it, if that is a place in a file.
    pub(crate) fn at(self, vertex: Option<&Vertex>) -> BuildError {
        match self {
            Self::Build(error) => error,
            Self::Refused { why, message, help } => {
                let place = vertex.and_then(|vertex| vertex.origin.first().cloned());
                let diagnostic = Diagnostic::error(why.code(), message).at(place).help(help);
                match why.is_wrong() {
                    true => BuildError::wrong(diagnostic),
                    false => BuildError::Refused(vec![diagnostic]),
                }
            }
        }
    }
}

/// What was found out in this build, by what was asked: each only once, however many ask at a time.
pub(crate) struct Found<T>(Mutex<HashMap<String, Slot<T>>>);

/// Filled by whoever comes first; the others wait for its lock.
type Slot<T> = Arc<Mutex<Option<Arc<T>>>>;

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Found<T> {
    pub(crate) fn or_find(
        &self,
        what: &str,
        find: impl FnOnce() -> Result<T, RemoteError>,
    ) -> Result<Arc<T>, RemoteError> {
        let slot = lock(&self.0).entry(what.to_owned()).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(found) = &*slot {
            return Ok(found.clone());
        }
        let found = Arc::new(find()?);
        *slot = Some(found.clone());
        Ok(found)
    }

    /// What is known already.
    pub(crate) fn known(&self, what: &str) -> Option<Arc<T>> {
        let slot = lock(&self.0).get(what)?.clone();
        lock(&slot).clone()
    }
}

impl Session<'_> {
    /// Writes into every remote source that a target needs what it is now: a download's digest, a branch's commit. From
    /// here on nothing else is used.
    pub(crate) fn pin_remotes(&self, graph: &mut Graph, reachable: &[bool]) -> Result<(), BuildError> {
        let remotes: Vec<VertexId> = (0..graph.len())
            .filter(|id| reachable[*id])
            .filter(|id| matches!(&graph[*id].op, Op::Source(SourceOp::Git(_) | SourceOp::Http(_))))
            .collect();
        let mut wrong = Vec::new();
        for some in remotes.chunks(AT_ONCE) {
            let asked: &Graph = graph;
            let answers = concurrently(some, |id| self.pinned_remote(&asked[*id]));
            for (id, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(source) => *graph.op_mut(*id) = Op::Source(source),
                    Err(BuildError::Wrong(diagnostics)) => wrong.extend(diagnostics),
                    Err(error) => return Err(error),
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(BuildError::Wrong(wrong)) }
    }

    fn pinned_remote(&self, vertex: &Vertex) -> Result<SourceOp, BuildError> {
        let source = match &vertex.op {
            Op::Source(SourceOp::Http(http)) => self.pin_http(http, &vertex.origin).map(SourceOp::Http),
            Op::Source(SourceOp::Git(git)) => self.pin_git(git, &vertex.origin).map(SourceOp::Git),
            _ => unreachable!("only remote sources are pinned here"),
        };
        source.map_err(|error| error.at(Some(vertex)))
    }

    /// The layer that a pinned remote source is.
    pub(crate) fn remote_layer(&self, vertex: &Vertex) -> Result<LayerId, BuildError> {
        let layer = match &vertex.op {
            Op::Source(SourceOp::Http(http)) => self.http_layer(http),
            Op::Source(SourceOp::Git(git)) => self.git_layer(git),
            _ => unreachable!("`{}` is found by its record", vertex.name),
        };
        layer.map_err(|error| error.at(Some(vertex)))
    }

    /// Whether a layer's tree and bytes are here, without asking anybody.
    pub(crate) fn is_at_hand(&self, layer: &LayerId) -> bool {
        matches!(self.driver.store.tree(layer), Ok(Some(tree)) if tree.is_empty() || self.forms.has_bytes(layer))
    }

    /// For a plugin, in its own words.
    pub(crate) fn remote_fault(&self, error: RemoteError) -> HostError {
        match error {
            RemoteError::Build(error) => error.into_host(),
            RemoteError::Refused { why, message, .. } => {
                if !why.is_wrong() {
                    self.note_refusal();
                }
                HostError::new(why.host_code(), message)
            }
        }
    }
}
