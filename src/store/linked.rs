//! `LinkedBlob` and `LinkedTag`: what a repository may link to, with the paths where that is to be seen spelled out
//! once, for those who ask again and again.
//!
//! The words are distribution's (`registry/storage/linkedblobstore.go`). Does not know whether anything is there.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RelativePath;
use storage_layout::RepositoryName;
use storage_layout::Tag;

/// A blob or a manifest of a repository.
#[derive(Debug)]
pub struct LinkedBlob {
    digest: Digest,
    link: RelativePath,
    data: RelativePath,
}

impl LinkedBlob {
    /// The blob that has this digest.
    pub fn layer(name: &RepositoryName, digest: &Digest) -> Self {
        Self::new(&Entry::LayerLink(name.clone(), *digest), digest)
    }

    /// The manifest that has this digest.
    pub fn revision(name: &RepositoryName, digest: &Digest) -> Self {
        Self::new(&Entry::RevisionLink(name.clone(), *digest), digest)
    }

    fn new(link: &Entry, digest: &Digest) -> Self {
        Self { digest: *digest, link: link.path(), data: Entry::Blob(*digest).path() }
    }

    /// By which it is known.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Where the repository says that it holds it.
    pub(super) fn link(&self) -> &RelativePath {
        &self.link
    }

    /// Where its bytes are, which all repositories share.
    pub(super) fn data(&self) -> &RelativePath {
        &self.data
    }
}

/// A tag of a repository.
#[derive(Debug)]
pub struct LinkedTag {
    name: RepositoryName,
    link: RelativePath,
    /// What it was last seen to point at.
    revision: Mutex<Option<Arc<LinkedBlob>>>,
}

impl LinkedTag {
    /// The tag of this name.
    pub fn new(name: &RepositoryName, tag: &Tag) -> Self {
        let link = Entry::TagCurrent(name.clone(), tag.clone()).path();
        Self { name: name.clone(), link, revision: Mutex::default() }
    }

    /// Where it says what it points at.
    pub(super) fn link(&self) -> &RelativePath {
        &self.link
    }

    /// The manifest of this digest, which is what it points at now.
    pub(super) fn revision(&self, digest: &Digest) -> Arc<LinkedBlob> {
        let mut last = self.revision.lock().unwrap_or_else(PoisonError::into_inner);
        let same = last.as_ref().filter(|it| it.digest == *digest).cloned();
        same.unwrap_or_else(|| {
            let revision = Arc::new(LinkedBlob::revision(&self.name, digest));
            last.insert(revision).clone()
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::hash::digest_of;
    use storage_layout::Algorithm;

    #[test]
    fn a_tag_leads_to_what_it_points_at_now() {
        let (name, tag) = (RepositoryName::parse("a/b").unwrap(), Tag::parse("v1").unwrap());
        let linked = LinkedTag::new(&name, &tag);
        for content in ["one", "one", "other", "one"] {
            let digest = digest_of(Algorithm::Sha256, content.as_bytes());
            let revision = linked.revision(&digest);
            assert_eq!(revision.digest(), &digest);
            assert_eq!(*revision.link(), Entry::RevisionLink(name.clone(), digest).path());
            assert_eq!(*revision.data(), Entry::Blob(digest).path());
        }
        assert_eq!(*linked.link(), Entry::TagCurrent(name, tag).path());
    }
}
