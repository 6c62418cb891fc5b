//! Answers and their headers.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::header::CONTENT_TYPE;
use http::header::ETAG;
use http::header::LOCATION;
use storage_layout::Digest;

use crate::http::Body;
use crate::http::conditional;
use crate::http::conditional::Outcome;
use crate::http::error::Error;

/// `Docker-Content-Digest`: of the content that is answered, in the algorithm it was asked by.
pub(super) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// `Docker-Distribution-Api-Version`: says that this is a registry.
const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// How many headers an answer with content has at most, unless more are configured.
const MOST_HEADERS: usize = 8;

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// The answer that `send` makes, unless the client has what has this digest, or wants another (RFC 9110, section 13).
pub(super) fn unless_known(
    headers: &HeaderMap,
    digest: &Digest,
    send: impl FnOnce() -> Result<Response<Body>, Error>,
) -> Result<Response<Body>, Error> {
    match conditional::evaluate(headers, digest) {
        Outcome::PreconditionFailed => Err(Error::PreconditionFailed),
        Outcome::NotModified => Ok(not_modified(digest)),
        Outcome::Send => send(),
    }
}

fn not_modified(digest: &Digest) -> Response<Body> {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    insert_digest(response.headers_mut(), digest);
    response
}

/// An answer with a document.
pub(super) fn document(content_type: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    let content = content.into();
    let mut response = Response::new(Body::Empty);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(content.len()));
    *response.body_mut() = Body::Bytes(content);
    response
}

/// An answer with a document of ours.
pub(super) fn json(value: &impl serde::Serialize) -> Response<Body> {
    // Text, numbers, and lists and maps of them: nothing that JSON cannot say.
    document("application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// An answer that says where what was made can be found. The URL is relative: no proxy in between can make it
/// wrong, and no client takes it for another host (crane refuses one, containerd drops the credentials).
pub(super) fn created(status: StatusCode, location: String) -> Response<Body> {
    let mut response = empty(status);
    response.headers_mut().insert(LOCATION, value(location));
    response
}

/// What every answer says.
pub(super) fn insert_version(headers: &mut HeaderMap) {
    headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
}

/// What every answer with content says of it. Whatever else it is to say has room, and what every answer says is
/// there already, so that a copy, which has room for no more, need not grow for it.
pub(super) fn content_head(content_type: HeaderValue, len: u64, digest: &Digest) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
    insert_digest(&mut headers, digest);
    insert_version(&mut headers);
    headers
}

/// `Docker-Content-Digest` and `ETag`, which differ by the quotes.
pub(super) fn insert_digest(headers: &mut HeaderMap, digest: &Digest) {
    // Of a sha512 digest; a text that grows while it is written is moved again and again.
    let mut quoted = String::with_capacity(2 + "sha512:".len() + 128);
    // Text takes all that is written to it.
    let _ = write!(quoted, "\"{digest}\"");
    let quoted = Bytes::from(quoted);
    let bare = quoted.slice(1..quoted.len().saturating_sub(1));
    if let (Ok(bare), Ok(quoted)) =
        (HeaderValue::from_maybe_shared(bare), HeaderValue::from_maybe_shared(quoted))
    {
        headers.insert(DOCKER_CONTENT_DIGEST, bare);
        headers.insert(ETAG, quoted);
    }
}

/// A header value made of names that were parsed, and so of visible ASCII; nothing where it is not.
pub(super) fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_digest_is_said_twice() {
        let text = format!("sha256:{}", "0f".repeat(32));
        let mut headers = HeaderMap::new();
        insert_digest(&mut headers, &Digest::parse(&text).unwrap());
        assert_eq!(headers["docker-content-digest"], text);
        assert_eq!(headers["etag"], format!("\"{text}\""));
    }

    #[test]
    fn only_answers_that_may_have_a_body_have_a_length() {
        for (status, expected) in [(201, Some("0")), (202, Some("0")), (204, None), (304, None)] {
            let response = empty(StatusCode::from_u16(status).unwrap());
            assert_eq!(response.headers().get(CONTENT_LENGTH).map(|it| it.to_str().unwrap()), expected);
        }
    }
}
