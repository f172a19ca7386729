//! Findings about source text or about a build, in one shape for frontends, instructions, policies and the engine.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Info,
    Hint,
}

/// Both count from 1; columns count Unicode scalar values, and column 0 means the whole line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// A half-open range of one source file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The name the request gave for the file.
    pub file: String,
    pub start: Position,
    pub end: Position,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.start.line)?;
        if self.start.column > 0 {
            write!(f, ":{}", self.start.column)?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub at: Span,
    pub text: String,
}

/// One finding. `message` is a sentence without a full stop, `help` what the user can do about it (or empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `<plugin>/<code>`, or a plain code of the engine.
    pub code: String,
    pub message: String,
    pub primary: Option<Span>,
    pub related: Vec<Label>,
    pub help: String,
    pub url: String,
}

impl Diagnostic {
    pub fn error(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    pub fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message: message.into(),
            primary: None,
            related: Vec::new(),
            help: String::new(),
            url: String::new(),
        }
    }

    pub fn at(mut self, span: Option<Span>) -> Self {
        self.primary = span;
        self
    }

    /// Where a vertex comes from: the place itself, then the lines that brought its text in.
    pub fn at_origin(mut self, origin: &[Span]) -> Self {
        let mut spans = origin.iter().cloned();
        self.primary = spans.next();
        self.related.extend(spans.map(|at| Label { at, text: "read in here".to_owned() }));
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}
