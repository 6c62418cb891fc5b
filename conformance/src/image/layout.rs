//! OCI image layouts on disk: what clients push from and pull into.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::Content;
use super::INDEX;
use super::Image;
use super::MANIFEST;

/// Writes `image` as a layout under the name `v1`.
pub(crate) fn write(image: &Image, directory: &Path) -> Result<()> {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    for content in image.blobs().chain([&image.manifest]) {
        fs::write(blobs.join(content.digest.trim_start_matches("sha256:")), &content.bytes)?;
    }
    let mut entry = image.manifest.descriptor(MANIFEST);
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("annotations".into(), json!({ "org.opencontainers.image.ref.name": "v1" }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    fs::write(directory.join("index.json"), index.to_string())?;
    Ok(fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?)
}

/// The layout holds `image`, every byte of it.
pub(crate) fn check(image: &Image, directory: &Path) -> Result<()> {
    image.blobs().chain([&image.manifest]).try_for_each(|content| check_content(content, directory))
}

/// The layout holds the config of `image`, and so, by the digests in it, its layers uncompressed.
pub(crate) fn check_config(image: &Image, directory: &Path) -> Result<()> {
    check_content(&image.config, directory)
}

fn check_content(content: &Content, directory: &Path) -> Result<()> {
    let path = directory.join("blobs/sha256").join(content.digest.trim_start_matches("sha256:"));
    let bytes = fs::read(&path).with_context(|| format!("`{}` was not pulled", path.display()))?;
    ensure!(bytes == content.bytes, "`{}` holds other bytes", path.display());
    Ok(())
}
