//! What becomes of a push when the disk refuses: every operation in turn.

use std::path::Path;

use rustix::io::Errno;

use super::crash_tests::in_memory;
use super::tests::content;
use super::tests::push;
use super::tests::sha256;
use super::tests::tag;
use super::tests::with_disk;
use super::*;
use crate::store::Store;
use crate::store::contract::name;
use crate::store::contract::read_only;
use crate::store::disk::recorder::Recorder;
use crate::store::disk::recorder::SyncAll;

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

/// A layer and a manifest with a tag.
async fn push_image(store: &Store, layer: &[u8]) -> Result<(), Error> {
    assert_eq!(push(store, "a", layer).await?, Finish::Stored);
    let writer = store.writer().unwrap();
    writer.put_manifest(&name("a"), &sha256(MANIFEST), Bytes::from_static(MANIFEST), &[tag("v1")]).await
}

/// All of the image is there, or nothing that is there is wrong.
async fn check(root: &Path, layer: &[u8], is_pushed: bool) {
    let store = read_only(root);
    let a = name("a");
    let target = store.tag(&a, &tag("v1")).await.unwrap();
    let layers = store.layers(&a).await.unwrap();
    let revisions = store.revisions(&a).await.unwrap();
    if is_pushed {
        assert_eq!(
            (target, &*layers, &*revisions),
            (Some(sha256(MANIFEST)), &[sha256(layer)][..], &[sha256(MANIFEST)][..])
        );
    }
    assert!(target.is_none_or(|target| revisions.contains(&target)));
    for digest in layers.iter().chain(&revisions) {
        assert!(store.content(digest, u64::MAX).await.unwrap().is_some());
    }
    for blob in store.blobs(None, usize::MAX).await.unwrap() {
        assert!(store.content(&blob.digest, u64::MAX).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn whatever_fails_nothing_is_wrong_and_the_next_try_works() {
    let layer = content(200_000);
    for errno in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
        let mut after = 0;
        loop {
            let root = in_memory();
            let recorder = Arc::new(Recorder::open(root.path(), SyncAll::No));
            let store = with_disk(root.path(), Arc::clone(&recorder) as Arc<dyn Disk>);
            recorder.fail(after, errno);
            let result = push_image(&store, &layer).await;
            let has_failed = recorder.mend();
            match (&result, errno) {
                (Ok(()), _) => {}
                (Err(Error::NoSpace { free, .. }), Errno::NOSPC) => assert!(*free > 0),
                (Err(Error::BecameReadOnly { .. }), Errno::ROFS) => {}
                (Err(Error::Io { .. }), Errno::IO) => {}
                (Err(error), _) => panic!("{errno} after {after} operations: {error}"),
            }
            check(root.path(), &layer, result.is_ok()).await;
            push_image(&store, &layer).await.unwrap();
            check(root.path(), &layer, true).await;
            store.close().await;
            store.writer().unwrap().check_writable().await.unwrap();
            if !has_failed {
                assert!(after > 40, "a push takes more operations than {after}");
                break;
            }
            after += 1;
        }
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_told_until_it_works_again() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::open(root.path(), SyncAll::No));
    let store = with_disk(root.path(), Arc::clone(&recorder) as Arc<dyn Disk>);
    let writer = store.writer().unwrap();
    writer.check_writable().await.unwrap();
    for errno in [Errno::IO, Errno::ACCESS, Errno::ROFS, Errno::NOSPC] {
        recorder.fail(0, errno);
        assert!(writer.start_upload(&name("a"), None).await.is_err());
        // The first operation removes what an earlier look left.
        recorder.fail(1, errno);
        assert!(writer.check_writable().await.is_err(), "{errno}");
        writer.check_writable().await.unwrap();
        writer.start_upload(&name("a"), None).await.unwrap();
    }
}

/// What came after a write that failed must not be taken for what was to be written there.
#[tokio::test]
async fn what_follows_a_failed_write_is_given_up_with_it() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::open(root.path(), SyncAll::No));
    let store = with_disk(root.path(), Arc::clone(&recorder) as Arc<dyn Disk>);
    let (a, writer, whole) = (name("a"), store.writer().unwrap(), content(4_000_000));
    let id = writer.start_upload(&a, None).await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(&whole[..100_001])).await.unwrap();
    append.close().await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    recorder.fail(0, Errno::NOSPC);
    let written = append.write(Bytes::copy_from_slice(&whole[100_001..3_500_000])).await;
    assert!(matches!(written, Err(Error::NoSpace { .. })));
    assert_eq!(append.close().await.unwrap(), 100_001);
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(&whole[100_001..])).await.unwrap();
    append.close().await.unwrap();
    assert_eq!(writer.finish_upload(&a, id, &sha256(&whole)).await.unwrap(), Finish::Stored);
}

#[tokio::test]
async fn what_a_full_disk_took_can_be_appended_again() {
    let root = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::open(root.path(), SyncAll::No));
    let store = with_disk(root.path(), Arc::clone(&recorder) as Arc<dyn Disk>);
    let (a, writer, whole) = (name("a"), store.writer().unwrap(), content(500_000));
    let id = writer.start_upload(&a, None).await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(&whole[..300_000])).await.unwrap();
    append.close().await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(&whole[300_000..])).await.unwrap();
    recorder.fail(0, Errno::NOSPC);
    assert!(matches!(append.close().await, Err(Error::NoSpace { .. })));
    assert_eq!(writer.upload_offset(&a, id).await.unwrap(), Some(300_000));
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    assert_eq!(append.offset(), 300_000);
    append.write(Bytes::copy_from_slice(&whole[300_000..])).await.unwrap();
    append.close().await.unwrap();
    assert_eq!(writer.finish_upload(&a, id, &sha256(&whole)).await.unwrap(), Finish::Stored);
}
