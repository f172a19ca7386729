//! `kiln plan`: what a build would do and why, and the same written down as files.

mod args;
mod show;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use kiln_core::Cancel;
use kiln_driver::{BuildError, BuildRequest, ContextLocation, Driver, EjectedFile, SourceTexts};

use crate::args::Format;
use crate::build::{Prepared, prepare, request};
use crate::config::Config;
use crate::exit::{CommandLine, Exit};
use crate::progress::{Mode, Progress, Ticker};
use crate::table;
use crate::telling::Telling;

pub use args::PlanArgs;

pub fn run(args: &PlanArgs, config: &Config, driver: &Driver, cancel: &Cancel) -> Result<Exit> {
    ensure!(
        args.eject || (args.output.is_none() && !args.force),
        CommandLine(anyhow!("`--output` and `--force` are about files, which `--eject` writes"))
    );
    ensure!(
        !args.eject || args.format == Format::Text,
        CommandLine(anyhow!("`--eject` writes files; `--format` is how a plan is shown"))
    );
    let asked = request(&args.inputs, &args.context)?;
    let Prepared { request, mode } = prepare(asked, &args.inputs, config, driver)?;
    let destination = if args.eject { Some(destination(args, &request)?) } else { None };
    let progress = Arc::new(Progress::new(mode));
    let sources = SourceTexts::default();
    let ask = || {
        let ticker = (mode == Mode::Tty).then(|| Ticker::start(&progress));
        let answer = match &destination {
            None => {
                let proposal = driver.propose(&request, &sources, &*progress, cancel);
                proposal.map(|proposal| Answer::Plan(Box::new(proposal)))
            }
            Some(_) => driver
                .eject(&request, &sources, &*progress, cancel)
                .map(|(frontend, files)| Answer::Files(frontend.name, files)),
        };
        drop(ticker);
        progress.finish();
        answer
    };
    let answer: Result<Answer, BuildError> = ask();
    let telling = Telling { progress: &progress, sources: &sources, mode };
    telling.tell_heard(answer.is_err());
    match (answer, destination) {
        (Ok(Answer::Plan(proposal)), _) => {
            telling.tell(&proposal.findings);
            table::put(&match args.format {
                Format::Text => show::text(&proposal),
                Format::Json => show::json(&proposal),
            })?;
            Ok(Exit::Built)
        }
        (Ok(Answer::Files(frontend, files)), Some(destination)) => {
            put(&frontend, &files, &destination, args.force)?;
            if let Some(named) = &request.project_frontend
                && matches!(destination, Place::Context(_))
            {
                tellln!(
                    "note: kiln.toml names the frontend `{named}`, which `kiln build` goes on asking; take that line out \
                     to build what was written"
                );
            }
            Ok(Exit::Built)
        }
        (Ok(Answer::Files(..)), None) => unreachable!("files are asked for with a place for them"),
        (Err(error), _) => telling.failed(error),
    }
}

enum Answer {
    Plan(Box<kiln_driver::Proposal>),
    /// Who wrote them.
    Files(String, Vec<EjectedFile>),
}

/// Where files are to go.
enum Place {
    Stdout,
    Directory(PathBuf),
    /// The directory that is built, where they have an effect.
    Context(PathBuf),
}

fn destination(args: &PlanArgs, request: &BuildRequest) -> Result<Place> {
    match (args.output.as_deref(), &request.context) {
        (Some("-"), _) => Ok(Place::Stdout),
        (Some(""), _) => Err(CommandLine(anyhow!("`--output` is empty; name a directory, or `-`")).into()),
        (Some(directory), _) => Ok(Place::Directory(directory.into())),
        (None, ContextLocation::Directory(root)) => Ok(Place::Context(root.clone())),
        (None, _) => Err(CommandLine(anyhow!(
            "the build context is no directory of this machine; say where the files go, with `-o DIR` or `-o -`"
        ))
        .into()),
    }
}

/// Several files on standard output stand below their names, as `head` shows them.
fn put(frontend: &str, files: &[EjectedFile], place: &Place, force: bool) -> Result<()> {
    let root = match place {
        Place::Stdout => {
            let text: Vec<String> = match files {
                [one] => vec![one.text.clone()],
                several => {
                    several.iter().map(|file| format!("==> {} <==\n{}", file.path, file.text)).collect()
                }
            };
            return table::put(&text.join("\n"));
        }
        Place::Directory(root) | Place::Context(root) => root,
    };
    writing::write_all(root, files, force)?;
    for file in files {
        tellln!("{frontend}: wrote {}", root.join(&file.path).display());
    }
    Ok(())
}
