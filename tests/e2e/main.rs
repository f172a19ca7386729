//! Runs the real binary as a person would and believes only what other tools read back.
//!
//! One module per behaviour. Tests that need root (for the sandbox, a mount, or to read back owners) live in modules
//! called `as_root`; where they cannot run they are counted and reported, see [`privileges`].

mod apt;
mod bases;
mod ejected;
mod privileges;
mod process;
mod readback;
mod registry;
mod server;
mod space;
mod steps;

mod authoring;
mod bad_input;
mod bad_registry;
mod cache;
mod calls;
mod cmd_forms;
mod conformance;
mod contexts;
mod copy;
mod debian;
mod disk;
mod dockerfile;
mod examples;
mod images;
mod instructions;
mod interrupts;
mod loading;
mod locks;
mod museum;
mod outputs;
mod planning;
mod plugins;
mod policies;
mod policy_calls;
mod policy_sources;
mod presets;
mod presets_attacks;
mod presets_c;
mod presets_c_options;
mod presets_go;
mod presets_go_kinds;
mod presets_java;
mod presets_java_kinds;
mod progress;
mod publishing;
mod remote;
mod reproducible;
mod run;
mod sandbox;
mod secrets;
mod sharing;
mod stages;
mod stock_policy;
mod tidy;
mod transforms;
