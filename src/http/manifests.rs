//! `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9).

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::header::WARNING;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::http::Body;
use crate::http::answer;
use crate::http::answer::DOCKER_CONTENT_DIGEST;
use crate::http::asked;
use crate::http::asked::Asked;
use crate::http::blobs;
use crate::http::blobs::Part;
use crate::http::error::Error;
use crate::http::peers;
use crate::http::query::Query;
use crate::http::receive::Incoming;
use crate::oci::Manifest;
use crate::oci::Reference;
use crate::oci::ReferenceError;
use crate::registry::LinkedReference;
use crate::registry::Pushed;
use crate::registry::Registry;
use crate::registry::StoredManifest;

const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How many tags one request may set: the specification wants ten at least, and each is an fsync.
const MAX_TAGS: usize = 64;

/// Sends a manifest as it was pushed, whatever `Accept` says: the specification has no other form of it, and
/// every client takes it.
pub(super) async fn get(
    registry: &Registry,
    headers: &HeaderMap,
    asked: &Asked,
    reference: &Reference,
    part: Part,
) -> Result<Response<Body>, Error> {
    tell(registry, reference, part);
    let manifest = registry.manifest(&asked.name, reference, peers::reach(headers)).await?;
    unless_known(registry, headers, asked, manifest)
}

/// The same for a manifest that is in memory; `None` says nothing.
pub(super) fn at_once(
    registry: &Registry,
    headers: &HeaderMap,
    asked: &Asked,
    reference: &LinkedReference,
    part: Part,
) -> Option<Response<Body>> {
    tell(registry, reference.reference(), part);
    let manifest = registry.manifest_at_once(reference)?;
    unless_known(registry, headers, asked, manifest).ok()
}

/// As [`blobs::tell`]: an index names its manifests by digest.
fn tell(registry: &Registry, reference: &Reference, part: Part) {
    if let Reference::Digest(digest) = reference {
        blobs::tell(registry, digest, part);
    }
}

/// Sends a manifest, unless the client has it or wants another.
fn unless_known(
    registry: &Registry,
    headers: &HeaderMap,
    asked: &Asked,
    manifest: StoredManifest,
) -> Result<Response<Body>, Error> {
    let digest = manifest.digest;
    answer::unless_known(headers, &digest, || {
        let len = manifest.content.len() as u64;
        let head = asked.head(&digest, len, || head(registry, &manifest));
        let mut response = Response::new(Body::Bytes(manifest.content));
        *response.headers_mut() = head;
        Ok(response)
    })
}

fn head(registry: &Registry, manifest: &StoredManifest) -> HeaderMap {
    // A stored document may say anything of itself, also what no header can carry.
    let content_type = HeaderValue::try_from(registry.media_type(manifest).as_ref())
        .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    answer::content_head(content_type, manifest.content.len() as u64, &manifest.digest)
}

/// Takes in a manifest, under a tag or a digest, and under the tags that `?tag=` lists beside a digest.
pub(super) async fn put<B>(
    registry: &Registry,
    headers: &HeaderMap,
    query: Query<'_>,
    name: &RepositoryName,
    reference: &str,
    body: Incoming<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    registry.accepts_writes()?;
    let reference = Reference::parse(reference).map_err(|error| match error {
        ReferenceError::Tag(error) => Error::Tag(error),
        ReferenceError::Digest(error) => Error::Digest(error),
    })?;
    let tags = tags(&reference, query)?;
    let content = body.into_bytes(Manifest::MAX_LEN, Error::ManifestTooLarge).await?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let pushed = registry.put_manifest(name, &reference, &tags, content, content_type).await?;
    Ok(created(name, &tags, &pushed))
}

/// Removes a tag or a manifest.
pub(super) async fn delete(
    registry: &Registry,
    name: &RepositoryName,
    reference: &str,
) -> Result<Response<Body>, Error> {
    registry.delete_manifest(name, &asked::existing(reference)?).await?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

/// The tags of the query, which only a push by digest may have (end-7b).
fn tags(reference: &Reference, query: Query<'_>) -> Result<Vec<Tag>, Error> {
    if matches!(reference, Reference::Tag(_)) {
        return Ok(Vec::new());
    }
    let mut tags = Vec::new();
    for tag in query.all("tag") {
        if tags.len() == MAX_TAGS {
            return Err(Error::TooManyTags(MAX_TAGS));
        }
        tags.push(Tag::parse(&tag)?);
    }
    Ok(tags)
}

/// Names the manifest by its digest, as distribution does: a tag may move before the client looks.
fn created(name: &RepositoryName, tags: &[Tag], pushed: &Pushed) -> Response<Body> {
    let location = format!("/v2/{name}/manifests/{}", pushed.digest);
    let mut response = answer::created(StatusCode::CREATED, location);
    let headers = response.headers_mut();
    headers.insert(DOCKER_CONTENT_DIGEST, answer::value(pushed.digest.to_string()));
    if let Some(subject) = &pushed.subject {
        headers.insert(OCI_SUBJECT, answer::value(subject.to_string()));
    }
    for tag in tags {
        headers.append(OCI_TAG, answer::value(tag.to_string()));
    }
    if !pushed.missing.is_empty() {
        headers.insert(WARNING, missing(pushed.missing.len()));
    }
    response
}

/// The form that containers/image shows (distribution-spec, "Warnings"): no date, no agent, ASCII.
fn missing(count: usize) -> HeaderValue {
    let what = if count == 1 {
        "object that this manifest references"
    } else {
        "objects that this manifest references"
    };
    answer::value(format!("299 - \"the repository does not hold {count} {what}\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn reference() -> Reference {
        Reference::parse(&format!("sha256:{}", "0f".repeat(32))).unwrap()
    }

    #[test]
    fn tags_beside_a_digest() {
        let ten = (0..10).map(|it| format!("tag=v{it}")).collect::<Vec<_>>().join("&");
        assert_eq!(tags(&reference(), Query::new(Some(&ten))).unwrap().len(), 10);
        let tagged = Reference::parse("latest").unwrap();
        assert!(tags(&tagged, Query::new(Some(&ten))).unwrap().is_empty());
        assert!(matches!(tags(&reference(), Query::new(Some("tag=.x"))), Err(Error::Tag(_))));
        let many = vec!["tag=a"; MAX_TAGS + 1].join("&");
        assert!(matches!(tags(&reference(), Query::new(Some(&many))), Err(Error::TooManyTags(_))));
    }

    #[test]
    fn what_is_said_of_a_push() {
        let Reference::Digest(digest) = reference() else { unreachable!() };
        let name = RepositoryName::parse("a/b").unwrap();
        let listed: Vec<Tag> = ["x", "y"].map(|it| Tag::parse(it).unwrap()).into();
        let pushed = Pushed { digest, subject: Some(digest), missing: vec![digest] };
        let response = created(&name, &listed, &pushed);
        let headers = response.headers();
        assert_eq!(headers["location"], format!("/v2/a/b/manifests/{digest}"));
        assert_eq!(headers["docker-content-digest"], digest.to_string());
        assert_eq!(headers["oci-subject"], digest.to_string());
        assert_eq!(headers.get_all("oci-tag").iter().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(
            headers["warning"],
            "299 - \"the repository does not hold 1 object that this manifest references\""
        );
        let quiet = created(&name, &[], &Pushed { digest, subject: None, missing: vec![] });
        assert!(["oci-subject", "oci-tag", "warning"].iter().all(|it| !quiet.headers().contains_key(*it)));
    }
}
