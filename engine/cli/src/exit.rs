//! How kiln ends, in numbers that scripts can rely on.

use std::process::ExitCode;

/// What a command came to, when it is not an error of the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Built,
    /// The file, a step or a policy says no.
    BuildWrong,
    /// Something outside, such as a registry, says no to what the build file asks.
    Refused,
    Interrupted,
    /// `kiln run`: what the program said.
    Program(u8),
}

/// An error of the command line: exit status 2.
#[derive(Debug)]
pub struct CommandLine(pub anyhow::Error);

impl From<anyhow::Error> for CommandLine {
    fn from(error: anyhow::Error) -> Self {
        Self(error)
    }
}

impl std::fmt::Display for CommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for CommandLine {}

pub const COMMAND_LINE: u8 = 2;
pub const ENVIRONMENT: u8 = 3;
pub const BUG: u8 = 70;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Built => 0,
            Exit::BuildWrong => 1,
            Exit::Refused => ENVIRONMENT,
            Exit::Interrupted => 130,
            Exit::Program(code) => code,
        })
    }
}
