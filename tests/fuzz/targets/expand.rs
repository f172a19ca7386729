//! Words with variables and patterns: the first line is expanded, the others are values.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kiln_fuzz::words::expand(text));
