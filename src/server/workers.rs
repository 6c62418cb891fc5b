//! `Workers`: the threads that run connections, each connection on one of them from its first byte to its last.
//!
//! A request that moves between threads costs a wake-up, a context switch and a cold cache: with threads that
//! take work from each other 0.3 futex calls and 0.13 context switches were counted for each small request,
//! whose whole price is some 10 us.
//!
//! Knows threads and how busy they are. Does not know what runs on them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::runtime;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// Threads for connections. Cheap to clone; they end when the last clone is dropped, with whatever still runs
/// on them.
#[derive(Clone, Debug)]
pub struct Workers {
    workers: Arc<[Worker]>,
    _end: Arc<DropGuard>,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// How many connections it has.
    connections: Arc<AtomicUsize>,
}

/// One connection's claim on the thread that runs it.
#[derive(Debug)]
pub(super) struct Claim {
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` threads, or one.
    ///
    /// # Errors
    /// The system has no thread or no descriptor left.
    pub fn start(count: usize) -> io::Result<Self> {
        let end = CancellationToken::new();
        let workers = (0..count.max(1)).map(|_| Worker::start(&end)).collect::<io::Result<_>>()?;
        Ok(Self { workers, _end: Arc::new(end.drop_guard()) })
    }

    /// The thread for the next connection: one with the fewest. A connection stays, so that those which last,
    /// not those which come and go, decide who has how many.
    pub(super) fn claim(&self) -> Option<(Handle, Claim)> {
        let worker = self.workers.iter().min_by_key(|it| it.connections.load(Ordering::Relaxed))?;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        Some((worker.runtime.clone(), Claim { connections: Arc::clone(&worker.connections) }))
    }
}

impl Worker {
    fn start(end: &CancellationToken) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().thread_name("larder").build()?;
        let (handle, end) = (runtime.handle().clone(), end.clone());
        thread::Builder::new().name("larder".to_owned()).spawn(move || {
            runtime.block_on(end.cancelled_owned());
            // What still reads from a medium that does not answer must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, connections: Arc::default() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly() {
        let workers = Workers::start(3).unwrap();
        let mut claims: Vec<_> = std::iter::repeat_with(|| workers.claim().unwrap().1).take(9).collect();
        let counts =
            || workers.workers.iter().map(|it| it.connections.load(Ordering::Relaxed)).collect::<Vec<_>>();
        assert_eq!(counts(), [3, 3, 3]);
        // Two of the first thread's end, and the next two get their places.
        drop([claims.remove(3), claims.remove(0)]);
        assert_eq!(counts(), [1, 3, 3]);
        claims.extend(std::iter::repeat_with(|| workers.claim().unwrap().1).take(2));
        assert_eq!(counts(), [3, 3, 3]);
    }

    #[test]
    fn what_runs_ends_with_the_workers() {
        let workers = Workers::start(1).unwrap();
        let (runtime, _claim) = workers.claim().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        runtime.spawn(async move {
            let _held = sender;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert_eq!(receiver.recv(), Err(std::sync::mpsc::RecvError));
    }
}
