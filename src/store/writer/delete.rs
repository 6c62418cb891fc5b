//! What a deletion changes.

use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RelativePath;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::store::Error;
use crate::store::list;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::writer::Inner;
use crate::store::writer::was_there;

impl Inner {
    /// Removes a directory; `path` is what makes it count.
    pub(super) async fn delete(&self, path: RelativePath, dir: Dir) -> Result<bool, Error> {
        let _adding = self.removal.read().await;
        self.check_removable(path).await?;
        let remove = vec![Change::Remove(dir)];
        self.publisher.publish([remove], Vec::new()).await.map(was_there)
    }

    pub(super) async fn delete_revision(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let _removing = self.removal.write().await;
        self.check_removable(Entry::RevisionLink(name.clone(), *digest).path()).await?;
        let (inner, of, target) = (Arc::clone(self), name.clone(), *digest);
        let tags = blocking(move || inner.tags_at(&of, &target)).await?;
        let tags = tags.into_iter().map(|tag| Change::Remove(Dir::Tag(name.clone(), tag)));
        let revision = Change::Remove(Dir::Revision(name.clone(), *digest));
        let steps = [tags.collect(), vec![revision]];
        self.publisher.publish(steps, Vec::new()).await.map(was_there)
    }

    /// The tags that point at a manifest. One that cannot be read points at nothing.
    fn tags_at(&self, name: &RepositoryName, target: &Digest) -> Result<Vec<Tag>, Error> {
        let tags = list::tags(&*self.tree, name)?.map(|found| found.tags).unwrap_or_default();
        let points_there = |tag: &Tag| {
            let current = Entry::TagCurrent(name.clone(), tag.clone()).path().into();
            let link = self.tree.read_at(&current).ok().flatten();
            link.is_some_and(|link| parse_link(&link).is_ok_and(|digest| digest == *target))
        };
        Ok(tags.into_iter().filter(points_there).collect())
    }
}
