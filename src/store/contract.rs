//! What every store of the payload answers, whatever it lies on.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use serde::Deserialize;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use tempfile::TempDir;

use crate::store::Access;
use crate::store::Error;
use crate::store::Options;
use crate::store::Store;
use crate::store::hash::Hasher;

/// What the payload holds, from `payload.json`.
#[derive(Deserialize)]
pub(super) struct Payload {
    pub(super) blobs: BTreeMap<String, u64>,
    pub(super) repositories: BTreeMap<String, Repository>,
}

#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) blobs: Vec<String>,
    pub(super) manifests: BTreeMap<String, Manifest>,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub(super) struct Manifest {
    pub(super) size: u64,
}

impl Payload {
    pub(super) fn load() -> Self {
        serde_json::from_reader(fixture("payload.json")).unwrap()
    }
}

fn fixture(name: &str) -> File {
    File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/fixtures").join(name)).unwrap()
}

/// A tree out of the fixtures, in a directory of its own.
pub(super) fn unpacked(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(fixture(name))).unpack(directory.path()).unwrap();
    directory
}

pub(super) fn read_only(root: &Path) -> Store {
    let options = Options { roots: vec![root.to_owned()], ..Options::default() };
    assert_eq!(options.access, Access::ReadOnly);
    Store::open(&options).unwrap()
}

pub(super) fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

pub(super) fn digest(text: &str) -> Digest {
    Digest::parse(text).unwrap()
}

/// Everything in the payload is there, and nothing else.
pub(super) async fn check_payload(store: &Store) {
    let payload = Payload::load();
    let repositories = store.repositories(None, usize::MAX).await.unwrap();
    let repositories: Vec<_> = repositories.iter().map(RepositoryName::as_str).collect();
    assert_eq!(repositories, payload.repositories.keys().collect::<Vec<_>>());
    for (name_of, repository) in &payload.repositories {
        check_repository(store, &name(name_of), repository).await;
    }
    let blobs = store.blobs(None, usize::MAX).await.unwrap();
    let stored: BTreeMap<_, _> = blobs.iter().map(|blob| (blob.digest.to_string(), blob.len)).collect();
    for (digest_of, len) in &payload.blobs {
        assert_eq!(stored.get(digest_of), Some(len), "{digest_of}");
        assert_eq!(hash(store, &digest(digest_of)).await.unwrap(), digest(digest_of));
    }
    for (digest_of, len) in &stored {
        assert_eq!(hash(store, &digest(digest_of)).await.unwrap(), digest(digest_of), "{len} bytes");
    }
    check_pages(store).await;
}

/// What the payload says of a repository is there.
pub(super) async fn check_repository_of_payload(store: &Store, of: &str) {
    let payload = Payload::load();
    check_repository(store, &name(of), &payload.repositories[of]).await;
}

async fn check_repository(store: &Store, name: &RepositoryName, expected: &Repository) {
    let tags = store.tags(name).await.unwrap().unwrap();
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), expected.tags.keys().collect::<Vec<_>>());
    for (tag, target) in &expected.tags {
        let found = store.tag(name, &Tag::parse(tag).unwrap()).await.unwrap().unwrap();
        assert_eq!(&found.to_string(), target, "{name}:{tag}");
        assert!(store.has_revision(name, &found).await.unwrap());
    }
    let revisions = store.revisions(name).await.unwrap();
    let revisions: BTreeSet<_> = revisions.iter().map(Digest::to_string).collect();
    assert_eq!(revisions, expected.manifests.keys().cloned().collect());
    for (digest_of, manifest) in &expected.manifests {
        let content = store.content(&digest(digest_of), manifest.size).await.unwrap().unwrap();
        assert_eq!(content.len() as u64, manifest.size);
        let too_large = store.content(&digest(digest_of), manifest.size - 1).await;
        assert!(matches!(too_large, Err(Error::TooLarge { .. }) | Ok(Some(_))));
    }
    let layers: BTreeSet<_> = store.layers(name).await.unwrap().into_iter().collect();
    for digest_of in &expected.blobs {
        let digest = digest(digest_of);
        assert!(layers.contains(&digest) && store.has_layer(name, &digest).await.unwrap(), "{digest}");
        assert_eq!(store.layer(name, &digest).await.unwrap().unwrap().digest(), &digest);
    }
}

/// The lists are the same by pages of any size.
async fn check_pages(store: &Store) {
    let all = store.repositories(None, usize::MAX).await.unwrap();
    let blobs = store.blobs(None, usize::MAX).await.unwrap();
    for limit in 1..=3 {
        let (mut paged, mut last) = (Vec::new(), None);
        loop {
            let page = store.repositories(last.as_deref(), limit).await.unwrap();
            let Some(end) = page.last() else { break };
            last = Some(end.as_str().to_owned());
            paged.extend(page);
        }
        assert_eq!(paged, all);
        let (mut paged, mut last) = (Vec::new(), None);
        loop {
            let page = store.blobs(last.as_ref(), limit * 7).await.unwrap();
            let Some(end) = page.last() else { break };
            last = Some(end.digest);
            paged.extend(page);
        }
        assert_eq!(paged, blobs);
    }
}

/// The digest that the bytes of a blob have, read window by window.
pub(super) async fn hash(store: &Store, digest: &Digest) -> Result<Digest, Error> {
    let blob = store.blob(digest).await?.unwrap();
    let mut range = blob.range(0..u64::MAX);
    let mut hasher = Hasher::new(digest.algorithm());
    while let Some(window) = range.next_window(10_000) {
        window.make_resident().await?;
        assert!(window.is_resident());
        hasher.update(&window.read().await?);
    }
    Ok(hasher.finish())
}

#[tokio::test]
async fn a_directory_holds_the_payload() {
    let root = unpacked("payload-store.tar.gz");
    check_payload(&read_only(root.path())).await;
}

#[tokio::test]
async fn what_is_damaged_is_told_and_the_rest_is_whole() {
    let root = unpacked("damaged-store.tar.gz");
    let store = read_only(root.path());
    let payload = Payload::load();
    let empty_tag = store.tag(&name("library/app"), &Tag::parse("v2").unwrap()).await;
    assert!(
        empty_tag
            .unwrap_err()
            .to_string()
            .ends_with("library/app/_manifests/tags/v2/current/link is damaged: it is empty")
    );
    let mut damaged = Vec::new();
    for digest_of in payload.blobs.keys().map(|it| digest(it)) {
        let content = store.content(&digest_of, u64::MAX).await;
        match content {
            Ok(content) => assert_eq!(hash(&store, &digest_of).await.unwrap(), digest_of, "{content:?}"),
            Err(Error::Corrupt { why, .. }) => {
                assert!(matches!(store.blob(&digest_of).await, Err(Error::Corrupt { .. })));
                damaged.push(why);
            }
            Err(error) => panic!("{error}"),
        }
    }
    damaged.sort();
    assert_eq!(damaged.len(), 2, "{damaged:?}");
    assert_eq!(damaged[0], "it is empty");
    assert!(damaged[1].starts_with("its bytes have the digest sha256:"), "{damaged:?}");
    let repositories = store.repositories(None, 100).await.unwrap();
    assert_eq!(repositories.len(), payload.repositories.len(), "strangers are passed over: {repositories:?}");
}

#[tokio::test]
async fn a_flipped_bit_is_found_before_a_byte_is_sent() {
    let root = unpacked("damaged-store.tar.gz");
    let store = read_only(root.path());
    let mut refused = Vec::new();
    for digest in Payload::load().blobs.keys().map(|it| digest(it)) {
        // The one that was cut to nothing is known by its length.
        let Ok(blob) = store.blob(&digest).await else { continue };
        let blob = blob.unwrap();
        let first = store.vouch(blob).await;
        let second = store.blob(&digest).await;
        assert_eq!(first.is_ok(), second.is_ok(), "{digest}");
        if let Err(error) = first {
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
            refused.push(digest);
        }
    }
    assert_eq!(refused.len(), 1, "{refused:?}");
}
