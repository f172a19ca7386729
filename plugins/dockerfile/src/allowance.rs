//! Bounds the text that one plan may hold, whatever its file makes of a few lines: `ENV a=$a$a` doubles with each.

use std::cell::Cell;
use std::rc::Rc;

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};

/// What a plan may hold in all: what variables add to texts, environments of steps, lines of the history. Much of it is
/// in several places, and hosts take 64 MiB of an answer.
const TOTAL_BYTES: usize = 24 << 20;

/// Longest single text of those. Hosts take strings of 16 MiB.
pub const TEXT_BYTES: usize = 8 << 20;

/// The code of the finding that it ran out.
pub const EXCEEDED: &str = "too-much-text";

/// What is left. Clones share it.
#[derive(Clone, Debug)]
pub struct Allowance(Rc<Cell<usize>>);

impl Default for Allowance {
    fn default() -> Self {
        Allowance(Rc::new(Cell::new(TOTAL_BYTES)))
    }
}

impl Allowance {
    /// Takes `bytes`, of one text. False when that is too much, and then nothing is left for others either.
    pub fn spend(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes).filter(|_| bytes <= TEXT_BYTES);
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Something did not fit.
    pub fn is_spent(&self) -> bool {
        self.0.get() == 0
    }

    /// Everything is there again: what was planned so far is thrown away.
    pub fn refill(&self) {
        self.0.set(TOTAL_BYTES);
    }
}

/// The finding about the instruction at which it ran out.
pub fn exceeded(at: &Span) -> Diagnostic {
    let (total, text) = (TOTAL_BYTES >> 20, TEXT_BYTES >> 20);
    let message = format!(
        "variables make this file come to more than {total} MiB of text, or to {text} MiB in one instruction"
    );
    Diagnostic::error(EXCEEDED, message)
        .at(at)
        .help("look for a variable that is repeated in its own value, or put large texts into files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_spend_together_until_nothing_is_left() {
        let allowance = Allowance::default();
        let other = allowance.clone();
        for _ in 0..TOTAL_BYTES / TEXT_BYTES {
            assert!(other.spend(TEXT_BYTES));
        }
        assert!(!allowance.spend(1) && allowance.is_spent());
        other.refill();
        assert!(!allowance.is_spent() && !allowance.spend(TEXT_BYTES + 1) && other.is_spent());
    }
}
