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
    let shared = Shared { roots: Arc::clone(&roots), contents: contents.clone(), metrics };
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
