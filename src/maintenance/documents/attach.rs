//! What is said about roots that come and go.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::maintenance::releases::ReleaseStatus;

/// A root that is to be attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    /// A directory, an image's file, or a block device: an absolute path, as the server sees it.
    pub path: PathBuf,
}

/// What is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedRoots {
    /// In the order of their paths.
    pub roots: Vec<AttachedRoot>,
}

/// A root that was attached since the server began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedRoot {
    /// Where it is.
    pub path: PathBuf,
    /// The releases that it holds.
    pub releases: Vec<AttachedRelease>,
    /// Why it cannot be read any more, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A release that an attached root holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedRelease {
    /// The digest of the release image.
    pub digest: String,
    /// Its version, where the payload's list can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The bundle that makes it known to the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// Whether all of it is there.
    pub complete: bool,
}

impl AttachedRelease {
    /// What people call it: the bundle, the version, or the digest, whichever there is first.
    pub fn name(&self) -> &str {
        self.bundle.as_deref().or(self.version.as_deref()).unwrap_or(&self.digest)
    }
}

impl From<&ReleaseStatus> for AttachedRelease {
    fn from(release: &ReleaseStatus) -> Self {
        Self {
            digest: release.image.digest.to_string(),
            version: release.version.clone(),
            bundle: release.bundle.as_ref().map(ToString::to_string),
            complete: release.is_complete(),
        }
    }
}
