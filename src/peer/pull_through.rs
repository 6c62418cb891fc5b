//! Pull-through: what is missing here and asked for is fetched from a peer that has it.
//!
//! Knows whom to ask, for how long, and that a mistaken reference must cost one bounded question. Does not
//! know who asked: a client that goes away does not stop what has begun.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use storage_layout::Digest;
use storage_layout::RepositoryName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::oci::Reference;
use crate::peer::Dialer;
use crate::peer::Endpoint;
use crate::peer::Error;
use crate::peer::Fetching;
use crate::peer::client::Client;
use crate::peer::fetching::FetchingGuard;
use crate::peer::progress::Progress;
use crate::peer::sources::Origin;
use crate::peer::sources::Source;
use crate::peer::sources::Sources;
use crate::peer::sources::Wanted;
use crate::peer::survey::verified;
use crate::peer::tee::Tee;
use crate::peer::transfer::Transfer;
use crate::registry::Arriving;
use crate::registry::Fetched;
use crate::registry::Missing;
use crate::registry::PullThrough;
use crate::registry::Wish;
use crate::store::Store;

/// How long peers may take to say whether they have something. A client is waiting, and most misses are
/// mistakes.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it is remembered that nobody has something: clients ask again at once, releases come by the
/// minute.
const REMEMBERED: Duration = Duration::from_secs(5);
/// How many such answers are remembered: a stranger can ask for any number of things that do not exist.
const REMEMBERED_LIMIT: usize = 4096;
/// How many blobs are pulled through at once; more wait, as their clients do.
const AT_ONCE: usize = 16;

/// How often a blob that a job is taking in is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks peers for what is missing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PeerPullThrough {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    dialer: Dialer,
    peers: Vec<Endpoint>,
    fetching: Arc<Fetching>,
    absent: Absent<(RepositoryName, Reference)>,
    flights: Mutex<HashMap<Digest, watch::Receiver<Flight>>>,
    places: tokio::sync::Semaphore,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// How a blob that is on its way is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    UnderWay,
    Landed,
    Lost,
}

impl PullThrough for PeerPullThrough {
    fn fetch<'a>(&'a self, missing: Missing<'a>) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>> {
        Box::pin(async move {
            match missing {
                Missing::Blob(name, digest, wish) => self.blob(name, digest, wish).await,
                Missing::Manifest(name, reference) => self.manifest(name, reference).await,
            }
        })
    }

    fn read_along(&self, name: &RepositoryName, digest: &Digest, begin: u64) -> Option<Arriving> {
        self.inner.fetching.read_along(name, digest, begin)
    }
}

impl PeerPullThrough {
    /// Asks these peers. `fetching` is shared with the jobs of this node.
    pub fn new(
        store: Store,
        dialer: Dialer,
        peers: Vec<Endpoint>,
        fetching: Arc<Fetching>,
        shutdown: CancellationToken,
    ) -> Self {
        let (absent, flights) = (Absent::default(), Mutex::default());
        let (places, tasks) = (tokio::sync::Semaphore::new(AT_ONCE), TaskTracker::new());
        let inner = Inner { store, dialer, peers, fetching, absent, flights, places, tasks, shutdown };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until everything under way has stopped, after the shutdown was announced.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    async fn manifest(&self, name: &RepositoryName, reference: &Reference) -> Fetched {
        let inner = &self.inner;
        let key = (name.clone(), reference.clone());
        if inner.absent.contains(&key) || inner.store.writer().is_none() {
            return Fetched::Absent;
        }
        let wanted = reference.to_string();
        let (owned, reference) = key.clone();
        let found = inner
            .first(move |client| {
                let (name, reference, wanted) = (owned.clone(), reference.clone(), wanted.clone());
                async move {
                    let manifest = client.manifest(&name, &wanted).await.ok().flatten()?;
                    let digest = match reference {
                        Reference::Digest(digest) => digest,
                        Reference::Tag(tag) => client.resolve(&name, &tag).await.ok().flatten()?,
                    };
                    verified(&client, manifest, &digest).ok().map(|(content, _)| (digest, content))
                }
            })
            .await;
        let Some((digest, content)) = found else {
            inner.absent.insert(key);
            return Fetched::Absent;
        };
        // The tag is not published: a release's tags appear when it is whole, and not because somebody asked.
        let Some(writer) = inner.store.writer() else { return Fetched::Absent };
        match writer.put_manifest(name, &digest, content, &[]).await {
            Ok(()) => Fetched::Manifest(digest),
            Err(error) => {
                tracing::warn!(repository = %name, digest = %digest, error = %error, "cannot store what a peer gave");
                Fetched::Absent
            }
        }
    }

    async fn blob(&self, name: &RepositoryName, digest: &Digest, wish: Wish) -> Fetched {
        if let Some(flight) = self.inner.flight(digest) {
            return landed(flight).await;
        }
        let key = (name.clone(), Reference::Digest(*digest));
        if self.inner.absent.contains(&key) || self.inner.store.writer().is_none() {
            return Fetched::Absent;
        }
        let (owned, wanted) = (name.clone(), *digest);
        let found = self
            .inner
            .first(move |client| {
                let name = owned.clone();
                async move { client.blob_size(&name, &wanted).await.ok().flatten().map(|size| (client, size)) }
            })
            .await;
        let Some((client, size)) = found else {
            self.inner.absent.insert(key);
            return Fetched::Absent;
        };
        self.take_off(name.clone(), *digest, client, size, wish).await
    }

    /// Begins to take a blob in and hands its bytes on as they come; whoever comes second waits until it is
    /// here.
    async fn take_off(
        &self,
        name: RepositoryName,
        digest: Digest,
        client: Client,
        size: u64,
        wish: Wish,
    ) -> Fetched {
        let (state, watched) = watch::channel(Flight::UnderWay);
        let Some(guard) = self.inner.board(&name, digest, watched.clone()) else {
            return match self.inner.flight(&digest) {
                Some(flight) => landed(flight).await,
                None => self.inner.taken_by_job(&digest).await,
            };
        };
        let (tee, chunks) = Tee::new();
        let inner = self.inner.clone();
        self.inner.tasks.spawn(async move {
            let outcome = inner.fly(&name, &guard, client, size, tee).await;
            inner.lock().remove(&digest);
            drop(guard);
            if let Err(error) = &outcome {
                tracing::warn!(repository = %name, digest = %digest, error = %error, "a blob was not pulled through");
            }
            state.send_replace(if outcome.is_ok() { Flight::Landed } else { Flight::Lost });
        });
        if wish == Wish::Stored {
            drop(chunks);
            return landed(watched).await;
        }
        match chunks.begin().await {
            Some(chunks) => Fetched::Arriving(Arriving::new(0, size, chunks)),
            None => landed(watched).await,
        }
    }
}

impl Inner {
    /// What the first peer says that has an answer. All are asked at once.
    async fn first<T, F>(&self, ask: impl Fn(Client) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for peer in &self.peers {
            asked.spawn(timeout(ASK_TIMEOUT, ask(self.dialer.client(peer))));
        }
        while let Some(answer) = asked.join_next().await {
            if let Ok(Ok(Some(answer))) = answer {
                return Some(answer);
            }
        }
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, watch::Receiver<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flight(&self, digest: &Digest) -> Option<watch::Receiver<Flight>> {
        self.lock().get(digest).cloned()
    }

    /// Makes this the one flight of a blob; `None` if there is one, or a job is taking it.
    fn board(
        &self,
        name: &RepositoryName,
        digest: Digest,
        flight: watch::Receiver<Flight>,
    ) -> Option<FetchingGuard> {
        let mut flights = self.lock();
        if flights.contains_key(&digest) {
            return None;
        }
        let guard = self.fetching.begin(digest, [name.clone()].into())?;
        flights.insert(digest, flight);
        Some(guard)
    }

    /// Waits for the job that is taking a blob in. Whoever waits looks into the store then.
    async fn taken_by_job(&self, digest: &Digest) -> Fetched {
        while self.fetching.contains(digest) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Fetched::Stored
    }

    async fn fly(
        &self,
        name: &RepositoryName,
        arrival: &FetchingGuard,
        first: Client,
        size: u64,
        tee: Tee,
    ) -> Result<(), Error> {
        let _place = self.places.acquire().await.map_err(|_| Error::Cancelled)?;
        let others = self.peers.iter().filter(|it| *it != first.endpoint()).map(|it| self.dialer.client(it));
        let sources = std::iter::once(first.clone()).chain(others).map(|it| Source::new(it, Origin::Named));
        let transfer = Transfer {
            writer: self.store.writer().ok_or(Error::ReadOnly)?,
            sources: &Sources::new(sources.collect(), Wanted::Any),
            progress: &Progress::default(),
            rate: None,
            // A client waits.
            pressure: None,
            cancel: &self.shutdown,
            name,
            arrival,
            size,
        };
        transfer.run_with(tee).await
    }
}

async fn landed(mut flight: watch::Receiver<Flight>) -> Fetched {
    match flight.wait_for(|it| *it != Flight::UnderWay).await.map(|it| *it) {
        Ok(Flight::Landed) => Fetched::Stored,
        Ok(Flight::Lost | Flight::UnderWay) | Err(_) => Fetched::Absent,
    }
}

/// What nobody had when it was last asked for.
#[derive(Debug)]
struct Absent<K> {
    until: Mutex<HashMap<K, Instant>>,
}

impl<K> Default for Absent<K> {
    fn default() -> Self {
        Self { until: Mutex::default() }
    }
}

impl<K: Eq + Hash> Absent<K> {
    fn contains(&self, key: &K) -> bool {
        self.lock().get(key).is_some_and(|until| *until > Instant::now())
    }

    fn insert(&self, key: K) {
        let mut absent = self.lock();
        if absent.len() >= REMEMBERED_LIMIT {
            let now = Instant::now();
            absent.retain(|_, until| *until > now);
        }
        if absent.len() < REMEMBERED_LIMIT {
            absent.insert(key, Instant::now() + REMEMBERED);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<K, Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn absence_is_remembered_briefly_and_within_bounds() {
        let absent = Absent::default();
        absent.insert(0);
        assert!(absent.contains(&0) && !absent.contains(&1));
        tokio::time::advance(REMEMBERED).await;
        assert!(!absent.contains(&0));
        for key in 0..REMEMBERED_LIMIT * 2 {
            absent.insert(key);
        }
        assert_eq!(absent.lock().len(), REMEMBERED_LIMIT);
    }
}
