//! `Pace`: how fast something may be read, and the way to stop it.
//!
//! Knows a rate shared by several threads. Does not know what they read.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// A rate, shared by whoever reads.
#[derive(Debug)]
pub struct Pace {
    per_second: Option<NonZero<u64>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Stops a pace when it is dropped: whoever waited for the work is gone.
#[derive(Debug)]
pub(super) struct StopOnDrop(pub(super) std::sync::Arc<Pace>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[derive(Debug)]
struct State {
    /// When what was taken so far is paid for.
    paid: Instant,
    stopped: bool,
}

impl Pace {
    /// How far a burst may run ahead: the pieces that are read are a fraction of it, and nobody notices it.
    const BURST: Duration = Duration::from_millis(100);

    /// At most so many bytes in a second; as fast as it goes without a number.
    pub fn new(per_second: Option<NonZero<u64>>) -> Self {
        let state = State { paid: Instant::now(), stopped: false };
        Self { per_second, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes so many bytes, and waits until that is within the rate; [`ControlFlow::Break`] once stopped.
    pub fn take(&self, bytes: u64) -> ControlFlow<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(per_second) = self.per_second {
            let cost = Duration::from_secs_f64(bytes as f64 / per_second.get() as f64);
            state.paid = state.paid.max(Instant::now()) + cost;
        }
        let due = state.paid;
        while !state.stopped {
            let ahead = due.saturating_duration_since(Instant::now());
            if ahead <= Self::BURST {
                return ControlFlow::Continue(());
            }
            let (woken, _) = self.changed.wait_timeout(state, ahead).unwrap_or_else(PoisonError::into_inner);
            state = woken;
        }
        ControlFlow::Break(())
    }

    /// Waits so long, unless stopped before; [`ControlFlow::Break`] if so.
    pub fn wait(&self, duration: Duration) -> ControlFlow<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let until_stopped = self.changed.wait_timeout_while(state, duration, |state| !state.stopped);
        let (state, _) = until_stopped.unwrap_or_else(PoisonError::into_inner);
        if state.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Stops whoever takes or waits, now and from now on.
    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_by_all_threads_together() {
        let pace = Pace::new(NonZero::new(1_000_000));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10).for_each(|_| assert!(pace.take(10_000).is_continue())));
            }
        });
        // 400 kB at 1 MB/s, of which a burst of 100 ms is free.
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let pace = Pace::new(None);
        let began = Instant::now();
        assert!(pace.take(u64::MAX).is_continue());
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn stopping_wakes_those_who_wait() {
        let pace = Pace::new(NonZero::new(1));
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| pace.take(1_000_000));
            let waiting = scope.spawn(|| pace.wait(Duration::from_secs(1_000)));
            pace.stop();
            assert!(taking.join().unwrap().is_break() && waiting.join().unwrap().is_break());
        });
        assert!(pace.take(0).is_break());
    }
}
