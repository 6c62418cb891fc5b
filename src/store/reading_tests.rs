//! What readers see while others write, link, unplug and stall.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::Instant;

use storage_layout::Algorithm;
use storage_layout::Dir;
use storage_layout::RelativePath;

use super::*;
use crate::store::contract::digest;
use crate::store::contract::name;
use crate::store::contract::read_only;
use crate::store::contract::unpacked;
use crate::store::hash::digest_of;

const APP: &str = "library/app";

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn read_write(roots: &[&Path]) -> Result<Store, Error> {
    let roots = roots.iter().map(|root| root.to_path_buf()).collect();
    Store::open(&Options { roots, access: Access::ReadWrite, ..Options::default() })
}

/// Long enough ago for times to tell one change from the next.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn what_another_process_changes_is_seen_at_once() {
    let root = unpacked("payload-store.tar.gz");
    let store = read_only(root.path());
    let app = name(APP);
    let tags = root.path().join(Dir::Tags(app.clone()).path().as_str());
    settle().await;
    let first = store.tag(&app, &tag("v2")).await.unwrap().unwrap();
    let second = store.revisions(&app).await.unwrap().into_iter().find(|it| *it != first).unwrap();
    let before = store.tags(&app).await.unwrap().unwrap();
    for _ in 0..3 {
        assert_eq!(store.tag(&app, &tag("v2")).await.unwrap(), Some(first), "from memory, by now");
    }
    // As 2.8.2 does it: in place. Any number of times, however close.
    for target in [second, first].into_iter().cycle().take(50) {
        std::fs::write(tags.join("v2/current/link"), target.to_string()).unwrap();
        assert_eq!(store.tag(&app, &tag("v2")).await.unwrap(), Some(target));
    }
    // As 3.1 does it: by a rename.
    for target in [second, first].into_iter().cycle().take(50) {
        std::fs::write(tags.join("v2/current/tmp"), target.to_string()).unwrap();
        std::fs::rename(tags.join("v2/current/tmp"), tags.join("v2/current/link")).unwrap();
        assert_eq!(store.tag(&app, &tag("v2")).await.unwrap(), Some(target));
    }
    let stamp = store.stamp(&app).await.unwrap();
    std::fs::create_dir_all(tags.join("new/current")).unwrap();
    assert_eq!(store.tags(&app).await.unwrap().unwrap(), before, "a tag that points nowhere yet");
    std::fs::write(tags.join("new/current/link"), first.to_string()).unwrap();
    assert_eq!(store.tags(&app).await.unwrap().unwrap().len(), before.len() + 1);
    assert_ne!(store.stamp(&app).await.unwrap(), stamp);
    settle().await;
    assert_eq!(store.tags(&app).await.unwrap().unwrap().len(), before.len() + 1);
    std::fs::remove_dir_all(tags.join("new")).unwrap();
    assert_eq!(store.tags(&app).await.unwrap().unwrap(), before);
    assert_eq!(store.tag(&app, &tag("new")).await.unwrap(), None);
    std::fs::rename(tags.parent().unwrap().parent().unwrap(), root.path().join("moved")).unwrap();
    assert_eq!(store.tag(&app, &tag("v2")).await.unwrap(), None, "a repository that was moved away");
    assert!(store.tags(&app).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stamp_stays_while_nothing_changes() {
    let root = unpacked("payload-store.tar.gz");
    let store = read_only(root.path());
    let app = name(APP);
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let stamp = store.stamp(&app).await.unwrap();
    assert_eq!(store.stamp(&app).await.unwrap(), stamp);
    assert_ne!(store.stamp(&name("tools/multi")).await.unwrap(), stamp);
    let tags = std::fs::File::open(root.path().join(Dir::Tags(app.clone()).path().as_str())).unwrap();
    std::fs::create_dir(root.path().join(Dir::Tags(app.clone()).path().as_str()).join("x")).unwrap();
    tags.set_modified(long_ago).unwrap();
    assert_ne!(store.stamp(&app).await.unwrap(), stamp, "also when somebody sets the time back");
}

#[tokio::test]
async fn links_that_lead_out_are_not_followed() {
    let root = unpacked("payload-store.tar.gz");
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let store = read_only(root.path());
    let wanted = digest_of(Algorithm::Sha256, b"secret");
    let blob = root.path().join(Entry::Blob(wanted).path().as_str());
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    symlink(&secret, &blob).unwrap();
    for answer in [store.blob(&wanted).await.map(|_| ()), store.content(&wanted, 100).await.map(|_| ())] {
        let error = answer.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { why, .. } if why.contains("symbolic link")), "{error}");
    }
    let tags = root.path().join(Dir::Tags(name(APP)).path().as_str());
    std::fs::create_dir_all(outside.path().join("out/current")).unwrap();
    std::fs::write(outside.path().join("out/current/link"), wanted.to_string()).unwrap();
    symlink(outside.path().join("out"), tags.join("out")).unwrap();
    assert!(matches!(store.tag(&name(APP), &tag("out")).await, Err(Error::Corrupt { .. })));
    let listed = store.tags(&name(APP)).await.unwrap().unwrap();
    assert!(!listed.contains(&tag("out")) && listed.contains(&tag("v2")));
    symlink(outside.path(), root.path().join("docker/registry/v2/repositories/out")).unwrap();
    std::fs::create_dir(outside.path().join("_manifests")).unwrap();
    let repositories = store.repositories(None, 100).await.unwrap();
    assert!(!repositories.contains(&name("out")));
}

#[tokio::test]
async fn what_is_only_read_is_not_written() {
    let root = unpacked("payload-store.tar.gz");
    let looks = |root: &Path| {
        let mut found: Vec<_> = walk_dir(root)
            .into_iter()
            .map(|path| {
                let metadata = path.metadata().unwrap();
                (path, metadata.len(), metadata.modified().unwrap())
            })
            .collect();
        found.sort();
        found
    };
    let before = looks(root.path());
    let store = read_only(root.path());
    contract::check_payload(&store).await;
    assert!(store.writer().is_none());
    store.check_readable().await.unwrap();
    store.close().await;
    assert_eq!(looks(root.path()), before);
}

fn walk_dir(root: &Path) -> Vec<PathBuf> {
    let below = root.read_dir().unwrap().flat_map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { walk_dir(&path) } else { vec![path] }
    });
    below.chain([root.to_owned()]).collect()
}

#[tokio::test]
async fn several_roots_are_one_store() {
    let (written, payload) = (tempfile::tempdir().unwrap(), unpacked("payload-store.tar.gz"));
    let store = read_write(&[written.path(), payload.path()]).unwrap();
    contract::check_payload(&store).await;
    let writer = store.writer().unwrap();
    let (app, manifest) = (name(APP), bytes::Bytes::from_static(b"{}"));
    let digest = digest_of(Algorithm::Sha256, &manifest);
    let before = store.tag(&app, &tag("v2")).await.unwrap().unwrap();
    writer.put_manifest(&app, &digest, manifest, &[tag("v2"), tag("mine")]).await.unwrap();
    assert_eq!(store.tag(&app, &tag("v2")).await.unwrap(), Some(digest), "the first root goes first");
    assert!(store.tags(&app).await.unwrap().unwrap().contains(&tag("mine")));
    let refused = writer.delete_tag(&app, &tag("v2")).await;
    assert!(matches!(refused, Err(Error::ReadOnlyRoot { path }) if path == payload.path()));
    assert!(writer.delete_tag(&app, &tag("mine")).await.unwrap());
    assert!(matches!(writer.delete_revision(&app, &before).await, Err(Error::ReadOnlyRoot { .. })));

    let blob = store.blob(&before).await.unwrap().unwrap();
    assert!(!store.detach(written.path()), "what is written stays");
    assert!(store.detach(payload.path()));
    assert!(!store.detach(payload.path()));
    assert!(store.blob(&before).await.unwrap().is_none());
    let window = blob.range(0..u64::MAX).next_window(u64::MAX).unwrap();
    assert_eq!(window.read().await.unwrap().len() as u64, blob.len(), "what is being sent is sent");
    store.attach(payload.path().to_owned()).await.unwrap();
    assert!(store.blob(&before).await.unwrap().is_some());
    assert_eq!(store.roots(), [written.path(), payload.path()]);
    assert!(store.attach(PathBuf::from("/nowhere")).await.is_err());
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_reader_is_not() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("not/yet/there");
    let store = read_write(&[&missing]).unwrap();
    assert!(
        matches!(read_write(&[&missing]), Err(Error::Locked { holder: Some(pid), .. }) if pid == std::process::id())
    );
    read_only(&missing).check_readable().await.unwrap();
    store.close().await;
    drop(store);
    read_write(&[&missing]).unwrap();
}

/// A directory whose every answer waits until it is let go.
#[derive(Debug)]
struct Stalled {
    inner: Directory,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Stalled {
    fn wait(&self, wait: Wait) -> Poll<()> {
        if wait == Wait::Never {
            return Poll::Pending;
        }
        let (open, opened) = &*self.gate;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        Poll::Ready(())
    }
}

impl Source for Stalled {
    fn origin(&self) -> &Path {
        self.inner.origin()
    }

    fn medium(&self) -> &Arc<Medium> {
        self.inner.medium()
    }

    fn open(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Found>, Error>> {
        ready!(self.wait(wait));
        self.inner.open(path, wait)
    }

    fn version(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Version>, Error>> {
        ready!(self.wait(wait));
        self.inner.version(path, wait)
    }

    fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error> {
        self.inner.list(path)
    }

    fn check(&self) -> Result<(), Error> {
        self.inner.check()
    }
}

#[tokio::test]
async fn a_medium_that_stalls_holds_up_nobody_else() {
    let (hot, cold) = (unpacked("payload-store.tar.gz"), unpacked("damaged-store.tar.gz"));
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    // A registry of media of its own, as if it were another device.
    let inner = Directory::open(cold.path(), &Media::default()).unwrap();
    let stalled = Arc::new(Stalled { inner, gate: Arc::clone(&gate) });
    let store = read_only(hot.path());
    store.inner.roots.prepend(Arc::clone(&stalled) as Arc<dyn Source>);
    let present = store.blobs_of(hot.path()).await;
    let missing = digest(&format!("sha256:{}", "0".repeat(64)));
    let mut pulls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let store = store.clone();
        pulls.spawn(async move { store.blob(&missing).await.unwrap().is_none() });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begun = Instant::now();
    for digest in &present {
        assert!(store.blob(digest).await.unwrap().is_some(), "what another root has is served");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(pulls.try_join_next().is_none(), "they wait");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    while let Some(is_missing) = pulls.join_next().await {
        assert!(is_missing.unwrap());
    }
}

impl Store {
    /// What lies in one root, whatever the others do.
    async fn blobs_of(&self, root: &Path) -> Vec<Digest> {
        let blobs = read_only(root).blobs(None, usize::MAX).await.unwrap();
        blobs.into_iter().map(|blob| blob.digest).collect()
    }
}

#[tokio::test]
async fn windows_cut_a_blob_as_they_are_asked_to() {
    let root = unpacked("payload-store.tar.gz");
    let store = read_only(root.path());
    let largest =
        store.blobs(None, usize::MAX).await.unwrap().into_iter().max_by_key(|blob| blob.len).unwrap();
    let blob = store.blob(&largest.digest).await.unwrap().unwrap();
    let whole = store.content(&largest.digest, u64::MAX).await.unwrap().unwrap();
    let len = blob.len();
    for (start, end) in
        [(0, len), (0, 0), (5, 5), (1, 2), (len - 1, len), (0, u64::MAX), (len, len + 5), (len + 9, u64::MAX)]
    {
        for limit in [1, 4095, 4096, u64::MAX] {
            let mut range = blob.range(start..end);
            let (start, end) = (start.min(len), end.min(len));
            assert_eq!(range.len(), end.saturating_sub(start), "{start}..{end}");
            let mut read = Vec::new();
            for _ in 0..3 {
                let Some(window) = range.next_window(limit) else { break };
                assert!(window.len <= limit);
                read.extend_from_slice(&window.read().await.unwrap());
            }
            assert!(whole[start as usize..].starts_with(&read));
            assert_eq!(range.len(), end.saturating_sub(start) - read.len() as u64);
        }
    }
}
