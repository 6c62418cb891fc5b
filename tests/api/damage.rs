//! What is damaged is never served as if it were whole, and is mended by pushing it again.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use larder::store::Access;
use tempfile::TempDir;

use crate::registry::Larder;
use crate::registry::sha256;

/// A store with one blob of `len` bytes, of which one bit is wrong.
async fn damaged(len: usize) -> (TempDir, Vec<u8>, String) {
    let root = TempDir::new().unwrap();
    let content: Vec<u8> = (0..len).map(|it| (it % 251) as u8).collect();
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let digest = larder.push_blob("a", &content).await;
    larder.close().await;
    let file = blob_file(root.path(), &digest);
    let mut bytes = fs::read(&file).unwrap();
    bytes[len / 2] ^= 1;
    fs::write(&file, bytes).unwrap();
    (root, content, digest)
}

fn blob_file(root: &Path, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").unwrap();
    root.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
}

#[tokio::test]
async fn a_blob_is_refused() {
    let (root, content, digest) = damaged(300_000).await;
    let larder = Larder::at(root.path(), Access::ReadOnly);
    let path = format!("/v2/a/blobs/{digest}");
    let message =
        larder.get(&path).await.fails(404, "BLOB_UNKNOWN").json()["errors"][0]["message"].to_string();
    assert!(message.contains("damaged") && message.contains("digest"), "{message}");
    larder.head(&path).await.is(404);
    assert_eq!(sha256(&content), digest);
}

#[tokio::test]
async fn the_end_of_a_large_blob_is_withheld() {
    let (root, _, digest) = damaged(65 << 20).await;
    let larder = Larder::at(root.path(), Access::ReadOnly);
    let path = format!("/v2/a/blobs/{digest}");
    let answer = larder.get(&path).await.is(200);
    assert!(answer.body.unwrap_err().contains("is damaged"));
    for method in ["HEAD", "GET"] {
        larder.ask(method, &path).send().await.is(404);
    }
}

#[tokio::test]
async fn the_end_is_withheld_from_all_who_pull_at_the_same_time() {
    let (root, _, digest) = damaged(65 << 20).await;
    let larder = Larder::at(root.path(), Access::ReadOnly);
    let path = format!("/v2/a/blobs/{digest}");
    let (one, two, three) = tokio::join!(larder.get(&path), larder.get(&path), larder.get(&path));
    for answer in [one, two, three] {
        assert!(answer.is(200).body.unwrap_err().contains("is damaged"));
    }
}

#[tokio::test]
async fn a_whole_one_is_sent_to_all_who_pull_at_the_same_time() {
    let root = TempDir::new().unwrap();
    let content: Vec<u8> = (0..65 << 20).map(|it: u32| (it % 251) as u8).collect();
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let path = format!("/v2/a/blobs/{}", larder.push_blob("a", &content).await);
    larder.close().await;
    // Another process, which has hashed nothing yet.
    let larder = Larder::at(root.path(), Access::ReadOnly);
    let (one, two, three) = tokio::join!(larder.get(&path), larder.get(&path), larder.get(&path));
    for answer in [one, two, three, larder.get(&path).await] {
        assert!(answer.is(200).bytes() == &content);
    }
}

#[tokio::test]
async fn what_was_asked_for_before_is_looked_for_again() {
    let root = TempDir::new().unwrap();
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let content = b"the configuration of an image";
    let digest = larder.push_blob("a", content).await;
    let (path, file) = (format!("/v2/a/blobs/{digest}"), blob_file(root.path(), &digest));
    for _ in 0..3 {
        assert_eq!(larder.get(&path).await.is(200).bytes(), &content[..]);
    }
    // Another process removes it, leaves a part of it, and brings it back.
    fs::remove_file(&file).unwrap();
    for method in ["GET", "HEAD"] {
        larder.ask(method, &path).send().await.is(404);
    }
    fs::write(&file, &content[..9]).unwrap();
    for method in ["GET", "HEAD"] {
        larder.ask(method, &path).send().await.is(404);
    }
    fs::write(&file, content).unwrap();
    assert_eq!(larder.get(&path).await.is(200).bytes(), &content[..]);
    larder.ask("DELETE", &path).send().await.is(202);
    larder.get(&path).await.fails(404, "BLOB_UNKNOWN");
}

#[tokio::test]
async fn a_part_of_a_damaged_blob_is_refused() {
    let (root, _, digest) = damaged(5_000_000).await;
    let larder = Larder::at(root.path(), Access::ReadOnly);
    for range in ["bytes=0-9", "bytes=0-9,20-29", "bytes=0-"] {
        let ask = larder.ask("GET", &format!("/v2/a/blobs/{digest}")).header("range", range);
        ask.send().await.fails(404, "BLOB_UNKNOWN");
    }
}

#[tokio::test]
async fn pushing_mends() {
    for len in [1000, 65 << 20] {
        let (root, content, digest) = damaged(len).await;
        let larder = Larder::at(root.path(), Access::ReadWrite);
        let path = format!("/v2/a/blobs/{digest}");
        let _ = larder.get(&path).await;
        larder.head(&path).await.is(404);
        larder.push_blob("a", &content).await;
        larder.head(&path).await.is(200);
        assert_eq!(larder.get(&path).await.is(200).bytes(), &content);
        assert_eq!(fs::read(blob_file(root.path(), &digest)).unwrap(), content);
    }
}
