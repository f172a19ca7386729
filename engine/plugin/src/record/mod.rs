//! Writes calls of plugins down, and asks plugins the same again: what they were told, what they asked, what they answered.
//!
//! A call is a function of its arguments and of what the host answered, so both together make a test that needs neither
//! the build nor the network it came from.

mod fixture;
mod hooks;
mod host;
mod recorder;
mod rehearsal;
mod spelling;
mod tape;

pub use fixture::{Asked, Ending, Fixture, FixtureError, HostCall};
pub use recorder::{Recorder, Written};
pub use rehearsal::{Rehearsal, RehearsalError, Reply};

pub(crate) use hooks::HOOKS;
pub(crate) use host::{Taped, TapedHost};
pub(crate) use spelling::write;
pub(crate) use tape::{Tape, tree};

/// The arguments of a call, for its record.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => { || vec![$($crate::record::write(&$argument)),*] };
}
pub(crate) use arguments;
