//! Pulling what distribution stored: every tag, manifest and blob of the payload, from a directory and from
//! an image.

use larder::store::Access;
use serde_json::Value;

use crate::registry::Larder;
use crate::registry::OCI_INDEX;
use crate::registry::fixture;
use crate::registry::payload;
use crate::registry::sha256;
use crate::registry::unpacked;

#[tokio::test]
async fn the_payload_from_a_directory() {
    let tree = unpacked("payload-store.tar.gz");
    holds_the_payload(&Larder::at(tree.path(), Access::ReadOnly)).await;
    holds_the_payload(&Larder::at(tree.path(), Access::ReadWrite)).await;
}

#[tokio::test]
async fn the_payload_from_an_image() {
    holds_the_payload(&Larder::at(&fixture("payload.iso"), Access::ReadOnly)).await;
}

async fn holds_the_payload(larder: &Larder) {
    let payload = payload();
    let repositories = payload["repositories"].as_object().unwrap();
    let mut names: Vec<&str> = repositories.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(larder.get("/v2/_catalog").await.is(200).list("repositories"), names);
    for (name, repository) in repositories {
        for (digest, manifest) in repository["manifests"].as_object().unwrap() {
            has_manifest(larder, name, digest, digest, manifest).await;
        }
        let tags = repository["tags"].as_object().unwrap();
        for (tag, digest) in tags {
            let digest = digest.as_str().unwrap();
            has_manifest(larder, name, tag, digest, &repository["manifests"][digest]).await;
        }
        let mut tags: Vec<&str> = tags.keys().map(String::as_str).collect();
        tags.sort_unstable();
        let answer = larder.get(&format!("/v2/{name}/tags/list")).await.is(200);
        assert_eq!(
            (answer.list("tags"), answer.json()["name"].as_str()),
            (to_owned(&tags), Some(name.as_str()))
        );
        assert_eq!(answer.json().as_object().unwrap().len(), 2);
        for digest in repository["blobs"].as_array().unwrap() {
            let digest = digest.as_str().unwrap();
            has_blob(larder, name, digest, payload["blobs"][digest].as_u64().unwrap()).await;
        }
    }
}

fn to_owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

async fn has_manifest(larder: &Larder, name: &str, reference: &str, digest: &str, expected: &Value) {
    let path = format!("/v2/{name}/manifests/{reference}");
    let (media_type, size) = (expected["mediaType"].as_str().unwrap(), expected["size"].to_string());
    for accept in ["application/vnd.docker.distribution.manifest.v1+json", "*/*"] {
        for method in ["GET", "HEAD"] {
            let answer = larder.ask(method, &path).header("accept", accept).send().await.is(200);
            let answer = answer.has("content-type", media_type).has("content-length", &size);
            let answer = answer.has("docker-content-digest", digest).has("etag", &format!("\"{digest}\""));
            assert!(method == "HEAD" || sha256(answer.bytes()) == digest, "{path}");
        }
    }
    for tag in [format!("\"{digest}\""), digest.to_owned()] {
        let unchanged = larder.ask("GET", &path).header("if-none-match", &tag).send().await.is(304);
        unchanged.has("docker-content-digest", digest).has("etag", &format!("\"{digest}\""));
    }
}

async fn has_blob(larder: &Larder, name: &str, digest: &str, size: u64) {
    let path = format!("/v2/{name}/blobs/{}", digest.replace(':', "%3A"));
    for method in ["GET", "HEAD"] {
        let answer = larder.ask(method, &path).send().await.is(200);
        let answer = answer.has("content-type", "application/octet-stream").has("accept-ranges", "bytes");
        let answer = answer.has("content-length", &size.to_string()).has("docker-content-digest", digest);
        let answer = answer.has("etag", &format!("\"{digest}\"")).has_no("content-encoding");
        assert!(method == "HEAD" || sha256(answer.bytes()) == digest, "{path}");
    }
    larder.ask("GET", &path).header("if-none-match", &format!("W/\"{digest}\"")).send().await.is(304);
    larder.ask("GET", &path).header("if-match", "\"sha256:0\"").send().await.is(412);
}

/// One tag's link is empty, one blob is cut to nothing, one has a flipped bit, and strangers lie about.
#[tokio::test]
async fn what_is_damaged_is_told_apart_from_what_is_whole() {
    let tree = unpacked("damaged-store.tar.gz");
    let larder = Larder::at(tree.path(), Access::ReadOnly);
    let payload = payload();
    let mut damaged = Vec::new();
    for (name, repository) in payload["repositories"].as_object().unwrap() {
        for reference in repository["tags"].as_object().unwrap().keys() {
            let answer = larder.get(&format!("/v2/{name}/manifests/{reference}")).await;
            if answer.status != 200 {
                let answer = answer.fails(404, "MANIFEST_UNKNOWN");
                damaged
                    .push((format!("{name}:{reference}"), answer.json()["errors"][0]["message"].to_string()));
            }
        }
        for digest in repository["blobs"].as_array().unwrap() {
            let digest = digest.as_str().unwrap();
            let path = format!("/v2/{name}/blobs/{digest}");
            let answer = larder.get(&path).await;
            if answer.status == 200 {
                assert_eq!(sha256(answer.bytes()), digest, "{path}");
                continue;
            }
            let answer = answer.fails(404, "BLOB_UNKNOWN");
            damaged.push((name.clone(), answer.json()["errors"][0]["message"].to_string()));
            larder.head(&path).await.is(404);
            larder.ask("GET", &path).header("range", "bytes=0-0").send().await.fails(404, "BLOB_UNKNOWN");
        }
    }
    damaged.sort();
    let [blob, tag, flipped] = &damaged[..] else { panic!("{damaged:?}") };
    assert!(blob.0 == "a/b/c/d/e/f" && blob.1.contains("it is empty"), "{blob:?}");
    assert!(tag.0 == "library/app:v2" && tag.1.contains("is damaged"), "{tag:?}");
    assert!(
        flipped.0 == "metallb/operator" && flipped.1.contains("its bytes have the digest"),
        "{flipped:?}"
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let larder = Larder::at(&fixture("payload.iso"), Access::ReadOnly);
    let all = larder.get("/v2/_catalog").await.is(200).has_no("link").list("repositories");
    let (mut path, mut pages) = ("/v2/_catalog?n=2".to_owned(), Vec::new());
    loop {
        let answer = larder.get(&path).await.is(200);
        pages.extend(answer.list("repositories"));
        let Some(link) = answer.headers.get("link") else { break };
        let link = link.to_str().unwrap();
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        assert!(
            path.starts_with("/v2/_catalog?last=") && !path.contains(":") && path.ends_with("&n=2"),
            "{path}"
        );
    }
    assert_eq!(pages, all);

    let tags = larder.get("/v2/openshift/release/tags/list").await.list("tags");
    let first = larder.get("/v2/openshift/release/tags/list?n=3").await.is(200);
    assert_eq!(first.list("tags"), tags[..3]);
    let expected = format!("</v2/openshift/release/tags/list?last={}&n=3>; rel=\"next\"", tags[2]);
    assert_eq!(first.header("link"), expected);
    let path = format!("/v2/openshift/release/tags/list?n=100&last={}", tags[2]);
    assert_eq!(larder.get(&path).await.is(200).has_no("link").list("tags"), tags[3..]);
    let none = larder.get("/v2/openshift/release/tags/list?n=0").await.is(200).has_no("link");
    assert!(none.list("tags").is_empty());
    larder.get("/v2/openshift/release/tags/list?n=-1").await.fails(400, "PAGINATION_NUMBER_INVALID");
}

#[tokio::test]
async fn a_read_only_registry_refuses_to_change() {
    let tree = unpacked("payload-store.tar.gz");
    let larder = Larder::at(tree.path(), Access::ReadOnly);
    let digest = sha256(b"");
    for (method, path) in [
        ("POST", "/v2/library/app/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/library/app/blobs/uploads/?mount={digest}")),
        ("PATCH", "/v2/library/app/blobs/uploads/00000000-0000-0000-0000-000000000000".to_owned()),
        (
            "PUT",
            format!("/v2/library/app/blobs/uploads/00000000-0000-0000-0000-000000000000?digest={digest}"),
        ),
        ("PUT", "/v2/library/app/manifests/v1".to_owned()),
        ("DELETE", "/v2/library/app/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/library/app/manifests/{digest}")),
        ("DELETE", format!("/v2/library/app/blobs/{digest}")),
    ] {
        let answer = larder.ask(method, &path).body("{}").send().await.is(405).has("allow", "GET, HEAD");
        let expected = r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#;
        assert_eq!(answer.bytes(), expected, "{method} {path}");
    }
    let path = "/v2/library/app/blobs/uploads/00000000-0000-0000-0000-000000000000";
    larder.get(path).await.fails(404, "BLOB_UPLOAD_UNKNOWN");
    let subject = sha256(b"nothing");
    let none = larder.get(&format!("/v2/library/app/referrers/{subject}")).await.is(200);
    assert_eq!(none.has("content-type", OCI_INDEX).json()["manifests"], Value::Array(vec![]));
}

/// The three calls of the node daemon.
#[tokio::test]
async fn what_the_cluster_asks() {
    let larder = Larder::at(&fixture("payload.iso"), Access::ReadOnly);
    let stale = "Basic b3BlbnNoaWZ0OnN0YWxl";
    let base = larder.ask("GET", "/v2").header("authorization", stale).send().await.is(200);
    assert_eq!(base.has("content-type", "application/json").bytes(), "{}");
    let bundles = larder.get("/v2/openshift/release-bundles/tags/list").await.is(200);
    assert!(bundles.list("tags").iter().all(|it| it.starts_with("ocp-release-bundle-")), "{bundles:?}");
    let images = larder.get("/v2/openshift/release-images/tags/list").await.is(200).list("tags");
    let [image] = &images[..] else { panic!("{images:?}") };
    assert_eq!(payload()["release"]["digest"], format!("sha256:{image}"));
    larder.get(&format!("/v2/openshift/release-images/manifests/sha256:{image}")).await.is(200);
}
