//! Lets something run until it ends, is cancelled, or has had its time.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use kiln_core::Cancel;
use rustix::event::{EventfdFlags, eventfd};

/// How often a cancellation of the whole build is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Runs `work` with `cancel`; where there is a limit, with one of its own that rises with `cancel` and when so many seconds
/// have passed.
///
/// # Errors
///
/// When the kernel has no descriptor for it.
pub(crate) fn within<R>(
    seconds: Option<u32>,
    cancel: &Cancel,
    work: impl FnOnce(&Cancel) -> R,
) -> std::io::Result<R> {
    let Some(seconds) = seconds else { return Ok(work(cancel)) };
    let own = Cancel::new(Some(eventfd(0, EventfdFlags::CLOEXEC)?));
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let (done, ended) = channel::<()>();
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| {
            let ended = ended;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(TICK) {
                let level = cancel.level().max(u8::from(Instant::now() >= end));
                if level > own.level() {
                    crate::stop(&own);
                    own.raise(level);
                }
            }
        });
        let result = work(&own);
        drop(done);
        result
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Until somebody says stop, and for no longer than a test may take.
    fn wait(cancel: &Cancel) -> bool {
        let until = Instant::now() + Duration::from_secs(30);
        while !cancel.is_cancelled() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.is_cancelled()
    }

    #[test]
    fn what_takes_longer_than_it_may_is_told_to_stop() {
        let whole = Cancel::default();
        assert!(within(Some(1), &whole, wait).unwrap());
        assert!(!whole.is_cancelled());
    }

    #[test]
    fn the_end_of_the_whole_is_the_end_of_the_part() {
        let whole = Cancel::default();
        whole.raise(2);
        assert_eq!(within(Some(3600), &whole, |own| wait(own).then(|| own.level())).unwrap(), Some(2));
    }

    #[test]
    fn what_ends_by_itself_is_not_told_to() {
        assert!(!within(Some(3600), &Cancel::default(), Cancel::is_cancelled).unwrap());
    }
}
