//! `/v2/<name>/blobs/<digest>` (end-2, end-10).

use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::ACCEPT_RANGES;
use http::header::CACHE_CONTROL;
use http::header::CONTENT_LENGTH;
use http::header::CONTENT_RANGE;
use http::header::CONTENT_TYPE;
use http::header::RANGE;
use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::http::Body;
use crate::http::answer;
use crate::http::asked::Asked;
use crate::http::conditional;
use crate::http::error::Error;
use crate::http::multipart::content_range;
use crate::http::multipart::multipart;
use crate::http::peers;
use crate::http::range::RangeError;
use crate::http::range::Selection;
use crate::http::range::select;
use crate::registry::Arriving;
use crate::registry::Found;
use crate::registry::Reach;
use crate::registry::Registry;
use crate::registry::Wish;
use crate::store::Blob;
use crate::store::LinkedBlob;

/// What a client wants of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What `Range` asks for.
    AsAsked,
    /// The head of the whole: `Range` has a meaning for GET alone (RFC 9110, section 14.2).
    Head,
}

/// Sends a blob, or ranges of it.
pub(super) async fn get(
    registry: &Registry,
    headers: &HeaderMap,
    asked: &Asked,
    digest: &Digest,
    part: Part,
) -> Result<Response<Body>, Error> {
    tell(registry, digest, part);
    let name = &asked.name;
    let reach = reach(headers, part);
    match registry.blob(name, digest, reach, wish(headers)).await {
        Ok(Found::Stored(blob)) => unless_known(headers, digest, || {
            let selection = selection(headers, digest, blob.len(), part)?;
            Ok(selected(&blob, selection, asked.head(digest, blob.len(), || head(digest, blob.len()))))
        }),
        Ok(Found::Arriving(blob)) => Ok(arriving(blob, digest)),
        Err(error) => {
            let may = peers::is_peer(headers) && part == Part::AsAsked;
            let begin = peers::first_byte(headers).filter(|_| may);
            let found = begin.and_then(|begin| registry.read_along(name, digest, begin));
            found.map(|it| arriving(it, digest)).ok_or(error.into())
        }
    }
}

/// The same for a small blob that is in memory and asked for whole; `None` says nothing.
pub(super) fn at_once(
    registry: &Registry,
    headers: &HeaderMap,
    asked: &Asked,
    blob: &LinkedBlob,
    part: Part,
) -> Option<Response<Body>> {
    if headers.contains_key(RANGE) {
        return None;
    }
    let digest = blob.digest();
    tell(registry, digest, part);
    let content = registry.store().layer_at_once(blob)?;
    let len = content.len() as u64;
    let head = || asked.head(digest, len, || head(digest, len));
    unless_known(headers, digest, || Ok(response(StatusCode::OK, head(), Body::Bytes(content)))).ok()
}

/// Whoever is about to push asks for the head of every layer, and of every manifest of an index, and does not send what
/// is here.
pub(super) fn tell(registry: &Registry, digest: &Digest, part: Part) {
    if part == Part::Head {
        registry.store().tell(digest);
    }
}

/// The answer that `send` makes, unless the client has the blob or wants another.
fn unless_known(
    headers: &HeaderMap,
    digest: &Digest,
    send: impl FnOnce() -> Result<Response<Body>, Error>,
) -> Result<Response<Body>, Error> {
    let mut response = answer::unless_known(headers, digest, send)?;
    if response.status() == StatusCode::NOT_MODIFIED {
        say_ways(response.headers_mut());
    }
    Ok(response)
}

/// The head of an answer with all of a blob.
fn head(digest: &Digest, len: u64) -> HeaderMap {
    let mut headers = answer::content_head(octets(), len, digest);
    say_ways(&mut headers);
    headers
}

/// In which ways a blob can be asked for, and for how long it can be kept.
fn say_ways(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=31536000"));
}

/// Whether peers are asked. Not for a `HEAD`: whoever is about to push asks that of every layer, and whoever
/// pulls does not.
fn reach(headers: &HeaderMap, part: Part) -> Reach {
    match part {
        Part::AsAsked => peers::reach(headers),
        Part::Head => Reach::Here,
    }
}

fn wish(headers: &HeaderMap) -> Wish {
    if headers.contains_key(RANGE) { Wish::Stored } else { Wish::AsItComes }
}

/// Sends a blob that is on its way here.
fn arriving(blob: Arriving, digest: &Digest) -> Response<Body> {
    let (len, range) = (blob.len(), blob.begin()..blob.size());
    let whole = range.end;
    let mut response = Response::new(peers::arriving(blob));
    if range.start > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        response.headers_mut().insert(CONTENT_RANGE, answer::value(content_range(&range, whole)));
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, octets());
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    answer::insert_digest(headers, digest);
    response
}

/// Removes a blob from a repository.
pub(super) async fn delete(
    registry: &Registry,
    name: &RepositoryName,
    digest: &str,
) -> Result<Response<Body>, Error> {
    registry.delete_blob(name, &Digest::parse(digest)?).await?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

fn selection(headers: &HeaderMap, digest: &Digest, len: u64, part: Part) -> Result<Selection, Error> {
    let Some(range) = headers.get(RANGE).filter(|_| part == Part::AsAsked) else {
        return Ok(Selection::Whole);
    };
    let Some(range) =
        range.to_str().ok().filter(|_| conditional::range_applies(headers, &digest.to_string()))
    else {
        return Ok(Selection::Whole);
    };
    select(range, len).map_err(|error| match error {
        RangeError::Unsatisfiable => Error::RangeUnsatisfiable { len },
        RangeError::TooMany => Error::TooManyRanges,
    })
}

fn selected(blob: &Blob, selection: Selection, mut head: HeaderMap) -> Response<Body> {
    let (status, body) = match selection {
        Selection::Whole => (StatusCode::OK, Body::File(blob.range(0..blob.len()).into())),
        Selection::One(range) => {
            head.insert(CONTENT_RANGE, answer::value(content_range(&range, blob.len())));
            let piece = blob.range(range);
            head.insert(CONTENT_LENGTH, HeaderValue::from(piece.len()));
            (StatusCode::PARTIAL_CONTENT, Body::File(piece.into()))
        }
        Selection::Many(ranges) => {
            let parts = multipart(blob, ranges);
            let content_type = format!("multipart/byteranges; boundary={}", parts.boundary);
            head.insert(CONTENT_TYPE, answer::value(content_type));
            head.insert(CONTENT_LENGTH, HeaderValue::from(parts.len));
            (StatusCode::PARTIAL_CONTENT, Body::Parts(parts.parts))
        }
    };
    response(status, head, body)
}

fn response(status: StatusCode, head: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}
