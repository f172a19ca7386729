//! Talks to the person: arguments, progress, diagnostics, exit codes.
#![forbid(unsafe_code)]

fn main() {}
