//! `Tally`: a counter that every request adds to, whichever thread serves it.
//!
//! Threads that add to one number wait for each other at every request. So each has a number of its own, and they are
//! added up when somebody looks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Atomic;
use prometheus_client::metrics::counter::Counter;
use thread_local::ThreadLocal;

/// A counter that many threads add to at the same time. Clones count together.
pub type Tally = Counter<u64, ByThread>;

/// A number that is the sum of one for each thread.
#[derive(Debug, Default)]
pub struct ByThread(ThreadLocal<Own>);

/// On a cache line that no other thread writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own(AtomicU64);

impl Atomic<u64> for ByThread {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// Gives what this thread alone had counted before: nobody adds in order to know the sum.
    fn inc_by(&self, more: u64) -> u64 {
        self.0.get_or_default().0.fetch_add(more, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.0.iter().map(|own| own.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_count_together() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for more in [1, 10, 100] {
                let tally = tally.clone();
                scope.spawn(move || {
                    tally.inc();
                    tally.inc_by(more);
                });
            }
        });
        assert_eq!(tally.get(), 114);
    }
}
