//! Why a preset chose what it chose, in sentences that `kiln plan` prints and an ejected file repeats.

use kiln_sdk::wit::diagnostics::Diagnostic;

/// What was decided, in order.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    said: Vec<Diagnostic>,
}

impl Reasons {
    pub fn new() -> Self {
        Self::default()
    }

    /// One decision: a code that `describe` lists (`Rule::info`), and a sentence that names what was chosen and why, such as
    /// "builder `golang:1.22`, as go.mod has the line `go 1.22`".
    pub fn say(&mut self, code: &str, sentence: impl Into<String>) {
        self.said.push(Diagnostic::info(code, sentence));
    }

    /// Something that the person should do something about.
    pub fn warn(&mut self, code: &str, sentence: impl Into<String>, help: impl Into<String>) {
        self.said.push(Diagnostic::warning(code, sentence).help(help));
    }

    /// The sentence that was said with a code, for a comment in an ejected file.
    pub fn sentence(&self, code: &str) -> Option<&str> {
        self.said.iter().find(|said| said.code == code).map(|said| said.message.as_str())
    }

    /// All sentences in order, warnings among them.
    pub fn sentences(&self) -> impl Iterator<Item = &str> {
        self.said.iter().map(|said| said.message.as_str())
    }

    /// For the answer of a build.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.said
    }
}
