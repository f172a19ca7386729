//! Whole files against a host that lives in memory, with the instructions that ship with kiln.

mod build;
mod check;
mod properties;
mod world;
