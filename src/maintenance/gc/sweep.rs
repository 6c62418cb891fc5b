//! Carrying out a plan.
//!
//! Knows that many removals share their syncs, and that links go before blobs. Does not know why something is
//! garbage.

use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream;
use storage_layout::Entry;

use crate::reachability::Plan;
use crate::reachability::Stored;
use crate::store::Error;
use crate::store::Writer;

/// How many removals share their syncs.
const TOGETHER: usize = 256;

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Links that were removed.
    pub links: u64,
    /// Blobs that were removed.
    pub blobs: u64,
    /// Bytes that were freed.
    pub bytes: u64,
    /// Entries of the plan that were needed again by the time it was their turn.
    pub rescued: u64,
}

/// Carries out a plan. What was used at `before` or later, or is leased, is rescued.
///
/// # Errors
/// The disk cannot be written. What was removed until then is removed.
pub async fn sweep(writer: &Writer, plan: Plan, before: SystemTime) -> Result<Collected, Error> {
    let (blobs, links): (Vec<_>, Vec<_>) =
        plan.entries.into_iter().partition(|it| matches!(it.entry, Entry::Blob(_)));
    let mut collected = Collected::default();
    // All links are gone for good before the first blob: a collection cut short leaves no link to nothing.
    for batch in [links, blobs] {
        let remove = |it: Stored| async move {
            writer.remove_unused(&it.entry, before).await.map(|removed| (it, removed))
        };
        carry_out(batch, remove, &mut collected).await?;
    }
    // Whoever is told how much was freed may look.
    writer.emptied().await;
    Ok(collected)
}

/// Removes each of `batch` by `remove`, which says whether it did, many at once.
pub(in crate::maintenance) async fn carry_out<F>(
    batch: Vec<Stored>,
    remove: impl Fn(Stored) -> F,
    collected: &mut Collected,
) -> Result<(), Error>
where
    F: Future<Output = Result<(Stored, bool), Error>>,
{
    let mut removals = stream::iter(batch).map(remove).buffer_unordered(TOGETHER);
    while let Some(removal) = removals.next().await {
        let (stored, removed) = removal?;
        collected.count(&stored, removed);
    }
    Ok(())
}

impl Collected {
    fn count(&mut self, Stored { entry, bytes, .. }: &Stored, removed: bool) {
        let count = match entry {
            _ if !removed => &mut self.rescued,
            Entry::Blob(_) => &mut self.blobs,
            _ => &mut self.links,
        };
        *count += 1;
        self.bytes += if removed { *bytes } else { 0 };
    }
}
