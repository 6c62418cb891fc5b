//! A job: a wish to hold what others have, and how far it has come.
//!
//! Knows what is asked and what is told, in words that stay. Does not know how it is done.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::num::NonZeroUsize;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::peer::Endpoint;
use crate::peer::EndpointError;
use crate::peer::progress::Arrival;
use crate::peer::progress::Counts;
use crate::peer::selection::Selection;

/// The most sources of one job: more control-plane nodes than any cluster has.
pub(crate) const SOURCES_LIMIT: usize = 64;
/// The most releases and repositories that one job names.
pub(crate) const SELECTED_LIMIT: usize = 10_000;

/// What is asked for, as it comes: the body of `POST /v2/_larder/sync/jobs`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct JobRequest {
    /// Registries to take from. None means the configured peers.
    pub sources: Vec<String>,
    /// Releases, by digest or by their bundle's name.
    pub releases: Vec<String>,
    /// Repositories, whole. Neither releases nor repositories means everything.
    pub repositories: Vec<String>,
    /// The most bytes a second of all transfers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<NonZeroU64>,
    /// The part of the time in which something on the node may wait for storage before the job steps back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_pressure: Option<Percent>,
    /// How many bytes of the disk are left free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
    /// How many blobs are taken at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs_at_once: Option<NonZeroUsize>,
}

/// A part of a whole: from 1 to 100.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    /// `None` where it is none.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent >= 1 && percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// From 1 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Percent {
    type Error = &'static str;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        Self::new(percent).ok_or("a percentage is from 1 to 100")
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// What is asked for, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    id: JobId,
    request: JobRequest,
    sources: Vec<Endpoint>,
    selection: Selection,
}

/// Names a job. Made from what is asked for, so that the same request finds the same job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// How many hex digits it has.
    const LEN: usize = 16;

    /// Parses what [`JobId::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == Self::LEN && hex).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Job {
    /// Understands a request. Order and repetition do not matter.
    ///
    /// # Errors
    /// A source, a release or a repository cannot be one, or there are too many.
    pub fn parse(mut request: JobRequest) -> Result<Self, JobError> {
        for list in [&mut request.sources, &mut request.releases, &mut request.repositories] {
            list.sort();
            list.dedup();
        }
        if request.sources.len() > SOURCES_LIMIT {
            return Err(JobError::TooMany { what: "sources", limit: SOURCES_LIMIT });
        }
        if request.releases.len() + request.repositories.len() > SELECTED_LIMIT {
            return Err(JobError::TooMany { what: "releases and repositories", limit: SELECTED_LIMIT });
        }
        let sources =
            request.sources.iter().map(|it| Endpoint::parse(it).map_err(|why| JobError::source(it, why)));
        let sources = sources.collect::<Result<_, _>>()?;
        let selection = selection(&request)?;
        Ok(Self { id: id(&request), request, sources, selection })
    }

    /// Its name.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// What was asked for.
    pub fn request(&self) -> &JobRequest {
        &self.request
    }

    /// The registries that it names.
    pub fn sources(&self) -> &[Endpoint] {
        &self.sources
    }

    /// What it wants of them.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }
}

fn selection(request: &JobRequest) -> Result<Selection, JobError> {
    let mut selection = Selection::default();
    for release in &request.releases {
        match (Digest::parse(release), Tag::parse(release)) {
            (Ok(digest), _) => drop(selection.releases.insert(digest)),
            (Err(_), Ok(bundle)) => drop(selection.bundles.insert(bundle)),
            (Err(_), Err(_)) => return Err(JobError::Release(release.clone())),
        }
    }
    for name in &request.repositories {
        let name = RepositoryName::parse(name).map_err(|_| JobError::Repository(name.clone()))?;
        selection.repositories.insert(name);
    }
    Ok(selection)
}

/// Limits are not part of what is wanted: changing them does not make another job.
fn id(request: &JobRequest) -> JobId {
    let mut hash = sha2::Sha256::new();
    for list in [&request.sources, &request.releases, &request.repositories] {
        for item in list {
            hash.update(item.as_bytes());
            hash.update([0]);
        }
        hash.update([1]);
    }
    let hex = hash.finalize().iter().take(JobId::LEN / 2).map(|byte| format!("{byte:02x}")).collect();
    JobId(hex)
}

/// Why a request is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A source cannot be one.
    #[error("`{source_text}` is not a source: {why}")]
    Source {
        /// As it came.
        source_text: String,
        /// Why not.
        why: EndpointError,
    },
    /// A release is neither a digest nor the name of a bundle.
    #[error("`{0}` is neither a release's digest nor a bundle's name")]
    Release(String),
    /// A repository cannot be one.
    #[error("`{0}` is not the name of a repository")]
    Repository(String),
    /// The request is too long.
    #[error("a job has at most {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

impl JobError {
    fn source(text: &str, why: EndpointError) -> Self {
        Self::Source { source_text: text.to_owned(), why }
    }
}

/// What a job does now.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "state")]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It asks the sources what they have.
    Surveying,
    /// Blobs come in.
    Copying,
    /// Manifests and tags are published.
    Publishing,
    /// Everything that was asked for is here.
    Complete,
    /// Something is in the way; it tries again by itself.
    Degraded {
        /// Why, as a condition's reason.
        reason: Cow<'static, str>,
        /// Why, in words.
        message: String,
    },
    /// It cannot succeed as it was asked.
    Failed {
        /// Why, as a condition's reason.
        reason: Cow<'static, str>,
        /// Why, in words.
        message: String,
    },
    /// Somebody cancelled it.
    Cancelled,
}

impl State {
    /// Whether nothing more happens.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Complete | Self::Failed { .. } | Self::Cancelled => true,
            Self::Queued | Self::Surveying | Self::Copying | Self::Publishing | Self::Degraded { .. } => {
                false
            }
        }
    }
}

/// A job as it is told: the body of `GET /v2/_larder/sync/jobs/ID`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// Its name.
    pub id: String,
    /// What was asked for.
    pub request: JobRequest,
    /// What it does now.
    #[serde(flatten)]
    pub state: State,
    /// The releases that it brings, as far as it knows by now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arriving: Vec<Arrival>,
    /// How far it is.
    #[serde(flatten)]
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(sources: &[&str], repositories: &[&str]) -> JobRequest {
        let own = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        JobRequest { sources: own(sources), repositories: own(repositories), ..JobRequest::default() }
    }

    #[test]
    fn the_same_wish_is_the_same_job() {
        let a = Job::parse(request(&["https://a", "https://b"], &["x", "y"])).unwrap();
        let b = Job::parse(request(&["https://b", "https://a", "https://a"], &["y", "x"])).unwrap();
        let c = Job::parse(request(&["https://a"], &["https", "y"])).unwrap();
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        assert_eq!(JobId::parse(a.id().as_str()), Some(a.id().clone()));
    }

    #[test]
    fn what_cannot_be_asked_for() {
        let check = |request: JobRequest, want: &str| {
            assert_eq!(Job::parse(request).map_err(|error| error.to_string()).unwrap_err(), want);
        };
        check(
            request(&["ftp://a"], &[]),
            "`ftp://a` is not a source: a registry is reached by https or http",
        );
        check(request(&[], &["../etc"]), "`../etc` is not the name of a repository");
        let releases = vec!["sha256:/".to_owned()];
        check(
            JobRequest { releases, ..JobRequest::default() },
            "`sha256:/` is neither a release's digest nor a bundle's name",
        );
        check(request(&[], &[]).tap_sources(65), "a job has at most 64 sources");
    }

    impl JobRequest {
        fn tap_sources(mut self, count: usize) -> Self {
            self.sources = (0..count).map(|n| format!("https://node-{n}")).collect();
            self
        }
    }

    #[test]
    fn a_job_is_told_flat() {
        let job = Job::parse(request(&["https://a"], &[])).unwrap();
        let state = State::Degraded {
            reason: "RegistryUnreachable".into(),
            message: "cannot reach https://a".into(),
        };
        let status = JobStatus {
            id: job.id().as_str().to_owned(),
            request: job.request().clone(),
            state,
            arriving: Vec::new(),
            counts: Counts::default(),
        };
        let json = serde_json::to_value(status).unwrap();
        assert_eq!((json["state"].as_str(), json["bytesDone"].as_u64()), (Some("Degraded"), Some(0)));
        assert_eq!(json["message"], "cannot reach https://a");
    }
}
