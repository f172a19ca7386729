//! Runs components on a thread of their own, and carries their questions to the services of whoever asked for the call.
//!
//! The thread that asks stays the one that answers: services need not outlive the call nor be shared between threads.
//! While it waits it keeps the time, so there is no clock when no component runs.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use kiln_core::Cancel;
use kiln_core::seams::Services;
use wasmtime::Engine;

/// How often a running component is looked after.
const TICK: Duration = Duration::from_millis(50);

/// For [`MAX_DEPTH`](crate::state::MAX_DEPTH) components that call each other, each with a stack of its own size.
const STACK_BYTES: usize = 16 << 20;

type Job = Box<dyn FnOnce(&dyn Services) + Send>;

/// The component's end: questions go in here.
pub(crate) struct Line {
    jobs: Sender<Job>,
    cancelled: Arc<AtomicBool>,
}

/// Nobody answers: the call is over, or it is one in which nothing may be asked.
#[derive(Debug, thiserror::Error)]
#[error("the host answers no calls now")]
pub(crate) struct HungUp;

impl Line {
    /// Waits for the answer.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Services) -> R + Send + 'static,
    ) -> Result<R, HungUp> {
        let (answer, answered) = mpsc::channel();
        self.tell(move |services| {
            // Nobody listens any more when the component's thread has given up.
            let _ = answer.send(question(services));
        })?;
        answered.recv().map_err(|_| HungUp)
    }

    /// Does not wait.
    pub(crate) fn tell(&self, job: impl FnOnce(&dyn Services) + Send + 'static) -> Result<(), HungUp> {
        self.jobs.send(Box::new(job)).map_err(|_| HungUp)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// Runs `work` on a new thread and answers what it asks until it ends. Without services, questions find nobody.
///
/// # Errors
///
/// When there can be no thread.
pub(crate) fn serve<R: Send>(
    engine: &Engine,
    services: Option<&dyn Services>,
    cancel: &Cancel,
    work: impl FnOnce(Line) -> R + Send,
) -> io::Result<R> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let cancelled = Arc::new(AtomicBool::new(cancel.is_cancelled()));
    let line = Line { jobs: sender, cancelled: Arc::clone(&cancelled) };
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("plugin".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, move || work(line))?;
        let mut next_tick = Instant::now() + TICK;
        loop {
            match jobs.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
                // Dropping a job closes the channel on which its answer is awaited.
                Ok(job) => {
                    if let Some(services) = services {
                        job(services);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancel.is_cancelled() {
                cancelled.store(true, Ordering::Release);
            }
            if worker.is_finished() {
                break;
            }
            if Instant::now() >= next_tick {
                engine.increment_epoch();
                next_tick = Instant::now() + TICK;
            }
        }
        if let Some(services) = services {
            jobs.try_iter().for_each(|job| job(services));
        }
        worker.join().or_else(|panic| resume_unwind(panic))
    })
}
