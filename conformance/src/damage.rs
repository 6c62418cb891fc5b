//! A damaged store: what is whole is served, what is damaged gives its own error, and no request a wrong
//! byte.
//!
//! Knows the three things that are damaged in the fixture. The same tree
//! undamaged says what the bytes should be.

use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

use crate::bench::Bench;
use crate::client;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::http::Response;
use crate::image::Content;
use crate::payload;
use crate::payload::strings;
use crate::server::Setup;
use crate::tree;

mod medium;
mod verified;

pub(crate) use medium::lost;
pub(crate) use verified::mended;

/// The blob that was cut to nothing.
const EMPTIED: (&str, &str) =
    ("a/b/c/d/e/f", "sha256:98f52a7cf658385b9297bd3c196a73faaddb0cd53284f91eb1a6c91086d9d82f");
/// The blob with one flipped bit.
const FLIPPED: (&str, &str) =
    ("metallb/operator", "sha256:84f73eca685bf0e6725c90fc78696ad425700a0e6f859fef5c33eb447c4322c1");
/// The tag whose link is empty.
const UNLINKED: (&str, &str) = ("library/app", "v2");

/// Read-only and read-write, every request of the payload.
pub(crate) fn served(bench: &Bench) -> Result<String> {
    let (truth, root) = (bench.directory().join("truth"), bench.directory().join("root"));
    fixtures::unpack_payload(&truth)?;
    fixtures::unpack_damaged(&root)?;
    let mut whole = 0;
    for setup in [Setup::new(&root).read_only(), Setup::new(&root)] {
        let registry = bench.registry(&setup)?;
        whole = check_whole(&registry.endpoint, &truth)?;
        check_damaged(&registry.endpoint, &truth)?;
        registry.stop()?;
    }
    let registry = bench.registry(&Setup::new(&root))?;
    mend(&registry.endpoint, &truth)?;
    registry.stop()?;
    std::fs::remove_file(root.join("docker/registry/v2/repositories/stray.txt"))?;
    tree::audit(&root).context("after everything damaged was pushed again")?;
    Ok(format!("{whole} whole things served, 3 damaged refused, all mended by pushing them again"))
}

/// Everything that is whole, byte for byte.
fn check_whole(endpoint: &Endpoint, truth: &Path) -> Result<usize> {
    let payload = Payload::read()?;
    let catalog = endpoint.get("/v2/_catalog?n=1000")?.expect(200)?.json()?;
    ensure!(
        strings(&catalog, "repositories") == payload.repositories.keys().collect::<Vec<_>>(),
        "strangers: {catalog}"
    );
    let mut whole = 0;
    for (name, repository) in &payload.repositories {
        let tags = endpoint.get(&format!("/v2/{name}/tags/list"))?.expect(200)?.json()?;
        let listed = strings(&tags, "tags");
        let is_whole = |tag: &str| (name.as_str(), tag) != UNLINKED;
        let expected = repository.tags.keys().filter(|tag| is_whole(tag));
        ensure!(expected.clone().all(|tag| listed.contains(&tag.as_str())), "{name}: {tags}");
        for reference in expected.chain(repository.manifests.keys()) {
            let digest = repository.tags.get(reference).unwrap_or(reference);
            let path = format!("/v2/{name}/manifests/{reference}");
            let found = client::manifest(endpoint, "GET", &path)?.expect(200)?;
            ensure!(found.body == payload::blob(truth, digest)?, "{path}: other bytes");
            whole += 1;
        }
        for digest in
            repository.blobs.iter().filter(|digest| ![EMPTIED.1, FLIPPED.1].contains(&digest.as_str()))
        {
            let content = Content { digest: digest.clone(), bytes: payload::blob(truth, digest)? };
            client::check_blob(endpoint, name, &content)?;
            whole += 1;
        }
    }
    Ok(whole)
}

/// Every way to ask for what is damaged.
fn check_damaged(endpoint: &Endpoint, truth: &Path) -> Result<()> {
    let (repository, tag) = UNLINKED;
    for method in ["GET", "HEAD"] {
        let answer = client::manifest(endpoint, method, &format!("/v2/{repository}/manifests/{tag}"))?;
        ensure!(answer.status >= 400, "{method} of the tag with an empty link: {}", answer.status);
        ensure!(
            method == "HEAD" || answer.json()?.pointer("/errors/0/message").is_some(),
            "no error: {}",
            answer.text()
        );
    }
    for (repository, digest) in [EMPTIED, FLIPPED] {
        let right = payload::blob(truth, digest)?;
        for range in [None, Some("bytes=0-"), Some("bytes=0-9"), Some("bytes=-20"), Some("bytes=0-1,5-6")] {
            let path = format!("/v2/{repository}/blobs/{digest}");
            never_wrong(endpoint, &path, range, &right).with_context(|| format!("{path} {range:?}"))?;
        }
    }
    let (repository, digest) = EMPTIED;
    let head = endpoint.head(&format!("/v2/{repository}/blobs/{digest}"))?;
    ensure!(
        head.status != 200,
        "HEAD of a blob that is cut to nothing says that it is there: nobody would push it again"
    );
    Ok(())
}

/// A damaged blob gives an error, or a body that breaks off before it is wrong: never a whole response.
fn never_wrong(endpoint: &Endpoint, path: &str, range: Option<&str>, right: &[u8]) -> Result<()> {
    let mut stream = endpoint.connect()?;
    let range = range.map_or_else(String::new, |range| format!("Range: {range}\r\n"));
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{range}Connection: close\r\n\r\n")?;
    let mut raw = Vec::new();
    // The connection may be broken off: what came before that counts.
    drop(stream.read_to_end(&mut raw));
    match Response::read(raw.as_slice(), "GET", path) {
        Ok(response) if response.status >= 400 => {
            ensure!(
                response.json()?.pointer("/errors/0/code").is_some(),
                "an error without a code: {}",
                response.text()
            );
            Ok(())
        }
        // A part that does not hold the damage may be served.
        Ok(response) if response.status == 206 && is_part(&response, right) => Ok(()),
        Ok(response) => {
            anyhow::bail!("{} with {} bytes as if all was well", response.status, response.body.len())
        }
        Err(_) => {
            let body = raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(raw.len(), |at| at + 4);
            let body = raw.get(body..).unwrap_or_default();
            ensure!(right.starts_with(body), "{} bytes that are not those of the blob", body.len());
            Ok(())
        }
    }
}

/// Whether a single part holds the right bytes.
fn is_part(response: &Response, right: &[u8]) -> bool {
    let range = response.header("Content-Range").and_then(|range| range.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split('-').next()).and_then(|first| first.parse::<usize>().ok());
    first.and_then(|first| right.get(first..first + response.body.len())) == Some(response.body.as_slice())
}

/// What is pushed again replaces what is damaged.
fn mend(endpoint: &Endpoint, truth: &Path) -> Result<()> {
    for (repository, digest) in [EMPTIED, FLIPPED] {
        let blob = Content { digest: digest.to_owned(), bytes: payload::blob(truth, digest)? };
        let upload = client::start_upload(endpoint, repository)?;
        let upload = endpoint.request("PATCH", &upload).body(&blob.bytes).send()?.expect(202)?.location()?;
        client::finish_upload(endpoint, &upload, digest)?;
        client::check_blob(endpoint, repository, &blob).context("after it was pushed again")?;
    }
    let (repository, tag) = UNLINKED;
    let payload = Payload::read()?;
    let digest = payload.repositories.get(repository).and_then(|repository| repository.tags.get(tag));
    let manifest = payload::blob(truth, digest.context("the fixture has this tag")?)?;
    client::put_manifest(endpoint, repository, tag, crate::image::MANIFEST, &manifest)?.expect(201)?;
    let found =
        client::manifest(endpoint, "GET", &format!("/v2/{repository}/manifests/{tag}"))?.expect(200)?;
    ensure!(found.body == manifest, "another manifest under the mended tag");
    Ok(())
}
