//! What a store knows without waiting for anything: content that is in memory, and that it is still stored.
//!
//! Counts no reference that threads share, so that those who ask at the same time do not wait for each other. Does not
//! know why something is not known at once: whoever asks has to ask again in the way that may wait.

use std::sync::Arc;

use bytes::Bytes;

use crate::store::LinkedBlob;
use crate::store::LinkedTag;
use crate::store::Store;
use crate::store::content::Contents;

impl Store {
    /// What a tag points at, as [`Store::tag`] has it; `None` also where that is not known at once.
    pub fn tag_at_once(&self, tag: &LinkedTag) -> Option<Arc<LinkedBlob>> {
        let links = &self.inner.links;
        let digest = self.inner.roots.first_at_once(|source, wait| links.read(source, tag.link(), wait))?;
        Some(tag.revision(&digest))
    }

    /// The verified bytes of a manifest that a repository holds; `None` also where that is not known at once.
    pub fn revision_at_once(&self, revision: &LinkedBlob) -> Option<Bytes> {
        let content = self.inner.contents.remembered(revision.digest())?;
        self.is_linked(revision).then_some(content)
    }

    /// The verified bytes of a blob that a repository holds, where they are few; `None` also where that is not known
    /// at once. The blob's own file is there: distribution's garbage collection leaves the link to one that is not.
    pub fn layer_at_once(&self, layer: &LinkedBlob) -> Option<Bytes> {
        let contents = &self.inner.contents;
        let content = contents.remembered(layer.digest());
        let content = content.filter(|it| it.len() <= Contents::LARGEST_BLOB_KEPT)?;
        if !self.is_linked(layer) {
            return None;
        }
        let sight = |source: &_, wait| contents.sight(source, layer.data(), content.len(), wait);
        self.inner.roots.first_at_once(sight)?;
        Some(content)
    }

    fn is_linked(&self, blob: &LinkedBlob) -> bool {
        let (links, digest) = (&self.inner.links, blob.digest());
        let roots = &self.inner.roots;
        let target = roots.first_at_once(|source, wait| links.read_named(source, blob.link(), digest, wait));
        target == Some(*digest)
    }
}
