//! Cancellation as a value: a level that only rises, and a descriptor that wakes whoever polls.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// Shared by everything that waits. Raising the level wakes nobody by itself: whoever raises it also makes the
/// descriptor readable (an eventfd or a pipe it holds the other end of).
#[derive(Debug, Default)]
pub struct Cancel {
    level: AtomicU8,
    wake: Option<OwnedFd>,
}

impl Cancel {
    /// `wake` becomes readable, and stays so, once the level has been raised.
    pub fn new(wake: Option<OwnedFd>) -> Self {
        Self { level: AtomicU8::new(0), wake }
    }

    /// 0: go on. 1: stop what runs, gently first. 2: at once.
    pub fn level(&self) -> u8 {
        self.level.load(Ordering::Acquire)
    }

    pub fn is_cancelled(&self) -> bool {
        self.level() > 0
    }

    /// Raises the level to at least `level`; it never falls.
    pub fn raise(&self, level: u8) {
        self.level.fetch_max(level, Ordering::AcqRel);
    }

    /// To be polled for input beside whatever else is waited for.
    pub fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_ref().map(AsFd::as_fd)
    }
}
