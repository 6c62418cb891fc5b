//! Pushing: images whole, manifests under tags and digests, mounts, deletes.

use larder::registry::Deletion;
use larder::registry::Rules;
use larder::registry::Sparse;
use serde_json::Value;
use serde_json::json;

use crate::registry::DOCKER_IMAGE;
use crate::registry::Larder;
use crate::registry::Manifest;
use crate::registry::open;
use crate::registry::sha256;
use crate::registry::sha512;

/// An image whose blobs are pushed.
async fn image(larder: &Larder, name: &str, more: Value) -> Manifest {
    let config = larder.push_blob(name, b"{}").await;
    let layer = larder.push_blob(name, b"a layer").await;
    Manifest::image(&config, &[&layer], more)
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let larder = Larder::empty();
    let manifest = image(&larder, "a/b", json!({"unknown": [1, {"x": "y"}]})).await;
    let digest = manifest.digest();
    let pushed = larder.push_manifest("a/b", "v1", &manifest).await.is(201).has_no("warning");
    pushed
        .has("location", &format!("/v2/a/b/manifests/{digest}"))
        .has("docker-content-digest", &digest)
        .has_no("oci-subject");
    for reference in ["v1", &digest] {
        let answer = larder.get(&format!("/v2/a/b/manifests/{reference}")).await.is(200);
        assert_eq!(answer.bytes(), &manifest.content);
        answer.has("content-type", manifest.media_type);
    }
    assert_eq!(larder.get("/v2/a/b/tags/list").await.list("tags"), ["v1"]);
    assert_eq!(larder.get("/v2/_catalog").await.list("repositories"), ["a/b"]);
    larder.get("/v2/a/manifests/v1").await.fails(404, "MANIFEST_UNKNOWN");
    larder.get("/v2/a/tags/list").await.fails(404, "NAME_UNKNOWN");
}

#[tokio::test]
async fn a_digest_is_pushed_with_tags_beside_it() {
    let larder = Larder::empty();
    let manifest = image(&larder, "a", json!({})).await;
    for digest in [manifest.digest(), sha512(&manifest.content)] {
        let tags: Vec<String> = (0..10).map(|it| format!("{}-{it}", &digest[..6])).collect();
        let query: Vec<String> = tags.iter().map(|it| format!("tag={it}")).collect();
        let reference = format!("{digest}?{}", query.join("&"));
        let answer = larder.push_manifest("a", &reference, &manifest).await.is(201);
        let answer = answer.has("docker-content-digest", &digest);
        let named: Vec<&str> =
            answer.headers.get_all("oci-tag").iter().map(|it| it.to_str().unwrap()).collect();
        assert_eq!(named, tags);
        for reference in tags.iter().chain([&digest]) {
            let answer = larder.get(&format!("/v2/a/manifests/{reference}")).await.is(200);
            assert_eq!(answer.has("docker-content-digest", &digest).bytes(), &manifest.content);
        }
    }
}

#[tokio::test]
async fn what_a_manifest_lacks_is_told_or_refused() {
    let missing = [sha256(b"config"), sha256(b"layer")];
    let manifest = Manifest::image(&missing[0], &[&missing[1], &missing[1]], json!({}));
    let larder = Larder::empty();
    let answer = larder.push_manifest("a", "v1", &manifest).await.is(201);
    let warning = "299 - \"the repository does not hold 2 objects that this manifest references\"";
    answer.has("warning", warning);
    let index = Manifest::index(&[&manifest, &Manifest::image(&missing[0], &[], json!({}))], json!({}));
    assert!(
        larder.push_manifest("a", "v2", &index).await.is(201).header("warning").contains("hold 1 object ")
    );

    let strict = Larder::with(Rules { sparse: Sparse::Refuse, ..Rules::default() }, open());
    let refused = strict.push_manifest("a", "v1", &manifest).await.fails(400, "MANIFEST_BLOB_UNKNOWN");
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.iter().map(|it| it["detail"].as_str().unwrap()).collect::<Vec<_>>(), missing);
    let present = image(&strict, "a", json!({})).await;
    strict.push_manifest("a", "v1", &present).await.is(201).has_no("warning");
    let elsewhere =
        json!({"layers": [{"mediaType": "x", "digest": missing[1], "size": 1, "urls": ["https://a"]}]});
    let foreign = Manifest::image(&sha256(b"{}"), &[], elsewhere);
    strict.push_manifest("a", "v2", &foreign).await.is(201).has_no("warning");
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let larder = Larder::empty();
    let manifest = image(&larder, "a", json!({})).await;
    let docker = Manifest { media_type: DOCKER_IMAGE, ..manifest.clone() };
    larder.push_manifest("a", "v1", &docker).await.fails(400, "MANIFEST_INVALID");
    let other = sha256(b"other");
    larder.push_manifest("a", &other, &manifest).await.fails(400, "DIGEST_INVALID");
    larder.get(&format!("/v2/a/manifests/{other}")).await.fails(404, "MANIFEST_UNKNOWN");
    larder.get("/v2/a/manifests/v1").await.fails(404, "MANIFEST_UNKNOWN");
    for (content, status, code) in [
        ("".to_owned(), 400, "MANIFEST_INVALID"),
        ("{".to_owned(), 400, "MANIFEST_INVALID"),
        ("[".repeat(200_000), 400, "MANIFEST_INVALID"),
        (" ".repeat(4 * 1024 * 1024 + 1), 413, "SIZE_INVALID"),
    ] {
        let manifest = Manifest { content: content.clone().into_bytes(), ..manifest };
        larder.push_manifest("a", "v1", &manifest).await.fails(status, code);
        let pieces: Vec<&[u8]> = content.as_bytes().chunks(100_000).collect();
        let streamed = larder.ask("PUT", "/v2/a/manifests/v1").stream(&pieces).send().await;
        streamed.fails(status, code);
    }
}

#[tokio::test]
async fn the_largest_manifest_that_is_accepted() {
    let larder = Larder::empty();
    let filler = "x".repeat(4 * 1024 * 1024 - 400);
    let mut manifest = Manifest::image(&larder.push_blob("a", b"{}").await, &[], json!({"x": filler}));
    manifest.content.resize(4 * 1024 * 1024, b' ');
    larder.push_manifest("a", "v1", &manifest).await.is(201);
    assert_eq!(larder.get("/v2/a/manifests/v1").await.is(200).bytes().len(), 4 * 1024 * 1024);
}

#[tokio::test]
async fn blobs_are_mounted_from_where_they_are() {
    let larder = Larder::empty();
    let digest = larder.push_blob("from", b"content").await;
    let start =
        async |query: &str| larder.ask("POST", &format!("/v2/to/blobs/uploads/?{query}")).send().await;
    larder.get(&format!("/v2/to/blobs/{digest}")).await.fails(404, "BLOB_UNKNOWN");
    for query in [
        format!("mount={digest}&from=elsewhere"),
        format!("mount={digest}&from=A%2F%2FB"),
        format!("mount={}&from=from", sha256(b"unknown")),
        format!("mount={}", sha256(b"unknown")),
    ] {
        start(&query).await.is(202);
    }
    for (query, name) in [(format!("mount={digest}&from=from"), "to"), (format!("mount={digest}"), "third")] {
        let path = format!("/v2/{name}/blobs/uploads/?{query}");
        let mounted = larder.ask("POST", &path).send().await.is(201).has("docker-content-digest", &digest);
        let location = mounted.header("location");
        assert_eq!(location, format!("/v2/{name}/blobs/{digest}"));
        assert_eq!(larder.get(&location).await.is(200).bytes(), "content");
    }
    start("mount=sha256:0").await.fails(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn deleting() {
    let larder = Larder::empty();
    let manifest = image(&larder, "a", json!({})).await;
    let digest = manifest.digest();
    for tag in ["v1", "v2", "v3"] {
        larder.push_manifest("a", tag, &manifest).await.is(201);
    }
    larder.delete("/v2/a/manifests/v1").await.is(202);
    larder.get("/v2/a/manifests/v1").await.fails(404, "MANIFEST_UNKNOWN");
    larder.delete("/v2/a/manifests/v1").await.fails(404, "MANIFEST_UNKNOWN");
    larder.get(&format!("/v2/a/manifests/{digest}")).await.is(200);
    larder.delete(&format!("/v2/a/manifests/{digest}")).await.is(202);
    for reference in ["v2", "v3", &digest] {
        larder.head(&format!("/v2/a/manifests/{reference}")).await.is(404);
    }
    assert!(larder.get("/v2/a/tags/list").await.is(200).list("tags").is_empty());

    let layer = sha256(b"a layer");
    larder.push_blob("b", b"a layer").await;
    larder.delete(&format!("/v2/a/blobs/{layer}")).await.is(202);
    larder.head(&format!("/v2/a/blobs/{layer}")).await.is(404);
    larder.get(&format!("/v2/b/blobs/{layer}")).await.is(200);
    larder.delete(&format!("/v2/a/blobs/{layer}")).await.fails(404, "BLOB_UNKNOWN");

    let keeping = Larder::with(Rules { deletion: Deletion::Disabled, ..Rules::default() }, open());
    let layer = keeping.push_blob("a", b"a layer").await;
    for path in [format!("/v2/a/blobs/{layer}"), "/v2/a/manifests/v1".to_owned()] {
        keeping.delete(&path).await.fails(405, "UNSUPPORTED");
    }
    keeping.get(&format!("/v2/a/blobs/{layer}")).await.is(200);
}
