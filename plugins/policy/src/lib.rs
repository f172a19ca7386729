//! The rules that organisations ask for, as a policy component that is configured without code.
//!
//! Each rule is an option of the plugin and is off without it ([`options`]); each violation has a code
//! ([`rules`]). The six modules named after the points of `wit/policy.wit` hold what is judged there, as functions
//! of facts and [`files`]; [`component`] alone knows that there is a host.

mod age;
mod base;
mod component;
mod credentials;
mod exec;
mod export;
mod files;
mod findings;
mod glob;
mod graph;
mod image;
mod layer;
mod names;
mod options;
mod packages;
mod passwd;
mod ports;
mod reference;
mod rules;
mod settings;
mod shell;
mod size;
mod source;
mod source_policy;
#[cfg(test)]
mod testing;
mod tokens;

pub use component::Policy;
