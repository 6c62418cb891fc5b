//! Collecting garbage: the request and the report.

use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;
use storage_layout::Entry;

use crate::maintenance::gc;
use crate::maintenance::gc::Collected;
use crate::maintenance::gc::Garbage;
use crate::maintenance::gc::Policy;
use crate::reachability::Keep;
use crate::store::Error;
use crate::store::Store;

/// What is to be collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// Find, and remove nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Manifests without a tag, which nothing with a tag needs, are garbage too.
    #[serde(default)]
    pub untagged: bool,
    /// How old garbage must be.
    pub grace_seconds: u64,
    /// How old an upload must be to be forgotten.
    pub uploads_seconds: u64,
}

/// What was collected, or would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GcReport {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Blobs that went.
    pub blobs: u64,
    /// Links that went.
    pub links: u64,
    /// Bytes that went.
    pub bytes: u64,
    /// Bytes that nothing needs, and that are too young to go, or that somebody counts on.
    pub spared_bytes: u64,
    /// Entries that were needed again by the time it was their turn.
    pub rescued: u64,
    /// Uploads that were forgotten.
    pub uploads: u64,
    /// Repositories that were kept whole, because something in them cannot be read.
    pub kept_whole: Vec<KeptWhole>,
    /// What would go, in a dry run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<GcEntry>,
    /// How long it took.
    pub seconds: f64,
}

/// A repository that was kept whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWhole {
    /// Its name.
    pub repository: String,
    /// What cannot be read.
    pub why: String,
}

/// A file that would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcEntry {
    /// Below the root.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Collects the garbage of a store, as a document asks for it.
///
/// `None` where the store is read-only and this is no dry run.
///
/// # Errors
/// The disk cannot be written.
pub async fn collect(store: &Store, request: &GcRequest, now: SystemTime) -> Result<Option<GcReport>, Error> {
    let began = Instant::now();
    let keep = if request.untagged { Keep::Tagged } else { Keep::Listed };
    let policy = Policy { keep, grace: Duration::from_secs(request.grace_seconds) };
    let report = if request.dry_run {
        planned(gc::survey(store, policy, now).await?)
    } else {
        let Some(writer) = store.writer() else { return Ok(None) };
        let (garbage, collected) = gc::collect(store, writer, policy, now).await?;
        let before = now.checked_sub(Duration::from_secs(request.uploads_seconds));
        let uploads = match before {
            Some(before) => writer.purge_uploads(before).await?,
            None => 0,
        };
        removed(garbage, collected, uploads as u64)
    };
    Ok(Some(GcReport { seconds: began.elapsed().as_secs_f64(), ..report }))
}

fn planned(garbage: Garbage) -> GcReport {
    let entries = &garbage.plan.entries;
    let blobs = entries.iter().filter(|it| matches!(it.entry, Entry::Blob(_))).count() as u64;
    let links = entries.len() as u64 - blobs;
    let listed =
        entries.iter().map(|it| GcEntry { path: it.entry.path().to_string(), bytes: it.bytes }).collect();
    GcReport { dry_run: true, blobs, links, bytes: garbage.plan.bytes, entries: listed, ..left(garbage) }
}

fn removed(garbage: Garbage, collected: Collected, uploads: u64) -> GcReport {
    let Collected { links, blobs, bytes, rescued } = collected;
    GcReport { blobs, links, bytes, rescued, uploads, ..left(garbage) }
}

fn left(garbage: Garbage) -> GcReport {
    let kept = garbage.kept_whole.into_iter();
    let kept_whole = kept.map(|(name, why)| KeptWhole { repository: name.to_string(), why }).collect();
    GcReport { spared_bytes: garbage.plan.spared, kept_whole, ..GcReport::default() }
}
