//! What several points say in the same way.

use kiln_sdk::wit::diagnostics::{Diagnostic, Span};

/// Puts a finding where an op was written: the first place is the primary one, the others are named beside it.
pub(crate) fn placed(finding: Diagnostic, spans: &[Span]) -> Diagnostic {
    let mut finding = finding;
    let mut spans = spans.iter();
    if let Some(first) = spans.next() {
        finding = finding.at(first);
    }
    for span in spans {
        finding = finding.label(span, "here as well");
    }
    finding
}

/// What a message is about, for its first backquotes. A backquote in it would end them early, and an exemption for what
/// stands before it would then hold for this as well.
pub(crate) fn subject(text: &str) -> String {
    text.replace('`', "\\x60")
}

/// ``  `a`, `b` `` for messages; of many, the first.
pub(crate) fn listed<T: core::fmt::Display>(items: &[T]) -> String {
    const SHOWN: usize = 8;
    let mut text = items.iter().take(SHOWN).map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN {
        text += &format!(" and {} more", items.len() - SHOWN);
    }
    text
}
