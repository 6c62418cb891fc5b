//! The release payload that distribution 2.8.2 wrote, and what must be found in it.
//!
//! Knows where the fixtures lie and how they unpack. `payload.json` is the
//! truth here: it was written by the tool that pushed the payload.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use flate2::read::GzDecoder;
use serde::Deserialize;

/// What was pushed.
#[derive(Debug, Deserialize)]
pub(crate) struct Payload {
    /// Every repository, by name.
    pub(crate) repositories: BTreeMap<String, Repository>,
    /// The size of every blob and manifest, by digest.
    pub(crate) blobs: BTreeMap<String, u64>,
    /// The release among it.
    pub(crate) release: Release,
}

/// What one repository holds.
#[derive(Debug, Deserialize)]
pub(crate) struct Repository {
    /// Digests by tag.
    pub(crate) tags: BTreeMap<String, String>,
    /// Manifests by digest.
    pub(crate) manifests: BTreeMap<String, Manifest>,
    /// Digests of layers and configs.
    pub(crate) blobs: Vec<String>,
}

/// How a manifest is described.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// What its Content-Type must be.
    #[serde(rename = "mediaType")]
    pub(crate) media_type: String,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// The release of the payload.
#[derive(Debug, Deserialize)]
pub(crate) struct Release {
    /// The digest of the release image.
    pub(crate) digest: String,
    /// The digests of its components, by name.
    pub(crate) components: BTreeMap<String, String>,
}

impl Payload {
    /// Reads `payload.json`.
    pub(crate) fn read() -> Result<Self> {
        serde_json::from_reader(File::open(directory().join("payload.json"))?).context("reading payload.json")
    }
}

/// Unpacks the payload's store under `root`.
pub(crate) fn unpack_payload(root: &Path) -> Result<()> {
    unpack("payload-store.tar.gz", root)
}

/// Unpacks the same store with three things damaged and strangers in the tree.
pub(crate) fn unpack_damaged(root: &Path) -> Result<()> {
    unpack("damaged-store.tar.gz", root)
}

/// The payload's store as an ISO image.
pub(crate) fn iso() -> PathBuf {
    directory().join("payload.iso")
}

fn unpack(name: &str, root: &Path) -> Result<()> {
    let archive =
        File::open(directory().join(name)).with_context(|| format!("opening the fixture {name}"))?;
    std::fs::create_dir_all(root)?;
    tar::Archive::new(GzDecoder::new(archive)).unpack(root).with_context(|| format!("unpacking {name}"))
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
