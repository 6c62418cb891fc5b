//! `/v2/_larder/releases`: which releases are here, how they are doing, and their coming and going.
//!
//! Knows the endpoints of the contract. Does not know what a release is made of, or when a condition holds.

use bytes::Bytes;
use http::Response;

use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::receive::Incoming;
use crate::maintenance::documents::AddRequest;
use crate::maintenance::documents::RemoveRequest;
use crate::peer::ReleaseList;
use crate::peer::Releases;
use crate::registry;

/// The largest request: one name.
const REQUEST_LIMIT: usize = 64 * 1024;

/// All releases of this node; with `?peers`, those of its peers too.
pub(super) async fn list(releases: &Releases, query: Query<'_>) -> Result<Response<Body>, Error> {
    let own = releases.list();
    let list = match query.first("peers") {
        None => ReleaseList { releases: own.await.map_err(registry::Error::from)?, peers: None },
        Some(_) => {
            let (own, peers) = futures_util::future::join(own, releases.of_peers()).await;
            ReleaseList { releases: own.map_err(registry::Error::from)?, peers: Some(peers) }
        }
    };
    Ok(answer::json(&list))
}

/// One release, by digest, bundle, version or tag.
pub(super) async fn get(releases: &Releases, name: &str) -> Result<Response<Body>, Error> {
    let found = releases.get(name).await.map_err(registry::Error::from)?;
    found.map(|it| answer::json(&it)).ok_or_else(|| Error::NoRelease(name.to_owned()))
}

/// Brings a release from an attached medium onto the disk, and has the peers take it.
pub(super) async fn add<B>(releases: &Releases, body: Incoming<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let text = body.into_bytes(REQUEST_LIMIT, Error::TooLarge(REQUEST_LIMIT)).await?;
    let request: AddRequest =
        serde_json::from_slice(&text).map_err(|error| Error::Json(error.to_string()))?;
    let report = releases.add(request).await?;
    Ok(answer::json(&report.ok_or(registry::Error::ReadOnly)?))
}

/// Removes a release with all that nothing else needs: `?dry-run`, `?force`, `?in-use=RELEASE`.
pub(super) async fn remove(
    releases: &Releases,
    query: Query<'_>,
    name: &str,
) -> Result<Response<Body>, Error> {
    let request = RemoveRequest {
        release: name.to_owned(),
        dry_run: query.first("dry-run").is_some(),
        force: query.first("force").is_some(),
        in_use: query.all("in-use").map(std::borrow::Cow::into_owned).collect(),
    };
    let report = releases.remove(request).await?;
    Ok(answer::json(&report.ok_or(registry::Error::ReadOnly)?))
}
