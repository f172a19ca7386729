//! Verdicts on layers and images that earlier builds had, so that what did not change is not looked through again.
//!
//! A policy without look-ups is a function of what it is told. A verdict is kept under a digest of all of that: the
//! component, its options, the day, the build, the layer or image, and the layers below it. Modes and exemptions are
//! no part of it: they are applied to what is remembered as they are to what is new.

use kiln_core::diagnostic::{Label, Position};
use kiln_core::{CacheKey, Diagnostic, Digest, Severity, Span, Stack};
use kiln_plugin::{BuildFacts, Point};
use kiln_store::{Existing, Store};
use serde_json::{Value, json};

use super::Standing;
use super::report::severity;

/// The key of a verdict; `None` where an earlier one does not count.
pub(super) fn key(
    standing: &Standing,
    point: Point,
    facts: &BuildFacts,
    about: &str,
    stack: &Stack,
) -> Option<CacheKey> {
    if standing.policy.is_asked_each_time() {
        return None;
    }
    let id = standing.policy.id();
    let text = format!(
        "kiln verdict 1\n{}\n{} {}\n{point}\n{:?}\n{facts:?}\n{about}\n{}",
        env!("CARGO_PKG_VERSION"),
        id.name,
        id.digest,
        standing.policy.options(),
        stack.id()
    );
    Some(CacheKey(Digest::of(text.as_bytes())))
}

/// What is not understood is as if it were not there.
pub(super) fn recall(store: &Store, key: &CacheKey) -> Option<Vec<Diagnostic>> {
    let record = store.record(key).ok()??;
    let value: Value = serde_json::from_slice(&record).ok()?;
    value.as_array()?.iter().map(read).collect()
}

/// What cannot be kept is found out again next time.
pub(super) fn keep(store: &Store, key: &CacheKey, findings: &[Diagnostic]) {
    let value: Vec<Value> = findings.iter().map(write).collect();
    let _ = store.put_record(key, json!(value).to_string().as_bytes(), Existing::Replace);
}

fn write(finding: &Diagnostic) -> Value {
    json!({
        "severity": severity(finding.severity),
        "code": finding.code,
        "message": finding.message,
        "at": finding.primary.as_ref().map(write_span),
        "related": finding.related.iter().map(|label| json!([write_span(&label.at), label.text])).collect::<Vec<_>>(),
        "help": finding.help,
        "url": finding.url,
    })
}

fn write_span(span: &Span) -> Value {
    json!([span.file, span.start.line, span.start.column, span.end.line, span.end.column])
}

fn read(value: &Value) -> Option<Diagnostic> {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let related = value["related"]
        .as_array()?
        .iter()
        .map(|label| Some(Label { at: read_span(&label[0])?, text: label[1].as_str()?.to_owned() }));
    Some(Diagnostic {
        severity: match value["severity"].as_str()? {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            "info" => Severity::Info,
            "hint" => Severity::Hint,
            _ => return None,
        },
        code: text("code")?,
        message: text("message")?,
        primary: match &value["at"] {
            Value::Null => None,
            span => Some(read_span(span)?),
        },
        related: related.collect::<Option<_>>()?,
        help: text("help")?,
        url: text("url")?,
    })
}

fn read_span(value: &Value) -> Option<Span> {
    let number = |at: usize| u32::try_from(value[at].as_u64()?).ok();
    Some(Span {
        file: value[0].as_str()?.to_owned(),
        start: Position { line: number(1)?, column: number(2)? },
        end: Position { line: number(3)?, column: number(4)? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_read_as_it_was_written() {
        let span = Span {
            file: "Dockerfile".to_owned(),
            start: Position { line: 2, column: 1 },
            end: Position { line: 2, column: 0 },
        };
        let mut finding = Diagnostic::error("p/c", "`x` is \"bad\"").at(Some(span.clone())).help("a\nb");
        finding.url = "https://example.com".to_owned();
        finding.related.push(Label { at: span, text: "here".to_owned() });
        assert_eq!(read(&write(&finding)), Some(finding));
        let plain = Diagnostic::warning("p/c", "");
        assert_eq!(read(&write(&plain)), Some(plain));
        assert_eq!(read(&json!({ "severity": "fatal" })), None);
    }
}
