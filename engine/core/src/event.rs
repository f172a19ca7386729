//! What happens in a build, as it happens.

use crate::diagnostic::Diagnostic;
use crate::graph::VertexId;

/// Which of a step's two outputs a piece of log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a vertex ended. Every vertex that a target reaches is reported by exactly one [`Event::Finished`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran (or was evaluated).
    Done,
    /// Found in the cache, or below something that was.
    Cached,
    Failed,
    Cancelled,
}

/// Something happened. Times are whatever the receiver's clock says when it hears of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The graph is known: a display name and a group for each vertex that a target reaches, in the graph's order.
    Planned {
        vertices: Vec<(VertexId, String, String)>,
    },
    /// A vertex is being worked on. `reason` says why no cache entry served, for those that looked.
    Started {
        vertex: VertexId,
        reason: Option<String>,
    },
    /// Output of a running command.
    Log {
        vertex: VertexId,
        stream: Stream,
        data: Vec<u8>,
    },
    Finished {
        vertex: VertexId,
        ending: Ending,
    },
    /// Work that is not a vertex: `pulling alpine`, `writing layout`. `id` joins begin, progress and end.
    Begin {
        id: u64,
        what: String,
    },
    /// `current` of `total` bytes; `total` 0 when unknown.
    Progress {
        id: u64,
        current: u64,
        total: u64,
    },
    End {
        id: u64,
        ok: bool,
    },
    Diagnostic(Diagnostic),
    /// Why the plan is what it is, as the frontend says; before anything of the plan begins.
    Reason(Diagnostic),
}

/// Hears what happens. Must not block for long and cannot change the outcome.
pub trait EventSink: Sync {
    fn emit(&self, event: Event);
}

/// Hears and forgets.
pub struct Silent;

impl EventSink for Silent {
    fn emit(&self, _: Event) {}
}
