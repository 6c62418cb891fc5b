//! `/v2/_larder/gc` and `/v2/_larder/verify`: upkeep, done by the process that may write.
//!
//! Knows the endpoints. Does not know how upkeep is done, or what its documents say: that is `maintenance`'s.
//! An answer comes when the work is done, which for a large store takes minutes; whoever hangs up ends a
//! verification.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Response;
use serde::de::DeserializeOwned;

use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::receive::Incoming;
use crate::maintenance::documents;
use crate::maintenance::documents::GcRequest;
use crate::maintenance::documents::VerifyRequest;
use crate::maintenance::verify::Tally;
use crate::peer::Endpoint;
use crate::peer::Jobs;
use crate::peer::Menders;
use crate::registry;
use crate::registry::Registry;

/// The largest request: a hundred paths.
const REQUEST_LIMIT: usize = 512 * 1024;

/// Collects garbage.
pub(super) async fn gc<B>(registry: &Registry, body: Incoming<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let request: GcRequest = parse(body).await?;
    let report = documents::collect(registry.store(), &request, SystemTime::now())
        .await
        .map_err(registry::Error::from)?;
    Ok(answer::json(&report.ok_or(registry::Error::ReadOnly)?))
}

/// Verifies, and mends if so asked.
pub(super) async fn verify<B>(
    registry: &Registry,
    jobs: Option<&Jobs>,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let request: VerifyRequest = parse(body).await?;
    let (store, tally) = (registry.store(), Arc::new(Tally::default()));
    let report = match menders(jobs, &request)? {
        Some(menders) => documents::verify(store, &request, &menders, &tally).await,
        None => documents::verify(store, &request, &(), &tally).await,
    };
    let report = report.map_err(registry::Error::from)?;
    Ok(answer::json(&report.ok_or(registry::Error::ReadOnly)?))
}

/// The registries that a request names.
fn menders(jobs: Option<&Jobs>, request: &VerifyRequest) -> Result<Option<Menders>, Error> {
    let named = &request.repair_from_registries;
    let parse = |text: &String| {
        Endpoint::parse(text).map_err(|error| Error::Json(format!("`{text}` is no registry: {error}")))
    };
    let endpoints = named.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if endpoints.is_empty() {
        return Ok(None);
    }
    let jobs = jobs.ok_or_else(|| Error::Json("this server asks no other registry".to_owned()))?;
    Ok(Some(jobs.menders(&endpoints, request.bytes_per_second)))
}

async fn parse<B, T>(body: Incoming<'_, B>) -> Result<T, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
    T: DeserializeOwned,
{
    let text = body.into_bytes(REQUEST_LIMIT, Error::TooLarge(REQUEST_LIMIT)).await?;
    serde_json::from_slice(&text).map_err(|error| Error::Json(error.to_string()))
}
