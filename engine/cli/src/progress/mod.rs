//! Shows a build while it goes on: on a terminal, as plain lines, as JSON lines, or not at all.

mod plain;
mod rawjson;
mod tty;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kiln_core::event::{Ending, Stream};
use kiln_core::{Diagnostic, Event, EventSink, VertexId};

use crate::report::in_line;

pub(crate) use rawjson::diagnostic_json;
pub use tty::Ticker;

/// How much of a step's log is kept to be repeated when it fails.
const KEPT_LOG_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Tty,
    Plain,
    Rawjson,
    Quiet,
}

/// Hears events of one build and writes to standard error.
pub struct Progress {
    mode: Mode,
    state: Mutex<State>,
}

/// What is known of the build so far.
struct State {
    begun: Instant,
    vertices: BTreeMap<VertexId, Shown>,
    tasks: BTreeMap<u64, Task>,
    diagnostics: Vec<Diagnostic>,
    /// Why the plan is what it is, as far as that has not been shown.
    reasons: Vec<Diagnostic>,
    /// A step of the plan was started: what would be done is of interest.
    under_way: bool,
    /// Lines on the terminal that the next frame overwrites.
    drawn: usize,
    last_frame: Option<Instant>,
}

struct Shown {
    /// Counts from 1 in the order of the plan.
    number: usize,
    name: String,
    started: Option<Instant>,
    ended: Option<(Ending, Duration)>,
    reason: Option<String>,
    log: Log,
}

struct Task {
    number: usize,
    what: String,
    started: Instant,
    current: u64,
    total: u64,
    ended: Option<bool>,
}

/// The end of a step's output, by lines.
#[derive(Default)]
struct Log {
    lines: VecDeque<String>,
    bytes: usize,
    partial: Vec<u8>,
    dropped: bool,
}

impl Log {
    /// Takes in output and returns the lines that became complete, without control characters.
    fn push(&mut self, data: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for &byte in data {
            if byte == b'\n' {
                complete.push(clean(&std::mem::take(&mut self.partial)));
            } else {
                self.partial.push(byte);
                if self.partial.len() >= 16 * 1024 {
                    complete.push(clean(&std::mem::take(&mut self.partial)));
                }
            }
        }
        for line in &complete {
            self.keep(line.clone());
        }
        complete
    }

    /// What was written without a final newline.
    fn finish(&mut self) -> Option<String> {
        if self.partial.is_empty() {
            return None;
        }
        let line = clean(&std::mem::take(&mut self.partial));
        self.keep(line.clone());
        Some(line)
    }

    fn keep(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line);
        while self.bytes > KEPT_LOG_BYTES {
            let Some(first) = self.lines.pop_front() else { break };
            self.bytes -= first.len() + 1;
            self.dropped = true;
        }
    }
}

/// What a terminal would show of a line: after the last carriage return, without escape sequences and other controls.
fn clean(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
                Some(']') => while chars.next().is_some_and(|c| c != '\x07' && c != '\x1b') {},
                _ => {}
            }
        } else if c == '\t' || !c.is_control() {
            text.push(c);
        }
    }
    text
}

impl Progress {
    pub fn new(mode: Mode) -> Self {
        let state = State {
            begun: Instant::now(),
            vertices: BTreeMap::new(),
            tasks: BTreeMap::new(),
            diagnostics: Vec::new(),
            reasons: Vec::new(),
            under_way: false,
            drawn: 0,
            last_frame: None,
        };
        Self { mode, state: Mutex::new(state) }
    }

    /// Draws the last frame. Call when the build has ended, before anything else is printed.
    pub fn finish(&self) {
        if self.mode == Mode::Tty {
            tty::draw(&mut self.lock(), true);
        }
    }

    /// Draws a frame if the last one is old; called by the ticker.
    fn tick(&self) {
        tty::draw(&mut self.lock(), false);
    }

    /// Warnings heard, each once.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.lock().diagnostics.clone()
    }

    /// Reasons for the plan that have not been shown, each once. Of a build that did nothing, only if it `failed`.
    pub fn reasons(&self, failed: bool) -> Vec<Diagnostic> {
        let mut state = self.lock();
        if state.under_way || failed { std::mem::take(&mut state.reasons) } else { Vec::new() }
    }

    /// The end of what a step wrote, and whether there was more before it.
    pub fn log_tail(&self, vertex: VertexId) -> (Vec<String>, bool) {
        match self.lock().vertices.get(&vertex) {
            Some(shown) => (shown.log.lines.iter().cloned().collect(), shown.log.dropped),
            None => (Vec::new(), false),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl EventSink for Progress {
    fn emit(&self, event: Event) {
        let mut state = self.lock();
        match self.mode {
            Mode::Rawjson => rawjson::write(&state, &event),
            Mode::Plain => plain::write(&mut state, &event),
            Mode::Tty | Mode::Quiet => {}
        }
        let completed = state.take(&event);
        match self.mode {
            Mode::Plain => plain::after(&state, &event, &completed),
            Mode::Tty => tty::draw(&mut state, false),
            Mode::Rawjson | Mode::Quiet => {}
        }
    }
}

impl State {
    /// Takes an event in; lines of log that it completed.
    fn take(&mut self, event: &Event) -> Vec<String> {
        match event {
            Event::Planned { vertices } => {
                for (vertex, name, _) in vertices {
                    let number = self.vertices.len() + self.tasks.len() + 1;
                    self.vertices.entry(*vertex).or_insert_with(|| Shown {
                        number,
                        name: in_line(name),
                        started: None,
                        ended: None,
                        reason: None,
                        log: Log::default(),
                    });
                }
            }
            Event::Started { vertex, reason } => {
                self.under_way |= !self.reasons.is_empty();
                if let Some(shown) = self.vertices.get_mut(vertex) {
                    shown.started = Some(Instant::now());
                    shown.reason = reason.as_deref().map(in_line);
                }
            }
            Event::Log { vertex, data, .. } => {
                if let Some(shown) = self.vertices.get_mut(vertex) {
                    return shown.log.push(data);
                }
            }
            Event::Finished { vertex, ending } => {
                if let Some(shown) = self.vertices.get_mut(vertex) {
                    let spent = shown.started.map_or(Duration::ZERO, |started| started.elapsed());
                    shown.ended = Some((ending.clone(), spent));
                    return shown.log.finish().into_iter().collect();
                }
            }
            Event::Begin { id, what } => {
                let number = self.vertices.len() + self.tasks.len() + 1;
                let task = Task {
                    number,
                    what: in_line(what),
                    started: Instant::now(),
                    current: 0,
                    total: 0,
                    ended: None,
                };
                self.tasks.insert(*id, task);
            }
            Event::Progress { id, current, total } => {
                if let Some(task) = self.tasks.get_mut(id) {
                    task.current = *current;
                    task.total = *total;
                }
            }
            Event::End { id, ok } => {
                if let Some(task) = self.tasks.get_mut(id) {
                    task.ended = Some(*ok);
                }
            }
            Event::Diagnostic(diagnostic) => {
                if !self.diagnostics.contains(diagnostic) {
                    self.diagnostics.push(diagnostic.clone());
                }
            }
            Event::Reason(reason) => self.reasons.push(reason.clone()),
        }
        Vec::new()
    }
}

/// Writes to standard error; when nobody reads there any more, the build goes on all the same.
pub(crate) fn put(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_reach_the_terminal() {
        assert_eq!(clean(b"\x1b[31mred\x1b[0m \x1b]0;title\x07x\x08\r"), "red x");
        assert_eq!(clean(b"10%\r50%\r100%"), "100%");
    }

    #[test]
    fn names_of_steps_are_text_in_one_line() {
        let progress = Progress::new(Mode::Quiet);
        let name = "RUN echo \x1b]0;title\x07\nerror: no".to_owned();
        progress.emit(Event::Planned { vertices: vec![(VertexId::default(), name, String::new())] });
        let state = progress.state.lock().unwrap();
        let shown = state.vertices.values().next().unwrap();
        assert_eq!(shown.name, "RUN echo \u{fffd}]0;title\u{fffd} error: no");
    }

    #[test]
    fn a_long_log_keeps_its_end() {
        let mut log = Log::default();
        for i in 0..20_000 {
            log.push(format!("line {i}\n").as_bytes());
        }
        assert!(log.dropped && log.bytes <= KEPT_LOG_BYTES);
        assert_eq!(log.lines.back().unwrap(), "line 19999");
    }
}
