//! Finds the shared libraries that ELF files need, by reading them and never by running anything.
//!
//! A component writes [`Request::task`] into a `derive-op` over the tree that holds the files, and the tree that they
//! are to be copied onto if there is one, and answers the question that follows with [`derive`]. What comes out is a tree with the files, their interpreter and every library
//! at the paths where the dynamic linker looks for them.
//!
//! Directories that are links in the first tree become directories, and those that are links in the second are gone
//! through: closures land on trees with `/usr` merged and not, wherever they come from.

mod answer;
mod cache;
mod elf;
mod files;
mod guess;
mod request;
mod search;
mod walk;

pub use answer::{derive, layer, placed};
pub use elf::{Elf, ElfError, Machine, read};
pub use files::{Files, Stat};
pub use request::Request;
pub use walk::{Closure, Item, Problem, closure};

/// The codes of all findings of this crate, with a sentence each and whether they end the build.
pub const RULES: [(&str, &str, bool); 7] = [
    ("closure-file", "a file that is asked for is not there, or is no program and no library", true),
    ("closure-missing", "a library or an interpreter is nowhere that the dynamic linker looks", true),
    ("closure-machine", "files for different machines are to run together", true),
    ("closure-platform", "the files are for another machine than the image", false),
    (
        "closure-nss",
        "names are looked up, and what the C library opens for that is not in the closure",
        false,
    ),
    (
        "closure-libgcc",
        "threads are cancelled, and what the C library opens for that is not in the closure",
        false,
    ),
    (
        "closure-gconv",
        "text is converted, and what the C library opens for that is not in the closure",
        false,
    ),
];

#[cfg(not(target_family = "wasm"))]
pub mod testing;
