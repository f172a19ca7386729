//! Turns a Dockerfile into a build graph.
//!
//! Text becomes lines ([`lines`], [`parse`]), lines become stages ([`stages`]), the request says which of them are
//! needed and what they begin with ([`resolve`], [`sources`], [`plan`]), and each line of those is evaluated by asking the plugin of
//! its keyword ([`eval`]). FROM, ARG and ONBUILD are done here. Sections are those of the Dockerfile specification.

// A finding is large, and a file that is wrong is the rare case.
#![allow(clippy::result_large_err)]

pub mod allowance;
pub mod answer;
pub mod arguments;
pub mod assemble;
pub mod checks;
pub mod component;
pub mod config;
pub mod directives;
pub mod epoch;
pub mod eval;
pub mod expand;
pub mod findings;
pub mod heredoc;
pub mod host;
pub mod ignore;
pub mod json;
pub mod lines;
pub mod load;
pub mod names;
pub mod onbuild;
pub mod outline;
pub mod parse;
pub mod pattern;
pub mod plan;
pub mod platform;
pub mod reference;
pub mod resolve;
pub mod run;
pub mod scope;
pub mod sources;
pub mod stages;
pub mod words;

#[cfg(test)]
mod tests;
