//! Images: a manifest, a config and layers.
//!
//! Knows the shape of an OCI image manifest. Its layers are noise, which is all
//! that a registry sees of a layer.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use storage_layout::Digest;

use crate::data::Noise;
use crate::data::digest;

/// The size of a manifest here, reached by an annotation: what release images have, 2 to 4 KiB.
pub(crate) const MANIFEST_SIZE: usize = 3 * 1024;

/// What a config holds beside its few fields: as much as a build's history does.
const CONFIG_NOISE: usize = 4 * 1024;

/// An image in memory.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) manifest: Vec<u8>,
    /// The layers, then the config.
    pub(crate) blobs: Vec<(Digest, Arc<[u8]>)>,
}

impl Image {
    /// An image with a config of its own over these layers.
    pub(crate) fn over(layers: &[(Digest, Arc<[u8]>)], seed: u64) -> Result<Self> {
        let config: Arc<[u8]> = config(seed).into_bytes().into();
        let config = (digest(&config)?, config);
        let manifest = padded(&config, layers);
        let blobs = layers.iter().cloned().chain([config]).collect();
        Ok(Self { digest: digest(&manifest)?, manifest, blobs })
    }
}

/// A layer of `size` bytes.
pub(crate) fn layer(seed: u64, size: usize) -> Result<(Digest, Arc<[u8]>)> {
    let content: Arc<[u8]> = Noise(seed).bytes(size).into();
    Ok((digest(&content)?, content))
}

fn config(seed: u64) -> String {
    let noise = hex(&Noise(seed).bytes(CONFIG_NOISE / 2));
    json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers" }, "author": noise })
        .to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn padded(config: &(Digest, Arc<[u8]>), layers: &[(Digest, Arc<[u8]>)]) -> Vec<u8> {
    let bare = manifest(config, layers, "").len();
    let padding = "x".repeat(MANIFEST_SIZE.saturating_sub(bare));
    manifest(config, layers, &padding).into_bytes()
}

fn manifest(config: &(Digest, Arc<[u8]>), layers: &[(Digest, Arc<[u8]>)], padding: &str) -> String {
    let descriptor = |kind: &str, (digest, content): &(Digest, Arc<[u8]>)| {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest.to_string(),
            "size": content.len(),
        })
    };
    let layers: Vec<_> = layers.iter().map(|layer| descriptor("layer.v1.tar+gzip", layer)).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": layers,
        "annotations": { "org.opencontainers.image.description": padding },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_manifest_has_its_size_and_names_its_blobs() {
        let layers = [layer(1, 100).unwrap(), layer(2, 200).unwrap()];
        let image = Image::over(&layers, 3).unwrap();
        assert_eq!(image.manifest.len(), MANIFEST_SIZE);
        assert_eq!(image.digest, digest(&image.manifest).unwrap());
        let text = String::from_utf8(image.manifest).unwrap();
        assert!(image.blobs.iter().all(|(digest, _)| text.contains(&digest.to_string())));
        assert_eq!(image.blobs.len(), 3);
    }
}
