//! `Room`: how many connections there may be at once, and which of them goes when there are too many.
//!
//! Knows who is there and who waits. Does not know what is said on a connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::server::progress::Progress;

/// How many connections go at once to make room for the next ones. Finding them means a look at all, half a
/// millisecond for 10,000; shared among this many newcomers, even a flood of them costs next to nothing.
const GO_AT_ONCE: usize = 64;

/// How long those may take to go who were told to. They only have to be dropped.
const GOING_LIMIT: Duration = Duration::from_secs(1);

/// Room for so many connections.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    by: HashMap<u64, Arc<Progress>>,
    next: u64,
}

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
    progress: Arc<Progress>,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    /// For `limit` connections.
    pub(super) fn new(limit: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(limit)), taken: Arc::default() }
    }

    /// A place for a new connection. Where all are taken, the connections that have waited longest without a
    /// request have to go, so that nobody can lock others out by doing nothing; `None` where all of them
    /// work.
    pub(super) async fn enter(&self) -> Option<Place> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.make_room();
                timeout(GOING_LIMIT, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()?
            }
        };
        let progress = Arc::new(Progress::begin());
        let number = lock(&self.taken).add(Arc::clone(&progress));
        Some(Place { number, taken: Arc::clone(&self.taken), progress, _permit: permit })
    }

    fn make_room(&self) {
        let taken = lock(&self.taken);
        let ranks = taken.by.iter().filter_map(|(number, progress)| Some((progress.rank()?, *number)));
        let mut waiting: Vec<_> = ranks.collect();
        if waiting.len() > GO_AT_ONCE {
            waiting.select_nth_unstable(GO_AT_ONCE);
        }
        for (_, number) in waiting.iter().take(GO_AT_ONCE) {
            taken.by.get(number).inspect(|progress| progress.displace());
        }
    }
}

impl Taken {
    fn add(&mut self, progress: Arc<Progress>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by.insert(number, progress);
        number
    }
}

impl Place {
    /// What the connection in this place does.
    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).by.remove(&self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for a connection that lasts until it is told to go.
    fn stay(place: Place) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { place.progress().displaced().await })
    }

    #[tokio::test]
    async fn who_does_nothing_goes_first() {
        let room = Room::new(200);
        let working = room.enter().await.unwrap();
        working.progress().request();
        let answered = room.enter().await.unwrap();
        answered.progress().request();
        answered.progress().answered();
        let (working, answered) = (stay(working), stay(answered));
        let mut silent = Vec::new();
        for _ in 0..198 {
            silent.push(stay(room.enter().await.unwrap()));
        }
        for _ in 0..150 {
            silent.push(stay(room.enter().await.unwrap()));
        }
        assert!(!working.is_finished() && !answered.is_finished());
        let gone: Vec<_> = silent.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert!(gone[0] && !gone[347], "{gone:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_goes_who_works() {
        let room = Room::new(1);
        let working = room.enter().await.unwrap();
        working.progress().request();
        let _working = stay(working);
        assert!(room.enter().await.is_none());
    }
}
