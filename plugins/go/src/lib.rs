//! The Go preset: a module in, the smallest image that runs its program out.
//!
//! [`project`] tells what lies in the context, [`bounds`] what would have to lie above it, [`settings`] what the person wants, [`headers`] which part of the sources decides
//! how a program is built; [`toolchain`] has the commands that run in the builder, [`listing`] reads what `go list` says,
//! [`plan`] puts the steps and the image together, and [`eject`] writes the same as a Dockerfile.

mod bounds;
mod component;
mod context;
mod eject;
mod headers;
mod listing;
mod modfile;
mod plan;
mod project;
mod settings;
mod toolchain;

pub use component::Go;
