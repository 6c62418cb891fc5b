//! What a writer does to a tree, as its readers see it and as distribution would.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::store::Access;
use crate::store::Media;
use crate::store::Options;
use crate::store::Store;
use crate::store::contract;
use crate::store::contract::name;
use crate::store::disk::recorder::Recorder;
use crate::store::disk::recorder::SyncAll;
use crate::store::hash::digest_of;

pub(super) fn open(root: &Path) -> Store {
    let options = Options { roots: vec![root.to_owned()], access: Access::ReadWrite, ..Options::default() };
    Store::open(&options).unwrap()
}

/// A store of one root that is written through `disk`.
pub(super) fn with_disk(root: &Path, disk: Arc<dyn Disk>) -> Store {
    let (media, metrics) = (Media::default(), StoreMetrics::default());
    let roots = Arc::new(Roots::open(&[root.to_owned()], media.clone()).unwrap());
    let contents = Contents::new(metrics.clone());
    let shared = Shared { roots: Arc::clone(&roots), contents: contents.clone(), metrics, lock: None };
    let tree = Arc::new(Directory::open(root, &media).unwrap());
    let writer = Writer::new(tree, disk, shared).unwrap();
    Store::of(roots, contents, Some(writer))
}

pub(super) fn empty() -> (TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    (root, store)
}

pub(super) fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

pub(super) fn sha256(content: &[u8]) -> Digest {
    digest_of(Algorithm::Sha256, content)
}

/// Bytes that are not all the same.
pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

pub(super) async fn push(store: &Store, repository: &str, content: &[u8]) -> Result<Finish, Error> {
    let (writer, repository) = (store.writer().unwrap(), name(repository));
    let id = writer.start_upload(&repository, None).await?;
    let mut append = writer.append(&repository, id).await?.unwrap();
    for piece in content.chunks(10_000) {
        append.write(Bytes::copy_from_slice(piece)).await?;
    }
    assert_eq!(append.offset(), content.len() as u64);
    assert_eq!(append.close().await?, content.len() as u64);
    writer.finish_upload(&repository, id, &sha256(content)).await
}

/// The files below a directory and what they hold, ours left out.
fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    fn visit(root: &Path, at: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in at.read_dir().unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path == root.join("larder") => {}
                true => visit(root, &path, found),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    found.push((name, std::fs::read(&path).unwrap()));
                }
            }
        }
    }
    let mut found = Vec::new();
    visit(root, root, &mut found);
    found.sort();
    found
}

#[tokio::test]
async fn a_push_leaves_what_distribution_would() {
    let (root, store) = empty();
    let (layer, manifest) = (content(3_000_000), Bytes::from_static(b"{\"schemaVersion\":2}"));
    let (layer_digest, manifest_digest) = (sha256(&layer), sha256(&manifest));
    assert_eq!(push(&store, "a/b", &layer).await.unwrap(), Finish::Stored);
    let writer = store.writer().unwrap();
    writer
        .put_manifest(&name("a/b"), &manifest_digest, manifest.clone(), &[tag("v1"), tag("v2")])
        .await
        .unwrap();
    store.close().await;
    let v2 = "docker/registry/v2";
    let (l, m) = (layer_digest.hex().to_string(), manifest_digest.hex().to_string());
    let link = |digest: &Digest| digest.to_string().into_bytes();
    let mut expected = vec![
        (format!("{v2}/blobs/sha256/{}/{l}/data", &l[..2]), layer),
        (format!("{v2}/blobs/sha256/{}/{m}/data", &m[..2]), manifest.to_vec()),
        (format!("{v2}/repositories/a/b/_layers/sha256/{l}/link"), link(&layer_digest)),
        (format!("{v2}/repositories/a/b/_manifests/revisions/sha256/{m}/link"), link(&manifest_digest)),
    ];
    for tag in ["v1", "v2"] {
        let tag = format!("{v2}/repositories/a/b/_manifests/tags/{tag}");
        expected.push((format!("{tag}/current/link"), link(&manifest_digest)));
        expected.push((format!("{tag}/index/sha256/{m}/link"), link(&manifest_digest)));
    }
    expected.sort();
    assert_eq!(files(root.path()), expected);
    let ours: Vec<_> = ["stage", "trash"].map(|name| root.path().join("larder").join(name)).into();
    for directory in ours {
        assert_eq!(directory.read_dir().unwrap().count(), 0, "{} is empty", directory.display());
    }
    let stored = store.layer(&name("a/b"), &layer_digest).await.unwrap().unwrap();
    assert_eq!(stored.len(), 3_000_000);
    assert_eq!(contract::hash(&store, &layer_digest).await.unwrap(), layer_digest);
    assert_eq!(store.tag(&name("a/b"), &tag("v1")).await.unwrap(), Some(manifest_digest));
}

#[tokio::test]
async fn blobs_of_any_size_are_pushed() {
    let (_root, store) = empty();
    for len in [0, 1, 63, 64, 65, 9_999, 10_000, 1_048_575, 1_048_577, 5_000_000] {
        let content = content(len);
        assert_eq!(push(&store, "a", &content).await.unwrap(), Finish::Stored, "{len} bytes");
        let blob = store.layer(&name("a"), &sha256(&content)).await.unwrap().unwrap();
        assert_eq!(blob.len(), len as u64);
        assert_eq!(store.content(&sha256(&content), u64::MAX).await.unwrap().unwrap(), content);
    }
}

#[tokio::test]
async fn other_bytes_than_were_announced_are_not_stored() {
    let (_root, store) = empty();
    let (writer, a) = (store.writer().unwrap(), name("a"));
    let id = writer.start_upload(&a, None).await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::from_static(b"these")).await.unwrap();
    append.close().await.unwrap();
    let mismatch = Finish::Mismatch { computed: sha256(b"these") };
    assert_eq!(writer.finish_upload(&a, id, &sha256(b"those")).await.unwrap(), mismatch);
    assert_eq!(writer.upload_offset(&a, id).await.unwrap(), None);
    assert_eq!(writer.finish_upload(&a, id, &sha256(b"these")).await.unwrap(), Finish::Unknown);
    for content in [&b"these"[..], b"those"] {
        assert!(store.blob(&sha256(content)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_a_dropped_append_received_is_kept_and_what_is_undone_is_not() {
    let (_root, store) = empty();
    let (writer, a) = (store.writer().unwrap(), name("a"));
    let id = writer.start_upload(&a, None).await.unwrap();
    let whole = content(3_000_000);
    let (first, second) = whole.split_at(1_500_000);
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    assert!(matches!(writer.append(&a, id).await, Err(Error::UploadBusy { .. })), "one appends at a time");
    append.write(Bytes::copy_from_slice(first)).await.unwrap();
    drop(append);
    // Whoever comes back at once waits for the tidying up.
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    assert_eq!(append.offset(), first.len() as u64);
    append.write(Bytes::from(vec![7; 2_000_000])).await.unwrap();
    append.undo().await.unwrap();
    assert_eq!(writer.upload_offset(&a, id).await.unwrap(), Some(first.len() as u64));
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(second)).await.unwrap();
    assert_eq!(append.close().await.unwrap(), whole.len() as u64);
    assert_eq!(writer.finish_upload(&a, id, &sha256(&whole)).await.unwrap(), Finish::Stored);
    assert_eq!(contract::hash(&store, &sha256(&whole)).await.unwrap(), sha256(&whole));
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_can_be_cancelled() {
    let (root, store) = empty();
    let writer = store.writer().unwrap();
    let id = writer.start_upload(&name("a"), None).await.unwrap();
    assert!(writer.append(&name("b"), id).await.unwrap().is_none());
    assert!(!writer.cancel_upload(&name("b"), id).await.unwrap());
    assert!(writer.cancel_upload(&name("a"), id).await.unwrap());
    assert!(!writer.cancel_upload(&name("a"), id).await.unwrap());
    assert!(writer.append(&name("a"), id).await.unwrap().is_none());
    store.close().await;
    assert_eq!(files(root.path()), []);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let (a, whole) = (name("a"), content(2_000_000));
    let (first, second) = whole.split_at(1_234_567);
    let store = open(root.path());
    let writer = store.writer().unwrap();
    let id = writer.start_upload(&a, None).await.unwrap();
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(first)).await.unwrap();
    append.close().await.unwrap();
    store.close().await;
    drop(store);
    let state = Entry::UploadHashState(a.clone(), id, Algorithm::Sha256, first.len() as u64).path();
    let state = std::fs::read(root.path().join(state.as_str())).unwrap();
    assert_eq!((state.len(), &state[..4]), (108, &b"sha\x03"[..]), "as Go writes it");

    let store = open(root.path());
    let writer = store.writer().unwrap();
    assert_eq!(writer.upload_offset(&a, id).await.unwrap(), Some(first.len() as u64));
    let mut append = writer.append(&a, id).await.unwrap().unwrap();
    append.write(Bytes::copy_from_slice(second)).await.unwrap();
    append.close().await.unwrap();
    assert_eq!(writer.finish_upload(&a, id, &sha256(&whole)).await.unwrap(), Finish::Stored);
}

/// A process that is killed leaves data that no state was saved for; a power cut, a state whose data are
/// lost.
#[tokio::test]
async fn a_state_is_not_trusted_further_than_the_data() {
    let root = tempfile::tempdir().unwrap();
    let (a, whole) = (name("a"), content(100_000));
    let store = open(root.path());
    let writer = store.writer().unwrap();
    let killed = writer.start_upload(&a, None).await.unwrap();
    let cut = writer.start_upload(&a, None).await.unwrap();
    for id in [killed, cut] {
        let mut append = writer.append(&a, id).await.unwrap().unwrap();
        append.write(Bytes::copy_from_slice(&whole[..60_000])).await.unwrap();
        append.close().await.unwrap();
    }
    drop(store);
    let data = |id| root.path().join(Entry::UploadData(a.clone(), id).path().as_str());
    std::fs::write(data(killed), &whole).unwrap();
    std::fs::write(data(cut), vec![0; 60_000]).unwrap();
    let state = Entry::UploadHashState(a.clone(), cut, Algorithm::Sha256, 60_000).path();
    let state = root.path().join(state.as_str());
    let bytes = std::fs::read(&state).unwrap();
    std::fs::remove_file(&state).unwrap();
    // Without the note that says in which boot it was saved.
    std::fs::write(&state, bytes).unwrap();

    let store = open(root.path());
    let writer = store.writer().unwrap();
    assert_eq!(writer.upload_offset(&a, killed).await.unwrap(), Some(100_000));
    assert_eq!(writer.finish_upload(&a, killed, &sha256(&whole)).await.unwrap(), Finish::Stored);
    let finish = writer.finish_upload(&a, cut, &sha256(&whole[..60_000])).await.unwrap();
    assert_eq!(finish, Finish::Mismatch { computed: sha256(&[0; 60_000]) });
}

#[tokio::test]
async fn an_upload_that_distribution_began_is_finished() {
    let root = contract::unpacked("payload-store.tar.gz");
    let store = open(root.path());
    let (app, writer) = (name("library/app"), store.writer().unwrap());
    let id = UploadId::parse("2d89834d-ea72-4feb-998b-1b555b28116f").unwrap();
    let mut whole =
        std::fs::read(root.path().join(Entry::UploadData(app.clone(), id).path().as_str())).unwrap();
    assert_eq!(writer.upload_offset(&app, id).await.unwrap(), Some(5000));
    let mut append = writer.append(&app, id).await.unwrap().unwrap();
    append.write(Bytes::from_static(b"and the rest")).await.unwrap();
    append.close().await.unwrap();
    whole.extend(b"and the rest");
    assert_eq!(writer.finish_upload(&app, id, &sha256(&whole)).await.unwrap(), Finish::Stored);
    store.close().await;
    assert!(!root.path().join(Dir::Upload(app, id).path().as_str()).exists());
    contract::check_repository_of_payload(&store, "library/app").await;
}

#[tokio::test]
async fn digests_of_either_kind_are_found_right_without_a_hint() {
    let (_root, store) = empty();
    let (a, writer) = (name("a"), store.writer().unwrap());
    for (number, announced) in
        [None, None, Some(Algorithm::Sha512), Some(Algorithm::Sha256)].into_iter().enumerate()
    {
        let content = content(100_000 + number);
        for algorithm in [Algorithm::Sha512, Algorithm::Sha256] {
            let id = writer.start_upload(&a, announced).await.unwrap();
            let mut append = writer.append(&a, id).await.unwrap().unwrap();
            append.write(Bytes::copy_from_slice(&content)).await.unwrap();
            append.close().await.unwrap();
            let digest = digest_of(algorithm, &content);
            assert_eq!(writer.finish_upload(&a, id, &digest).await.unwrap(), Finish::Stored);
            assert!(store.layer(&a, &digest).await.unwrap().is_some());
            assert_eq!(contract::hash(&store, &digest).await.unwrap(), digest);
        }
    }
}

/// distribution stores what was pushed by its sha512 under its sha256 and links both.
#[tokio::test]
async fn a_blob_is_found_by_the_other_digest_that_distribution_linked() {
    let (root, store) = empty();
    let content = content(1000);
    push(&store, "a", &content).await.unwrap();
    let alias = digest_of(Algorithm::Sha512, &content);
    let link = root.path().join(Entry::LayerLink(name("a"), alias).path().as_str());
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::fs::write(link, sha256(&content).to_string()).unwrap();
    let blob = store.layer(&name("a"), &alias).await.unwrap().unwrap();
    assert_eq!((blob.digest(), blob.len()), (&alias, 1000));
}

#[tokio::test]
async fn a_push_mends_what_is_stored_damaged() {
    let (root, store) = empty();
    let whole = content(5000);
    let digest = sha256(&whole);
    let data = root.path().join(Entry::Blob(digest).path().as_str());
    push(&store, "a", &whole).await.unwrap();
    let mut flipped = whole.clone();
    flipped[2500] ^= 1;
    for damaged in [&[][..], &whole[..4000], &flipped] {
        std::fs::write(&data, damaged).unwrap();
        let looked = store.content(&digest, u64::MAX).await;
        assert!(matches!(looked, Err(Error::Corrupt { .. })), "{looked:?}");
        assert!(matches!(store.layer(&name("a"), &digest).await, Err(Error::Corrupt { .. })));
        assert!(!store.writer().unwrap().link_layer(&name("b"), &digest).await.unwrap(), "nobody links it");
        assert_eq!(push(&store, "a", &whole).await.unwrap(), Finish::Stored);
        assert_eq!(std::fs::read(&data).unwrap(), whole);
        assert!(store.layer(&name("a"), &digest).await.unwrap().is_some());
        store.writer().unwrap().inner.contents.forget(&digest);
    }
    // Nobody has looked yet at what is damaged since the server began.
    std::fs::write(&data, &flipped).unwrap();
    store.close().await;
    drop(store);
    let store = open(root.path());
    assert_eq!(push(&store, "a", &whole).await.unwrap(), Finish::Stored);
    assert_eq!(std::fs::read(&data).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_of_one_blob_at_once_all_end_well() {
    let (root, store) = empty();
    let same = content(300_000);
    let mut pushes = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (store, same) = (store.clone(), same.clone());
        pushes.spawn(async move { push(&store, ["a", "b"][number % 2], &same).await });
    }
    while let Some(pushed) = pushes.join_next().await {
        assert_eq!(pushed.unwrap().unwrap(), Finish::Stored);
    }
    store.close().await;
    assert_eq!(files(root.path()).len(), 3, "one blob and two links");
    assert_eq!(contract::hash(&store, &sha256(&same)).await.unwrap(), sha256(&same));
}

#[tokio::test]
async fn tags_move_and_what_is_removed_is_gone_at_once() {
    let (_root, store) = empty();
    let (a, writer) = (name("a"), store.writer().unwrap());
    let (one, two) = (Bytes::from_static(b"{\"one\":1}"), Bytes::from_static(b"{\"two\":2}"));
    let (first, second) = (sha256(&one), sha256(&two));
    let listed = async || {
        let tags = store.tags(&a).await.unwrap().unwrap();
        tags.iter().map(|tag| tag.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert!(store.tags(&a).await.unwrap().is_none());
    writer.put_manifest(&a, &first, one.clone(), &[]).await.unwrap();
    assert_eq!(listed().await, Vec::<String>::new(), "a repository without tags");
    writer.put_manifest(&a, &first, one.clone(), &[tag("x"), tag("y"), tag("B")]).await.unwrap();
    assert_eq!(listed().await, ["B", "x", "y"], "in byte order");
    let stamp = store.stamp(&a).await.unwrap();
    writer.put_manifest(&a, &second, two.clone(), &[tag("y")]).await.unwrap();
    assert_ne!(store.stamp(&a).await.unwrap(), stamp);
    assert_eq!(store.tag(&a, &tag("y")).await.unwrap(), Some(second));
    assert!(writer.delete_tag(&a, &tag("B")).await.unwrap());
    assert!(!writer.delete_tag(&a, &tag("B")).await.unwrap());
    assert_eq!(listed().await, ["x", "y"]);
    assert!(writer.delete_revision(&a, &first).await.unwrap());
    assert!(!writer.delete_revision(&a, &first).await.unwrap());
    assert_eq!(listed().await, ["y"], "a manifest goes with its tags, and the others stay");
    assert_eq!(store.tag(&a, &tag("x")).await.unwrap(), None);
    assert!(!store.has_revision(&a, &first).await.unwrap());
    assert_eq!(store.revisions(&a).await.unwrap(), [second]);
    assert!(store.blob(&first).await.unwrap().is_some(), "the bytes stay for garbage collection");
}

#[tokio::test]
async fn uploads_that_nobody_finishes_are_purged() {
    let (_root, store) = empty();
    let writer = store.writer().unwrap();
    let before = SystemTime::now() - Duration::from_secs(10);
    let after = SystemTime::now() + Duration::from_secs(10);
    let abandoned = writer.start_upload(&name("a/b"), None).await.unwrap();
    let busy = writer.start_upload(&name("a"), None).await.unwrap();
    let append = writer.append(&name("a"), busy).await.unwrap().unwrap();
    assert_eq!(writer.purge_uploads(before).await.unwrap(), 0);
    assert_eq!(writer.purge_uploads(after).await.unwrap(), 1);
    assert_eq!(writer.upload_offset(&name("a/b"), abandoned).await.unwrap(), None);
    append.close().await.unwrap();
    assert_eq!(writer.purge_uploads(after).await.unwrap(), 1);
}

/// In one batch a tag can be pushed again and removed: what is synced for the one is gone by the other.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_and_deletions_of_one_tag_at_once_all_end_well() {
    let root = tempfile::tempdir().unwrap();
    let disk = Arc::new(Recorder::open(root.path(), SyncAll::No));
    let store = with_disk(root.path(), disk);
    let manifest = Bytes::from_static(b"{}");
    let digest = sha256(&manifest);
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..64 {
        let (store, manifest) = (store.clone(), manifest.clone());
        changes.spawn(async move {
            let (a, writer) = (name("a"), store.writer().unwrap());
            match number % 2 {
                0 => writer.put_manifest(&a, &digest, manifest, &[tag("v1")]).await.map(drop),
                _ => writer.delete_tag(&a, &tag("v1")).await.map(drop),
            }
        });
    }
    while let Some(changed) = changes.join_next().await {
        changed.unwrap().unwrap();
    }
    let target = store.tag(&name("a"), &tag("v1")).await.unwrap();
    assert!(target.is_none_or(|target| target == digest));
    assert!(store.has_revision(&name("a"), &digest).await.unwrap());
}
