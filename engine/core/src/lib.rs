//! Decides what a build means and what is to be done next.
//!
//! Plain data and pure functions: no files, no clock, no environment, no network, no threads. The other rooms bring
//! things in and carry things out through the traits in [`seams`].
#![forbid(unsafe_code)]

pub mod cancel;
pub mod config;
pub mod diagnostic;
pub mod digest;
pub mod event;
pub mod explain;
pub mod fileop;
pub mod graph;
pub mod ignore;
pub mod key;
pub mod merged;
pub mod mode;
pub mod pattern;
pub mod plan;
pub mod platform;
pub mod reference;
pub mod seams;
pub mod select;
pub mod solve;
pub mod tree;
pub mod users;

pub use cancel::Cancel;
pub use config::{Healthcheck, ImageConfig};
pub use diagnostic::{Diagnostic, Position, Severity, Span};
pub use digest::{BlobDigest, CacheKey, ChainId, DiffId, Digest, FileDigest, LayerId, Stack, StackId};
pub use event::{Event, EventSink};
pub use graph::{Graph, Op, Output, Vertex, VertexId};
pub use ignore::Ignore;
pub use merged::Merged;
pub use plan::{HistoryEntry, Plan, Request, Target};
pub use platform::Platform;
pub use reference::ImageRef;
pub use select::Selection;
pub use solve::{Need, Solver};
pub use tree::{Entry, Kind, Tree, TreePath};
