//! What nobody should send: each gets an error of its own, and nothing happens.

use crate::registry::Larder;
use crate::registry::sha256;

#[tokio::test]
async fn names_tags_and_digests_that_are_none() {
    let larder = Larder::empty();
    let digest = sha256(b"");
    let long = "a".repeat(256);
    for (method, path, status, code) in [
        ("GET", "/v2/UPPER/manifests/v1".to_owned(), 404, "NAME_INVALID"),
        ("GET", format!("/v2/{long}/manifests/v1"), 404, "NAME_INVALID"),
        ("GET", "/v2/a//b/tags/list".to_owned(), 404, "NAME_INVALID"),
        ("GET", "/v2/../a/tags/list".to_owned(), 404, "NAME_INVALID"),
        ("GET", "/v2/a%2Fb/tags/list".to_owned(), 404, "NAME_INVALID"),
        ("GET", "/v2/a%00/tags/list".to_owned(), 404, "NAME_INVALID"),
        ("POST", "/v2/a/../../b/blobs/uploads/".to_owned(), 400, "NAME_INVALID"),
        ("PUT", "/v2/A/manifests/v1".to_owned(), 400, "NAME_INVALID"),
        ("GET", "/v2/a/manifests/.INVALID_MANIFEST_NAME".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", format!("/v2/a/manifests/{}", "t".repeat(129)), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/a/manifests/%2e%2e".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/a/manifests/v1%00".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("PUT", "/v2/a/manifests/.INVALID_MANIFEST_NAME".to_owned(), 400, "MANIFEST_INVALID"),
        ("GET", "/v2/a/manifests/sha256:totallywrong".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", "/v2/a/manifests/sha256:baddigeststring".to_owned(), 400, "DIGEST_INVALID"),
        ("PUT", format!("/v2/a/manifests/{digest}?tag=.x"), 400, "MANIFEST_INVALID"),
        ("GET", format!("/v2/a/blobs/{}", digest.to_uppercase()), 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(), 400, "DIGEST_INVALID"),
        ("GET", "/v2/a/blobs/x".to_owned(), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/a/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", "/v2/a/manifests/v1".to_owned(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/a/blobs/uploads/../x".to_owned(), 404, ""),
        ("GET", "/v2/a/manifests/x%2Fy".to_owned(), 404, ""),
        ("GET", "/v1/search?q=a".to_owned(), 404, ""),
        ("GET", "/v2/a".to_owned(), 404, ""),
        ("PATCH", "/v2/a/manifests/v1".to_owned(), 405, "UNSUPPORTED"),
        ("PUT", "/v2/".to_owned(), 405, "UNSUPPORTED"),
        ("TRACE", "/v2/a/tags/list".to_owned(), 405, "UNSUPPORTED"),
        ("GET", "/v2/a/blobs/uploads/".to_owned(), 405, "UNSUPPORTED"),
    ] {
        let answer = larder.ask(method, &path).send().await.is(status);
        if !code.is_empty() {
            assert_eq!(answer.json()["errors"][0]["code"], code, "{method} {path}");
        }
        larder.ask("HEAD", &path).send().await;
    }
    assert!(larder.get("/v2/_catalog").await.list("repositories").is_empty());
}

#[tokio::test]
async fn names_made_of_the_words_of_the_api() {
    let larder = Larder::empty();
    for name in
        ["blobs/uploads", "manifests", "tags/list", "a/blobs/uploads/manifests", "x/referrers", "v2", "z0/9"]
    {
        let digest = larder.push_blob(name, name.as_bytes()).await;
        assert_eq!(larder.get(&format!("/v2/{name}/blobs/{digest}")).await.is(200).bytes(), name);
        larder.get(&format!("/v2/{name}/manifests/list")).await.fails(404, "MANIFEST_UNKNOWN");
    }
    let deep = vec!["a"; 100].join("/");
    larder.push_blob(&deep, b"deep").await;
}

#[tokio::test]
async fn options_and_slashes() {
    let larder = Larder::empty();
    let digest = larder.push_blob("a", b"content").await;
    larder.ask("OPTIONS", "/v2/").send().await.is(200).has("allow", "GET, HEAD");
    larder.ask("OPTIONS", "/v2/a/manifests/x").send().await.is(200).has("allow", "GET, HEAD, PUT, DELETE");
    for path in
        ["/v2", "/v2/", "/v2/_catalog", "/v2/_catalog/", "/v2/_oci/ext/discover", "/v2/a/_oci/ext/discover"]
    {
        larder.get(path).await.is(200).has("content-type", "application/json");
        larder.head(path).await.is(200);
    }
    larder.ask("POST", "/v2/a/blobs/uploads").send().await.is(202);
    for path in [format!("/v2/a/blobs/{digest}/"), format!("/v2/a/blobs/{digest}?ns=quay.io&unknown=%ff")] {
        larder.get(&path).await.is(200);
    }
    larder.get("/").await.is(200).has("cache-control", "no-cache").has("content-length", "0");
}
