//! What a server does by itself now and then.

use std::num::NonZero;
use std::time::Duration;
use std::time::SystemTime;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::UploadPurge;
use crate::maintenance::Pace;
use crate::maintenance::scrub;
use crate::maintenance::scrub::Scrubbed;
use crate::store;
use crate::store::LastEnd;
use crate::store::Store;

/// When uploads are looked at for the first time. A node that has just booted has better things to do with
/// its disk.
const FIRST_PURGE: Duration = Duration::from_secs(10 * 60);

/// How often uploads are looked at most: it walks every repository.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(60);

/// Removes uploads that nobody goes on with, until `shutdown`.
pub(super) async fn purge_uploads(store: Store, purge: UploadPurge, shutdown: CancellationToken) {
    let UploadPurge::Every { age, interval } = purge else { return };
    let interval = interval.max(SHORTEST_INTERVAL);
    let mut pause = FIRST_PURGE.min(interval);
    while shutdown.run_until_cancelled(sleep(pause)).await.is_some() {
        pause = interval;
        let Some(writer) = store.writer() else { return };
        let Some(before) = SystemTime::now().checked_sub(age) else { continue };
        if let Err(error) = writer.purge_uploads(before).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot purge uploads");
        }
    }
}

/// When what is stored is hashed for the first time, and how long after the end it begins anew: a disk that
/// loses bits loses them over months.
const FIRST_SCRUB: Duration = Duration::from_secs(30 * 60);
const SCRUB_AGAIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How fast it is read: 60 GB, which is a release, in two hours, and a tenth of what the slowest disk gives
/// to etcd.
const SCRUB_RATE: NonZero<u64> = NonZero::new(8 << 20).unwrap();

/// How far back a cut can have hurt what is stored: the kernel writes within a minute what nobody asked it
/// to.
const CUT_REACHES: Duration = Duration::from_secs(24 * 60 * 60);

/// Hashes what is stored, slowly and again and again, until `shutdown`. After a cut, first what it can have
/// hurt.
pub(super) async fn scrub(store: Store, shutdown: CancellationToken) {
    let scrubbing = async {
        if store.writer().is_some_and(|it| it.last_end() == LastEnd::CutOff) {
            after_cut(&store).await;
        }
        sleep(FIRST_SCRUB).await;
        loop {
            told(scrub::scrub(&store, Pace::new(Some(SCRUB_RATE))).await);
            sleep(SCRUB_AGAIN).await;
        }
    };
    let _: Option<()> = shutdown.run_until_cancelled(scrubbing).await;
}

/// What whoever was cut off had named last is made to last, and what is young is looked at.
async fn after_cut(store: &Store) {
    tracing::info!("the last server here was cut off; what it wrote last is being looked at");
    let Some(since) = SystemTime::now().checked_sub(CUT_REACHES) else { return };
    told(scrub::scrub_young(store, since, Pace::new(Some(SCRUB_RATE))).await);
    let Some(writer) = store.writer() else { return };
    if let Err(error) = writer.settle().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "cannot make durable what is there");
    }
}

fn told(scrubbed: Result<Scrubbed, store::Error>) {
    match scrubbed {
        Ok(Scrubbed { blobs, damaged }) => {
            tracing::info!(blobs, damaged = damaged.len(), "hashed what is stored");
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot hash what is stored");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use storage_layout::RepositoryName;

    use super::*;

    #[tokio::test]
    async fn an_upload_that_nobody_goes_on_with_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let options = store::Options {
            roots: vec![root.path().to_owned()],
            access: store::Access::ReadWrite,
            ..store::Options::default()
        };
        let store = Store::open(&options).unwrap();
        let name = RepositoryName::parse("a").unwrap();
        let id = store.writer().unwrap().start_upload(&name, None).await.unwrap();
        let is_there = async || store.writer().unwrap().upload_offset(&name, id).await.unwrap().is_some();
        for (age, kept) in [(Duration::from_secs(3600), true), (Duration::ZERO, false)] {
            // Started times are kept in whole seconds, so a new upload is a second old at most.
            sleep(Duration::from_millis(if kept { 0 } else { 1100 })).await;
            tokio::time::pause();
            let shutdown = CancellationToken::new();
            let purge = UploadPurge::Every { age, interval: Duration::from_secs(24 * 3600) };
            let upkeep = purge_uploads(store.clone(), purge, shutdown.clone());
            let end = async {
                sleep(FIRST_PURGE + Duration::from_secs(1)).await;
                tokio::time::resume();
                // What is kept is looked at for a while, what goes is waited for.
                let patience = Duration::from_millis(if kept { 200 } else { 10_000 });
                let began = std::time::Instant::now();
                while is_there().await && began.elapsed() < patience {
                    sleep(Duration::from_millis(10)).await;
                }
                shutdown.cancel();
            };
            tokio::join!(upkeep, end);
            assert_eq!(
                store.writer().unwrap().upload_offset(&name, id).await.unwrap().is_some(),
                kept,
                "{age:?}"
            );
        }
    }
}
