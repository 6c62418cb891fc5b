//! `/v2/_larder/sync/`: what this node has, and the jobs that bring it more.
//!
//! Knows the endpoints of the contract. Does not know how a job does its work: that is `peer`'s.

mod inventory;
mod stream;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use storage_layout::Digest;

use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::receive::Incoming;
use crate::peer::Job;
use crate::peer::JobId;
use crate::peer::JobRequest;
use crate::peer::Jobs;
use crate::peer::inventory::Have;
use crate::peer::inventory::HaveRequest;
use crate::peer::inventory::HaveResponse;
use crate::registry::Registry;

pub(super) use inventory::inventory;

/// The largest request for a job: ten thousand names of full length.
const JOB_LIMIT: usize = 4 * 1024 * 1024;
/// The largest question about blobs: as many digests of the longest kind as may be asked about, and the JSON
/// around.
const HAVE_LIMIT: usize = HaveRequest::LIMIT * 150;

/// Answers which blobs this node has and which are on their way here.
pub(super) async fn have<B>(
    registry: &Registry,
    jobs: Option<&Jobs>,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let question = body.into_bytes(HAVE_LIMIT, Error::TooLarge(HAVE_LIMIT)).await?;
    let question: HaveRequest =
        serde_json::from_slice(&question).map_err(|error| Error::Json(error.to_string()))?;
    if question.blobs.len() > HaveRequest::LIMIT {
        return Err(Error::Json(format!("more than {} blobs in one question", HaveRequest::LIMIT)));
    }
    let mut blobs = String::with_capacity(question.blobs.len());
    for text in &question.blobs {
        blobs.push(have_one(registry, jobs, &Digest::parse(text)?).await.letter());
    }
    Ok(answer::json(&HaveResponse { blobs }))
}

async fn have_one(registry: &Registry, jobs: Option<&Jobs>, digest: &Digest) -> Have {
    // A blob that cannot be read is not one to offer.
    match registry.store().blob(digest).await {
        Ok(Some(_)) => Have::Yes,
        Ok(None) | Err(_) => jobs.map_or(Have::No, |it| it.fetching().have(digest)),
    }
}

/// Begins a job, or finds it.
pub(super) async fn submit<B>(jobs: Option<&Jobs>, body: Incoming<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let jobs = jobs.ok_or(Error::NotFound)?;
    let request = body.into_bytes(JOB_LIMIT, Error::TooLarge(JOB_LIMIT)).await?;
    let request: JobRequest =
        serde_json::from_slice(&request).map_err(|error| Error::Json(error.to_string()))?;
    let job = Job::parse(request)?;
    let id = job.id().clone();
    jobs.submit(job).await?;
    let status = jobs.get(&id).ok_or(Error::NotFound)?;
    let mut response = answer::json(&status);
    *response.status_mut() = StatusCode::ACCEPTED;
    let location = answer::value(format!("/v2/_larder/sync/jobs/{}", id.as_str()));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// All jobs, the newest first.
pub(super) fn list(jobs: Option<&Jobs>) -> Result<Response<Body>, Error> {
    #[derive(serde::Serialize)]
    struct List {
        jobs: Vec<crate::peer::JobStatus>,
    }
    Ok(answer::json(&List { jobs: jobs.ok_or(Error::NotFound)?.list() }))
}

/// One job, once or for as long as it lasts.
pub(super) fn status(jobs: Option<&Jobs>, headers: &HeaderMap, id: &str) -> Result<Response<Body>, Error> {
    let jobs = jobs.ok_or(Error::NotFound)?;
    let id = JobId::parse(id).ok_or(Error::NotFound)?;
    let status = jobs.get(&id).ok_or(Error::NotFound)?;
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    if !accepts.into_iter().any(|it| it.contains("text/event-stream")) {
        return Ok(answer::json(&status));
    }
    let watched = jobs.watch(&id).ok_or(Error::NotFound)?;
    let mut response = Response::new(stream::events(jobs.clone(), id, watched));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Cancels a job.
pub(super) fn cancel(jobs: Option<&Jobs>, id: &str) -> Result<Response<Body>, Error> {
    let id = JobId::parse(id).ok_or(Error::NotFound)?;
    if jobs.is_some_and(|it| it.cancel(&id)) {
        Ok(answer::empty(StatusCode::ACCEPTED))
    } else {
        Err(Error::NotFound)
    }
}
