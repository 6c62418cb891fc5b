//! Removing the release of the payload fixture, alone and beside a second one that shares with it.

use std::fs;

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Entry;

use super::*;
use crate::maintenance::fixture::Root;
use crate::maintenance::gc;
use crate::maintenance::releases::releases;
use crate::reachability::Keep;

const BUNDLE: &str = "ocp-release-bundle-4.22.1-x86_64";
const IMAGE: &str = "48b44cb7cd5efd6e24aadda9ffa4183a35969ccac9de42bdb5229d4ac83d242d";
const ETCD: &str = "edccef9de32bc60c4ce1b429f42a78f86e6a3b35e7fd0ced035375ee6bb26077";

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn sha256(hex: &str) -> Digest {
    Digest::from_hex(Algorithm::Sha256, hex).unwrap()
}

fn files(root: &Root) -> u64 {
    root.snapshot()
        .into_iter()
        .filter_map(|(path, content)| content.filter(|_| !path.starts_with(root.path().join("larder"))))
        .map(|it| it.len() as u64)
        .sum()
}

async fn remove_from(root: &Root, called: &str) -> (Removal, Removed) {
    let store = root.writable();
    let removal = survey(&store, called).await.unwrap().unwrap();
    let removed = remove(store.writer().unwrap(), removal.clone(), SystemTime::now()).await.unwrap();
    store.close().await;
    (removal, removed)
}

#[tokio::test]
async fn a_release_goes_with_all_that_only_it_needs() {
    for called in ["4.22.1", BUNDLE, IMAGE, &format!("sha256:{IMAGE}")] {
        let root = Root::payload();
        let before = files(&root);
        let (removal, removed) = remove_from(&root, called).await;
        assert_eq!(removal.tags.len() as u64, removed.tags, "{called}");
        let order: Vec<_> = removal.tags.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(order[..3], [release::BUNDLES, release::IMAGES, release::COMPONENTS]);
        assert_eq!(releases(&root.sources()).unwrap(), [], "{called}");
        assert_eq!(removed.collected.rescued, 0);
        // All but the links of the tags themselves, which are not counted.
        let tag_links = removal.tags.len() as u64 * 2 * 71;
        assert_eq!(before - files(&root), removed.collected.bytes + tag_links, "{called}");
        let store = root.writable();
        let policy = Policy { keep: Keep::Listed, grace: Duration::ZERO };
        let garbage = gc::survey(&store, policy, SystemTime::now()).await.unwrap();
        assert_eq!(garbage.plan.entries, [], "nothing of it is left");
        assert!(
            store
                .has_revision(&name("tools/multi"), &store.revisions(&name("tools/multi")).await.unwrap()[0])
                .await
                .unwrap()
        );
    }
}

use crate::release;

#[tokio::test]
async fn what_another_repository_or_tag_needs_stays() {
    let root = Root::payload();
    let store = root.writable();
    let writer = store.writer().unwrap();
    let (components, elsewhere) = (name(release::COMPONENTS), name("mirror/etcd"));
    let content = store.content(&sha256(ETCD), 1 << 20).await.unwrap().unwrap();
    let manifest = crate::oci::Manifest::parse(&content, None).unwrap();
    let blobs: Vec<_> = crate::oci::children(&manifest).map(|it| it.descriptor.digest).collect();
    for blob in &blobs {
        assert!(writer.link_layer(&elsewhere, blob).await.unwrap());
    }
    writer.put_manifest(&elsewhere, &sha256(ETCD), Bytes::copy_from_slice(&content), &[]).await.unwrap();
    let dns = "3989cd811f50c22855237d6703da903f16babd2f8d4c966f4781cfbee09a64af";
    writer.put_tag(&components, &Tag::parse("mine").unwrap(), &sha256(dns)).await.unwrap();
    store.close().await;
    drop(store);
    remove_from(&root, "4.22.1").await;
    for blob in blobs.iter().chain([&sha256(ETCD), &sha256(dns)]) {
        assert!(root.at(&Entry::Blob(*blob)).exists(), "{blob}");
    }
    assert!(!root.at(&Entry::RevisionLink(components.clone(), sha256(ETCD))).exists());
    assert!(root.at(&Entry::RevisionLink(components, sha256(dns))).exists());
}

#[tokio::test]
async fn what_was_used_since_it_was_published_stays() {
    let root = Root::payload();
    let store = root.writable();
    let removal = survey(&store, BUNDLE).await.unwrap().unwrap();
    let writer = store.writer().unwrap();
    let layer = removal.blobs.iter().max_by_key(|it| it.bytes).unwrap().clone();
    let digest = *plan::linked(&layer.entry).unwrap();
    assert!(removal.goes(&layer, Some(writer), SystemTime::now()));
    // A client that is pushing was told that it is here.
    store.tell(&digest);
    assert!(!removal.goes(&layer, Some(writer), SystemTime::now()));
    let removed = remove(writer, removal, SystemTime::now()).await.unwrap();
    assert!(removed.collected.rescued >= 2, "the blob and its links: {removed:?}");
    assert!(root.at(&layer.entry).exists());
}

#[tokio::test]
async fn a_release_that_was_pushed_a_moment_ago_goes_at_once() {
    let root = Root::payload();
    let now = fs::FileTimes::new().set_modified(SystemTime::now());
    for (path, content) in root.snapshot() {
        if content.is_some() {
            fs::File::options().write(true).open(&path).unwrap().set_times(now).unwrap();
        }
    }
    let (_, removed) = remove_from(&root, "4.22.1").await;
    assert_eq!(removed.collected.rescued, 0);
    assert!(removed.collected.blobs > 30, "{removed:?}");
}

#[tokio::test]
async fn what_is_not_there_cannot_go() {
    let store = Root::payload();
    let error = survey(&store.writable(), "4.23.0").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no release 4.23.0 here, only 4.22.1");
}

/// As after a power cut that left the note, and whatever was removed before `gone` was next.
async fn interrupted(root: &Root, gone: usize) {
    let store = root.writable();
    let writer = store.writer().unwrap();
    let removal = survey(&store, "4.22.1").await.unwrap().unwrap();
    Work::of(&removal, SystemTime::now()).keep(writer).await.unwrap();
    let tags = steps(removal.tags.clone()).into_iter().flatten();
    for (name, tag) in tags.take(gone) {
        assert!(writer.delete_tag(&name, &tag).await.unwrap());
    }
    let before = removal.before(SystemTime::now());
    let entries = removal.links.iter().chain(&removal.blobs);
    for stored in entries.take(gone.saturating_sub(removal.tags.len())) {
        assert!(writer.remove_published(&stored.entry, before).await.unwrap());
    }
    store.close().await;
}

#[tokio::test]
async fn a_removal_that_is_interrupted_goes_on() {
    let whole = Root::payload();
    remove_from(&whole, "4.22.1").await;
    let expected = files(&whole);
    for gone in [0, 1, 2, 5, 20, 40, 1000] {
        let root = Root::payload();
        interrupted(&root, gone).await;
        let store = root.writable();
        let work = Work::pending(&store).await.unwrap().unwrap();
        assert_eq!(work.bundle.as_deref(), Some(BUNDLE));
        resume(&store, work).await.unwrap();
        assert!(Work::pending(&store).await.unwrap().is_none(), "it is done");
        store.close().await;
        assert_eq!(files(&root), expected, "{gone}");
    }
}

#[tokio::test]
async fn what_is_pushed_again_before_a_removal_goes_on_stays() {
    let root = Root::payload();
    interrupted(&root, 3).await;
    let store = root.writable();
    let writer = store.writer().unwrap();
    let (repository, image) = (name(release::IMAGES), sha256(IMAGE));
    let content = store.content(&image, 1 << 20).await.unwrap().unwrap();
    let tag = Tag::parse(IMAGE).unwrap();
    writer.put_manifest(&repository, &image, content, std::slice::from_ref(&tag)).await.unwrap();
    let work = Work::pending(&store).await.unwrap().unwrap();
    resume(&store, work).await.unwrap();
    assert_eq!(store.tag(&repository, &tag).await.unwrap(), Some(image));
    assert!(store.content(&image, 1 << 20).await.unwrap().is_some());
}
