//! Adding and removing a release: the requests and the reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;

use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::copy;
use crate::maintenance::copy::Held;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::PlanError;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Selection;
use crate::maintenance::pace::StopOnDrop;
use crate::maintenance::removal;
use crate::maintenance::removal::Removal;
use crate::maintenance::removal::RemovalError;
use crate::maintenance::removal::Work;
use crate::store::Error;
use crate::store::Source;
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
    /// Bytes that only it needed and that stay, because they were used since or somebody counts on them: the next
    /// collection takes them.
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
    let Some(removal) = removal::survey(store, &request.release).await? else { return Ok(None) };
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

/// Which release is to be brought onto the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRequest {
    /// By bundle, version, tag or digest.
    pub release: String,
}

/// What was brought onto the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddReport {
    /// As it was asked for.
    pub release: String,
    /// Where it came from.
    pub from: Vec<PathBuf>,
    /// Blobs that were copied.
    pub blobs: u64,
    /// Bytes that were copied.
    pub bytes: u64,
    /// Blobs that were there.
    pub skipped_blobs: u64,
    /// What could not be copied, in words: then it is not complete.
    pub problems: Vec<String>,
    /// The peers that were told to take it, and what each said.
    #[serde(default)]
    pub peers: Vec<PeerAnswer>,
    /// How long it took.
    pub seconds: f64,
}

/// What a peer said when it was told to take a release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAnswer {
    /// Which.
    pub peer: String,
    /// The job that it began or had under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a release was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There is nothing that it could come from.
    #[error("no medium is attached: there is no root but the one that is written")]
    NothingAttached,
    /// No medium has it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It could not be copied.
    #[error(transparent)]
    Copy(#[from] copy::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Brings a release from the roots that are only read onto the one that is written; `None` where none is. Whoever hangs
/// up ends it, and the next one goes on where it was.
///
/// # Errors
/// No medium has it, or the disk cannot be written.
pub async fn add(store: &Store, request: &AddRequest) -> Result<Option<AddReport>, AddError> {
    let began = Instant::now();
    let (Some(writer), Some(written)) = (store.writer(), store.written()) else { return Ok(None) };
    let sources = store.sources();
    let media: Vec<Arc<dyn Source>> =
        sources.iter().filter(|it| it.origin() != written.origin()).cloned().collect();
    if media.is_empty() {
        return Err(AddError::NothingAttached);
    }
    let from = media.iter().map(|it| it.origin().to_owned()).collect();
    let selection = Selection::Releases(vec![request.release.clone()]);
    let media = Arc::new(media);
    let plan = background::run(move || Plan::new(media, &selection)).await??;
    let pace = Arc::new(Pace::new(None));
    let _stop = StopOnDrop(Arc::clone(&pace));
    let copied =
        copy::copy(plan, writer.import(), Held::Trusted, pace, Arc::new(Progress::default())).await?;
    let Some(copied) = copied else { return Err(AddError::Store(Error::Closed)) };
    Ok(Some(AddReport {
        release: request.release.clone(),
        from,
        blobs: copied.copied_blobs,
        bytes: copied.copied_bytes,
        skipped_blobs: copied.skipped_blobs,
        problems: copied.problems.iter().map(ToString::to_string).collect(),
        peers: Vec::new(),
        seconds: began.elapsed().as_secs_f64(),
    }))
}
