//! Whole build files, planned with the instructions that ship with kiln.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kiln_fuzz::files::plan(text));
