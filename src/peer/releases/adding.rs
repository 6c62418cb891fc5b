//! A release comes from a medium: when somebody asks for it, and again when what was in the way is gone.
//!
//! Knows that it is carried on whoever hangs up, until the shutdown, and that removing a release gives it up.
//! Does not know how it is copied.

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::maintenance::Addition;
use crate::maintenance::documents;
use crate::maintenance::documents::AddError;
use crate::maintenance::documents::AddReport;
use crate::maintenance::documents::AddRequest;
use crate::maintenance::documents::PeerAnswer;
use crate::maintenance::documents::RemoveRequest;
use crate::maintenance::releases;
use crate::maintenance::releases::ReleaseStatus;
use crate::peer::Client;
use crate::peer::JobRequest;
use crate::peer::JobStatus;
use crate::peer::releases::ANSWER_LIMIT;
use crate::peer::releases::Inner;
use crate::peer::releases::PEER_LIMIT;
use crate::peer::releases::Releases;
use crate::store;

/// Where a node is given a job.
const JOBS_PATH: &str = "/v2/_larder/sync/jobs";

/// Why a release is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Somebody asks for it.
    Asked,
    /// Somebody did, and it was interrupted: unless it was given up since.
    Interrupted,
}

impl Releases {
    /// Brings a release from an attached medium onto the disk, even if whoever asked is gone, then has the peers take it;
    /// `None` where nothing can be written.
    ///
    /// # Errors
    /// No medium has it, the store fails, or the release is removed meanwhile.
    pub async fn add(&self, request: AddRequest) -> Result<Option<AddReport>, AddError> {
        self.carry(request, Cause::Asked).await
    }

    /// Goes on with the releases that were interrupted on their way from a medium, as far as one that is
    /// attached has them. To be called when something was attached.
    pub fn go_on_soon(&self) {
        if let Some(jobs) = &self.inner.jobs {
            let releases = self.clone();
            jobs.begin(async move { releases.go_on().await });
        }
    }

    async fn go_on(&self) {
        let pending = Addition::pending(&self.inner.store).await.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "whether a release was on its way is not known");
            Vec::new()
        });
        for Addition { asked, .. } in pending {
            tracing::info!(release = asked, "going on with a release from a medium");
            if let Err(error) = self.carry(AddRequest { release: asked.clone() }, Cause::Interrupted).await {
                tracing::warn!(release = asked, error = %error, "a release does not come yet");
            }
        }
    }

    async fn carry(&self, request: AddRequest, cause: Cause) -> Result<Option<AddReport>, AddError> {
        let releases = self.clone();
        let work = async move { releases.bring(request, cause).await };
        match &self.inner.jobs {
            Some(jobs) => {
                let ended = jobs.begin(work).await.ok().flatten();
                ended.unwrap_or(Err(AddError::Store(store::Error::Closed)))
            }
            None => work.await,
        }
    }

    async fn bring(&self, request: AddRequest, cause: Cause) -> Result<Option<AddReport>, AddError> {
        let inner = &self.inner;
        let _turn = inner.changing.lock().await;
        if cause == Cause::Interrupted
            && !Addition::pending(&inner.store).await?.iter().any(|it| it.asked == request.release)
        {
            return Ok(None);
        }
        let adding = Adding::mark(inner, &request.release);
        let added = adding.given_up.run_until_cancelled(documents::add(&inner.store, &request)).await;
        let Some(added) = added else { return Err(AddError::GivenUp) };
        let Some(mut report) = added? else { return Ok(None) };
        if !report.problems.is_empty() {
            let problems = report.problems.len();
            tracing::warn!(
                release = report.release,
                bytes = report.bytes,
                problems,
                "release not added whole"
            );
            return Ok(Some(report));
        }
        let all = releases::of(&inner.store).await?;
        if let Some(release) = all.into_iter().find(|it| it.status.is_called(&request.release)) {
            report.peers = self.offer(&release.status).await;
        }
        tracing::info!(release = report.release, bytes = report.bytes, "release added");
        Ok(Some(report))
    }

    /// Asks every peer to take a release from its own peers, of which this node is one.
    async fn offer(&self, release: &ReleaseStatus) -> Vec<PeerAnswer> {
        let digest = release.image.digest.to_string();
        let bundle = release.bundle.as_ref().map(ToString::to_string);
        let request =
            JobRequest { releases: bundle.into_iter().chain([digest]).collect(), ..JobRequest::default() };
        let body = serde_json::to_vec(&request).unwrap_or_default();
        let mut asked = JoinSet::new();
        for client in self.peers() {
            let body = body.clone();
            asked.spawn(async move { offered(&client, body).await });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by(|a, b| a.peer.cmp(&b.peer));
        answers
    }
}

async fn offered(client: &Client, body: Vec<u8>) -> PeerAnswer {
    let peer = client.endpoint().to_string();
    let answer = timeout(PEER_LIMIT, client.post(JOBS_PATH, body, ANSWER_LIMIT)).await;
    let refused = |error: String| PeerAnswer { peer: peer.clone(), job: None, error: Some(error) };
    match answer {
        Err(_) => refused(format!("no answer within {} s", PEER_LIMIT.as_secs())),
        Ok(Err(error)) => refused(error.to_string()),
        Ok(Ok(None)) => refused("it is no Larder".to_owned()),
        Ok(Ok(Some(answer))) => match serde_json::from_slice::<JobStatus>(&answer) {
            Ok(job) => PeerAnswer { peer, job: Some(job.id), error: None },
            Err(error) => refused(error.to_string()),
        },
    }
}

impl Inner {
    /// Ends the coming of a release that is to be removed, unless it will not be.
    pub(super) async fn give_up(&self, request: &RemoveRequest) -> Result<(), store::Error> {
        for addition in Addition::pending(&self.store).await? {
            let is_in_use = !request.force && request.in_use.iter().any(|it| addition.is_called(it));
            if addition.is_called(&request.release)
                && !is_in_use
                && let Some(given_up) = self.lock().adding.get(&addition.asked)
            {
                given_up.cancel();
            }
        }
        Ok(())
    }
}

/// While it lives, a release is being added.
struct Adding<'a> {
    inner: &'a Inner,
    release: String,
    given_up: CancellationToken,
}

impl<'a> Adding<'a> {
    fn mark(inner: &'a Inner, release: &str) -> Self {
        let given_up = CancellationToken::new();
        inner.lock().adding.insert(release.to_owned(), given_up.clone());
        Self { inner, release: release.to_owned(), given_up }
    }
}

impl Drop for Adding<'_> {
    fn drop(&mut self) {
        self.inner.lock().adding.remove(&self.release);
    }
}
