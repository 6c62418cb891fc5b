//! What goes wrong, as a status, a code and a document.
//!
//! The only file that knows status codes of errors and codes of the
//! specification together. Messages say what the client can use: Go clients
//! show the message of a 4xx and nothing else.

mod of_registry;

use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::ALLOW;
use http::header::RETRY_AFTER;
use http::header::WWW_AUTHENTICATE;
use serde_json::Value;
use serde_json::json;
use storage_layout::DigestError;
use storage_layout::NameError;
use storage_layout::TagError;

use crate::auth::Refusal;
use crate::http::Body;
use crate::http::answer;
use crate::http::range::MAX_RANGES;
use crate::maintenance::AttachError;
use crate::maintenance::copy;
use crate::maintenance::copy::PlanError;
use crate::maintenance::documents::AddError;
use crate::maintenance::removal::RemovalError;
use crate::oci::ErrorCode;
use crate::oci::Manifest;
use crate::peer;
use crate::registry;
use crate::store;

/// Why a request is not answered as it wishes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The path names nothing.
    #[error("page not found")]
    NotFound,
    /// The path names something that has no such method.
    #[error("method not allowed")]
    Method {
        /// Those it has.
        allow: &'static str,
    },
    /// There is no credential, or a wrong one.
    #[error("authentication required")]
    Unauthorized {
        /// How to sign in.
        challenge: HeaderValue,
    },
    /// The client failed to sign in too often.
    #[error("too many credentials to check at once")]
    Slowed,
    /// The identity has not the right.
    #[error(transparent)]
    Denied(#[from] Refusal),
    /// A read names a repository that cannot exist.
    #[error("invalid repository name: {0}")]
    NameOfNothing(NameError),
    /// A write names a repository that must not exist.
    #[error("invalid repository name: {0}")]
    Name(NameError),
    /// A text is no digest.
    #[error("invalid digest: {0}")]
    Digest(#[from] DigestError),
    /// A read names a tag that cannot exist.
    #[error("manifest unknown: {0}")]
    TagOfNothing(TagError),
    /// A write names a tag that must not exist.
    #[error("invalid tag: {0}")]
    Tag(#[from] TagError),
    /// A text is no upload's id.
    #[error("blob upload unknown to registry")]
    UploadId,
    /// More tags than one request may set.
    #[error("more than {0} tags in one request")]
    TooManyTags(usize),
    /// A `Content-Range` that breaks the grammar.
    #[error("invalid Content-Range: it is written first-last, in bytes")]
    ContentRange,
    /// A chunk of an upload begins in the wrong place, or while another arrives.
    #[error("{error}")]
    OutOfOrder {
        /// What is wrong.
        error: registry::Error,
        /// Where the upload is.
        location: String,
        /// What it holds.
        range: String,
    },
    /// An `n` that is not a number of entries.
    #[error("invalid number of results requested")]
    Pagination(String),
    /// A request body larger than a manifest may be.
    #[error("a manifest has at most {} bytes", Manifest::MAX_LEN)]
    ManifestTooLarge,
    /// No byte of the blob was asked for.
    #[error("no range lies within the {len} bytes of the blob")]
    RangeUnsatisfiable {
        /// How many it has.
        len: u64,
    },
    /// Too many ranges at once.
    #[error("more than {MAX_RANGES} ranges in one request")]
    TooManyRanges,
    /// The client wants other content than there is.
    #[error("the content has another entity tag")]
    PreconditionFailed,
    /// The request body ended in an error.
    #[error("the request body ended early: {0}")]
    BodyBroken(String),
    /// The form of a token request cannot be read.
    #[error("the form of the request cannot be read")]
    Form,
    /// A request body larger than it may be.
    #[error("a request of this kind has at most {0} bytes")]
    TooLarge(usize),
    /// A document of ours that cannot be read.
    #[error("the request cannot be read: {0}")]
    Json(String),
    /// A root cannot be attached or detached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A job that cannot be one.
    #[error(transparent)]
    Job(#[from] peer::JobError),
    /// There is no such release.
    #[error("there is no release {0} here")]
    NoRelease(String),
    /// A release was not removed.
    #[error(transparent)]
    Removal(RemovalError),
    /// A release was not added.
    #[error(transparent)]
    Add(AddError),
    /// Something about other nodes was not carried out.
    #[error(transparent)]
    Peer(peer::Error),
    /// An operation was not carried out.
    #[error(transparent)]
    Registry(registry::Error),
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<RemovalError> for Error {
    fn from(error: RemovalError) -> Self {
        match error {
            RemovalError::Store(error) => Self::Registry(registry::Error::Store(error)),
            error => Self::Removal(error),
        }
    }
}

impl From<AddError> for Error {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Store(error) => Self::Registry(registry::Error::Store(error)),
            error => Self::Add(error),
        }
    }
}

impl From<peer::Error> for Error {
    fn from(error: peer::Error) -> Self {
        match error {
            peer::Error::ReadOnly => Self::Registry(registry::Error::ReadOnly),
            peer::Error::Store(error) => Self::Registry(registry::Error::Store(error)),
            error => Self::Peer(error),
        }
    }
}

impl Error {
    /// The error as it is answered.
    pub(super) fn respond(self) -> Response<Body> {
        let mut response = match self.code() {
            Some(code) => answer::document("application/json", self.body(code)),
            None => answer::document("text/plain; charset=utf-8", "404 page not found\n"),
        };
        *response.status_mut() = self.status();
        self.insert_headers(&mut response);
        response
    }

    /// Whether it is for the operator to mend rather than for the client.
    pub(super) fn is_fault(&self) -> bool {
        self.status().is_server_error()
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NameOfNothing(_) | Self::TagOfNothing(_) | Self::UploadId => {
                StatusCode::NOT_FOUND
            }
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::Slowed => StatusCode::TOO_MANY_REQUESTS,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::Name(_)
            | Self::Digest(_)
            | Self::Tag(_)
            | Self::ContentRange
            | Self::Pagination(_)
            | Self::TooManyRanges
            | Self::BodyBroken(_)
            | Self::Form
            | Self::Json(_)
            | Self::Attach(_)
            | Self::Job(_)
            | Self::Peer(peer::Error::Missing { .. }) => StatusCode::BAD_REQUEST,
            Self::NoRelease(_)
            | Self::Removal(RemovalError::NoRelease { .. })
            | Self::Add(AddError::NothingAttached | AddError::Plan(PlanError::NoRelease { .. })) => {
                StatusCode::NOT_FOUND
            }
            Self::Removal(_) | Self::Add(AddError::GivenUp) => StatusCode::CONFLICT,
            Self::Add(AddError::Copy(copy::Error::Space { .. })) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Add(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Peer(_) => StatusCode::BAD_GATEWAY,
            Self::TooManyTags(_) => StatusCode::URI_TOO_LONG,
            Self::OutOfOrder { error, .. } => of_registry::status(error),
            Self::RangeUnsatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::ManifestTooLarge | Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Registry(error) => of_registry::status(error),
        }
    }

    /// The specification's code; none where a path names nothing of the API.
    fn code(&self) -> Option<ErrorCode> {
        Some(match self {
            Self::NotFound => return None,
            Self::Method { .. } => ErrorCode::Unsupported,
            Self::Unauthorized { .. } => ErrorCode::Unauthorized,
            Self::Slowed => ErrorCode::TooManyRequests,
            Self::Denied(_) => ErrorCode::Denied,
            Self::NameOfNothing(_) | Self::Name(_) => ErrorCode::NameInvalid,
            Self::Digest(_) => ErrorCode::DigestInvalid,
            Self::TagOfNothing(_) => ErrorCode::ManifestUnknown,
            Self::Tag(_) | Self::TooManyTags(_) => ErrorCode::ManifestInvalid,
            Self::UploadId => ErrorCode::BlobUploadUnknown,
            Self::ContentRange | Self::OutOfOrder { .. } | Self::BodyBroken(_) => {
                ErrorCode::BlobUploadInvalid
            }
            Self::Pagination(_) => ErrorCode::PaginationNumberInvalid,
            Self::ManifestTooLarge
            | Self::TooLarge(_)
            | Self::RangeUnsatisfiable { .. }
            | Self::TooManyRanges => ErrorCode::SizeInvalid,
            Self::PreconditionFailed | Self::Form | Self::Json(_) | Self::Job(_) | Self::Attach(_) => {
                ErrorCode::Unsupported
            }
            Self::NoRelease(_) | Self::Removal(_) | Self::Add(_) => ErrorCode::Unsupported,
            Self::Peer(_) => ErrorCode::Unavailable,
            Self::Registry(error) => of_registry::code(error),
        })
    }

    /// The error document. A client that is told that something cannot be done here, in the default words and
    /// without a detail, does not try again (containers/common, `pkg/retry`).
    fn body(&self, code: ErrorCode) -> Vec<u8> {
        let entry = |message: &str, detail: Value| match detail {
            Value::Null => json!({"code": code.as_str(), "message": message}),
            detail => json!({"code": code.as_str(), "message": message, "detail": detail}),
        };
        let errors = match self {
            Self::Method { .. }
            | Self::Registry(registry::Error::ReadOnly | registry::Error::DeletionDisabled) => {
                vec![entry(code.default_message(), Value::Null)]
            }
            Self::Registry(registry::Error::ManifestBlobUnknown(digests)) => {
                let listed = digests.iter().take(MAX_LISTED);
                listed.map(|digest| entry(code.default_message(), json!(digest.to_string()))).collect()
            }
            Self::Unauthorized { .. } => vec![entry(code.default_message(), Value::Null)],
            _ => vec![entry(&chain(self), self.detail())],
        };
        json!({"errors": errors}).to_string().into_bytes()
    }

    fn detail(&self) -> Value {
        match self {
            Self::Pagination(n) => json!({"n": n}),
            Self::Registry(error) => match error {
                registry::Error::BlobUnknown(digest) | registry::Error::BlobDamaged { digest, .. } => {
                    json!({"digest": digest.to_string()})
                }
                registry::Error::ManifestUnknown(reference)
                | registry::Error::ManifestDamaged { reference, .. } => {
                    json!({"reference": reference.to_string()})
                }
                registry::Error::NameUnknown(name) => json!({"name": name.as_str()}),
                registry::Error::UploadUnknown(id) => json!({"upload": id.to_string()}),
                registry::Error::DigestMismatch { claimed, computed } => {
                    json!({"claimed": claimed.to_string(), "computed": computed.to_string()})
                }
                _ => Value::Null,
            },
            _ => Value::Null,
        }
    }

    fn insert_headers(self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized { challenge } => {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Registry(registry::Error::ReadOnly | registry::Error::DeletionDisabled) => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::Slowed => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY));
            }
            Self::Registry(registry::Error::Store(store::Error::Closed)) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(1));
            }
            Self::RangeUnsatisfiable { len } => {
                headers.insert(http::header::CONTENT_RANGE, answer::value(format!("bytes */{len}")));
            }
            Self::OutOfOrder { location, range, .. } => {
                headers.insert(http::header::LOCATION, answer::value(location));
                headers.insert(http::header::RANGE, answer::value(range));
            }
            _ => {}
        }
    }
}

/// When to present a credential again that could not be checked, in seconds: by then some of those before it
/// are.
const RETRY: u64 = 5;

/// How many missing digests an error document names.
const MAX_LISTED: usize = 100;

/// An error and what led to it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some say what led to them in their own words already.
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use storage_layout::Digest;
    use storage_layout::RepositoryName;

    use super::*;
    use crate::oci::Reference;
    use crate::registry::Error as E;

    fn digest() -> Digest {
        Digest::parse(&format!("sha256:{}", "0f".repeat(32))).unwrap()
    }

    fn answered(error: Error) -> (u16, String, Vec<(String, String)>) {
        let response = error.respond();
        let (parts, body) = response.into_parts();
        let Body::Bytes(bytes) = body else { unreachable!("an error has a body") };
        assert_eq!(parts.headers["content-length"], bytes.len().to_string());
        let headers =
            parts.headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        (parts.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap(), headers)
    }

    #[test]
    fn status_and_code() {
        let io = || io::Error::other("bad sector");
        let store = |error| Error::Registry(E::Store(error));
        let path = || "blobs/x".to_owned();
        for (error, status, code) in [
            (Error::Method { allow: "GET" }, 405, "UNSUPPORTED"),
            (
                Error::Unauthorized { challenge: HeaderValue::from_static("Basic realm=x") },
                401,
                "UNAUTHORIZED",
            ),
            (Error::Slowed, 429, "TOOMANYREQUESTS"),
            (Error::Name(NameError::Grammar), 400, "NAME_INVALID"),
            (Error::NameOfNothing(NameError::Grammar), 404, "NAME_INVALID"),
            (Error::Digest(DigestError::NoColon), 400, "DIGEST_INVALID"),
            (Error::TagOfNothing(TagError), 404, "MANIFEST_UNKNOWN"),
            (Error::Tag(TagError), 400, "MANIFEST_INVALID"),
            (Error::UploadId, 404, "BLOB_UPLOAD_UNKNOWN"),
            (Error::TooManyTags(64), 414, "MANIFEST_INVALID"),
            (Error::ManifestTooLarge, 413, "SIZE_INVALID"),
            (Error::TooManyRanges, 400, "SIZE_INVALID"),
            (Error::BodyBroken("reset".into()), 400, "BLOB_UPLOAD_INVALID"),
            (E::BlobUnknown(digest()).into(), 404, "BLOB_UNKNOWN"),
            (E::NameUnknown(RepositoryName::parse("a").unwrap()).into(), 404, "NAME_UNKNOWN"),
            (E::UploadBusy { holds: 5 }.into(), 409, "BLOB_UPLOAD_INVALID"),
            (E::SizeInvalid { declared: 1, received: 2 }.into(), 400, "SIZE_INVALID"),
            (E::DigestMismatch { claimed: digest(), computed: digest() }.into(), 400, "DIGEST_INVALID"),
            (E::ManifestBlobUnknown(vec![digest()]).into(), 400, "MANIFEST_BLOB_UNKNOWN"),
            (E::ReadOnly.into(), 405, "UNSUPPORTED"),
            (E::DeletionDisabled.into(), 405, "UNSUPPORTED"),
            (store(store::Error::NoSpace { free: 7, path: "/r".into() }), 507, "UNAVAILABLE"),
            (store(store::Error::Closed), 503, "UNAVAILABLE"),
            (store(store::Error::Io { doing: "open", path: path(), source: io() }), 500, "UNKNOWN"),
            (store(store::Error::Corrupt { path: path(), why: "it is empty".into() }), 500, "UNKNOWN"),
        ] {
            let shown = format!("{error:?}");
            let (actual, body, _) = answered(error);
            assert_eq!(actual, status, "{shown}");
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["errors"][0]["code"], code, "{shown}");
            assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty(), "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_done_here_is_said_so_that_nobody_tries_again() {
        for error in [Error::Method { allow: "GET, HEAD" }, E::ReadOnly.into(), E::DeletionDisabled.into()] {
            let (status, body, headers) = answered(error);
            assert_eq!(status, 405);
            assert_eq!(
                body,
                r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#
            );
            assert!(headers.contains(&("allow".into(), "GET, HEAD".into())));
        }
    }

    #[test]
    fn messages_say_why() {
        let source = store::Error::Corrupt { path: "tags/v2/current/link".into(), why: "it is empty".into() };
        let reference = Reference::parse("v2").unwrap();
        let (status, body, _) = answered(E::ManifestDamaged { reference, source }.into());
        assert_eq!(status, 404);
        assert!(
            body.contains("manifest v2 is stored damaged: tags/v2/current/link is damaged: it is empty"),
            "{body}"
        );
        let full = store::Error::NoSpace { free: 7, path: "/r".into() };
        assert!(answered(Error::Registry(full.into())).1.contains("7 bytes free at /r"));
        let (_, body, _) = answered(E::ManifestBlobUnknown(vec![digest(); 1000]).into());
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["errors"].as_array().unwrap().len(), MAX_LISTED);
        assert_eq!(body["errors"][0]["detail"], digest().to_string());
    }

    #[test]
    fn headers_that_let_a_client_go_on() {
        let error = E::OutOfOrder { begins: 22, holds: 10 };
        let (location, range) = ("/v2/a/blobs/uploads/x".to_owned(), "0-9".to_owned());
        let (status, _, headers) = answered(Error::OutOfOrder { error, location, range });
        assert_eq!(status, 416);
        for expected in [("location", "/v2/a/blobs/uploads/x"), ("range", "0-9")] {
            assert!(headers.contains(&(expected.0.into(), expected.1.into())), "{headers:?}");
        }
        let (status, _, headers) = answered(Error::RangeUnsatisfiable { len: 9 });
        assert_eq!((status, headers.contains(&("content-range".into(), "bytes */9".into()))), (416, true));
        let challenge = HeaderValue::from_static("Basic realm=\"b\"");
        let (_, _, headers) = answered(Error::Unauthorized { challenge });
        assert!(headers.contains(&("www-authenticate".into(), "Basic realm=\"b\"".into())));
        let (status, body, _) = answered(Error::NotFound);
        assert_eq!((status, body.as_str()), (404, "404 page not found\n"));
    }
}
