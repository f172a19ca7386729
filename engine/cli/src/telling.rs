//! What a piece of work comes to, for the person: findings with the lines they are about, and why there is no result.

use std::io::IsTerminal;

use anyhow::Result;
use kiln_core::{Diagnostic, Event, EventSink};
use kiln_driver::{BuildError, SourceTexts};

use crate::exit::Exit;
use crate::progress::{Mode, Progress};
use crate::report::{self, Style};

/// Findings shown to people; what is wrong with a file beyond that many is one thing.
const MOST_SHOWN: usize = 50;

/// Where to say it, and what is known of the files that it is about.
#[derive(Clone, Copy)]
pub struct Telling<'a> {
    pub progress: &'a Progress,
    pub sources: &'a SourceTexts,
    pub mode: Mode,
}

impl Telling<'_> {
    pub fn tell(&self, diagnostics: &[Diagnostic]) {
        let source = |file: &str| self.sources.text(file);
        for (shown, diagnostic) in diagnostics.iter().enumerate() {
            match self.mode {
                Mode::Rawjson => self.progress.emit(Event::Diagnostic(diagnostic.clone())),
                _ if shown == MOST_SHOWN => {
                    tellln!("and {} more", diagnostics.len() - shown);
                    break;
                }
                _ => tell!("{}", report::render(diagnostic, &source, style())),
            }
        }
    }

    /// Says what was heard while the work went on, and was not shown then.
    pub fn tell_heard(&self, failed: bool) {
        if matches!(self.mode, Mode::Tty | Mode::Plain) {
            for reason in self.progress.reasons(failed) {
                tell!("{}", report::reason(&reason));
            }
            self.tell(&self.progress.diagnostics());
        }
    }

    /// Says why there is no result, and how kiln ends then.
    ///
    /// # Errors
    ///
    /// What is not about the build, for whoever shows errors of commands.
    pub fn failed(&self, error: BuildError) -> Result<Exit> {
        match error {
            BuildError::Wrong(diagnostics) => {
                self.tell(&diagnostics);
                Ok(Exit::BuildWrong)
            }
            BuildError::Step(failure) => {
                let (lines, more) = self.progress.log_tail(failure.vertex);
                if !lines.is_empty() && self.mode != Mode::Rawjson {
                    tellln!("{}", style().paint("1", &format!("------ {}", failure.name)));
                    if more {
                        tellln!("(the beginning is left out)");
                    }
                    for line in lines {
                        tellln!("{line}");
                    }
                    tellln!("{}", style().paint("1", "------"));
                }
                self.tell(&[failure.diagnostic]);
                self.tell(&failure.findings);
                Ok(Exit::BuildWrong)
            }
            BuildError::Refused(diagnostics) => {
                self.tell(&diagnostics);
                Ok(Exit::Refused)
            }
            error => Err(error.into()),
        }
    }
}

/// Colours where somebody sees them and has not said that they are not wanted.
fn style() -> Style {
    Style { colour: std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
}
