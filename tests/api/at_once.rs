//! What is asked for again is answered without waiting, as long as that is the right answer. That it is the same as the
//! long way's is compared with every request of every test.

use std::fs;
use std::time::Duration;

use larder::store::Access;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::access::basic;
use crate::access::closed;
use crate::registry::Ask;
use crate::registry::Larder;
use crate::registry::Manifest;

/// Longer than a file that was just written counts as one that may still change.
const SETTLED: Duration = Duration::from_secs(3);

/// How often something is asked for until it is to be had at once: read, verified, kept.
const OFTEN: usize = 4;

/// An image in repository `a` with tag `v1`; its manifest and its only blob.
async fn with_image(larder: &Larder) -> (Manifest, String) {
    let config = larder.push_blob("a", b"{}").await;
    let manifest = Manifest::image(&config, &[], json!({}));
    larder.push_manifest("a", "v1", &manifest).await.is(201);
    sleep(SETTLED).await;
    (manifest, config)
}

/// Asks until it comes at once.
async fn comes_at_once<'a>(ask: impl Fn() -> Ask<'a>) -> bool {
    for _ in 0..OFTEN {
        if ask().send().await.is(200).came_at_once {
            return true;
        }
    }
    false
}

fn paths(manifest: &Manifest, config: &str) -> [String; 3] {
    [
        format!("/v2/a/manifests/{}", manifest.digest()),
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/blobs/{config}"),
    ]
}

#[tokio::test]
async fn what_is_asked_for_again_comes_at_once_until_it_is_deleted() {
    let larder = Larder::empty();
    let (manifest, config) = with_image(&larder).await;
    let paths = paths(&manifest, &config);
    for path in &paths {
        for method in ["GET", "HEAD"] {
            assert!(comes_at_once(|| larder.ask(method, path)).await, "{method} {path}");
        }
        let known = larder.get(path).await.header("etag");
        let again = larder.ask("GET", path).header("if-none-match", &known).send().await.is(304);
        assert!(again.came_at_once, "{path}");
        let ask = |name, value| larder.ask("GET", path).header(name, value).send();
        assert!(!ask("if-match", "\"another\"").await.is(412).came_at_once, "errors take the long way");
    }
    assert!(!larder.ask("GET", &paths[2]).header("range", "bytes=0-0").send().await.is(206).came_at_once);
    assert!(!larder.get(&format!("{}?ns=quay.io", paths[0])).await.is(200).came_at_once);

    let another = Manifest::image(&config, &[], json!({"annotations": {"another": "one"}}));
    larder.push_manifest("a", "v1", &another).await.is(201);
    assert_eq!(larder.get(&paths[1]).await.is(200).header("docker-content-digest"), another.digest());
    for path in [&paths[0], &paths[2]] {
        larder.delete(path).await.is(202);
        assert!(!larder.get(path).await.is(404).came_at_once, "{path}");
    }
}

#[tokio::test]
async fn what_another_process_removes_is_gone_at_once() {
    let root = TempDir::new().unwrap();
    let larder = Larder::at(root.path(), Access::ReadWrite);
    let (manifest, config) = with_image(&larder).await;
    for path in paths(&manifest, &config) {
        assert!(comes_at_once(|| larder.ask("GET", &path)).await, "{path}");
    }
    let tree = root.path().join("docker/registry/v2");
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let (manifest_hex, config_hex) = (hex(&manifest.digest()), hex(&config));
    // As distribution's garbage collection does, which leaves the links to blobs.
    fs::remove_file(tree.join(format!("blobs/sha256/{}/{config_hex}/data", &config_hex[..2]))).unwrap();
    fs::remove_file(tree.join(format!("repositories/a/_manifests/revisions/sha256/{manifest_hex}/link")))
        .unwrap();
    for path in paths(&manifest, &config) {
        assert!(!larder.get(&path).await.is(404).came_at_once, "{path}");
    }
}

#[tokio::test]
async fn only_who_may_is_answered_at_once() {
    let larder = closed();
    let (pusher, puller) = (basic("pusher"), basic("puller"));
    let push = |method, path: &str| larder.ask(method, path).header("authorization", &pusher);
    let location = push("POST", "/v2/a/blobs/uploads/").send().await.is(202).header("location");
    let digest = crate::registry::sha256(b"{}");
    let location = crate::registry::with_digest(&location, &digest);
    push("PUT", &location).body(b"{}").send().await.is(201);
    sleep(SETTLED).await;
    let path = format!("/v2/a/blobs/{digest}");
    for user in [&pusher, &puller] {
        assert!(comes_at_once(|| larder.ask("GET", &path).header("authorization", user)).await);
    }
    assert!(!larder.get(&path).await.is(401).came_at_once, "nobody knows who that is");
    let wrong = larder.ask("GET", &path).header("authorization", &basic("stranger"));
    assert!(!wrong.send().await.is(401).came_at_once);
}
