//! The payload, served byte for byte: every repository, tag, manifest, blob and range of it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;

use crate::bench::Bench;
use crate::client;
use crate::fixtures;
use crate::fixtures::Manifest;
use crate::fixtures::Payload;
use crate::fixtures::Repository;
use crate::http::Endpoint;
use crate::image::digest;
use crate::server::Kind;
use crate::server::Setup;

/// Served read-only and read-write, and by Larder straight from the image too.
pub(crate) fn served(bench: &Bench) -> Result<String> {
    let payload = Payload::read()?;
    let root = bench.directory().join("root");
    fixtures::unpack_payload(&root)?;
    let before = fingerprint(&root)?;
    let mut requests = 0;
    let setups =
        [Setup::new(&root).read_only(), Setup::new(&root).read_only().configured(), Setup::new(&root)];
    for setup in setups {
        let registry = bench.registry(&setup)?;
        requests = check_all(&registry.endpoint, &payload, &root)?;
        registry.stop()?;
        ensure!(fingerprint(&root)? == before, "serving changed the tree");
    }
    if bench.against() == Kind::Larder {
        let registry = bench.registry(&Setup::new(&fixtures::iso()))?;
        check_all(&registry.endpoint, &payload, &root).context("from the ISO image")?;
        registry.stop()?;
    }
    Ok(format!(
        "{requests} requests each: read-only, from distribution's configuration, read-write, from the ISO"
    ))
}

/// Asks for everything that `payload` lists and compares it with the files under `root`.
pub(crate) fn check_all(endpoint: &Endpoint, payload: &Payload, root: &Path) -> Result<usize> {
    let mut requests = 1;
    let catalog = endpoint.get("/v2/_catalog?n=1000")?.expect(200)?.json()?;
    ensure!(
        strings(&catalog, "repositories") == payload.repositories.keys().collect::<Vec<_>>(),
        "catalog: {catalog}"
    );
    requests += check_repositories(endpoint, payload, "", root)?;
    Ok(requests)
}

/// Asks for everything in the repositories whose names begin with `prefix`, wherever they are served from.
pub(crate) fn check_repositories(
    endpoint: &Endpoint,
    payload: &Payload,
    prefix: &str,
    root: &Path,
) -> Result<usize> {
    let mut requests = 0;
    for (name, repository) in payload.repositories.iter().filter(|(name, _)| name.starts_with(prefix)) {
        requests += check_repository(endpoint, name, repository, root)
            .with_context(|| format!("repository {name}"))?;
    }
    Ok(requests)
}

fn check_repository(endpoint: &Endpoint, name: &str, repository: &Repository, root: &Path) -> Result<usize> {
    let tags = endpoint.get(&format!("/v2/{name}/tags/list"))?.expect(200)?.json()?;
    ensure!(strings(&tags, "tags") == repository.tags.keys().collect::<Vec<_>>(), "tags: {tags}");
    ensure!(tags.as_object().is_some_and(|object| object.len() == 2), "more than name and tags: {tags}");
    let mut requests = 1;
    for (tag, digest) in &repository.tags {
        let manifest = repository.manifests.get(digest).context("a tag without a manifest")?;
        check_manifest(endpoint, name, tag, (digest, manifest), root)?;
        requests += 2;
    }
    for (digest, manifest) in &repository.manifests {
        check_manifest(endpoint, name, digest, (digest, manifest), root)?;
        requests += 2;
    }
    for digest in &repository.blobs {
        requests += check_blob(endpoint, name, digest, &blob(root, digest)?)?;
    }
    Ok(requests)
}

fn check_manifest(
    endpoint: &Endpoint,
    name: &str,
    reference: &str,
    (digest, manifest): (&str, &Manifest),
    root: &Path,
) -> Result<()> {
    let path = format!("/v2/{name}/manifests/{reference}");
    for method in ["GET", "HEAD"] {
        let response = client::manifest(endpoint, method, &path)?
            .expect(200)?
            .expect_header("Docker-Content-Digest", digest)?;
        let response = response.expect_header("Content-Type", &manifest.media_type)?;
        let response = response.expect_header("Content-Length", &manifest.size.to_string())?;
        let bytes = if method == "GET" { blob(root, digest)? } else { Vec::new() };
        ensure!(response.body == bytes, "{method} {path}: other bytes");
    }
    Ok(())
}

fn check_blob(endpoint: &Endpoint, name: &str, digest: &str, bytes: &[u8]) -> Result<usize> {
    let path = format!("/v2/{name}/blobs/{digest}");
    let length = bytes.len();
    let whole = endpoint.get(&path)?.expect(200)?.expect_header("Docker-Content-Digest", digest)?;
    let whole = whole.expect_header("Content-Type", "application/octet-stream")?;
    ensure!(whole.body == bytes, "{path}: other bytes");
    let head = endpoint.head(&path)?.expect(200)?.expect_header("Content-Length", &length.to_string())?;
    ensure!(head.body.is_empty(), "HEAD {path} has a body");
    let middle = length / 2;
    for (range, first, last) in [
        ("bytes=0-0".to_owned(), 0, 0),
        (format!("bytes={middle}-"), middle, length - 1),
        ("bytes=-7".to_owned(), length - 7, length - 1),
        (format!("bytes=3-{}", length + 999), 3, length - 1),
    ] {
        let part = endpoint.request("GET", &path).header("Range", &range).send()?.expect(206)?;
        let part = part.expect_header("Content-Range", &format!("bytes {first}-{last}/{length}"))?;
        ensure!(Some(part.body.as_slice()) == bytes.get(first..=last), "{path} {range}: other bytes");
    }
    Ok(6)
}

/// The bytes that distribution wrote, read from its tree.
pub(crate) fn blob(root: &Path, name: &str) -> Result<Vec<u8>> {
    let (algorithm, encoded) = name.split_once(':').context("a digest")?;
    let prefix = encoded.get(..2).context("a digest")?;
    let path = root.join(format!("docker/registry/v2/blobs/{algorithm}/{prefix}/{encoded}/data"));
    let bytes = fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    ensure!(digest(&bytes) == name, "the fixture itself is damaged at {name}");
    Ok(bytes)
}

/// Every file and directory with its length and time: equal fingerprints mean that nothing was written.
pub(crate) fn fingerprint(root: &Path) -> Result<Vec<(PathBuf, u64, std::time::SystemTime)>> {
    let mut found = Vec::new();
    let mut waiting = vec![root.join("docker")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            found.push((entry.path(), about.len(), about.modified()?));
            if about.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The strings of the list that a JSON object holds under `key`.
pub(crate) fn strings<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |items| items.iter().filter_map(Value::as_str).collect())
}
