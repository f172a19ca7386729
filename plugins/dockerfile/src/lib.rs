//! Turns a Dockerfile into a build graph.

pub mod arguments;
pub mod directives;
pub mod expand;
pub mod heredoc;
pub mod json;
pub mod lines;
pub mod parse;
pub mod pattern;
pub mod platform;
pub mod reference;
pub mod stages;
pub mod words;
