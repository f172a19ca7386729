//! A window of lines at the bottom of a terminal, drawn again and again in place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_core::event::Ending;

use super::{Progress, Shown, State, put, seconds};

const FRAME: Duration = Duration::from_millis(80);
/// Lines of log shown below a running step.
const LOG_LINES: usize = 5;

/// Draws frames while nothing happens, so that clocks go on. Ends when dropped.
pub struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(progress: &Arc<Progress>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, progress) = (stop.clone(), progress.clone());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                std::thread::park_timeout(FRAME);
                progress.tick();
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Draws what there is to see. A frame that follows the last one too closely is left out unless it is the `last`.
pub(super) fn draw(state: &mut State, last: bool) {
    let now = Instant::now();
    if !last && state.last_frame.is_some_and(|frame| now.duration_since(frame) < FRAME) {
        return;
    }
    state.last_frame = Some(now);
    let (width, height) = match rustix::termios::tcgetwinsize(rustix::stdio::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 2 => (size.ws_col as usize, size.ws_row as usize - 1),
        _ => (80, 24),
    };
    let lines = frame(state, now, width, if last { usize::MAX } else { height });
    let mut text = String::new();
    if state.drawn > 0 {
        text.push_str(&format!("\x1b[{}A", state.drawn));
    }
    for line in &lines {
        text.push_str("\r\x1b[K");
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("\x1b[J");
    state.drawn = if last { 0 } else { lines.len() };
    put(&text);
}

fn frame(state: &State, now: Instant, width: usize, height: usize) -> Vec<String> {
    let ended = state.vertices.values().filter(|v| v.ended.is_some()).count();
    let mut lines =
        vec![format!("[+] {} {ended}/{}", seconds(now.duration_since(state.begun)), state.vertices.len())];
    for task in state.tasks.values() {
        let amount = match (task.current, task.total) {
            (0, _) => String::new(),
            (current, 0) => format!(" {}", crate::parse::human_size(current)),
            (current, total) => {
                format!(" {} / {}", crate::parse::human_size(current), crate::parse::human_size(total))
            }
        };
        let mark = match task.ended {
            None => "=>",
            Some(true) => " ✓",
            Some(false) => " ✗",
        };
        lines.push(cut(&format!(" {mark} {}{amount}", task.what), width));
    }
    for shown in state.vertices.values() {
        lines.extend(step(shown, now, width));
    }
    if lines.len() > height {
        // What is going on matters more than what is over: the beginning goes first, the clock stays.
        let surplus = lines.len() - height;
        lines.drain(1..=surplus);
    }
    lines
}

fn step(shown: &Shown, now: Instant, width: usize) -> Vec<String> {
    let name = &shown.name;
    match (&shown.ended, shown.started) {
        (Some((Ending::Done, spent)), _) => vec![row(&format!("  ✓ {name}"), &seconds(*spent), width)],
        (Some((Ending::Cached, _)), _) => vec![row(&format!("  ✓ {name}"), "CACHED", width)],
        (Some((Ending::Failed, spent)), _) => vec![row(&format!("  ✗ {name}"), &seconds(*spent), width)],
        (Some((Ending::Cancelled, _)), _) => vec![row(&format!("  - {name}"), "CANCELED", width)],
        (None, None) => Vec::new(),
        (None, Some(started)) => {
            let mut lines = vec![row(&format!(" => {name}"), &seconds(now.duration_since(started)), width)];
            if let Some(reason) = &shown.reason {
                lines.push(cut(&format!("    because {reason}"), width));
            }
            let tail = shown.log.lines.len().saturating_sub(LOG_LINES);
            lines.extend(shown.log.lines.iter().skip(tail).map(|line| cut(&format!("    # {line}"), width)));
            lines
        }
    }
}

/// `left` and `right` at the two ends of a line.
fn row(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(right.chars().count() + 2);
    let left = cut(left, room);
    let gap = " ".repeat(room.saturating_sub(left.chars().count()) + 1);
    format!("{left}{gap}{right}")
}

fn cut(text: &str, width: usize) -> String {
    let text = text.replace('\t', " ");
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
