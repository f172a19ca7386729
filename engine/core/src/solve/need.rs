//! Says in which form layers are needed, and what that asks of the layers they are made from.

use crate::graph::Op;

/// In which form a reader needs an output's layers. What can be had as a later one can be had as an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The names of the layers.
    Names,
    /// What they hold, without the bytes of files.
    Tree,
    /// Their files, laid out.
    Directory,
    /// Their bytes, to be sent elsewhere.
    Blob,
}

impl Need {
    /// What an op needs of its inputs when `self` is needed of what it makes.
    pub(super) fn of_inputs(self, op: &Op) -> Self {
        match op {
            Op::Source(_) | Op::Merge => self,
            // Evaluated on trees; the bytes are needed as soon as those of its own layer are.
            Op::File(_) | Op::Diff => self.max(Self::Tree),
            Op::Exec(_) | Op::Derive(_) => self.max(Self::Directory),
        }
    }
}
