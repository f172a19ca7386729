//! Signatures of plugins: signed texts, and bundles of Sigstore.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kiln_fuzz::plugins::signatures(bytes));
