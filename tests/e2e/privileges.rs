//! Counts the tests that could not run here, with the reason, so that none passes in silence.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// Leaves the test, counted, when it is not run by root.
macro_rules! needs_root {
    () => {
        if !$crate::privileges::is_root() {
            return $crate::privileges::not_run(module_path!(), "needs root");
        }
    };
}
pub(crate) use needs_root;

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("`id` runs everywhere");
    output.stdout == b"0\n"
}

/// Says so on standard error, past the capture of the test harness, and adds a line to the file named by
/// `KILN_TESTS_NOT_RUN`, which `tests/run` shows at the end.
pub(crate) fn not_run(module: &str, reason: &str) {
    let test = std::thread::current().name().unwrap_or(module).to_owned();
    let line = format!("not run: {test}: {reason}\n");
    // The harness captures the print macros only.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("KILN_TESTS_NOT_RUN") {
        let mut file =
            OpenOptions::new().append(true).create(true).open(path).expect("the list of tests not run opens");
        file.write_all(line.as_bytes()).expect("the list of tests not run is written");
    }
}
