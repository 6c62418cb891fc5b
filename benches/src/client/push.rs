//! Pushing, as container tools do it: POST, one PATCH with everything, PUT; then the manifest by tag.
//!
//! Knows end-4a, end-5, end-6 and end-7 of the distribution spec. Does not know
//! what an image holds.

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use storage_layout::Digest;

use crate::client::exchange::Exchange;
use crate::client::exchange::Payload;
use crate::client::head::Head;

/// Whether a registry held a blob before it was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Uploaded,
    WasThere,
}

/// Uploads a blob.
pub(crate) fn blob(to: &mut Exchange, repository: &str, digest: &Digest, content: Payload<'_>) -> Result<()> {
    let started = to.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", Payload::Nothing)?;
    let upload = location(&started, 202)?;
    let patched = to.send("PATCH", &upload, "Content-Type: application/octet-stream\r\n", content)?;
    let upload = location(&patched, 202)?;
    let separator = if upload.contains('?') { '&' } else { '?' };
    let finished = to.send("PUT", &format!("{upload}{separator}digest={digest}"), "", Payload::Nothing)?;
    location(&finished, 201).map(drop)
}

/// Uploads a blob unless a HEAD says that it is there.
pub(crate) fn blob_if_missing(
    to: &mut Exchange,
    repository: &str,
    digest: &Digest,
    content: Payload<'_>,
) -> Result<Pushed> {
    let head = to.send("HEAD", &format!("/v2/{repository}/blobs/{digest}"), "", Payload::Nothing)?;
    match head.status {
        200 => Ok(Pushed::WasThere),
        404 => blob(to, repository, digest, content).map(|()| Pushed::Uploaded),
        status => bail!("HEAD of a blob answered {status}"),
    }
}

/// Puts a manifest under a tag.
pub(crate) fn manifest(to: &mut Exchange, repository: &str, tag: &str, content: &[u8]) -> Result<()> {
    let target = format!("/v2/{repository}/manifests/{tag}");
    let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let put = to.send("PUT", &target, kind, Payload::Bytes(content))?;
    location(&put, 201).map(drop)
}

/// Where to go on. Some registries answer with a path, some with a whole URL.
fn location(head: &Head, expected: u16) -> Result<String> {
    if head.status != expected {
        bail!("a push was answered {}, expected {expected}", head.status);
    }
    let location = head.location.as_deref().context("an answer to a push without Location")?;
    Ok(match location.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|path| rest.get(path..)).unwrap_or("/").to_owned(),
        None => location.to_owned(),
    })
}
