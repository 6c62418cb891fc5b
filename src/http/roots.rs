//! `/v2/_larder/roots`: media that come and go.
//!
//! Knows the endpoints. Does not know what is in a root, or how one is read: that is `maintenance`'s and the
//! store's.

use std::path::Path;

use bytes::Bytes;
use http::Response;
use http::StatusCode;

use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::receive::Incoming;
use crate::maintenance::Attachments;
use crate::maintenance::documents::AttachRequest;
use crate::maintenance::documents::AttachedRoots;
use crate::peer::Releases;

/// The largest request: a path of the greatest length (PATH_MAX), and the JSON around it.
const REQUEST_LIMIT: usize = 8 * 1024;

/// What is attached.
pub(super) async fn list(attachments: &Attachments) -> Response<Body> {
    answer::json(&AttachedRoots { roots: attachments.list().await })
}

/// Attaches a root, and answers what it holds. A release that was on its way from it goes on coming.
pub(super) async fn attach<B>(
    attachments: &Attachments,
    releases: &Releases,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let text = body.into_bytes(REQUEST_LIMIT, Error::TooLarge(REQUEST_LIMIT)).await?;
    let request: AttachRequest =
        serde_json::from_slice(&text).map_err(|error| Error::Json(error.to_string()))?;
    let attached = attachments.attach(request.path).await?;
    releases.go_on_soon();
    Ok(answer::json(&attached))
}

/// Detaches the root that `path` names.
pub(super) fn detach(attachments: &Attachments, query: Query<'_>) -> Result<Response<Body>, Error> {
    let path = query.first("path").ok_or_else(|| Error::Json("`path` is missing".to_owned()))?;
    attachments.detach(Path::new(&*path))?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}
