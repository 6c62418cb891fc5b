//! Removing a release: the request and the report.

use std::time::Instant;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::maintenance::Addition;
use crate::maintenance::removal;
use crate::maintenance::removal::Removal;
use crate::maintenance::removal::RemovalError;
use crate::maintenance::removal::Work;
use crate::store::Error;
use crate::store::Store;

/// How a release is to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoveRequest {
    /// By bundle, version, tag or digest.
    pub release: String,
    /// Say what would go, and remove nothing.
    pub dry_run: bool,
    /// Remove it even if it is in use.
    pub force: bool,
    /// The releases that the cluster runs.
    pub in_use: Vec<String>,
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RemoveReport {
    /// Its version, or its tag where that is not known.
    pub release: String,
    /// The digest of its image.
    pub digest: String,
    /// Its bundle.
    pub bundle: Option<String>,
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Tags that went.
    pub tags: u64,
    /// Links that went.
    pub links: u64,
    /// Blobs that went, manifests among them.
    pub blobs: u64,
    /// Bytes that went.
    pub bytes: u64,
    /// Bytes that only it needed and that stay, because they were used since or somebody counts on them: the
    /// next collection takes them.
    pub spared_bytes: u64,
    /// Repositories in which something cannot be read: nothing that they link went.
    pub kept_whole: Vec<super::KeptWhole>,
    /// How long it took.
    pub seconds: f64,
}

/// Removes a release, as a document asks for it; `None` where the store is read-only and this is no dry run.
///
/// # Errors
/// There is no such release, or more than one; it is in use; the store cannot be read or written.
pub async fn remove(
    store: &Store,
    request: &RemoveRequest,
    now: SystemTime,
) -> Result<Option<RemoveReport>, RemovalError> {
    let began = Instant::now();
    if !request.dry_run
        && let Some(report) = resume(store).await?
        && report.is_called(&request.release)
    {
        return Ok(Some(report));
    }
    let surveyed = removal::survey(store, &request.release).await;
    if !request.dry_run
        && matches!(surveyed, Err(RemovalError::NoRelease { .. }))
        && Addition::forget(store, &request.release).await?
    {
        // It was on its way, and nothing of it can be seen yet: what came is garbage.
        return Ok(Some(RemoveReport { release: request.release.clone(), ..RemoveReport::default() }));
    }
    let Some(removal) = surveyed? else { return Ok(None) };
    let is_in_use = request.in_use.iter().any(|it| removal.is_called(it));
    if is_in_use && !request.force && !request.dry_run {
        return Err(RemovalError::InUse { name: removal.name() });
    }
    let report = named(&removal);
    let report = if request.dry_run {
        planned(report, store, removal, now)
    } else {
        let Some(writer) = store.writer() else { return Ok(None) };
        let planned = bytes(&removal);
        Addition::forget(store, &report.digest).await?;
        let removed = removal::remove(writer, removal, now).await?;
        let crate::maintenance::gc::Collected { links, blobs, bytes, .. } = removed.collected;
        RemoveReport { tags: removed.tags, links, blobs, bytes, spared_bytes: planned - bytes, ..report }
    };
    Ok(Some(RemoveReport { seconds: began.elapsed().as_secs_f64(), ..report }))
}

/// Ends a removal that a power cut or a signal interrupted; `None` where there is none.
///
/// # Errors
/// The store cannot be read or written.
pub async fn resume(store: &Store) -> Result<Option<RemoveReport>, Error> {
    let began = Instant::now();
    let Some(work) = Work::pending(store).await? else { return Ok(None) };
    let planned = RemoveReport {
        release: work.release.clone(),
        digest: work.digest.clone(),
        bundle: work.bundle.clone(),
        ..RemoveReport::default()
    };
    let removed = removal::resume(store, work).await?;
    let crate::maintenance::gc::Collected { links, blobs, bytes, .. } = removed.collected;
    // What the process before removed is not known any more.
    let seconds = began.elapsed().as_secs_f64();
    Ok(Some(RemoveReport { tags: removed.tags, links, blobs, bytes, seconds, ..planned }))
}

impl RemoveReport {
    fn is_called(&self, name: &str) -> bool {
        self.release == name || self.digest == name || self.bundle.as_deref() == Some(name)
    }
}

fn named(removal: &Removal) -> RemoveReport {
    let first = removal.releases.first();
    let kept = removal.kept_whole.iter();
    let kept = kept.map(|(name, why)| super::KeptWhole { repository: name.to_string(), why: why.clone() });
    RemoveReport {
        release: removal.name(),
        digest: first.map(|it| it.image.digest.to_string()).unwrap_or_default(),
        bundle: first.and_then(|it| it.bundle.as_ref()).map(ToString::to_string),
        kept_whole: kept.collect(),
        ..RemoveReport::default()
    }
}

fn bytes(removal: &Removal) -> u64 {
    removal.links.iter().chain(&removal.blobs).map(|it| it.bytes).sum()
}

fn planned(report: RemoveReport, store: &Store, removal: Removal, now: SystemTime) -> RemoveReport {
    let all = bytes(&removal);
    let goes = |it: &&crate::reachability::Stored| removal.goes(it, store.writer(), now);
    let links: Vec<_> = removal.links.iter().filter(goes).collect();
    let blobs: Vec<_> = removal.blobs.iter().filter(goes).collect();
    let bytes = links.iter().chain(&blobs).map(|it| it.bytes).sum();
    RemoveReport {
        dry_run: true,
        tags: removal.tags.len() as u64,
        links: links.len() as u64,
        blobs: blobs.len() as u64,
        bytes,
        spared_bytes: all - bytes,
        ..report
    }
}
