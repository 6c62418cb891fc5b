//! Pulling, pushing and deleting manifests and tags (end-3, end-7, end-9).

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use quick_cache::sync::Cache;
use sha2::Digest as _;
use sha2::Sha256;
use sha2::Sha512;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::oci::Manifest;
use crate::oci::ManifestType;
use crate::oci::Reference;
use crate::oci::Role;
use crate::oci::children;
use crate::oci::stored_media_type;
use crate::registry::Error;
use crate::registry::Fetched;
use crate::registry::Missing;
use crate::registry::Reach;
use crate::registry::Registry;
use crate::registry::Sparse;
use crate::registry::error::is_damage;
use crate::store::LinkedBlob;
use crate::store::LinkedTag;

/// A manifest as it was pushed, byte for byte, under the digest it was asked for.
#[derive(Clone, Debug)]
pub struct StoredManifest {
    /// Of `content`.
    pub digest: Digest,
    /// The document.
    pub content: Bytes,
}

/// A manifest by tag or by digest, where it is to be looked for.
#[derive(Debug)]
pub struct LinkedReference {
    reference: Reference,
    linked: Linked,
}

#[derive(Debug)]
enum Linked {
    Tag(LinkedTag),
    Digest(LinkedBlob),
}

impl LinkedReference {
    /// A manifest of a repository.
    pub fn new(name: &RepositoryName, reference: Reference) -> Self {
        let linked = match &reference {
            Reference::Tag(tag) => Linked::Tag(LinkedTag::new(name, tag)),
            Reference::Digest(digest) => Linked::Digest(LinkedBlob::revision(name, digest)),
        };
        Self { reference, linked }
    }

    /// The tag or the digest.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }
}

/// A manifest that was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Of the document, in the algorithm of the reference it was pushed under.
    pub digest: Digest,
    /// The manifest it refers to.
    pub subject: Option<Digest>,
    /// What it is made of and the repository does not hold, unless that is allowed to be elsewhere.
    pub missing: Vec<Digest>,
}

impl Registry {
    /// A manifest of a repository, by tag or by digest.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], also where there is no such repository; [`Error::ManifestDamaged`]; the store's.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        reach: Reach,
    ) -> Result<StoredManifest, Error> {
        if let Some(manifest) = self.stored_manifest(name, reference).await? {
            return Ok(manifest);
        }
        // On the heap, so that what is here does not pay for the size of what follows.
        Box::pin(self.fetched_manifest(name, reference, reach)).await
    }

    /// The same, where it is in memory and nothing has to be waited for; `None` says nothing.
    pub fn manifest_at_once(&self, reference: &LinkedReference) -> Option<StoredManifest> {
        let stored = |revision: &LinkedBlob| {
            let content = self.store().revision_at_once(revision)?;
            Some(StoredManifest { digest: *revision.digest(), content })
        };
        match &reference.linked {
            Linked::Digest(revision) => stored(revision),
            Linked::Tag(tag) => stored(&*self.store().tag_at_once(tag)?),
        }
    }

    /// What a manifest says it is.
    pub fn media_type(&self, StoredManifest { digest, content }: &StoredManifest) -> Cow<'static, str> {
        self.inner.media_types.of(digest, content)
    }

    async fn fetched_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        reach: Reach,
    ) -> Result<StoredManifest, Error> {
        let stored = match self.fetch(Missing::Manifest(name, reference), reach).await {
            Fetched::Stored => self.stored_manifest(name, reference).await?,
            Fetched::Manifest(digest) => self.stored_manifest(name, &Reference::Digest(digest)).await?,
            Fetched::Arriving(_) | Fetched::Absent => None,
        };
        stored.ok_or_else(|| Error::ManifestUnknown(reference.clone()))
    }

    /// Takes in a manifest under `reference`, and under `tags` as well.
    ///
    /// # Errors
    /// [`Error::ManifestInvalid`], [`Error::DigestMismatch`], [`Error::ManifestBlobUnknown`] where sparse manifests
    /// are refused, [`Error::ReadOnly`], or the store's.
    pub async fn put_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        tags: &[Tag],
        content: Bytes,
        content_type: Option<&str>,
    ) -> Result<Pushed, Error> {
        let writer = self.writer()?;
        let digest = agreed_digest(reference, &content)?;
        let manifest = Manifest::parse(&content, content_type)?;
        let missing = self.missing_children(name, &manifest).await?;
        if self.inner.rules.sparse == Sparse::Refuse && !missing.is_empty() {
            return Err(Error::ManifestBlobUnknown(missing));
        }
        match reference {
            Reference::Tag(tag) => {
                writer.put_manifest(name, &digest, content, std::slice::from_ref(tag)).await?;
            }
            Reference::Digest(_) => writer.put_manifest(name, &digest, content, tags).await?,
        }
        Ok(Pushed { digest, subject: manifest.subject().map(|it| it.digest), missing })
    }

    /// Removes a tag, which leaves the manifest; or a manifest, with all tags that point at it.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], or that nothing can be deleted.
    pub async fn delete_manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<(), Error> {
        let deleter = self.deleter()?;
        let found = match reference {
            Reference::Tag(tag) => deleter.delete_tag(name, tag).await?,
            Reference::Digest(digest) => deleter.delete_revision(name, digest).await?,
        };
        if found { Ok(()) } else { Err(Error::ManifestUnknown(reference.clone())) }
    }

    /// What the store has under a reference. A tag that points at a manifest which the repository does not
    /// have is no tag.
    pub(super) async fn stored_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<StoredManifest>, Error> {
        let damaged = |source| match is_damage(&source) {
            true => Error::ManifestDamaged { reference: reference.clone(), source },
            false => Error::Store(source),
        };
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match self.store().tag(name, tag).await.map_err(damaged)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        if !self.store().has_revision(name, &digest).await.map_err(damaged)? {
            return Ok(None);
        }
        let content = self.store().content(&digest, Manifest::MAX_LEN as u64).await.map_err(damaged)?;
        Ok(content.map(|content| StoredManifest { digest, content }))
    }

    /// What a manifest is made of and the repository lacks, each once, in its order.
    async fn missing_children(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<Vec<Digest>, Error> {
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for child in children(manifest).filter(|child| !child.is_optional()) {
            let digest = child.descriptor.digest;
            if !seen.insert(digest) {
                continue;
            }
            let held = match child.role {
                Role::Manifest => {
                    self.store().tell(&digest);
                    self.store().has_revision(name, &digest).await?
                }
                Role::Config | Role::Layer | Role::Blob => self.holds_blob(name, &digest).await?,
            };
            if !held {
                missing.push(digest);
            }
        }
        Ok(missing)
    }
}

/// The digest that a document is stored under: the one it was pushed under, if it has it.
fn agreed_digest(reference: &Reference, content: &[u8]) -> Result<Digest, Error> {
    match reference {
        Reference::Tag(_) => Ok(digest_of(Algorithm::Sha256, content)),
        Reference::Digest(claimed) => match digest_of(claimed.algorithm(), content) {
            computed if computed == *claimed => Ok(computed),
            computed => Err(Error::DigestMismatch { claimed: *claimed, computed }),
        },
    }
}

fn digest_of(algorithm: Algorithm, content: &[u8]) -> Digest {
    let value = match algorithm {
        Algorithm::Sha256 => Digest::from_bytes(algorithm, &Sha256::digest(content)),
        Algorithm::Sha512 => Digest::from_bytes(algorithm, &Sha512::digest(content)),
    };
    #[expect(clippy::expect_used, reason = "a hash has the length of its algorithm")]
    value.expect("a hash has the length of its algorithm")
}

/// Which of the four a document is, for those that were asked for of late. What has a digest never changes,
/// so nothing here is ever stale.
#[derive(Debug)]
pub(super) struct MediaTypes(Cache<Digest, ManifestType>);

impl MediaTypes {
    /// How many documents, at about 100 bytes each: the images of ten releases.
    const CAPACITY: usize = 2048;

    fn of(&self, digest: &Digest, content: &[u8]) -> Cow<'static, str> {
        if let Some(known) = self.0.get(digest) {
            return Cow::Borrowed(known.as_str());
        }
        let media_type = stored_media_type(content);
        if let Some(known) = ManifestType::parse(&media_type).filter(|it| it.as_str() == media_type) {
            self.0.insert(*digest, known);
        }
        media_type
    }
}

impl Default for MediaTypes {
    fn default() -> Self {
        Self(Cache::new(Self::CAPACITY))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn digests_agree_or_are_told_apart() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let claimed = Digest::parse(&format!("sha256:{empty}")).unwrap();
        let reference = Reference::Digest(claimed);
        assert_eq!(agreed_digest(&reference, b"").unwrap(), claimed);
        assert!(
            matches!(agreed_digest(&reference, b"x"), Err(Error::DigestMismatch { computed, .. }) if computed != claimed)
        );
        let tag = Reference::parse("latest").unwrap();
        assert_eq!(agreed_digest(&tag, b"").unwrap(), claimed);
        assert_eq!(digest_of(Algorithm::Sha512, b"").as_bytes().len(), 64);
    }
}
