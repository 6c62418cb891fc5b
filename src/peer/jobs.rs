//! `Jobs`: the jobs of this node, one running at a time.
//!
//! Knows how a job is submitted, tried again, cancelled and remembered over a restart. Does not know what a
//! run does.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::peer::Client;
use crate::peer::Dialer;
use crate::peer::Endpoint;
use crate::peer::Error;
use crate::peer::Fetching;
use crate::peer::Job;
use crate::peer::JobId;
use crate::peer::JobRequest;
use crate::peer::JobStatus;
use crate::peer::Menders;
use crate::peer::State;
use crate::peer::pressure::Pressure;
use crate::peer::progress::Progress;
use crate::peer::rate::RateLimit;
use crate::peer::run::BLOBS_AT_ONCE;
use crate::peer::run::RESERVE;
use crate::peer::run::Run;
use crate::peer::sources::Origin;
use crate::peer::sources::Source;
use crate::peer::sources::Sources;
use crate::peer::sources::Wanted;
use crate::peer::transfer::with_jitter;
use crate::store;
use crate::store::Store;

/// How many jobs are remembered, ended ones included. The oldest ended one makes room.
const JOBS_LIMIT: usize = 64;
/// One job at a time has the link and the disk: two would finish no sooner.
const RUNNING_AT_ONCE: usize = 1;
/// The first wait before a job is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait: a node whose link is back begins within half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Under which name jobs are remembered in the store's own directory.
const DOCUMENT: &str = "jobs.json";

/// The jobs of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    dialer: Dialer,
    peers: Vec<Endpoint>,
    fetching: Arc<Fetching>,
    turn: Semaphore,
    jobs: Mutex<BTreeMap<JobId, Entry>>,
    tasks: TaskTracker,
    /// Where jobs run: not on the thread of whichever connection submitted one.
    runtime: Handle,
    shutdown: CancellationToken,
}

#[derive(Clone, Debug)]
struct Entry {
    job: Arc<Job>,
    progress: Arc<Progress>,
    state: watch::Receiver<State>,
    cancel: CancellationToken,
    order: u64,
}

/// Whether a submitted job was there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is new, or had ended and begins again.
    New,
    /// It is under way.
    UnderWay,
}

impl Jobs {
    /// No jobs yet. `peers` are asked where a job names nobody, and also where it does: whoever has a blob
    /// may give it. To be called where jobs are to run.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(store: Store, dialer: Dialer, peers: Vec<Endpoint>, shutdown: CancellationToken) -> Self {
        let (jobs, tasks, fetching) = (Mutex::default(), TaskTracker::new(), Arc::default());
        let turn = Semaphore::new(RUNNING_AT_ONCE);
        let runtime = Handle::current();
        let inner = Inner { store, dialer, peers, fetching, turn, jobs, tasks, runtime, shutdown };
        Self { inner: Arc::new(inner) }
    }

    /// What is on its way here.
    pub fn fetching(&self) -> &Arc<Fetching> {
        &self.inner.fetching
    }

    /// Goes on with the jobs that a restart interrupted.
    ///
    /// # Errors
    /// What is remembered cannot be read.
    pub async fn resume(&self) -> Result<(), store::Error> {
        let Some(document) = self.inner.store.document(DOCUMENT).await? else { return Ok(()) };
        // What an older or newer version wrote and this one does not understand is left out, not refused.
        let requests: Vec<JobRequest> = serde_json::from_slice(&document).unwrap_or_default();
        for job in requests.into_iter().filter_map(|it| Job::parse(it).ok()) {
            self.start(Arc::new(job));
        }
        Ok(())
    }

    /// Begins a job, or finds it under way. When this returns it is remembered, or has ended: with nothing to
    /// do that is quicker than any disk.
    ///
    /// # Errors
    /// There are no sources, the store is read-only, or the job cannot be remembered.
    pub async fn submit(&self, job: Job) -> Result<Submitted, Error> {
        if self.inner.store.writer().is_none() {
            return Err(Error::ReadOnly);
        }
        if job.sources().is_empty() && self.inner.peers.is_empty() {
            return Err(Error::Missing {
                what: "a registry to take from: neither the job nor the configuration names one".into(),
            });
        }
        let id = job.id().clone();
        let submitted = self.start(Arc::new(job));
        let (Submitted::New, Some(mut state)) = (submitted, self.watch(&id)) else { return Ok(submitted) };
        tokio::select! {
            _ = state.wait_for(State::is_final) => Ok(submitted),
            remembered = self.inner.remember() => remembered.map(|()| submitted),
        }
    }

    /// A job, if there is one of that name.
    pub fn get(&self, id: &JobId) -> Option<JobStatus> {
        self.inner.lock().get(id).map(Entry::status)
    }

    /// All jobs, the newest first.
    pub fn list(&self) -> Vec<JobStatus> {
        let mut entries: Vec<_> = self.inner.lock().values().cloned().collect();
        entries.sort_by_key(|it| std::cmp::Reverse(it.order));
        entries.iter().map(Entry::status).collect()
    }

    /// Follows a job's state.
    pub fn watch(&self, id: &JobId) -> Option<watch::Receiver<State>> {
        self.inner.lock().get(id).map(|it| it.state.clone())
    }

    /// Cancels a job; `false` if there is none of that name. What has come stays and is not asked for again.
    pub fn cancel(&self, id: &JobId) -> bool {
        let entry = self.inner.lock().get(id).cloned();
        entry.inspect(|it| it.cancel.cancel()).is_some()
    }

    /// The peers of this node.
    pub(crate) fn peers(&self) -> Vec<Client> {
        self.inner.peers.iter().map(|it| self.inner.dialer.client(it)).collect()
    }

    /// Registries that mend what is damaged here, which need not be peers.
    pub(crate) fn menders(&self, at: &[Endpoint], bytes_per_second: Option<NonZeroU64>) -> Menders {
        Menders::new(
            self.inner.store.clone(),
            Arc::clone(&self.inner.fetching),
            &self.inner.dialer,
            at,
            bytes_per_second,
        )
    }

    /// Does something to its end, whether or not the caller waits for it; `None` where it broke off.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.inner.tasks.spawn_on(work, &self.inner.runtime).await.ok()
    }

    /// Begins something that ends with the shutdown, whether or not anybody waits for it.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let shutdown = self.inner.shutdown.clone();
        let work = async move { shutdown.run_until_cancelled(work).await };
        self.inner.tasks.spawn_on(work, &self.inner.runtime)
    }

    /// Waits until every job has stopped, after the shutdown was announced.
    pub async fn stopped(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn start(&self, job: Arc<Job>) -> Submitted {
        let mut jobs = self.inner.lock();
        if jobs.get(job.id()).is_some_and(|it| !it.state.borrow().is_final()) {
            return Submitted::UnderWay;
        }
        make_room(&mut jobs);
        let (state, watched) = watch::channel(State::Queued);
        let entry = Entry {
            job: job.clone(),
            progress: Arc::default(),
            state: watched,
            cancel: self.inner.shutdown.child_token(),
            order: jobs.values().map(|it| it.order + 1).max().unwrap_or_default(),
        };
        jobs.insert(job.id().clone(), entry.clone());
        let inner = self.inner.clone();
        let work = async move { inner.work(entry, state).await };
        self.inner.tasks.spawn_on(work, &self.inner.runtime);
        Submitted::New
    }
}

impl Entry {
    fn status(&self) -> JobStatus {
        JobStatus {
            id: self.job.id().as_str().to_owned(),
            request: self.job.request().clone(),
            state: self.state.borrow().clone(),
            arriving: self.progress.arriving(),
            counts: self.progress.counts(),
        }
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<JobId, Entry>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job until it ends, again after each fault that may pass.
    async fn work(&self, entry: Entry, state: watch::Sender<State>) {
        let id = entry.job.id().as_str();
        let mut wait = FIRST_WAIT;
        let ended = loop {
            match self.turn_of(&entry, &state).await {
                Ok(targets) => {
                    tracing::info!(job = id, manifests = targets, "sync complete");
                    break State::Complete;
                }
                Err(Error::Cancelled) => break State::Cancelled,
                Err(error) if !may_pass(&error) => break failed(&error),
                Err(error) => {
                    tracing::warn!(job = id, error = %with_causes(&error), "sync is degraded");
                    state.send_replace(degraded(&error));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(with_jitter(wait)) => wait = (wait * 2).min(LONGEST_WAIT),
                () = entry.cancel.cancelled() => break State::Cancelled,
            }
        };
        state.send_replace(ended);
        // A shutdown is not an end: the job is remembered and goes on after the restart.
        if !self.shutdown.is_cancelled()
            && let Err(error) = self.remember().await
        {
            tracing::warn!(job = id, error = %with_causes(&error), "the end of a sync cannot be remembered");
        }
    }

    async fn turn_of(&self, entry: &Entry, state: &watch::Sender<State>) -> Result<usize, Error> {
        let _turn = tokio::select! {
            turn = self.turn.acquire() => turn,
            () = entry.cancel.cancelled() => return Err(Error::Cancelled),
        };
        let request = entry.job.request();
        let run = Arc::new(Run {
            store: self.store.clone(),
            sources: Arc::new(self.sources(&entry.job)),
            selection: entry.job.selection().clone(),
            blobs_at_once: request.blobs_at_once.unwrap_or(BLOBS_AT_ONCE),
            rate: request.bytes_per_second.map(RateLimit::new),
            pressure: request.disk_pressure.map(Pressure::new),
            reserve: request.reserve_bytes.unwrap_or(RESERVE),
            fetching: self.fetching.clone(),
            progress: entry.progress.clone(),
            state: state.clone(),
            cancel: entry.cancel.child_token(),
        });
        let result = run.run().await;
        // What the run still has under way hears that it is over.
        run.cancel.cancel();
        result
    }

    fn sources(&self, job: &Job) -> Sources {
        let named = if job.sources().is_empty() { &self.peers[..] } else { job.sources() };
        let peers = self.peers.iter().filter(|it| !named.contains(it));
        let named = named.iter().map(|it| Source::new(self.dialer.client(it), Origin::Named));
        let peers = peers.map(|it| Source::new(self.dialer.client(it), Origin::Peer));
        let wanted = if job.sources().is_empty() { Wanted::Any } else { Wanted::All };
        Sources::new(named.chain(peers).collect(), wanted)
    }

    async fn remember(&self) -> Result<(), Error> {
        let requests: Vec<_> = {
            let jobs = self.lock();
            jobs.values()
                .filter(|it| !it.state.borrow().is_final())
                .map(|it| it.job.request().clone())
                .collect()
        };
        let document = serde_json::to_vec(&requests).unwrap_or_default();
        let writer = self.store.writer().ok_or(Error::ReadOnly)?;
        Ok(writer.put_document(DOCUMENT, document.into()).await?)
    }
}

fn make_room(jobs: &mut BTreeMap<JobId, Entry>) {
    while jobs.len() >= JOBS_LIMIT {
        let ended = jobs.iter().filter(|(_, it)| it.state.borrow().is_final());
        let Some(oldest) = ended.min_by_key(|(_, it)| it.order).map(|(id, _)| id.clone()) else { return };
        jobs.remove(&oldest);
    }
}

/// Whether the fault may pass without anybody asking again: a link comes back, space is made, a peer
/// finishes.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::NoSpace { .. }
        | Error::Missing { .. }
        | Error::Incomplete { .. }
        | Error::Unauthorized { .. }
        | Error::Store(_) => true,
        Error::ReadOnly | Error::Cancelled | Error::Protocol { .. } | Error::TooLarge { .. } => false,
        other => other.is_transient(),
    }
}

/// A condition's reason, in the cluster's words where it has one.
fn reason(error: &Error) -> &'static str {
    match error {
        Error::Unreachable { .. } | Error::Stalled { .. } | Error::Cut { .. } | Error::Refused { .. } => {
            "RegistryUnreachable"
        }
        Error::Unauthorized { .. } => "Unauthorized",
        Error::Missing { .. } => "ReleaseImageNotFound",
        Error::Incomplete { .. } => "ReleaseImageNotAvailable",
        Error::NoSpace { .. }
        | Error::Store(store::Error::NoSpace { .. } | store::Error::NoInodes { .. }) => {
            "NotEnoughStorageSpace"
        }
        Error::ReadOnly => "ReadOnly",
        Error::Cancelled => "Cancelled",
        Error::Protocol { .. } | Error::TooLarge { .. } | Error::WrongDigest { .. } => "InvalidContent",
        Error::Store(_) => "StorageError",
    }
}

fn degraded(error: &Error) -> State {
    State::Degraded { reason: reason(error).into(), message: with_causes(error) }
}

fn failed(error: &Error) -> State {
    State::Failed { reason: reason(error).into(), message: with_causes(error) }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
