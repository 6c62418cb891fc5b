//! One repository: its links, and whether each manifest has all that it points at.
//!
//! Knows what a link must hold and which of a manifest's parts a client cannot do without. Does not know what
//! a blob holds: whether one is whole was found out before.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::maintenance::tree::LONGEST_LINK;
use crate::maintenance::tree::Tree;
use crate::maintenance::verify::Checked;
use crate::maintenance::verify::LinkFault;
use crate::maintenance::verify::Need;
use crate::maintenance::verify::Problem;
use crate::maintenance::verify::blobs::Blobs;
use crate::maintenance::verify::blobs::chain;
use crate::oci::Child;
use crate::oci::Manifest;
use crate::oci::ManifestError;
use crate::oci::Role;
use crate::oci::children;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Walk;

/// What was found in the repositories so far.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) checked: Checked,
    pub(super) problems: Vec<Problem>,
    /// What is not stored, and who needs it.
    pub(super) missing: BTreeMap<Digest, Vec<Need>>,
    /// Damaged blobs, and the repositories that link them.
    pub(super) linked: BTreeMap<Digest, Vec<RepositoryName>>,
    pub(super) others: Vec<(String, Sight)>,
    pub(super) sparse: u64,
}

/// A repository's links, those that are damaged included: what they lead to is in their paths.
#[derive(Default)]
struct Repository {
    layers: BTreeSet<Digest>,
    revisions: BTreeSet<Digest>,
    tags: Vec<(Tag, Digest)>,
}

impl Links {
    /// Checks one repository.
    pub(super) fn check(&mut self, tree: Tree<'_>, name: &RepositoryName, blobs: &Blobs) {
        self.checked.repositories += 1;
        let mut repository = Repository::default();
        for source in tree.sources() {
            for sight in Walk::repository(source, name) {
                match sight {
                    Sight::Entry(entry) => self.check_entry(source, entry, &mut repository),
                    other => self.others.push((source.origin().display().to_string(), other)),
                }
            }
        }
        for digest in
            repository.layers.union(&repository.revisions).filter(|it| blobs.damaged.contains_key(it))
        {
            self.linked.entry(*digest).or_default().push(name.clone());
        }
        for manifest in &repository.revisions {
            self.check_manifest(tree, name, manifest, &repository, blobs);
        }
        for (tag, digest) in repository.tags.drain(..) {
            if !repository.revisions.contains(&digest) {
                self.problems.push(Problem::Dangling { repository: name.clone(), tag, digest });
            }
        }
    }

    fn check_entry(&mut self, source: &dyn Source, entry: Entry, repository: &mut Repository) {
        let named = match &entry {
            Entry::LayerLink(_, digest) => {
                repository.layers.insert(*digest);
                Some(*digest)
            }
            Entry::RevisionLink(_, digest) => {
                repository.revisions.insert(*digest);
                Some(*digest)
            }
            Entry::TagIndex(_, _, digest) => Some(*digest),
            Entry::TagCurrent(..) => None,
            Entry::Blob(_)
            | Entry::UploadData(..)
            | Entry::UploadStartedAt(..)
            | Entry::UploadHashState(..) => {
                return;
            }
        };
        match read_link(source, &entry, named) {
            Ok(None) => {}
            Ok(Some(digest)) => {
                self.checked.links += 1;
                match entry {
                    Entry::TagCurrent(_, tag) => repository.tags.push((tag, digest)),
                    // A blob that was pushed by its sha512 lies under its sha256, and the link says so.
                    Entry::LayerLink(..) => drop(repository.layers.insert(digest)),
                    _ => {}
                }
            }
            Err(fault) => {
                self.checked.links += 1;
                let path = source.origin().join(entry.path().as_str()).display().to_string();
                self.problems.push(Problem::Link { entry, path, fault });
            }
        }
    }

    fn check_manifest(
        &mut self,
        tree: Tree<'_>,
        name: &RepositoryName,
        manifest: &Digest,
        repository: &Repository,
        blobs: &Blobs,
    ) {
        let need = Need { repository: name.clone(), manifest: *manifest };
        if !blobs.whole.contains_key(manifest) {
            if !blobs.is_known(manifest) {
                self.missing.entry(*manifest).or_default().push(need);
            }
            return;
        }
        self.checked.manifests += 1;
        let content = tree.manifest(manifest).ok().flatten().unwrap_or_default();
        let parsed = match Manifest::parse(&content, None) {
            Ok(parsed) => parsed,
            // Docker's first format is served as it is, and says nothing that can be looked for.
            Err(ManifestError::SchemaVersion(1)) => return,
            Err(error) => {
                let (repository, why) = (name.clone(), error.to_string());
                return self.problems.push(Problem::NotAManifest { repository, digest: *manifest, why });
            }
        };
        for child in children(&parsed) {
            self.check_child(&need, &child, repository, blobs);
        }
    }

    fn check_child(&mut self, need: &Need, child: &Child<'_>, repository: &Repository, blobs: &Blobs) {
        let digest = child.descriptor.digest;
        let is_listed = match child.role {
            Role::Config | Role::Layer => false,
            Role::Manifest | Role::Blob => true,
        };
        let is_linked = repository.layers.contains(&digest) || repository.revisions.contains(&digest);
        let is_known =
            blobs.is_known(&digest) || (is_linked && digest.algorithm() != storage_layout::Algorithm::Sha256);
        match (is_known, is_linked) {
            (true, true) => {}
            _ if child.is_optional() => {}
            // An index may list platforms that were not mirrored.
            (_, false) if is_listed => self.sparse += 1,
            (true, false) => self.problems.push(Problem::Unlinked { digest, need: need.clone() }),
            (false, _) => {
                let needs = self.missing.entry(digest).or_default();
                // A manifest that is listed is looked for in its own right.
                if !repository.revisions.contains(&digest) {
                    needs.push(need.clone());
                }
            }
        }
    }
}

/// The digest in a link; `None` where the link went meanwhile. `named` is the one in its path.
fn read_link(source: &dyn Source, entry: &Entry, named: Option<Digest>) -> Result<Option<Digest>, LinkFault> {
    let content = match source.read(entry, LONGEST_LINK) {
        Ok(Some(content)) => content,
        Ok(None) => return Ok(None),
        Err(error) => return Err(LinkFault::Unreadable { why: chain(&error) }),
    };
    if content.is_empty() {
        return Err(LinkFault::Empty);
    }
    let digest = parse_link(&content).map_err(|error| LinkFault::NotADigest { why: error.to_string() })?;
    match named {
        // The same bytes by another algorithm: which those are only hashing them twice would tell.
        Some(named) if named != digest && named.algorithm() == digest.algorithm() => {
            Err(LinkFault::Elsewhere { to: digest })
        }
        _ => Ok(Some(digest)),
    }
}
