//! Tar streams as layers and as archives.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::images::layer(bytes));
