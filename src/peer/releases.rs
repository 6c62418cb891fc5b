//! `Releases`: what happens to releases on this node and on its peers, told in the words of the cluster's API.
//!
//! Knows what is being brought, removed and attached, and when each condition last changed. Does not know how
//! a release is read from a store, copied or taken apart: that is `maintenance`'s.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::maintenance::Addition;
use crate::maintenance::documents;
use crate::maintenance::documents::RemoveReport;
use crate::maintenance::documents::RemoveRequest;
use crate::maintenance::releases;
use crate::maintenance::removal::RemovalError;
use crate::maintenance::removal::Work;
use crate::peer::Client;
use crate::peer::Jobs;
use crate::store;
use crate::store::Store;

mod adding;
mod document;
mod facts;
mod transitions;

pub use document::ConditionDocument;
pub use document::PeerReleases;
pub use document::ReleaseDocument;
pub use document::ReleaseList;

use facts::Known;
use transitions::Transitions;

/// How long one peer may take to say how its releases are: the node daemon waits three seconds for us.
const PEER_LIMIT: Duration = Duration::from_secs(2);
/// The largest answer of a peer: a hundred releases with all conditions.
const ANSWER_LIMIT: u64 = 1024 * 1024;
/// Where a node tells of its releases.
const PATH: &str = "/v2/_larder/releases";

/// The releases of this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Releases {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    jobs: Option<Jobs>,
    /// One change at a time: what is being added must not be removed meanwhile.
    changing: tokio::sync::Mutex<()>,
    under_way: Mutex<UnderWay>,
    transitions: tokio::sync::Mutex<Option<Transitions>>,
}

/// What happens to releases now, by the names that were asked for.
#[derive(Clone, Debug, Default)]
struct UnderWay {
    removing: BTreeSet<String>,
    adding: BTreeMap<String, CancellationToken>,
    /// A removal that the last process did not finish: of the release itself nothing may be left that tells
    /// its name.
    resumed: Option<Work>,
}

impl Releases {
    /// The releases of `store`, which `jobs` bring.
    pub fn new(store: Store, jobs: Option<Jobs>) -> Self {
        let (changing, under_way, transitions) = Default::default();
        Self { inner: Arc::new(Inner { store, jobs, changing, under_way, transitions }) }
    }

    /// How each release is doing on this node.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list(&self) -> Result<Vec<ReleaseDocument>, store::Error> {
        let inner = &self.inner;
        let stored = releases::of(&inner.store).await?;
        let under_way = inner.lock().clone();
        let jobs = inner.jobs.as_ref().map(Jobs::list).unwrap_or_default();
        let additions = Addition::pending(&inner.store).await?;
        let known = facts::known(stored, &jobs, &additions, &under_way);
        let mut transitions = inner.transitions.lock().await;
        let transitions = match &mut *transitions {
            Some(known) => known,
            none => none.insert(Transitions::read(&inner.store).await),
        };
        let told = known.iter().map(|it| document::of(it, transitions, SystemTime::now())).collect();
        transitions.keep(&inner.store, known.iter().map(Known::key)).await;
        Ok(told)
    }

    /// The same, of one release, by bundle, version, tag or digest.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn get(&self, name: &str) -> Result<Option<ReleaseDocument>, store::Error> {
        Ok(self.list().await?.into_iter().find(|it| it.is_called(name)))
    }

    /// How each release is doing on each peer. All are asked at once, and none is waited for longer than
    /// two seconds.
    pub async fn of_peers(&self) -> Vec<PeerReleases> {
        let mut asked = JoinSet::new();
        for client in self.peers() {
            asked.spawn(async move {
                let answer = timeout(PEER_LIMIT, client.document::<ReleaseList>(PATH, ANSWER_LIMIT)).await;
                PeerReleases::of(client.endpoint(), answer.ok())
            });
        }
        let mut told = asked.join_all().await;
        told.sort_by(|a, b| a.peer.cmp(&b.peer));
        told
    }

    /// Removes a release, to the end even if whoever asked is gone; `None` where nothing can be written.
    ///
    /// # Errors
    /// There is no such release, it is in use, or the store fails.
    pub async fn remove(&self, request: RemoveRequest) -> Result<Option<RemoveReport>, RemovalError> {
        if request.dry_run {
            return documents::remove(&self.inner.store, &request, SystemTime::now()).await;
        }
        let inner = Arc::clone(&self.inner);
        let work = async move {
            inner.give_up(&request).await?;
            let _turn = inner.changing.lock().await;
            inner.lock().removing.insert(request.release.clone());
            let report = documents::remove(&inner.store, &request, SystemTime::now()).await;
            inner.lock().removing.remove(&request.release);
            if let Ok(Some(report)) = &report {
                tracing::info!(
                    release = report.release,
                    digest = report.digest,
                    bytes = report.bytes,
                    "release removed"
                );
            }
            report
        };
        match &self.inner.jobs {
            Some(jobs) => {
                jobs.to_the_end(work).await.unwrap_or(Err(RemovalError::Store(store::Error::Closed)))
            }
            None => work.await,
        }
    }

    /// Goes on with a removal that a power cut interrupted, if there is one.
    pub async fn resume(&self) {
        let work = match Work::pending(&self.inner.store).await {
            Ok(Some(work)) => work,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(error = %error, "whether a removal was interrupted is not known");
                return;
            }
        };
        tracing::info!(release = work.release, digest = work.digest, "going on with a removal");
        let inner = &self.inner;
        let _turn = inner.changing.lock().await;
        inner.lock().resumed = Some(work);
        let report = documents::resume(&inner.store).await;
        inner.lock().resumed = None;
        match report {
            Ok(report) => {
                let bytes = report.map(|it| it.bytes).unwrap_or_default();
                tracing::info!(bytes, "the removal that was interrupted is done");
            }
            Err(error) => tracing::warn!(error = %error, "a removal stays interrupted until the next start"),
        }
    }

    fn peers(&self) -> Vec<Client> {
        self.inner.jobs.as_ref().map(Jobs::peers).unwrap_or_default()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Conditions and when they last changed, by type.
type Changed = BTreeMap<&'static str, (bool, SystemTime)>;
