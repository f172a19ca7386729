//! Remembers blobs, layers and results on local disk.
//!
//! Files only, no database, and no daemon: any number of processes share one [`Store`]. It knows nothing of registries,
//! of processes, of tar and image documents, or of what an op means. What it rests on is written in
//! docs/reference/store.md; the layout stands at [`Store`].
#![forbid(unsafe_code)]

mod attributes;
mod below;
mod blob;
mod cache_mount;
mod content;
mod context;
mod fault;
mod flat;
mod image;
mod lay_out;
mod layer;
mod listing;
mod lock;
mod notes;
mod prune;
mod record;
mod remove;
mod scan;
mod sealed;
mod stamp;
mod stat_index;
mod step;
mod store;
mod temp;
#[cfg(test)]
mod tests;
mod tree_file;
mod unpack;
mod usage;
mod walk;
mod writing;

pub use blob::{BlobError, BlobFile, BlobWriter};
pub use cache_mount::{CacheDir, CacheError, CacheSharing, own};
pub use context::{ContextError, ContextIndex, Named};
pub use fault::FsError;
pub use flat::MAX_LOWERS;
pub use lay_out::{LayOutError, OpenOutside};
pub use layer::{BlobNote, LayerDir, OpenContentError};
pub use lock::{Claim, LockError};
pub use prune::{PruneOptions, Pruned};
pub use stamp::Flush;
pub use step::{CommitError, MAX_STEP_ENTRIES, StepDir};
pub use store::{OpenError, OwnerMapping, Store};
pub use temp::{Existing, Sweep};
pub use unpack::{MAX_ENTRIES, UnpackError, Unpacking};
pub use usage::{EntryKind, Usage, UsageEntry, UsageOfKind};
