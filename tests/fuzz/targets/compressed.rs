//! Compressed streams, told apart by their first bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::images::compressed(bytes));
