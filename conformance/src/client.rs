//! An ordinary client: pushes as podman does, layers at once, and pulls what it verifies.
//!
//! Knows the calls of the specification and when a client tries again. Asserts
//! nothing but what any client needs.

use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;
use crate::image::Image;
use crate::image::MANIFEST;
use crate::image::digest;

/// How often a client tries an operation again after a broken connection: a client whose
/// connection the test's proxy cuts one time in three needs more than podman's three.
const RETRIES: u32 = 8;

/// Pushes a blob as containers/image does: HEAD, POST, one PATCH, PUT.
pub(crate) fn push_blob(endpoint: &Endpoint, repository: &str, blob: &Content) -> Result<()> {
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    let present = endpoint.head(&path)?.expect_any(&[200, 404])?.status == 200;
    if present {
        return Ok(());
    }
    let upload = start_upload(endpoint, repository)?;
    let patched = endpoint.request("PATCH", &upload).header("Content-Type", "application/octet-stream");
    let upload = patched.body(&blob.bytes).send()?.expect(202)?.location()?;
    finish_upload(endpoint, &upload, &blob.digest)?;
    Ok(())
}

/// Begins an upload; gives its location.
pub(crate) fn start_upload(endpoint: &Endpoint, repository: &str) -> Result<String> {
    endpoint.request("POST", &format!("/v2/{repository}/blobs/uploads/")).send()?.expect(202)?.location()
}

/// Ends an upload whose bytes are all there.
pub(crate) fn finish_upload(endpoint: &Endpoint, location: &str, digest: &str) -> Result<Response> {
    endpoint.request("PUT", &with_digest(location, digest)).send()?.expect(201)
}

/// An upload's location with `digest` among its parameters.
pub(crate) fn with_digest(location: &str, digest: &str) -> String {
    let joint = if location.contains('?') { '&' } else { '?' };
    format!("{location}{joint}digest={}", digest.replace(':', "%3A"))
}

/// Pushes a manifest under a tag or its digest.
pub(crate) fn push_manifest(
    endpoint: &Endpoint,
    repository: &str,
    reference: &str,
    manifest: &Content,
) -> Result<()> {
    put_manifest(endpoint, repository, reference, MANIFEST, &manifest.bytes)?.expect(201)?;
    Ok(())
}

/// Puts a manifest of any media type.
pub(crate) fn put_manifest(
    endpoint: &Endpoint,
    repository: &str,
    reference: &str,
    media_type: &str,
    bytes: &[u8],
) -> Result<Response> {
    let request = endpoint.request("PUT", &format!("/v2/{repository}/manifests/{reference}"));
    request.header("Content-Type", media_type).body(bytes).send()
}

/// Pushes an image under a tag: all blobs at once, then the manifest, each tried again as a client would.
pub(crate) fn push_image(endpoint: &Endpoint, repository: &str, tag: &str, image: &Image) -> Result<()> {
    std::thread::scope(|scope| {
        let push = |blob| scope.spawn(move || retried(|| push_blob(endpoint, repository, blob)));
        let pushes: Vec<_> = image.blobs().map(push).collect();
        pushes
            .into_iter()
            .try_for_each(|push| push.join().unwrap_or_else(|_| anyhow::bail!("a push panicked")))
    })?;
    retried(|| push_manifest(endpoint, repository, tag, &image.manifest))
}

/// Asks for a manifest, naming every media type that clients name; distribution answers 404 to less.
pub(crate) fn manifest(endpoint: &Endpoint, method: &str, path: &str) -> Result<Response> {
    let request =
        endpoint.request(method, path).header("Accept", "application/vnd.oci.image.manifest.v1+json");
    let request = request.header("Accept", "application/vnd.oci.image.index.v1+json");
    let request = request.header("Accept", "application/vnd.docker.distribution.manifest.v2+json");
    request.header("Accept", "application/vnd.docker.distribution.manifest.list.v2+json").send()
}

/// Pulls an image by tag and compares every byte.
pub(crate) fn check_image(endpoint: &Endpoint, repository: &str, tag: &str, image: &Image) -> Result<()> {
    let manifest = manifest(endpoint, "GET", &format!("/v2/{repository}/manifests/{tag}"))?.expect(200)?;
    ensure!(manifest.body == image.manifest.bytes, "{repository}:{tag} is another manifest");
    image.blobs().try_for_each(|blob| check_blob(endpoint, repository, blob))
}

/// Pulls a blob and compares every byte.
pub(crate) fn check_blob(endpoint: &Endpoint, repository: &str, blob: &Content) -> Result<()> {
    let found = endpoint.get(&format!("/v2/{repository}/blobs/{}", blob.digest))?.expect(200)?;
    ensure!(
        found.body == blob.bytes,
        "{} in {repository} has {} bytes with digest {}",
        blob.digest,
        found.body.len(),
        digest(&found.body)
    );
    Ok(())
}

/// Pulls every blob that a manifest names and compares its digest; gives their number.
pub(crate) fn check_children(endpoint: &Endpoint, repository: &str, manifest: &Value) -> Result<usize> {
    let layers = manifest.get("layers").and_then(Value::as_array).cloned().unwrap_or_default();
    let children: Vec<_> = layers.into_iter().chain(manifest.get("config").cloned()).collect();
    for child in &children {
        let name = child.get("digest").and_then(Value::as_str).context("a descriptor without a digest")?;
        let blob = endpoint.get(&format!("/v2/{repository}/blobs/{name}"))?.expect(200)?;
        ensure!(digest(&blob.body) == name, "{name} in {repository} has other bytes");
    }
    Ok(children.len())
}

/// Tries again, as clients do, after growing pauses.
pub(crate) fn retried<T>(mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let mut pause = Duration::from_millis(5);
    for _ in 0..RETRIES {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(_) => std::thread::sleep(pause),
        }
        pause *= 2;
    }
    attempt().with_context(|| format!("after {RETRIES} retries"))
}
