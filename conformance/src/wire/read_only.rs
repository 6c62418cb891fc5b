//! A read-only registry: what it refuses, and that clients understand it at the first try.

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::checks::Check;
use crate::client;
use crate::http::Endpoint;
use crate::image::Content;
use crate::image::MANIFEST;

const REPOSITORY: &str = "library/app";

pub(super) const CHECKS: &[Check] = &[
    ("every write is refused in words that stop a client's retries", writes),
    ("mounts are refused as well", mounts),
    ("it reads as ever, referrers and all", reads),
    ("it is ready, but not to write", readiness),
];

/// podman repeats a request whose error it does not know, for seven seconds, and shows the text of 405 and
/// 403 only.
fn writes(endpoint: &Endpoint) -> Result<()> {
    let digest = Content::new(b"x".to_vec()).digest;
    let manifest =
        client::manifest(endpoint, "GET", &format!("/v2/{REPOSITORY}/manifests/latest"))?.expect(200)?;
    let stored = manifest.header("Docker-Content-Digest").context("no digest")?.to_owned();
    for (method, path) in [
        ("POST", format!("/v2/{REPOSITORY}/blobs/uploads/")),
        ("POST", format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}")),
        ("PUT", format!("/v2/{REPOSITORY}/manifests/new")),
        ("DELETE", format!("/v2/{REPOSITORY}/manifests/latest")),
        ("DELETE", format!("/v2/{REPOSITORY}/manifests/{stored}")),
        ("DELETE", format!("/v2/{REPOSITORY}/blobs/{digest}")),
    ] {
        let request = endpoint.request(method, &path).header("Content-Type", MANIFEST);
        let answer = request.send()?.expect_any(&[403, 405]).with_context(|| format!("{method} {path}"))?;
        let code = answer.json()?.pointer("/errors/0/code").cloned();
        ensure!(
            code == Some("UNSUPPORTED".into()) || code == Some("DENIED".into()),
            "{method} {path}: code {code:?}"
        );
    }
    endpoint.get(&format!("/v2/{REPOSITORY}/manifests/{stored}"))?.expect(200)?;
    Ok(())
}

fn mounts(endpoint: &Endpoint) -> Result<()> {
    let digest = Content::new(b"x".to_vec()).digest;
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?mount={digest}&from=library/busybox");
    endpoint.request("POST", &path).send()?.expect_any(&[403, 405])?;
    Ok(())
}

fn reads(endpoint: &Endpoint) -> Result<()> {
    let nothing = Content::new(b"nothing".to_vec()).digest;
    endpoint.get(&format!("/v2/{REPOSITORY}/referrers/{nothing}"))?.expect(200)?;
    endpoint.get(&format!("/v2/{REPOSITORY}/tags/list?n=1"))?.expect(200)?;
    endpoint.get("/v2/_oci/ext/discover")?.expect(200)?;
    Ok(())
}

fn readiness(endpoint: &Endpoint) -> Result<()> {
    endpoint.get("/readyz")?.expect(200)?;
    ensure!(endpoint.get("/readyz?write")?.status != 200, "a read-only registry says that it takes writes");
    Ok(())
}
