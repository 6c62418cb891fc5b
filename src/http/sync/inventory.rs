//! What this node has, written line by line while it is sent.
//!
//! Knows how the store is gone through, one repository at a time. Does not know the format: that is
//! `peer::inventory`.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use sha2::Digest as _;
use sha2::Sha256;
use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::http::Body;
use crate::http::answer;
use crate::http::conditional;
use crate::http::conditional::Outcome;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::sync::stream::Pieces;
use crate::http::sync::stream::written;
use crate::maintenance::releases;
use crate::oci;
use crate::peer::Job;
use crate::peer::JobRequest;
use crate::peer::Selection;
use crate::peer::inventory::Line;
use crate::peer::inventory::MEDIA_TYPE;
use crate::peer::inventory::VERSION;
use crate::registry::Registry;
use crate::store;
use crate::store::Store;

/// How many repositories are listed at once.
const REPOSITORIES_AT_ONCE: usize = 256;
/// How many bytes of lines are gathered before they are sent.
const PIECE: usize = 32 * 1024;
/// The deepest nesting of indexes that is followed.
const DEPTH_LIMIT: usize = 16;

/// Sends the inventory, all of it or what `?repository=` and `?release=` name. `ETag` is over the state of
/// the repositories: it costs a look at each of them and reads none.
pub(in crate::http) async fn inventory(
    registry: &Registry,
    headers: &HeaderMap,
    query: Query<'_>,
) -> Result<Response<Body>, Error> {
    let store = registry.store().clone();
    let selection = selection(&store, query).await?;
    let tag = entity_tag(&store, &selection).await.map_err(crate::registry::Error::from)?;
    let mut response = match conditional::evaluate(headers, &tag) {
        Outcome::PreconditionFailed => return Err(Error::PreconditionFailed),
        Outcome::NotModified => answer::empty(StatusCode::NOT_MODIFIED),
        Outcome::Send => Response::new(written(move |pieces| async move {
            write(&store, &selection, &pieces).await.map_err(io::Error::other)
        })),
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, answer::value(format!("\"{tag}\"")));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

async fn selection(store: &Store, query: Query<'_>) -> Result<Selection, Error> {
    let all = |key| query.all(key).map(std::borrow::Cow::into_owned).collect();
    let request =
        JobRequest { releases: all("release"), repositories: all("repository"), ..JobRequest::default() };
    let names = request.releases.clone();
    let mut selection = Job::parse(request)?.selection().clone();
    if names.is_empty() {
        return Ok(selection);
    }
    for held in releases::of(store).await.map_err(crate::registry::Error::from)? {
        if names.iter().any(|name| held.status.is_called(name)) {
            selection.releases.insert(held.status.image.digest);
            selection.tags.insert(held.status.image.tag);
            selection.bundles.extend(held.status.bundle);
        }
    }
    Ok(selection)
}

async fn entity_tag(store: &Store, selection: &Selection) -> Result<String, store::Error> {
    let mut hash = Sha256::new();
    let mut last: Option<RepositoryName> = None;
    loop {
        let names =
            store.repositories(last.as_ref().map(RepositoryName::as_str), REPOSITORIES_AT_ONCE).await?;
        let Some(end) = names.last().cloned() else { break };
        for name in names.iter().filter(|it| selection.may_want(it)) {
            hash.update(name.as_str().as_bytes());
            hash.update([0]);
            hash.update(store.stamp(name).await?.to_bytes());
        }
        last = Some(end);
    }
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

async fn write(store: &Store, selection: &Selection, pieces: &Pieces) -> Result<(), store::Error> {
    let mut lines = Lines { pieces, held: Vec::with_capacity(PIECE) };
    lines.add(&Line::Begin { version: VERSION }).await;
    let mut last: Option<RepositoryName> = None;
    loop {
        let names =
            store.repositories(last.as_ref().map(RepositoryName::as_str), REPOSITORIES_AT_ONCE).await?;
        let Some(end) = names.last().cloned() else { break };
        for name in names.iter().filter(|it| selection.may_want(it)) {
            repository(store, selection, name, &mut lines).await?;
        }
        last = Some(end);
    }
    lines.add(&Line::End).await;
    lines.send().await;
    Ok(())
}

/// The lines of one repository.
async fn repository(
    store: &Store,
    selection: &Selection,
    name: &RepositoryName,
    lines: &mut Lines<'_>,
) -> Result<(), store::Error> {
    lines.add(&Line::Repository(name.clone())).await;
    let mut tagged = BTreeSet::new();
    for tag in store.tags(name).await?.iter().flat_map(|it| it.iter()) {
        // A tag whose link is damaged points at nothing that a peer could take.
        let Ok(Some(digest)) = store.tag(name, tag).await else { continue };
        if selection.wants_tag(name, tag) {
            tagged.insert(digest);
            lines.add(&Line::Tag(tag.clone(), digest)).await;
        }
    }
    if selection.is_whole(name) {
        for digest in store.revisions(name).await? {
            lines.add_stored(store, digest, Line::Manifest).await?;
        }
        for digest in store.layers(name).await? {
            lines.add_stored(store, digest, Line::Blob).await?;
        }
        return Ok(());
    }
    reached(store, tagged, lines).await
}

/// The lines of what some manifests reach.
async fn reached(store: &Store, roots: BTreeSet<Digest>, lines: &mut Lines<'_>) -> Result<(), store::Error> {
    let (mut seen, mut level) = (BTreeSet::new(), roots);
    for _ in 0..DEPTH_LIMIT {
        let mut next = BTreeSet::new();
        for digest in level.into_iter().filter(|it| seen.insert(*it)).collect::<Vec<_>>() {
            lines.add_stored(store, digest, Line::Manifest).await?;
            let Ok(Some(content)) = store.content(&digest, oci::Manifest::MAX_LEN as u64).await else {
                continue;
            };
            let Ok(manifest) = oci::Manifest::parse(&content, None) else { continue };
            for child in oci::children(&manifest) {
                match child.role {
                    oci::Role::Manifest => drop(next.insert(child.descriptor.digest)),
                    oci::Role::Config | oci::Role::Layer | oci::Role::Blob => {
                        if seen.insert(child.descriptor.digest) {
                            lines.add_stored(store, child.descriptor.digest, Line::Blob).await?;
                        }
                    }
                }
            }
        }
        level = next;
    }
    Ok(())
}

/// Lines on their way out.
struct Lines<'a> {
    pieces: &'a Pieces,
    held: Vec<u8>,
}

impl Lines<'_> {
    async fn add(&mut self, line: &Line) {
        line.write(&mut self.held);
        if self.held.len() >= PIECE {
            self.send().await;
        }
    }

    /// A line about something that is stored; none where its bytes are not, or are damaged.
    async fn add_stored(
        &mut self,
        store: &Store,
        digest: Digest,
        line: impl Fn(Digest, u64) -> Line,
    ) -> Result<(), store::Error> {
        match store.blob(&digest).await {
            Ok(Some(blob)) => self.add(&line(digest, blob.len())).await,
            Ok(None) | Err(store::Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn send(&mut self) {
        // Nobody reads on: the body is dropped, and with it this.
        let held = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE));
        drop(self.pieces.send(Bytes::from(held)).await);
    }
}
