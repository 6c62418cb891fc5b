//! What a store knows without waiting for anything: content that is in memory, and that it is still stored.
//!
//! Counts no reference that threads share, so that those who ask at the same time do not wait for each other. Does not
//! know why something is not known at once: whoever asks has to ask again in the way that may wait.

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Store;
use crate::store::content::Contents;

impl Store {
    /// What a tag points at, as [`Store::tag`] has it; `None` also where that is not known at once.
    pub fn tag_at_once(&self, name: &RepositoryName, tag: &Tag) -> Option<Digest> {
        let (links, path) = (&self.inner.links, Entry::TagCurrent(name.clone(), tag.clone()).path());
        self.inner.roots.first_at_once(|source, wait| links.read(source, &path, wait))
    }

    /// The verified bytes of a manifest that a repository holds; `None` also where that is not known at once.
    pub fn revision_at_once(&self, name: &RepositoryName, digest: &Digest) -> Option<Bytes> {
        let content = self.inner.contents.remembered(digest)?;
        self.is_linked(&Entry::RevisionLink(name.clone(), *digest), digest).then_some(content)
    }

    /// The verified bytes of a blob that a repository holds, where they are few; `None` also where that is not known
    /// at once. The blob's own file is there: distribution's garbage collection leaves the link to one that is not.
    pub fn layer_at_once(&self, name: &RepositoryName, digest: &Digest) -> Option<Bytes> {
        let contents = &self.inner.contents;
        let content = contents.remembered(digest).filter(|it| it.len() <= Contents::LARGEST_BLOB_KEPT)?;
        if !self.is_linked(&Entry::LayerLink(name.clone(), *digest), digest) {
            return None;
        }
        let sight = |source: &_, wait| contents.sight(source, digest, content.len(), wait);
        self.inner.roots.first_at_once(sight)?;
        Some(content)
    }

    fn is_linked(&self, entry: &Entry, digest: &Digest) -> bool {
        let (links, path) = (&self.inner.links, entry.path());
        let target =
            self.inner.roots.first_at_once(|source, wait| links.read_named(source, &path, digest, wait));
        target == Some(*digest)
    }
}
