//! Names of images, platforms and modes.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kiln_fuzz::words::names(text));
