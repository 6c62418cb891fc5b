//! Images out of nothing: real layers, configs and manifests that every client accepts.

use std::io::Write as _;

use anyhow::Result;
use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use sha2::Sha256;

pub(crate) mod layout;

/// The media type of an OCI image manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Bytes and what they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
}

/// An image: what must be pushed, in this order.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its layers.
    pub(crate) layers: Vec<Layer>,
    /// Its config.
    pub(crate) config: Content,
    /// Its manifest.
    pub(crate) manifest: Content,
}

/// A layer, compressed.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// As it is pushed.
    pub(crate) content: Content,
    diff_id: String,
}

impl Content {
    /// `bytes` under their own digest.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: digest(&bytes), bytes }
    }

    /// `length` random bytes.
    pub(crate) fn random(random: &mut Rng, length: usize) -> Self {
        Self::new(random_bytes(random, length))
    }

    /// The descriptor of these bytes.
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

impl Layer {
    /// A gzipped archive of one file with `length` random bytes.
    pub(crate) fn random(random: &mut Rng, length: usize) -> Result<Self> {
        let name = format!("data/{:016x}", random.u64(..));
        Self::of(&name, &random_bytes(random, length))
    }

    /// A gzipped archive of one file.
    pub(crate) fn of(name: &str, content: &[u8]) -> Result<Self> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, name, content)?;
        Self::compressed(&archive.into_inner()?, Compression::none())
    }

    /// This archive, compressed.
    pub(crate) fn of_archive(archive: &[u8]) -> Result<Self> {
        Self::compressed(archive, Compression::fast())
    }

    fn compressed(archive: &[u8], compression: Compression) -> Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), compression);
        gzip.write_all(archive)?;
        Ok(Self { content: Content::new(gzip.finish()?), diff_id: digest(archive) })
    }
}

impl Image {
    /// An image of random layers of these lengths.
    pub(crate) fn random(random: &mut Rng, lengths: &[usize]) -> Result<Self> {
        let layers = lengths.iter().map(|length| Layer::random(random, *length)).collect::<Result<_>>()?;
        Ok(Self::of(layers))
    }

    /// The image of these layers.
    pub(crate) fn of(layers: Vec<Layer>) -> Self {
        Self::that_runs(layers, &json!({}))
    }

    /// The image of these layers, whose containers are run so.
    pub(crate) fn that_runs(layers: Vec<Layer>, run: &Value) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": run,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = Content::new(config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(CONFIG),
            "layers": layers.iter().map(|layer| layer.content.descriptor(LAYER)).collect::<Vec<_>>(),
        });
        Self { config, layers, manifest: Content::new(manifest.to_string().into_bytes()) }
    }

    /// Every blob: layers, then config.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Content> {
        self.layers.iter().map(|layer| &layer.content).chain([&self.config])
    }
}

/// The digest of `bytes` by sha256.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random_bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}
