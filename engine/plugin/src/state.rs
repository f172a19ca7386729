//! What the host keeps about a component while it is called.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_core::Platform;
use kiln_core::seams::{HostError, Services};
use wasmtime::component::ResourceTable;
use wasmtime::{Store, UpdateDeadline};

use crate::bridge::{HungUp, Line};
use crate::component::Plugin;
use crate::dispatch::{Live, Registry};
use crate::limits::{self, Limits, Meter};
use crate::record::Tape;

/// How deep components may call each other.
pub(crate) const MAX_DEPTH: u32 = 8;

/// One call from outside, with everything that it leads to. Lives on the thread on which the components run.
pub(crate) struct Session {
    pub(crate) line: Line,
    pub(crate) limits: Limits,
    /// Which component owns which keyword.
    pub(crate) registry: RefCell<Arc<Registry>>,
    /// Started instruction components by position in the registry: one serves all lines of one build file, and no
    /// second build. A new store for each line costs 16 µs, more than the instruction itself.
    pub(crate) live: RefCell<HashMap<usize, Live>>,
    /// For ops of a graph given to `solver` that name none.
    pub(crate) platform: Platform,
    /// As the request names it.
    pub(crate) build_file: RefCell<String>,
    /// What the person was told already that a plugin may not have.
    pub(crate) denied: RefCell<BTreeSet<String>>,
}

impl Session {
    /// Knows no instruction yet; see [`Session::know`].
    pub(crate) fn open(line: Line, limits: Limits, platform: Platform) -> Opened {
        Opened(Rc::new(Self {
            line,
            limits,
            registry: RefCell::default(),
            live: RefCell::default(),
            platform,
            build_file: RefCell::default(),
            denied: RefCell::default(),
        }))
    }
}

/// A session that ends with this value. What runs in it holds on to the session, and the session to what runs.
pub(crate) struct Opened(Rc<Session>);

impl std::ops::Deref for Opened {
    type Target = Rc<Session>;

    fn deref(&self) -> &Rc<Session> {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.live.borrow_mut().clear();
    }
}

/// Data of a store: who runs in it, and what that one has used.
pub(crate) struct State {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) session: Rc<Session>,
    /// Components above this one that wait for it.
    pub(crate) depth: u32,
    pub(crate) table: ResourceTable,
    pub(crate) meter: Meter,
    pub(crate) used: Used,
    pub(crate) clock: Clock,
    /// Where somebody takes down what passes between component and host, or plays it back.
    pub(crate) tape: Option<Tape>,
}

/// What the current call has used, and said last.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) tree_calls: u32,
    pub(crate) tree_bytes: u64,
    pub(crate) lookups: u32,
    pub(crate) resolves: u32,
    pub(crate) solves: u32,
    pub(crate) log_lines: u32,
    pub(crate) log_bytes: usize,
    pub(crate) crash: String,
}

/// Stops a component that nobody waits for any more.
#[derive(Debug, thiserror::Error)]
#[error("cancelled")]
pub(crate) struct Cancelled;

/// Stops a component that takes too long.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
pub(crate) struct OutOfTime;

/// Counts the time in which the component itself runs.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    paused: Duration,
}

impl Clock {
    fn start() -> Self {
        Self { since: Instant::now(), paused: Duration::ZERO }
    }

    fn spent(&self) -> Duration {
        self.since.elapsed().saturating_sub(self.paused)
    }
}

impl State {
    /// A store for one component, with every limit in place. All stores are made here: one without an epoch deadline
    /// would trap at once.
    pub(crate) fn store(plugin: &Arc<Plugin>, session: &Rc<Session>, depth: u32) -> Store<Self> {
        let state = Self {
            plugin: Arc::clone(plugin),
            session: Rc::clone(session),
            depth,
            table: ResourceTable::new(),
            meter: Meter::new(&session.limits),
            used: Used::default(),
            clock: Clock::start(),
            tape: plugin.recorder.as_ref().map(|_| Tape::default()),
        };
        let mut store = Store::new(plugin.component.engine(), state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(session.limits.copied_bytes);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            if state.session.line.is_cancelled() {
                return Err(Cancelled.into());
            }
            if state.clock.spent() > state.session.limits.time {
                return Err(OutOfTime.into());
            }
            Ok(UpdateDeadline::Continue(1))
        });
        rearm(&mut store);
        store
    }

    /// Asks the services of whoever called, and stops the clock meanwhile.
    pub(crate) fn ask<R: Send + 'static>(
        &mut self,
        question: impl FnOnce(&dyn Services) -> R + Send + 'static,
    ) -> wasmtime::Result<R> {
        let session = Rc::clone(&self.session);
        let answer = self.paused(|| session.line.ask(question))?;
        if self.session.line.is_cancelled() {
            return Err(Cancelled.into());
        }
        Ok(answer)
    }

    /// Does something for the component without counting its time.
    pub(crate) fn paused<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let from = Instant::now();
        let result = work();
        self.clock.paused += from.elapsed();
        result
    }

    /// As [`Self::ask`], for what nothing is returned of.
    pub(crate) fn tell(&self, job: impl FnOnce(&dyn Services) + Send + 'static) -> Result<(), HungUp> {
        self.session.line.tell(job)
    }

    /// One more call of an interface that has a limit.
    pub(crate) fn count(used: &mut u32, limit: u32, what: &str) -> Result<(), HostError> {
        *used += 1;
        if *used > limit {
            return Err(HostError::new("limit", format!("more than {limit} calls of {what}")));
        }
        Ok(())
    }
}

/// Gives a store what one call may use.
pub(crate) fn rearm(store: &mut Store<State>) {
    let fuel = store.data().session.limits.fuel;
    store.set_fuel(fuel).expect("the configuration turns fuel on");
    store.set_epoch_deadline(1);
    let state = store.data_mut();
    state.used = Used::default();
    state.clock = Clock::start();
}

/// Cuts a text that is meant for one line of a message or log: no control characters, no terminal sequences.
pub(crate) fn printable(text: &str, limit_chars: usize) -> String {
    let mut out = String::new();
    for (count, char) in text.chars().enumerate() {
        if count == limit_chars {
            out.push('…');
            break;
        }
        match char {
            '\n' | '\t' => out.push(char),
            char if char.is_control() => {}
            char => out.push(char),
        }
    }
    out
}

pub(crate) const LAST_WORDS_CHARS: usize = 4096;

impl Used {
    /// Whether one more line of log of this length is still heard; at the first that is not, `Some(false)`.
    pub(crate) fn log(&mut self, bytes: usize) -> Option<bool> {
        let full = |used: &Self| used.log_lines > limits::LOG_LINES || used.log_bytes > limits::LOG_BYTES;
        if full(self) {
            return None;
        }
        self.log_lines += 1;
        self.log_bytes += bytes;
        Some(!full(self))
    }
}
