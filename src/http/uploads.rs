//! `/v2/<name>/blobs/uploads/` and what it hands out (end-4, end-5, end-6,
//! end-11, end-13, end-14).

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http::header::CONTENT_RANGE;
use http::header::RANGE;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::DigestError;
use storage_layout::RepositoryName;
use storage_layout::UploadId;

use crate::auth::Action;
use crate::http::Body;
use crate::http::access::Caller;
use crate::http::answer;
use crate::http::answer::DOCKER_CONTENT_DIGEST;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::receive::Incoming;
use crate::registry;
use crate::registry::Chunk;
use crate::registry::ChunkRange;
use crate::registry::Mount;
use crate::registry::Registry;

const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// What `POST` asks for.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    /// A blob that may be stored already.
    mount: Option<Digest>,
    /// The repository that is said to hold it; malformed names hold nothing.
    from: Option<Option<RepositoryName>>,
    /// The digest of the body, where it is the whole blob.
    digest: Option<Digest>,
    /// The algorithm of the digest that is to come.
    algorithm: Option<Algorithm>,
}

impl Start {
    fn read(query: Query<'_>) -> Result<Self, DigestError> {
        let algorithm = query.first("digest-algorithm");
        let algorithm = algorithm.map(|it| Algorithm::parse(&it).ok_or(DigestError::UnsupportedAlgorithm));
        Ok(Self {
            mount: query.parsed("mount")?,
            from: query.first("from").map(|it| RepositoryName::parse(&it).ok()),
            digest: query.parsed("digest")?,
            algorithm: algorithm.transpose()?,
        })
    }

    /// Where a blob may be mounted from: nowhere the client may not read.
    fn source(&self, caller: &Caller<'_>) -> Option<Mount<'_>> {
        match &self.from {
            Some(from) => from.as_ref().filter(|it| caller.may(&Action::Pull(it)).is_ok()).map(Mount::From),
            None => caller.reads_everywhere().then_some(Mount::Anywhere),
        }
    }
}

/// Mounts a blob, takes one in whole, or begins an upload.
pub(super) async fn start<B>(
    registry: &Registry,
    caller: &Caller<'_>,
    query: Query<'_>,
    name: &RepositoryName,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    registry.accepts_writes()?;
    let start = Start::read(query)?;
    if let Some((digest, source)) = start.mount.zip(start.source(caller))
        && registry.mount(name, &digest, source).await?
    {
        return Ok(stored(name, &digest));
    }
    let algorithm = start.digest.map(|it| it.algorithm()).or(start.algorithm);
    let id = registry.start_upload(name, algorithm).await?;
    let Some(digest) = start.digest else {
        let mut response = accepted(StatusCode::ACCEPTED, name, id, 0);
        // Any length is taken; the header says so to clients that would otherwise choose large chunks.
        response.headers_mut().insert(OCI_CHUNK_MIN_LENGTH, HeaderValue::from_static("1"));
        return Ok(response);
    };
    match whole(registry, name, id, &digest, body).await {
        Ok(()) => Ok(stored(name, &digest)),
        Err(error) => {
            // Nobody knows the id, so nobody can go on with it. That it is gone already is as well.
            let _ = registry.cancel_upload(name, id).await;
            Err(error)
        }
    }
}

async fn whole<B>(
    registry: &Registry,
    name: &RepositoryName,
    id: UploadId,
    digest: &Digest,
    body: Incoming<'_, B>,
) -> Result<(), Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    body.into_chunk(registry.append(name, id, None).await?).await?;
    Ok(registry.finish_upload(name, id, digest).await?)
}

/// Says how much of an upload has arrived.
pub(super) async fn status(
    registry: &Registry,
    name: &RepositoryName,
    id: &str,
) -> Result<Response<Body>, Error> {
    let id = upload_id(id)?;
    let offset = registry.upload_offset(name, id).await?;
    Ok(accepted(StatusCode::NO_CONTENT, name, id, offset))
}

/// Takes in a chunk, or a stream.
pub(super) async fn patch<B>(
    registry: &Registry,
    headers: &HeaderMap,
    name: &RepositoryName,
    id: &str,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let id = upload_id(id)?;
    let chunk = open(registry, headers, name, id).await?;
    let offset = body.into_chunk(chunk).await?;
    Ok(accepted(StatusCode::ACCEPTED, name, id, offset))
}

/// Takes in the last chunk, if there is one, and makes the upload a blob.
pub(super) async fn put<B>(
    registry: &Registry,
    headers: &HeaderMap,
    query: Query<'_>,
    name: &RepositoryName,
    id: &str,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let id = upload_id(id)?;
    let digest = query.parsed::<Digest>("digest")?.ok_or(DigestError::NoColon)?;
    if !body.is_empty() || headers.contains_key(CONTENT_RANGE) {
        let chunk = open(registry, headers, name, id).await?;
        body.into_chunk(chunk).await?;
    }
    registry.finish_upload(name, id, &digest).await?;
    Ok(stored(name, &digest))
}

/// Forgets an upload.
pub(super) async fn cancel(
    registry: &Registry,
    name: &RepositoryName,
    id: &str,
) -> Result<Response<Body>, Error> {
    registry.cancel_upload(name, upload_id(id)?).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// Opens an upload for the chunk that the headers announce. One in the wrong place leaves it as it is, and
/// the client is told what it holds.
async fn open(
    registry: &Registry,
    headers: &HeaderMap,
    name: &RepositoryName,
    id: UploadId,
) -> Result<Chunk, Error> {
    let place = place(headers)?;
    registry.append(name, id, place).await.map_err(|error| match error {
        registry::Error::OutOfOrder { holds, .. } | registry::Error::UploadBusy { holds } => {
            Error::OutOfOrder { error, location: location(name, id), range: held(holds) }
        }
        error => error.into(),
    })
}

/// Where the headers say that a chunk belongs.
fn place(headers: &HeaderMap) -> Result<Option<ChunkRange>, Error> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let range = value.to_str().ok().and_then(parse_content_range).ok_or(Error::ContentRange)?;
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    match length {
        Some(received) if received != range.len() => {
            Err(registry::Error::SizeInvalid { declared: range.len(), received }.into())
        }
        _ => Ok(Some(range)),
    }
}

/// `first-last`, as the specification writes it, or `bytes first-last/total`, as HTTP does.
fn parse_content_range(value: &str) -> Option<ChunkRange> {
    let value = value.trim();
    let value = value.strip_prefix("bytes").map_or(value, |it| it.trim_start_matches([' ', '=']));
    let (first, last) = value.split('/').next()?.split_once('-')?;
    ChunkRange::new(number(first)?, number(last)?)
}

fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok())?
}

fn upload_id(text: &str) -> Result<UploadId, Error> {
    UploadId::parse(text).map_err(|_| Error::UploadId)
}

fn accepted(status: StatusCode, name: &RepositoryName, id: UploadId, offset: u64) -> Response<Body> {
    let mut response = answer::created(status, location(name, id));
    response.headers_mut().insert(RANGE, answer::value(held(offset)));
    response.headers_mut().insert(DOCKER_UPLOAD_UUID, answer::value(id.to_string()));
    response
}

fn stored(name: &RepositoryName, digest: &Digest) -> Response<Body> {
    let mut response = answer::created(StatusCode::CREATED, format!("/v2/{name}/blobs/{digest}"));
    response.headers_mut().insert(DOCKER_CONTENT_DIGEST, answer::value(digest.to_string()));
    response
}

fn location(name: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// What an upload holds, both ends included. Nothing is `0-0` too: distribution's client reads it with
/// `%d-%d` and gives up where the end is before the beginning.
fn held(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn chunks_are_placed_as_clients_write_it() {
        for (value, expected) in [
            ("0-21", ChunkRange::new(0, 21)),
            ("22-41", ChunkRange::new(22, 41)),
            ("5-5", ChunkRange::new(5, 5)),
            ("bytes 0-9/*", ChunkRange::new(0, 9)),
            ("bytes 0-9/10", ChunkRange::new(0, 9)),
            ("bytes=0-9", ChunkRange::new(0, 9)),
            ("9-5", None),
            ("0-18446744073709551615", None),
            ("-5", None),
            ("5-", None),
            ("+1-5", None),
            ("1", None),
            ("", None),
            ("*/5", None),
        ] {
            assert_eq!(parse_content_range(value), expected, "{value}");
        }
    }

    #[test]
    fn an_announced_length_must_be_that_of_the_range() {
        let headers = |range, length| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_RANGE, HeaderValue::from_static(range));
            if let Some(length) = length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            }
            headers
        };
        assert!(matches!(place(&HeaderMap::new()), Ok(None)));
        assert!(matches!(place(&headers("0-9", Some("10"))), Ok(Some(_))));
        assert!(matches!(place(&headers("0-9", None)), Ok(Some(_))));
        assert!(matches!(place(&headers("x", None)), Err(Error::ContentRange)));
        assert!(matches!(
            place(&headers("0-9", Some("9"))),
            Err(Error::Registry(registry::Error::SizeInvalid { declared: 10, received: 9 }))
        ));
    }

    #[test]
    fn what_is_held_never_ends_before_it_begins() {
        for (offset, expected) in [(0, "0-0"), (1, "0-0"), (2, "0-1"), (512, "0-511")] {
            assert_eq!(held(offset), expected);
        }
    }

    #[test]
    fn parameters_of_a_start() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        let start = |query: &str| Start::read(Query::new(Some(query)));
        let all = format!("mount={digest}&from=a%2Fb&digest={digest}&digest-algorithm=sha512");
        let all = start(&all).unwrap();
        assert_eq!(all.algorithm, Some(Algorithm::Sha512));
        assert_eq!((all.mount, all.digest), (digest.parse().ok(), digest.parse().ok()));
        assert_eq!(all.from, Some(RepositoryName::parse("a/b").ok()));
        let none = Start { mount: None, from: None, digest: None, algorithm: None };
        assert_eq!(start("ns=quay.io"), Ok(none));
        assert_eq!(start("from=A//b").unwrap().from, Some(None));
        for query in ["digest=sha256:1", "mount=x", "digest-algorithm=md5", "digest="] {
            assert!(start(query).is_err(), "{query}");
        }
    }
}
