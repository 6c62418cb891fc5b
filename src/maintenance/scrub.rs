//! Scrubbing: everything that is stored is hashed, slowly and again and again, beside the server that serves
//! it.
//!
//! Knows where it was, also over restarts, and what is worth a look first after a cut. Does not mend: what it
//! finds is logged, counted, and not served any more.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;
use storage_layout::Digest;
use storage_layout::Entry;

use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::pace::StopOnDrop;
use crate::maintenance::verify::chain;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Store;
use crate::store::Walk;

/// Where the place is kept (`ROOT/larder/scrub.json`).
const DOCUMENT: &str = "scrub.json";

/// How many blobs are hashed before the place is kept: some minutes' work at the server's pace.
const STEP: usize = 64;

/// What scrubbing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// Those of them that are damaged, or cannot be read.
    pub damaged: Vec<Digest>,
}

/// Where it was.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Place {
    #[serde(default)]
    after: Option<String>,
}

/// Goes on where it was, to the end of what is stored; the next time it begins anew. Ends early, and goes on
/// there the next time, when it is dropped.
///
/// # Errors
/// The store cannot be listed, or the place not kept.
pub async fn scrub(store: &Store, pace: Pace) -> Result<Scrubbed, Error> {
    let pace = Arc::new(pace);
    let _stop = StopOnDrop(Arc::clone(&pace));
    let mut all = Scrubbed::default();
    let mut after = place(store).await?;
    loop {
        let next = store.blobs(after.as_ref(), STEP).await?;
        let digests: Vec<_> = next.iter().map(|it| it.digest).collect();
        let is_last = digests.len() < STEP;
        after = digests.last().copied().filter(|_| !is_last);
        let scrubbed = hash(store, digests, &pace).await?;
        all.blobs += scrubbed.blobs;
        all.damaged.extend(scrubbed.damaged);
        keep(store, after.as_ref()).await?;
        if is_last {
            return Ok(all);
        }
    }
}

/// Looks only at what changed at `since` or later, which is what a cut can have hurt: what was written
/// without being made durable, by whoever wrote it.
///
/// # Errors
/// None of its own: what cannot be listed is passed over.
pub async fn scrub_young(store: &Store, since: SystemTime, pace: Pace) -> Result<Scrubbed, Error> {
    let pace = Arc::new(pace);
    let _stop = StopOnDrop(Arc::clone(&pace));
    let Some(written) = store.written() else { return Ok(Scrubbed::default()) };
    let young = background::run(move || young(&*written, since)).await?;
    hash(store, young, &pace).await
}

fn young(source: &dyn Source, since: SystemTime) -> Vec<Digest> {
    let is_young = |digest: &Digest| {
        source.blob(digest).is_ok_and(|blob| blob.is_some_and(|blob| blob.modified() >= since))
    };
    let blobs = Walk::blobs(source).filter_map(|sight| match sight {
        Sight::Entry(Entry::Blob(digest)) => Some(digest),
        Sight::Entry(_) | Sight::Stranger(_) | Sight::Repository(_) | Sight::Unlisted(_) => None,
    });
    blobs.filter(is_young).collect()
}

async fn hash(store: &Store, digests: Vec<Digest>, pace: &Arc<Pace>) -> Result<Scrubbed, Error> {
    let (store, pace) = (store.clone(), Arc::clone(pace));
    background::run(move || {
        let mut scrubbed = Scrubbed::default();
        for digest in digests {
            for source in &*store.sources() {
                match is_whole(&store, &**source, &digest, &pace) {
                    ControlFlow::Break(()) => return scrubbed,
                    ControlFlow::Continue(None) => {}
                    ControlFlow::Continue(Some(is_whole)) => {
                        scrubbed.blobs += 1;
                        scrubbed.damaged.extend((!is_whole).then_some(digest));
                    }
                }
            }
        }
        scrubbed
    })
    .await
}

/// Whether a copy of a blob is what it is called; `None` where there is none.
fn is_whole(
    store: &Store,
    source: &dyn Source,
    digest: &Digest,
    pace: &Pace,
) -> ControlFlow<(), Option<bool>> {
    let root = source.origin().display();
    let mut stopped = ControlFlow::Continue(());
    let hashed = source.hash(digest, |bytes| {
        stopped = pace.take(bytes);
        stopped
    });
    stopped?;
    ControlFlow::Continue(match hashed {
        Ok(None) => None,
        Ok(Some(hashed)) if hashed.computed == *digest => Some(true),
        Ok(Some(hashed)) => {
            tracing::error!(%root, %digest, computed = %hashed.computed, "a stored blob is damaged");
            if let Ok(Some(blob)) = source.blob(digest) {
                store.report_damage(&blob);
            }
            Some(false)
        }
        Err(error) => {
            tracing::error!(%root, %digest, error = chain(&error), "a stored blob cannot be read");
            Some(false)
        }
    })
}

async fn place(store: &Store) -> Result<Option<Digest>, Error> {
    let Some(document) = store.document(DOCUMENT).await? else { return Ok(None) };
    // A place that cannot be read is no place: it begins anew.
    let place: Place = serde_json::from_slice(&document).unwrap_or_default();
    Ok(place.after.and_then(|it| Digest::parse(&it).ok()))
}

async fn keep(store: &Store, after: Option<&Digest>) -> Result<(), Error> {
    let Some(writer) = store.writer() else { return Ok(()) };
    let place = Place { after: after.map(ToString::to_string) };
    writer.put_document(DOCUMENT, serde_json::to_vec(&place).unwrap_or_default().into()).await
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::maintenance::fixture::Root;
    use crate::store::Access;
    use crate::store::Options;

    fn open(root: &Root) -> Store {
        let roots = vec![root.path().to_owned()];
        Store::open(&Options { roots, access: Access::ReadWrite, ..Options::default() }).unwrap()
    }

    #[tokio::test]
    async fn what_is_damaged_is_found_and_not_served_any_more() {
        let root = Root::damaged();
        let store = open(&root);
        let scrubbed = scrub(&store, Pace::new(None)).await.unwrap();
        assert_eq!((scrubbed.blobs, scrubbed.damaged.len()), (67, 2));
        for digest in &scrubbed.damaged {
            assert!(matches!(store.blob(digest).await, Err(Error::Corrupt { .. })));
        }
        assert_eq!(place(&store).await.unwrap(), None, "the next one begins anew");
    }

    #[tokio::test]
    async fn it_goes_on_where_it_was() {
        let root = Root::payload();
        let store = open(&root);
        let blobs = store.blobs(None, usize::MAX).await.unwrap();
        keep(&store, Some(&blobs[59].digest)).await.unwrap();
        store.close().await;
        drop(store);
        let scrubbed = scrub(&open(&root), Pace::new(None)).await.unwrap();
        assert_eq!((scrubbed.blobs, scrubbed.damaged), (7, vec![]));
    }

    #[tokio::test]
    async fn after_a_cut_only_what_is_young_is_looked_at() {
        let root = Root::payload();
        let store = open(&root);
        let blob = store.blobs(None, 1).await.unwrap()[0].digest;
        fs::write(root.at(&Entry::Blob(blob)), "").unwrap();
        let since = SystemTime::now() - Duration::from_secs(3600);
        let scrubbed = scrub_young(&store, since, Pace::new(None)).await.unwrap();
        assert_eq!(scrubbed, Scrubbed { blobs: 1, damaged: vec![blob] });
    }
}
