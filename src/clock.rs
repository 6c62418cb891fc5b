//! `Tick`: the time as the kernel last noted it, for limits of seconds.
//!
//! Knows that the exact time is not free: with a small answer, asking for it five times was a hundredth of the
//! whole cost. Does not know the time of day.

use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// A moment since the node was started, as of the last timer interrupt: 1 to 10 ms ago, or more where a host took the processor away.
/// `CLOCK_MONOTONIC_COARSE` (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(Duration);

impl Tick {
    /// Now, or a little before.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        // A clock that counts from the start has no negative parts.
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0));
        Self(Duration::new(seconds, nanos))
    }

    /// How long ago that was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How much later this is; nothing where it is earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn goes_on_as_the_exact_clock_does() {
        let (outer, began, inner) = (Instant::now(), Tick::now(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let (at_least, elapsed, at_most) = (inner.elapsed(), began.elapsed(), outer.elapsed());
        let tick = Duration::from_millis(25);
        assert!(elapsed + tick >= at_least && elapsed <= at_most + tick, "{elapsed:?} for {at_least:?}");
        assert_eq!(began.since(began.after(Duration::from_secs(1))), Duration::ZERO);
    }
}
