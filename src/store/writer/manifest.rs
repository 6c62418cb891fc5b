//! What a push of a manifest changes, and a mount of a blob.

use std::sync::Arc;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Error;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::publish::Publisher;
use crate::store::publish::current_link;
use crate::store::publish::index_link;
use crate::store::writer::Inner;
use crate::store::writer::was_there;

impl Inner {
    pub(super) async fn put_manifest(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
        content: Bytes,
        tags: Vec<Tag>,
    ) -> Result<(), Error> {
        let _adding = self.removal.read().await;
        let (publisher, of, digest, bytes) = (self.publisher.clone(), name.clone(), *digest, content.clone());
        let (steps, staged) = blocking(move || manifest(&publisher, &of, digest, &bytes, tags)).await?;
        self.publisher.publish(steps, staged).await?;
        self.contents.remember(&digest, &content);
        Ok(())
    }

    pub(super) async fn link_layer(
        self: &Arc<Self>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        if !self.is_stored(digest).await? {
            return Ok(false);
        }
        let (inner, digest) = (Arc::clone(self), *digest);
        let (link, is_here) = blocking(move || {
            let is_here = inner.tree.version_at(&Entry::Blob(digest).path().into())?.is_some();
            Ok((inner.publisher.stage(digest.to_string().as_bytes())?, is_here))
        })
        .await?;
        let mut first = vec![Change::Sync(vec![link.file], Vec::new())];
        if is_here {
            // What garbage collection took in the meantime is not linked.
            first.push(Change::Require(digest));
        }
        let layer = Entry::LayerLink(name.clone(), digest);
        let steps = [first, vec![Change::Link(link.path.clone(), layer, digest)]];
        self.publisher.publish(steps, vec![link.path]).await.map(was_there)
    }
}

/// The steps of a push: the blob, its link, the tags. Stages what they need. May wait.
fn manifest(
    publisher: &Publisher,
    name: &RepositoryName,
    digest: Digest,
    content: &[u8],
    tags: Vec<Tag>,
) -> Result<(Vec<Vec<Change>>, Vec<DiskPath>), Error> {
    let mut staged = Vec::with_capacity(2 + tags.len());
    match stage_manifest(publisher, name, digest, content, tags, &mut staged) {
        Ok(steps) => Ok((steps, staged)),
        Err(error) => {
            publisher.discard(staged);
            Err(error)
        }
    }
}

/// Names in `staged` what it stages, also where it fails.
fn stage_manifest(
    publisher: &Publisher,
    name: &RepositoryName,
    digest: Digest,
    content: &[u8],
    tags: Vec<Tag>,
    staged: &mut Vec<DiskPath>,
) -> Result<Vec<Vec<Change>>, Error> {
    let blob = publisher.stage(content)?;
    staged.push(blob.path.clone());
    let link = publisher.stage(digest.to_string().as_bytes())?;
    staged.push(link.path.clone());
    let (mut files, mut dirs) = (vec![blob.file, link.file], Vec::new());
    let mut tagged = Vec::with_capacity(tags.len());
    for tag in tags {
        let path = stage_tag(publisher, &digest, &mut files, &mut dirs)?;
        staged.push(path.clone());
        tagged.push(Change::Tag(path, name.clone(), tag, digest));
    }
    let len = content.len() as u64;
    Ok(vec![
        vec![Change::Sync(files, dirs)],
        vec![Change::Blob(blob.path, digest, len)],
        vec![Change::Link(link.path, Entry::RevisionLink(name.clone(), digest), digest)],
        tagged,
    ])
}

/// Stages all that a new tag is.
pub(super) fn stage_tag(
    publisher: &Publisher,
    digest: &Digest,
    files: &mut Vec<DiskFile>,
    dirs: &mut Vec<DiskPath>,
) -> Result<DiskPath, Error> {
    let tag = publisher.stage_dir()?;
    dirs.push(tag.clone());
    match stage_links(publisher, &tag, digest, files, dirs) {
        Ok(()) => Ok(tag),
        Err(error) => {
            publisher.discard([tag]);
            Err(error)
        }
    }
}

fn stage_links(
    publisher: &Publisher,
    tag: &DiskPath,
    digest: &Digest,
    files: &mut Vec<DiskFile>,
    dirs: &mut Vec<DiskPath>,
) -> Result<(), Error> {
    for link in [index_link(tag, digest), current_link(tag)] {
        let mut missing = Vec::new();
        let mut at = link.parent();
        while let Some(directory) = at.filter(|it| it != tag) {
            at = directory.parent();
            missing.push(directory);
        }
        for directory in missing.into_iter().rev() {
            publisher.make_dir(&directory)?;
            dirs.push(directory);
        }
        files.push(publisher.stage_at(link, digest.to_string().as_bytes())?.file);
    }
    Ok(())
}
