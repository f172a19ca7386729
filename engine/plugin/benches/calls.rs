//! Times what crosses the boundary to components, and prints a Markdown table of medians.
//!
//!     cargo bench -p kiln-plugin
//!
//! Builds the components that it calls, tests/bench/component and examples/plugin-instruction, first.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use kiln_core::{Cancel, Platform, Request};
use kiln_plugin::{Failure, FrontendChoice, Host, Limits, PlanError};
use nothing::Nothing;
use tempfile::TempDir;
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Config, Engine, Store};

#[path = "../tests/support/nothing.rs"]
mod nothing;

/// Runs of each kind; a median of so many is steady on a machine that does little else.
const RUNS: usize = 101;
const OPS: u32 = 3_000;
const LINES: u32 = 50;
const BUDGET: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let [bench, account] = ["tests/bench/component", "examples/plugin-instruction"].map(component);
    let dir = TempDir::new().expect("a directory");
    let room = Room { cache: dir.path().join("cache"), bench, account };
    // What the first load leaves in the cache, all others find there.
    room.load();

    println!("| what | median | goal |");
    println!("| --- | ---: | ---: |");
    row(
        "warm load of a Rust frontend and its first answer, over an empty host",
        difference(|| drop(black_box(Host::new(&[], &room.cache))), || room.load()),
        "1 ms",
    );
    let host = room.host_with_both();
    row(
        &format!("{LINES} lines of another component's instruction, one call each"),
        difference(|| answer(&host, "apply=0"), || answer(&host, &format!("apply={LINES}"))),
        "2 ms",
    );
    row(
        &format!("graph of {OPS} commands, made, carried over and checked"),
        median(|| answer(&host, &format!("ops={OPS}"))).as_secs_f64(),
        "10 ms",
    );
    let (bare, limited) = limits(&room.bench);
    let cost = (limited.as_secs_f64() / bare.as_secs_f64() - 1.0) * 100.0;
    println!("| the same graph made with limits over without | {cost:+.0} % | 15 % |");
    let late = room.stopped_after().as_secs_f64() / BUDGET.as_secs_f64();
    println!(
        "| a loop without end is stopped, over its {} s | {:+.1} % | 10 % |",
        BUDGET.as_secs(),
        (late - 1.0) * 100.0
    );
    ExitCode::SUCCESS
}

fn row(what: &str, seconds: f64, goal: &str) {
    println!("| {what} | {:.2} ms | {goal} |", seconds * 1e3);
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    all.sort();
    all[RUNS / 2]
}

/// By how many seconds one takes longer than the other, each time measured right after the other.
fn difference(less: impl Fn(), more: impl Fn()) -> f64 {
    let time = |run: &dyn Fn()| {
        let begun = Instant::now();
        run();
        begun.elapsed().as_secs_f64()
    };
    let mut all: Vec<f64> = (0..RUNS).map(|_| -time(&less) + time(&more)).collect();
    all.sort_by(f64::total_cmp);
    all[RUNS / 2]
}

/// Builds a crate beside kiln's workspace into a component.
fn component(krate: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = root.join("target/components");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--locked",
            "--target",
            "wasm32-unknown-unknown",
            "--target-dir",
        ])
        .arg(&target)
        .current_dir(root.join(krate))
        .status()
        .expect("cargo");
    assert!(built.success(), "{krate} does not build");
    let name = match krate {
        "tests/bench/component" => "bench_component",
        _ => "plugin_instruction",
    };
    target.join(format!("wasm32-unknown-unknown/release/{name}.wasm"))
}

struct Room {
    cache: PathBuf,
    bench: PathBuf,
    account: PathBuf,
}

impl Room {
    fn host(&self, limits: Limits) -> Host {
        let mut host = Host::new(&[], &self.cache);
        host.set_limits(limits);
        host.add(None, &self.bench).expect("a plugin");
        host
    }

    fn load(&self) {
        answer(&self.host(Limits::default()), "nothing");
    }

    fn host_with_both(&self) -> Host {
        let mut host = self.host(Limits::default());
        host.add(None, &self.account).expect("a plugin");
        host
    }

    fn stopped_after(&self) -> Duration {
        let host = self.host(Limits { time: BUDGET, fuel: u64::MAX, ..Limits::default() });
        let begun = Instant::now();
        match plan(&host, "spin") {
            Err(PlanError::Plugin(error)) if matches!(error.failure, Failure::Time { .. }) => begun.elapsed(),
            other => panic!("{other:?}"),
        }
    }
}

fn answer(host: &Host, target: &str) {
    plan(host, target).expect("a plan");
}

fn plan(host: &Host, target: &str) -> Result<(), PlanError> {
    let frontend = FrontendChoice::Named("bench".to_owned());
    let request = Request {
        target: target.to_owned(),
        build_platform: Platform { os: "linux".into(), arch: "amd64".into(), ..Platform::default() },
        ..Request::default()
    };
    host.plan(&frontend, &request, &Nothing::default(), &Cancel::default()).map(|plan| drop(black_box(plan)))
}

/// How long the component takes for the large graph alone, without and with what counts fuel and epochs: everything
/// else is the same, and nobody reads the answer.
fn limits(file: &Path) -> (Duration, Duration) {
    let wasm = std::fs::read(file).expect("a component");
    let time = |bounded: bool| {
        let mut config = Config::new();
        config.concurrency_support(false).consume_fuel(bounded).epoch_interruption(bounded);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, &wasm).expect("a component");
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("a linker");
        let ready = linker.instantiate_pre(&component).expect("all imports");
        let interface = component.get_export_index(None, "kiln:plugin/frontend@0.1.0").expect("a frontend");
        let build = component.get_export_index(Some(&interface), "build").expect("its function");
        median(|| {
            let mut store = Store::new(&engine, ());
            if bounded {
                store.set_fuel(u64::MAX).expect("fuel is on");
                store.set_epoch_deadline(1);
            }
            let instance = ready.instantiate(&mut store).expect("an instance");
            let build = instance.get_func(&mut store, build).expect("a function");
            let mut answer = [Val::Bool(false)];
            build.call(&mut store, &[request()], &mut answer).expect("an answer");
            black_box(&answer);
        })
    };
    (time(false), time(true))
}

/// A `build-request` for the large graph.
fn request() -> Val {
    let text = |text: &str| Val::String(text.to_owned());
    let none = || Val::List(Vec::new());
    let platform = Val::Record(
        [("os", "linux"), ("arch", "amd64"), ("variant", ""), ("os-version", "")]
            .map(|(name, value)| (name.to_owned(), text(value)))
            .into(),
    );
    let fields = [
        ("file", text("")),
        ("target", text(&format!("ops={OPS}"))),
        ("platforms", none()),
        ("build-platform", platform),
        ("build-args", none()),
        ("labels", none()),
        ("options", none()),
        ("no-cache", none()),
        ("secret-ids", none()),
        ("ssh-ids", none()),
    ];
    Val::Record(fields.map(|(name, value)| (name.to_owned(), value)).into())
}
