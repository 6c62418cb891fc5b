//! `RateLimit`: how many bytes a second all transfers together may take.
//!
//! Knows a token bucket. Does not know what the bytes are. The clock is the caller's, through tokio.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// How far transfers may run ahead after a pause: long enough to even out scheduling, short enough that a
/// limited link is not flooded.
const BURST: Duration = Duration::from_millis(100);

/// A limit on bytes a second, shared by all that hold a reference.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: NonZeroU64,
    /// When the bytes taken so far are paid for.
    paid_until: Mutex<Instant>,
}

impl RateLimit {
    /// A limit of this many bytes a second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` more may be taken.
    pub async fn take(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let until = {
            let now = Instant::now();
            let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            *paid_until = (*paid_until).max(earliest) + cost;
            *paid_until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ten_seconds_worth_takes_ten_seconds() {
        let limit = RateLimit::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        for _ in 0..100 {
            limit.take(100).await;
        }
        let elapsed = start.elapsed();
        assert!(
            elapsed >= Duration::from_millis(9800) && elapsed <= Duration::from_millis(10_100),
            "{elapsed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_up() {
        let limit = RateLimit::new(NonZeroU64::new(1000).unwrap());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        limit.take(1000).await;
        assert!(start.elapsed() >= Duration::from_millis(890));
    }
}
