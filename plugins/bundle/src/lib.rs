//! Embeds the components that ship with kiln.
//!
//! They use the contract that every plugin uses, and nothing here but their being here sets them apart.
#![forbid(unsafe_code)]

use kiln_plugin::Builtin;

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));
