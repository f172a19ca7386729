//! Diagnostics and places.

use kiln_core::diagnostic::Label;
use kiln_core::{Diagnostic, Position, Severity, Span};

use super::Fault;
use crate::bindings::wit::diagnostics as wit;
use crate::limits;

/// Puts the name of the plugin before the code, unless there is one already.
pub(crate) fn prefix(diagnostic: &mut wit::Diagnostic, plugin: &str) {
    if !diagnostic.code.contains('/') {
        diagnostic.code = format!("{plugin}/{}", diagnostic.code);
    }
}

pub(crate) fn diagnostic(mut diagnostic: wit::Diagnostic, plugin: &str) -> Diagnostic {
    prefix(&mut diagnostic, plugin);
    Diagnostic {
        severity: severity(diagnostic.severity),
        code: diagnostic.code,
        message: diagnostic.message,
        primary: diagnostic.primary.map(span),
        related: diagnostic
            .related
            .into_iter()
            .map(|label| Label { at: span(label.at), text: label.text })
            .collect(),
        help: diagnostic.help,
        url: diagnostic.url,
    }
}

/// All of one answer.
///
/// # Errors
///
/// When there are too many.
pub(crate) fn diagnostics(list: Vec<wit::Diagnostic>, plugin: &str) -> Result<Vec<Diagnostic>, Fault> {
    if list.len() > limits::DIAGNOSTICS {
        return Err(Fault::new(format!("more than {} findings", limits::DIAGNOSTICS)));
    }
    Ok(list.into_iter().map(|one| diagnostic(one, plugin)).collect())
}

pub(crate) fn severity(severity: wit::Severity) -> Severity {
    match severity {
        wit::Severity::Error => Severity::Error,
        wit::Severity::Warning => Severity::Warning,
        wit::Severity::Info => Severity::Info,
        wit::Severity::Hint => Severity::Hint,
    }
}

pub(crate) fn span(span: wit::Span) -> Span {
    let position = |at: wit::Position| Position { line: at.line, column: at.column };
    Span { file: span.file, start: position(span.start), end: position(span.end) }
}

pub(crate) fn spans(list: Vec<wit::Span>) -> Vec<Span> {
    list.into_iter().map(span).collect()
}
