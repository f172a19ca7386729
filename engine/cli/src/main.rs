//! Talks to the person: arguments, progress, diagnostics, exit codes.
#![forbid(unsafe_code)]

/// Says something on standard error. When nobody reads there any more, nothing is lost by going on.
macro_rules! tell {
    ($($what:tt)*) => { $crate::progress::put(&format!($($what)*)) };
}

/// As [`tell`], with the end of a line.
macro_rules! tellln {
    ($($what:tt)*) => { $crate::progress::put(&(format!($($what)*) + "\n")) };
}

mod age;
mod args;
mod build;
mod call;
mod compat;
mod config;
mod exit;
mod housekeeping;
mod image;
mod loading;
mod parse;
mod plan;
mod plugin;
mod policy;
mod progress;
mod project;
mod report;
mod run;
mod table;
mod telling;

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use kiln_core::Cancel;
use kiln_driver::{BuildError, Driver, Settings};

use args::{Cli, Command};
use exit::{CommandLine, Exit};

fn main() -> ExitCode {
    kiln_driver::enter_if_helper();
    let outcome = std::panic::catch_unwind(|| {
        let cli = match Cli::try_parse_from(args::without_aliases(std::env::args_os())) {
            Ok(cli) => cli,
            Err(error) => {
                let _ = error.print();
                return ExitCode::from(if error.use_stderr() { exit::COMMAND_LINE } else { 0 });
            }
        };
        match dispatch(&cli) {
            Ok(exit) => exit.into(),
            Err(error) => fail(&error),
        }
    });
    outcome.unwrap_or_else(|_| {
        tellln!("this is a bug in kiln; please report it with the lines above and the command that led here");
        ExitCode::from(exit::BUG)
    })
}

fn dispatch(cli: &Cli) -> Result<Exit> {
    let root = match &cli.root {
        Some(root) if root.as_os_str().is_empty() => {
            return Err(
                CommandLine(anyhow::anyhow!("`--root` and KILN_ROOT want a directory, not nothing")).into()
            );
        }
        Some(root) => root.clone(),
        None => config::default_root()?,
    };
    let privileges = kiln_driver::prepare_process()?;
    let cancel = watch_signals()?;
    let config = config::read()?;
    let settings = Settings {
        root,
        registries: config.registries.clone(),
        builtins: kiln_bundle::BUILTINS,
        trust: config.trust.clone(),
        cancel: cancel.clone(),
    };
    let driver = Driver::open(settings, privileges)?;
    match &cli.command {
        Command::Build(args) => build::run(args, &config, &driver, &cancel),
        Command::Plan(args) => plan::run(args, &config, &driver, &cancel),
        Command::Image(command) => image::run(command, &config, &driver, &cancel),
        Command::Run(args) => run::run(args, &driver, &cancel),
        Command::Plugin(command) => plugin::run(command, &config, &driver, &cancel),
        Command::Policy(command) => policy::run(command, &config, &driver, &cancel),
        Command::Du(args) => housekeeping::du(args, &driver),
        Command::Prune(args) => housekeeping::prune(args, &driver),
    }
}

/// Says what went wrong, with its causes and what to do, and how the process is to end.
fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<CommandLine>() {
        tellln!("error: {error}\n\nFor what there is, see `kiln --help`.");
        return ExitCode::from(exit::COMMAND_LINE);
    }
    if let Some(error) = error.downcast_ref::<project::ProjectError>() {
        let source = |_: &str| Some(error.text.clone());
        tell!("{}", report::render(&error.diagnostic, &source, report::Style { colour: false }));
        return Exit::BuildWrong.into();
    }
    match error.downcast_ref::<BuildError>() {
        Some(BuildError::Cancelled) => {
            tellln!("interrupted");
            return Exit::Interrupted.into();
        }
        // Of a command other than build: there is no build file to show lines of.
        Some(BuildError::Wrong(diagnostics)) => {
            for diagnostic in diagnostics {
                tell!("{}", report::render(diagnostic, &|_| None, report::Style { colour: false }));
            }
            return Exit::BuildWrong.into();
        }
        _ => {}
    }
    let closed = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed) {
        // Whoever read our output has seen enough.
        return ExitCode::from(exit::ENVIRONMENT);
    }
    let mut last = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let text = cause.to_string();
        // A cause that the sentence above it already quotes adds nothing.
        if depth > 0 && last.contains(&text) {
            continue;
        }
        tellln!("{}{text}", if depth == 0 { "error: " } else { "  because: " });
        last = text;
    }
    if let Some(BuildError::World { help, .. }) = error.downcast_ref::<BuildError>()
        && !help.is_empty()
    {
        tellln!("help: {help}");
    }
    ExitCode::from(exit::ENVIRONMENT)
}

/// Standard input is being read, which no level interrupts.
pub(crate) static READING: AtomicBool = AtomicBool::new(false);

/// How long what is told to stop at once may take.
const GRACE: Duration = Duration::from_secs(2);

/// Ctrl-C and TERM become a rising level: the first asks what runs to stop, the second stops it at once.
fn watch_signals() -> Result<Arc<Cancel>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let wake = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
        .context("could not make an eventfd")?;
    let mut bell = File::from(wake.try_clone().context("could not copy a descriptor")?);
    let cancel = Arc::new(Cancel::new(Some(wake)));
    let watched = cancel.clone();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("could not watch for signals")?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count > 0 || READING.load(Ordering::Acquire) {
                    // Nobody may be there to hear: a read of standard input or of a pipe has no end of its own. The
                    // sandbox helper sees to the steps when this process is gone.
                    std::thread::spawn(|| {
                        std::thread::sleep(if READING.load(Ordering::Acquire) {
                            Duration::ZERO
                        } else {
                            GRACE
                        });
                        std::process::exit(130);
                    });
                }
                watched.raise(if count == 0 { 1 } else { 2 });
                let _ = bell.write_all(&1u64.to_ne_bytes());
            }
        })
        .context("could not start a thread")?;
    Ok(cancel)
}
