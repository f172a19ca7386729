//! What a plugin for kiln is written against: the contract in `wit/` as Rust, and what makes it pleasant to use.
//!
//! A plugin implements traits of [`plugin`] for a type of its own and ends with `kiln_sdk::export_instruction!(It);`
//! or a sibling of that macro. Built with `--target wasm32-unknown-unknown` and the linker `wasm-component-ld`, the
//! crate is a component whose imports are the host functions it calls. Built natively, the same crate is a library
//! whose tests call the traits; host functions are not there then, so keep them at the rim.
//!
//! ```
//! use kiln_sdk::GraphBuilder;
//! use kiln_sdk::plugin::{Instruction, Plugin};
//! use kiln_sdk::wit::describe::PluginInfo;
//! use kiln_sdk::wit::diagnostics::Diagnostic;
//! use kiln_sdk::wit::instruction_types::{Descriptor, InstructionError, Outcome, Stage, Statement};
//! use kiln_sdk::wit::types::Pair;
//!
//! /// `TOUCH PATH…`: empty files.
//! struct Touch;
//!
//! impl Plugin for Touch {
//!     fn describe() -> PluginInfo {
//!         PluginInfo::new("touch", env!("CARGO_PKG_VERSION"), "makes empty files").license("Apache-2.0")
//!     }
//! }
//!
//! impl Instruction for Touch {
//!     fn instructions() -> Vec<Descriptor> {
//!         vec![Descriptor::new("TOUCH", "TOUCH PATH…", "makes empty files")]
//!     }
//!
//!     fn validate(statements: Vec<Statement>) -> Vec<Diagnostic> {
//!         let empty = statements.iter().filter(|statement| statement.arguments.is_empty());
//!         empty.map(|statement| Diagnostic::error("no-path", "TOUCH needs a path").at(&statement.at)).collect()
//!     }
//!
//!     fn apply(statement: Statement, stage: &Stage, _: &[Pair]) -> Result<Outcome, InstructionError> {
//!         let mut graph = GraphBuilder::new().at(&statement.at, statement.original.as_str());
//!         let mut root = stage.has_base.then(|| graph.base());
//!         for path in &statement.arguments {
//!             root = Some(graph.make_file(root, path.value.as_str(), vec![], 0o644));
//!         }
//!         Ok(Outcome { fragment: graph.finish(), root, ..Outcome::default() })
//!     }
//! }
//!
//! kiln_sdk::export_instruction!(Touch);
//! ```

mod about;
mod config;
pub mod crash;
mod defaults;
pub mod diagnose;
mod frontend;
pub mod graph;
mod instruction;
pub mod memory;
pub mod plugin;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod trees;
pub mod wit;
pub mod worlds;

pub use graph::GraphBuilder;
