//! Holds kiln against a table of small builds, each derived from a paragraph of the Dockerfile specification.
//!
//! Every case is a test with its own name: `cargo test --test conformance -- 7.4` runs those whose paragraphs begin
//! with 7.4, any other text those that hold it. README.md explains the table.

#[path = "../e2e/bases.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use more of it")]
mod bases;

mod builders;
mod cases;
mod coverage;
mod entries;
mod expectations;
mod images;
mod scene;
mod server;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use builders::Builder;
use cases::Case;
use scene::Stage;

/// What the command line asks for, in the words of Rust's own test harness.
#[derive(Default)]
struct Request {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    threads: Option<usize>,
}

impl Request {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut request = Self::default();
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) if option.starts_with("--") => {
                    (option.to_owned(), Some(value.to_owned()))
                }
                _ => (word.clone(), None),
            };
            let mut value =
                || value.clone().or_else(|| words.next()).ok_or(format!("`{option}` wants a value"));
            match option.as_str() {
                "--exact" => request.exact = true,
                "--list" => request.list = true,
                "--skip" => request.skipped.push(value()?),
                "--test-threads" => {
                    request.threads = Some(value()?.parse().map_err(|_| "`--test-threads` wants a number")?);
                }
                "--format" | "--color" => drop(value()?),
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q" | "--include-ignored" => {
                }
                option if option.starts_with('-') => return Err(format!("no such option: `{option}`")),
                _ => request.filters.push(word),
            }
        }
        Ok(request)
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| match self.exact {
            true => name == filter,
            // A number means a paragraph, not every name that happens to hold it.
            false if filter.starts_with(|first: char| first.is_ascii_digit()) => {
                name.starts_with(filter.as_str()) || name.contains(&format!("+{filter}"))
            }
            false => name.contains(filter.as_str()),
        };
        (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// A test: a case, or one of the checks of the table itself.
enum Test {
    Case(Case),
    Table(&'static str, coverage::Check),
}

impl Test {
    fn name(&self) -> &str {
        match self {
            Self::Case(case) => &case.name,
            Self::Table(name, _) => name,
        }
    }
}

fn main() -> ExitCode {
    let request = match Request::read(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let directory = bases::repository().join("tests/conformance");
    let cases = cases::read(&directory.join("cases"));
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let checks = coverage::CHECKS.iter().map(|(name, check)| Test::Table(name, *check));
    let tests: Vec<Test> =
        cases.into_iter().map(Test::Case).chain(checks).filter(|test| request.wants(test.name())).collect();
    if request.list {
        for test in &tests {
            println!("{}: test", test.name());
        }
        return ExitCode::SUCCESS;
    }
    run(tests, &names, request.threads)
}

fn run(tests: Vec<Test>, names: &[String], threads: Option<usize>) -> ExitCode {
    println!("\nrunning {} tests", tests.len());
    let builder = match std::env::var("COMPARE_WITH").as_deref() {
        Ok("buildkit") => Builder::BuildKit,
        Ok("buildah") => Builder::Buildah,
        _ => Builder::Kiln,
    };
    let root = rustix::process::geteuid().is_root();
    let (runnable, not_run): (Vec<Test>, Vec<Test>) =
        tests.into_iter().partition(|test| root || matches!(test, Test::Table(..)));
    if !not_run.is_empty() {
        report_not_run(not_run.len());
    }
    let temporary = tempfile::Builder::new().prefix("kiln-conformance-").tempdir().expect("a directory");
    let stage = runnable.iter().any(|test| matches!(test, Test::Case(_))).then(|| Stage {
        builder,
        directory: temporary.path().to_owned(),
        config: bases::config(&["busybox"]),
        bases: base_images(&["busybox"]),
        server: server::serve(temporary.path()),
    });
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads
        .or_else(|| std::env::var("RUST_TEST_THREADS").ok()?.parse().ok())
        .unwrap_or(available + 2)
        .max(1);
    // Failures are printed at the end; a panic says the same once more, in the middle of other tests.
    std::panic::set_hook(Box::new(|_| {}));
    let known = coverage::known_differences(builder);
    let next = AtomicUsize::new(0);
    let differing = AtomicUsize::new(0);
    let failed: Mutex<Vec<(String, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(runnable.len()) {
            scope.spawn(|| {
                while let Some(test) = runnable.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut found = outcome(test, names, stage.as_ref());
                    let is_known = known.iter().any(|name| name == test.name());
                    let word = match (&found, is_known) {
                        (None, false) => "ok",
                        (None, true) => "ok, although listed as a known difference",
                        (Some(_), false) => "FAILED",
                        (Some(_), true) => "differs, as is known",
                    };
                    if is_known && found.take().is_some() {
                        differing.fetch_add(1, Ordering::Relaxed);
                    }
                    // One write, so that lines of several threads do not mix.
                    let line = format!("test {} ... {word}\n", test.name());
                    let _ = std::io::stdout().write_all(line.as_bytes());
                    if let Some(found) = found {
                        failed
                            .lock()
                            .unwrap_or_else(|poisoned| poisoned.into_inner())
                            .push((test.name().into(), found));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    failed.sort();
    for (name, found) in &failed {
        println!("\n---- {name}\n{found}");
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out\n",
        runnable.len() - failed.len() - differing.load(Ordering::Relaxed),
        failed.len(),
        not_run.len() + differing.load(Ordering::Relaxed)
    );
    if !failed.is_empty() && std::env::var_os("KILN_CONFORMANCE_KEEP").is_some() {
        println!("kept: {}\n", temporary.keep().display());
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// What is wrong, as one text; `None` if nothing is.
fn outcome(test: &Test, names: &[String], stage: Option<&Stage>) -> Option<String> {
    let found = catch_unwind(AssertUnwindSafe(|| match (test, stage) {
        (Test::Table(_, check), _) => check(names),
        (Test::Case(case), Some(stage)) => scene::play(case, stage),
        (Test::Case(_), None) => unreachable!("the stage is set where there are cases"),
    }))
    .unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        vec![text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()]
    });
    let place = match test {
        Test::Case(case) => format!("{}\n", case.place),
        Test::Table(..) => String::new(),
    };
    (!found.is_empty()).then(|| place + &found.join("\n"))
}

/// Base images as they lie beside the registry that serves them.
fn base_images(names: &[&str]) -> Vec<images::Image> {
    let directory =
        std::env::var_os("KILN_BASES").map_or_else(|| bases::repository().join("target/bases"), Into::into);
    names
        .iter()
        .flat_map(|name| images::read_layout(&directory.join(name)).expect("a base image can be read"))
        .collect()
}

/// Owners and devices in contexts need root; `tests/run` shows the line at its end.
fn report_not_run(count: usize) {
    let line = format!("not run: conformance, {count} cases: needs root\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os("KILN_TESTS_NOT_RUN") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of tests not run is written");
    }
}
