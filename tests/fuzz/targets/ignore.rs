//! Ignore files as the frontend and as the engine read them: the last line is a path.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kiln_fuzz::words::ignore(text));
