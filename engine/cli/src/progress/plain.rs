//! One line per happening, each led by the step's number, as CI systems like it.

use kiln_core::Event;
use kiln_core::event::Ending;

use super::{State, put, seconds};
use crate::report;

/// Before the event is taken in: nothing needs to be said yet but for names that appear for the first time.
pub(super) fn write(state: &mut State, event: &Event) {
    if let Event::Started { vertex, reason } = event {
        let mut text: String = state.reasons.drain(..).map(|reason| report::reason(&reason)).collect();
        let Some(shown) = state.vertices.get(vertex) else { return put(&text) };
        text.push_str(&format!("#{} {}\n", shown.number, shown.name));
        if let Some(reason) = reason {
            text.push_str(&format!("#{} because {reason}\n", shown.number));
        }
        put(&text);
    }
}

/// After the event was taken in; `completed` are lines of log.
pub(super) fn after(state: &State, event: &Event, completed: &[String]) {
    let mut text = String::new();
    match event {
        Event::Log { vertex, .. } | Event::Finished { vertex, .. } => {
            let Some(shown) = state.vertices.get(vertex) else { return };
            let number = shown.number;
            for line in completed {
                let at = shown.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
                text.push_str(&format!("#{number} {at:.3} {line}\n"));
            }
            if let Some((ending, spent)) = &shown.ended {
                text.push_str(&match ending {
                    Ending::Done => format!("#{number} DONE {}\n", seconds(*spent)),
                    Ending::Cached => format!("#{number} {}\n#{number} CACHED\n", shown.name),
                    Ending::Failed => format!("#{number} ERROR after {}\n", seconds(*spent)),
                    Ending::Cancelled => format!("#{number} CANCELED\n"),
                });
            }
        }
        Event::Begin { id, .. } => {
            if let Some(task) = state.tasks.get(id) {
                text = format!("#{} {}\n", task.number, task.what);
            }
        }
        Event::End { id, ok } => {
            if let Some(task) = state.tasks.get(id) {
                let how = if *ok { "DONE" } else { "ERROR after" };
                text = format!("#{} {how} {}\n", task.number, seconds(task.started.elapsed()));
            }
        }
        _ => {}
    }
    put(&text);
}
