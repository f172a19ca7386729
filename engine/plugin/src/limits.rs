//! How much a component may use before it is stopped.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// What may be set per host. The rest are constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one component while it is called.
    pub memory_bytes: usize,
    /// Units of work per call, roughly one per instruction.
    pub fuel: u64,
    /// Time per call in which the component itself runs; waiting for the host does not count.
    pub time: Duration,
    /// What may be copied from the component to the host at once, in bytes of the host's values.
    pub copied_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            fuel: 20_000_000_000,
            time: Duration::from_secs(60),
            copied_bytes: 64 << 20,
        }
    }
}

/// A file with a component, as an artifact of a registry.
pub(crate) const COMPONENT_BYTES: u64 = 256 << 20;
/// Elements of one table.
const TABLE_ELEMENTS: usize = 20_000;
/// Core instances in one component.
const INSTANCES: usize = 64;
const TABLES: usize = 8;
const MEMORIES: usize = 4;

/// Operations of one graph.
pub(crate) const OPS: usize = 100_000;
/// Content of one `make-file`.
pub(crate) const FILE_BYTES: usize = 16 << 20;
/// One string of an answer.
pub(crate) const STRING_BYTES: usize = 16 << 20;
pub(crate) const DIAGNOSTICS: usize = 10_000;
/// Files that one frontend writes for the user, and the longest path of one.
pub(crate) const EJECTED: usize = 1_000;
pub(crate) const PATH_BYTES: usize = 4_096;
/// Filesystems to be looked at beside one image.
pub(crate) const SCANS: usize = 1_000;

/// Calls on trees per call of the component.
pub(crate) const TREE_CALLS: u32 = 100_000;
/// Bytes read from trees per call of the component.
pub(crate) const TREE_BYTES: u64 = 256 << 20;
/// The most that one `read` returns, and the longest file that `read-text` takes.
pub(crate) const READ_BYTES: usize = 16 << 20;
/// Times that names of contexts are asked for, per call of the component.
pub(crate) const LOOKUPS: u32 = 10_000;
/// Calls of `resolver`, and trees opened from `contexts`, per call of the component.
pub(crate) const RESOLVES: u32 = 256;
pub(crate) const SOLVES: u32 = 64;

/// Lines and bytes of log per call of the component.
pub(crate) const LOG_LINES: u32 = 1_000;
pub(crate) const LOG_BYTES: usize = 1 << 20;

/// Watches what a store allocates.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_bytes: usize,
    used: usize,
    /// A refused growth reaches the component as a failed allocation, and that usually ends in a trap that does not say
    /// why.
    pub(crate) denied: bool,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { memory_bytes: limits.memory_bytes, used: 0, denied: false }
    }

    /// Bytes of linear memory; it never shrinks.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.memory_bytes {
            self.denied = true;
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
