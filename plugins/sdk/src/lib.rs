//! What a plugin for kiln is written against: the contract in `wit/` as Rust, and what makes it pleasant to use.
//!
//! A plugin implements traits of [`plugin`] for a type of its own and ends with `kiln_sdk::export_instruction!(It);`
//! or a sibling of that macro. Built with `--target wasm32-unknown-unknown` and the linker `wasm-component-ld`, the
//! crate is a component whose imports are the host functions it calls. Built natively, the same crate is a library
//! whose tests call the traits; host functions are not there then, so keep them at the rim.

pub mod crash;
mod defaults;
pub mod diagnose;
pub mod graph;
pub mod plugin;
pub mod wit;
pub mod worlds;

pub use graph::GraphBuilder;
