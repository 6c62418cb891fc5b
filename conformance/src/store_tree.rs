//! Stores written straight onto the disk, as distribution lays them out: thousands of images in a moment.
//!
//! Knows the paths. Nothing here is durable, and no registry may be serving the tree meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;

use crate::image::Content;
use crate::image::Image;

/// Writes an image into a repository, under a tag.
pub(crate) fn write_image(root: &Path, repository: &str, tag: &str, image: &Image) -> Result<()> {
    for blob in image.blobs() {
        write_blob(root, blob)?;
        write_link(root, repository, "_layers", &blob.digest)?;
    }
    write_manifest(root, repository, &image.manifest)?;
    write_tag(root, repository, tag, &image.manifest.digest)
}

/// Tags a manifest.
pub(crate) fn write_tag(root: &Path, repository: &str, tag: &str, digest: &str) -> Result<()> {
    let at = format!("_manifests/tags/{tag}");
    write_link(root, repository, &format!("{at}/index"), digest)?;
    let current = repositories(root).join(repository).join(at).join("current");
    fs::create_dir_all(&current)?;
    Ok(fs::write(current.join("link"), digest)?)
}

/// Writes a manifest into a repository, without a tag.
pub(crate) fn write_manifest(root: &Path, repository: &str, manifest: &Content) -> Result<()> {
    write_blob(root, manifest)?;
    write_link(root, repository, "_manifests/revisions", &manifest.digest)
}

/// Writes a blob, which nothing links yet.
pub(crate) fn write_blob(root: &Path, blob: &Content) -> Result<()> {
    let directory = blobs(root).join(prefix(&blob.digest)?).join(hex(&blob.digest));
    fs::create_dir_all(&directory)?;
    let data = directory.join("data");
    if data.exists() { Ok(()) } else { Ok(fs::write(data, &blob.bytes)?) }
}

/// Links a blob below a directory of a repository.
pub(crate) fn write_link(root: &Path, repository: &str, below: &str, digest: &str) -> Result<()> {
    let directory = repositories(root).join(repository).join(below).join("sha256").join(hex(digest));
    fs::create_dir_all(&directory)?;
    Ok(fs::write(directory.join("link"), digest)?)
}

/// The digests of all blobs that are stored.
pub(crate) fn stored(root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for prefix in fs::read_dir(blobs(root))? {
        for blob in fs::read_dir(prefix?.path())? {
            let blob = blob?;
            if blob.path().join("data").exists() {
                found.insert(format!("sha256:{}", blob.file_name().to_string_lossy()));
            }
        }
    }
    Ok(found)
}

fn blobs(root: &Path) -> PathBuf {
    root.join("docker/registry/v2/blobs/sha256")
}

fn repositories(root: &Path) -> PathBuf {
    root.join("docker/registry/v2/repositories")
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

fn prefix(digest: &str) -> Result<&str> {
    hex(digest).get(..2).context("a digest")
}
