//! One JSON object per line and event, for programs. Times are seconds since the build began.

use kiln_core::Event;
use kiln_core::event::Ending;
use serde_json::{Value, json};

use super::{State, put, stream_name};

pub(super) fn write(state: &State, event: &Event) {
    let mut object = match event {
        Event::Planned { vertices } => {
            let vertices: Vec<Value> = vertices
                .iter()
                .map(|(vertex, name, group)| json!({ "vertex": vertex, "name": name, "group": group }))
                .collect();
            json!({ "event": "planned", "vertices": vertices })
        }
        Event::Started { vertex, reason } => {
            json!({ "event": "started", "vertex": vertex, "reason": reason })
        }
        Event::Log { vertex, stream, data } => json!({
            "event": "log", "vertex": vertex, "stream": stream_name(*stream), "data": String::from_utf8_lossy(data),
        }),
        Event::Finished { vertex, ending } => {
            json!({ "event": "finished", "vertex": vertex, "ending": ending_name(ending) })
        }
        Event::Begin { id, what } => json!({ "event": "begin", "task": id, "what": what }),
        Event::Progress { id, current, total } => {
            json!({ "event": "progress", "task": id, "current": current, "total": total })
        }
        Event::End { id, ok } => json!({ "event": "end", "task": id, "ok": ok }),
        Event::Diagnostic(diagnostic) | Event::Reason(diagnostic) => {
            json!({ "event": "diagnostic", "diagnostic": diagnostic_json(diagnostic) })
        }
    };
    object["time"] = json!(state.begun.elapsed().as_secs_f64());
    put(&format!("{object}\n"));
}

fn ending_name(ending: &Ending) -> &'static str {
    match ending {
        Ending::Done => "done",
        Ending::Cached => "cached",
        Ending::Failed => "failed",
        Ending::Cancelled => "cancelled",
    }
}

/// A diagnostic as programs read it.
pub(crate) fn diagnostic_json(diagnostic: &kiln_core::Diagnostic) -> Value {
    let span = |span: &kiln_core::Span| {
        json!({
            "file": span.file,
            "start": { "line": span.start.line, "column": span.start.column },
            "end": { "line": span.end.line, "column": span.end.column },
        })
    };
    json!({
        "severity": format!("{:?}", diagnostic.severity).to_lowercase(),
        "code": diagnostic.code,
        "message": diagnostic.message,
        "at": diagnostic.primary.as_ref().map(span),
        "help": diagnostic.help,
        "url": diagnostic.url,
    })
}
