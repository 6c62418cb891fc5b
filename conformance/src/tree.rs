//! An auditor of distribution's tree that shares no code with the registry it audits.
//!
//! Knows the layout as distribution documents it: every blob has its digest,
//! every link names a blob that is there, every tag's manifest is a revision of
//! its repository, every manifest's children are linked beside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use sha2::Sha512;

use crate::image::hex;

/// What was found whole.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Blobs that have their digest.
    pub(crate) blobs: BTreeSet<String>,
    /// Repositories.
    pub(crate) repositories: usize,
    /// Tags whose manifest is there.
    pub(crate) tags: usize,
    /// Unfinished uploads: no fault.
    pub(crate) uploads: usize,
    faults: Vec<String>,
}

/// Reads the whole tree under `root`.
///
/// # Errors
/// Anything in it is wrong; every fault is named.
pub(crate) fn audit(root: &Path) -> Result<Audit> {
    let base = root.join("docker/registry/v2");
    let mut audit = Audit::default();
    for path in files(&base.join("blobs"))? {
        audit.blob(&base, &path)?;
    }
    for repository in repositories(&base.join("repositories"))? {
        audit.repositories += 1;
        audit.repository(&base, &repository)?;
    }
    if !audit.faults.is_empty() {
        bail!(
            "{} faults in the tree under `{}`:\n{}",
            audit.faults.len(),
            root.display(),
            audit.faults.join("\n")
        );
    }
    Ok(audit)
}

impl Audit {
    fn blob(&mut self, base: &Path, path: &Path) -> Result<()> {
        let relative = path.strip_prefix(base)?.display().to_string();
        let parts: Vec<_> = relative.split('/').collect();
        let ["blobs", algorithm, prefix, encoded, "data"] = parts.as_slice() else {
            return self.fault(format!("{relative}: a stranger among the blobs"));
        };
        let bytes = fs::read(path)?;
        let found = match *algorithm {
            "sha256" => hex(&Sha256::digest(&bytes)),
            "sha512" => hex(&Sha512::digest(&bytes)),
            _ => return self.fault(format!("{relative}: an unknown algorithm")),
        };
        if found != *encoded || !encoded.starts_with(prefix) {
            return self.fault(format!("{relative}: its {} bytes have the digest {found}", bytes.len()));
        }
        self.blobs.insert(format!("{algorithm}:{encoded}"));
        Ok(())
    }

    fn repository(&mut self, base: &Path, repository: &Path) -> Result<()> {
        let layers = self.links(&repository.join("_layers"))?;
        let revisions = self.links(&repository.join("_manifests/revisions"))?;
        for digest in &revisions {
            self.children(base, repository, digest, &layers, &revisions)?;
        }
        for tag in entries(&repository.join("_manifests/tags"))? {
            self.tag(&tag, &revisions)?;
        }
        self.uploads += entries(&repository.join("_uploads"))?.len();
        Ok(())
    }

    /// Every `ALGORITHM/ENCODED/link` under `directory`, checked.
    fn links(&mut self, directory: &Path) -> Result<BTreeSet<String>> {
        let mut digests = BTreeSet::new();
        for path in files(directory)? {
            let relative = path.strip_prefix(directory)?.display().to_string();
            let parts: Vec<_> = relative.split('/').collect();
            let [algorithm, encoded, "link"] = parts.as_slice() else {
                self.fault(format!("{}: a stranger among the links", path.display()))?;
                continue;
            };
            let digest = format!("{algorithm}:{encoded}");
            self.link(&path, Some(&digest))?;
            digests.insert(digest);
        }
        Ok(digests)
    }

    /// A link names a blob that is there, and the digest that its path says.
    fn link(&mut self, path: &Path, expected: Option<&str>) -> Result<Option<String>> {
        let content = fs::read_to_string(path)?;
        if expected.is_some_and(|digest| digest != content) {
            self.fault(format!("{}: it holds {content:?}", path.display()))?;
        } else if !self.blobs.contains(&content) {
            self.fault(format!("{}: no whole blob is called {content:?}", path.display()))?;
        } else {
            return Ok(Some(content));
        }
        Ok(None)
    }

    fn tag(&mut self, tag: &Path, revisions: &BTreeSet<String>) -> Result<()> {
        let current = tag.join("current/link");
        if !current.exists() {
            return self.fault(format!("{}: a tag without a current link", tag.display()));
        }
        let index = self.links(&tag.join("index"))?;
        let Some(digest) = self.link(&current, None)? else { return Ok(()) };
        if !revisions.contains(&digest) {
            self.fault(format!("{}: {digest} is no revision of its repository", tag.display()))?;
        }
        if !index.contains(&digest) {
            self.fault(format!("{}: {digest} is not in its index", tag.display()))?;
        }
        self.tags += 1;
        Ok(())
    }

    fn children(
        &mut self,
        base: &Path,
        repository: &Path,
        digest: &str,
        layers: &BTreeSet<String>,
        revisions: &BTreeSet<String>,
    ) -> Result<()> {
        if !self.blobs.contains(digest) {
            return Ok(());
        }
        let (algorithm, encoded) = digest.split_once(':').context("a digest")?;
        let prefix = encoded.get(..2).context("a digest")?;
        let bytes = fs::read(base.join(format!("blobs/{algorithm}/{prefix}/{encoded}/data")))?;
        let manifest: Value =
            serde_json::from_slice(&bytes).with_context(|| format!("the manifest {digest}"))?;
        let list = |key: &str| manifest.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let blobs = list("layers").into_iter().chain(manifest.get("config").cloned());
        for (child, linked) in blobs
            .map(|child| (child, layers))
            .chain(list("manifests").into_iter().map(|child| (child, revisions)))
        {
            let child = child.get("digest").and_then(Value::as_str).unwrap_or_default();
            if !linked.contains(child) {
                self.fault(format!("{}: {digest} needs {child}, which is not linked", repository.display()))?;
            }
        }
        Ok(())
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "a fault ends the look at one file, in the same way as an error"
    )]
    fn fault(&mut self, fault: String) -> Result<()> {
        self.faults.push(fault);
        Ok(())
    }
}

/// Every directory below `base` that has a `_manifests`, `_layers` or `_uploads`.
fn repositories(base: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![base.to_owned()];
    while let Some(directory) = waiting.pop() {
        let inside = entries(&directory)?;
        let own =
            |path: &&PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"_"));
        if inside.iter().any(|path| own(&path)) {
            found.push(directory);
        }
        waiting.extend(inside.iter().filter(|path| !own(path) && path.is_dir()).cloned());
    }
    found.sort();
    Ok(found)
}

/// Every file below `directory`, which need not be there.
pub(crate) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        let (directories, files): (Vec<_>, Vec<_>) =
            entries(&directory)?.into_iter().partition(|path| path.is_dir());
        found.extend(files);
        waiting.extend(directories);
    }
    found.sort();
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn the_payload_is_whole() {
        let root = tempfile::tempdir().unwrap();
        fixtures::unpack_payload(root.path()).unwrap();
        let audit = audit(root.path()).unwrap();
        assert_eq!((audit.repositories, audit.uploads), (10, 1));
    }

    #[test]
    fn each_damage_is_named() {
        let root = tempfile::tempdir().unwrap();
        fixtures::unpack_damaged(root.path()).unwrap();
        let error = audit(root.path()).unwrap_err().to_string();
        for part in ["its 0 bytes have", "library/app/_manifests/tags/v2", "metallb"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn a_manifest_whose_layer_is_not_linked_is_a_fault() {
        let root = tempfile::tempdir().unwrap();
        fixtures::unpack_payload(root.path()).unwrap();
        let layers = root.path().join("docker/registry/v2/repositories/library/busybox/_layers");
        fs::remove_dir_all(layers).unwrap();
        assert!(audit(root.path()).unwrap_err().to_string().contains("which is not linked"));
    }
}
