//! What a server does by itself now and then.

use std::time::Duration;
use std::time::SystemTime;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::UploadPurge;
use crate::store::Store;

/// When uploads are looked at for the first time. A node that has just booted has better things to do with its disk.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use storage_layout::RepositoryName;

    use super::*;
    use crate::store;

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
