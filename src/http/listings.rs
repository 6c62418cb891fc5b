//! Lists: tags (end-8), repositories, referrers (end-12), and the `Link` to the
//! rest of one.

use std::fmt::Display;

use http::HeaderName;
use http::HeaderValue;
use http::Response;
use http::header::LINK;
use serde::Serialize;
use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::http::Body;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::query::encoded;
use crate::oci::ManifestType;
use crate::registry::Referrers;
use crate::registry::Registry;

const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Catalog<'a> {
    repositories: Vec<&'a str>,
}

/// A repository's tags: all of them, unless `n` says otherwise. Exactly `name` and `tags`: the cluster's node
/// daemon refuses anything else.
pub(super) async fn tags(
    registry: &Registry,
    query: Query<'_>,
    name: &RepositoryName,
) -> Result<Response<Body>, Error> {
    let limit = limit(query)?;
    let last = query.first("last");
    let page = registry.tags(name, last.as_deref(), limit).await?;
    let tags = page.tags().iter().map(|tag| tag.as_str()).collect();
    let mut response = answer::json(&TagList { name: name.as_str(), tags });
    if let Some((next, limit)) = page.next().zip(limit) {
        insert_link(
            &mut response,
            format_args!("/v2/{name}/tags/list?last={}&n={limit}", encoded(next.as_str())),
        );
    }
    Ok(response)
}

/// The repositories, at most `max` at once. A client that wants more than that gets the rest by `Link`;
/// distribution refuses it.
pub(super) async fn catalog(
    registry: &Registry,
    query: Query<'_>,
    max: usize,
) -> Result<Response<Body>, Error> {
    let limit = limit(query)?.unwrap_or(max).min(max);
    let last = query.first("last");
    // One more than is answered tells whether a `Link` is due.
    let mut found = match limit {
        0 => Vec::new(),
        limit => registry.repositories(last.as_deref(), limit.saturating_add(1)).await?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let mut response =
        answer::json(&Catalog { repositories: found.iter().map(RepositoryName::as_str).collect() });
    if let Some(next) = found.last().filter(|_| more) {
        insert_link(&mut response, format_args!("/v2/_catalog?last={}&n={limit}", encoded(next.as_str())));
    }
    Ok(response)
}

/// What refers to a manifest. Always 200: that nothing does is an answer, also of a repository that nobody
/// knows.
pub(super) async fn referrers(
    registry: &Registry,
    query: Query<'_>,
    name: &RepositoryName,
    subject: &str,
) -> Result<Response<Body>, Error> {
    let subject = Digest::parse(subject)?;
    let artifact_types: Vec<String> =
        query.all("artifactType").filter(|it| !it.is_empty()).map(Into::into).collect();
    let limit = limit(query)?.filter(|it| *it > 0);
    let asked = Referrers {
        subject: &subject,
        artifact_types: &artifact_types,
        last: query.parsed("last")?,
        limit: limit.unwrap_or(usize::MAX),
    };
    let page = registry.referrers(name, asked).await?;
    let mut response = answer::document(ManifestType::OciIndex.as_str(), page.index);
    if !artifact_types.is_empty() {
        response.headers_mut().insert(OCI_FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    if let Some(next) = page.next {
        let mut link = format!("/v2/{name}/referrers/{subject}?last={next}");
        if let Some(limit) = limit {
            link.push_str(&format!("&n={limit}"));
        }
        artifact_types.iter().for_each(|it| link.push_str(&format!("&artifactType={}", encoded(it))));
        insert_link(&mut response, link);
    }
    Ok(response)
}

fn limit(query: Query<'_>) -> Result<Option<usize>, Error> {
    let Some(n) = query.first("n").filter(|it| !it.is_empty()) else { return Ok(None) };
    if n.bytes().all(|it| it.is_ascii_digit()) {
        // What does not fit asks for everything.
        return Ok(Some(n.parse().unwrap_or(usize::MAX)));
    }
    Err(Error::Pagination(n.into_owned()))
}

/// Relative, so that it stays on the host that was asked (RFC 8288).
fn insert_link(response: &mut Response<Body>, url: impl Display) {
    response.headers_mut().insert(LINK, answer::value(format!("<{url}>; rel=\"next\"")));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn how_many() {
        for (query, expected) in [
            ("", None),
            ("n=", None),
            ("n=0", Some(0)),
            ("n=7", Some(7)),
            ("n=99999999999999999999999999", Some(usize::MAX)),
        ] {
            assert_eq!(limit(Query::new(Some(query))).unwrap(), expected, "{query}");
        }
        for query in ["n=-1", "n=x", "n=+1", "n=1.5"] {
            assert!(matches!(limit(Query::new(Some(query))), Err(Error::Pagination(_))), "{query}");
        }
    }

    #[test]
    fn tag_lists_have_two_members() {
        let response = answer::json(&TagList { name: "a", tags: vec![] });
        let Body::Bytes(body) = response.body() else { unreachable!() };
        assert_eq!(&body[..], br#"{"name":"a","tags":[]}"#);
    }
}
