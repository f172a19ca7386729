//! Real steps in real namespaces, over a root made of one busybox.
//!
//! A `main` of its own instead of the usual test harness: the helper is this executable, started again, and must be
//! recognised before anything else happens. Arguments filter by name. What cannot run here is counted and said.
//! Started without privileges, all of it runs in a user namespace.

mod confinement;
mod lifetime;
mod mounts;
mod process;
mod rootless;
mod space;
mod terminal;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) type Test = (&'static str, fn());

fn main() -> ExitCode {
    kiln_sandbox::enter_if_helper();
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    // Roles this executable plays for its own tests.
    match arguments.first().map(String::as_str) {
        Some(lifetime::ROLE) => return lifetime::run_a_long_step(&arguments[1]),
        Some(terminal::ROLE) => return terminal::run_in_a_terminal(&arguments[1]),
        Some(terminal::PIPE_ROLE) => return terminal::run_with_own_descriptors(),
        Some("measure") => return space::measure(),
        _ => {}
    }
    // Options of cargo's own harness mean nothing here.
    arguments.retain(|argument| !argument.starts_with("--"));
    let suites = [process::TESTS, confinement::TESTS, mounts::TESTS, lifetime::TESTS, terminal::TESTS];
    let mut tests: Vec<Test> = suites.concat();
    if space::busybox().is_none() {
        println!("{} tests cannot run here: no statically linked busybox is installed", tests.len());
        return ExitCode::SUCCESS;
    }
    if arguments.first().map(String::as_str) == Some(rootless::ROLE) {
        return rootless::run_everything_inside(&tests, &arguments[1..]);
    }
    if !rustix::process::geteuid().is_root() {
        return rootless::run_everything_inside(&tests, &arguments);
    }
    tests.extend(rootless::TESTS);
    run(&tests, &arguments)
}

pub(crate) fn run(tests: &[Test], filters: &[String]) -> ExitCode {
    let mut failed = Vec::new();
    let mut count = 0;
    for (name, test) in tests {
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(&**filter)) {
            continue;
        }
        count += 1;
        let start = Instant::now();
        let passed = catch_unwind(test).is_ok();
        let word = if passed { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", start.elapsed().as_millis());
        if !passed {
            failed.push(*name);
        }
    }
    println!("{} of {count} tests passed", count - failed.len());
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// Lists functions as tests, under their own names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::Test] = &[$((stringify!($name), $name)),*];
    };
}
