//! Build files cut into lines, here-documents, flags and statements.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| kiln_fuzz::files::parse(text));
