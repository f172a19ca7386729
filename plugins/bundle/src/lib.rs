//! Embeds the components that ship with kiln.
//!
//! They use the contract that every plugin uses, and nothing here but their being here sets them apart.
#![forbid(unsafe_code)]

use kiln_plugin::{Builtin, Presence};

/// So placed, machine code can be run where it lies. 64 KiB is the largest page of any processor that kiln runs on.
#[repr(C, align(65536))]
struct OnPages<T>(T);

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));
