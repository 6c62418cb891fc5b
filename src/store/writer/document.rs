//! Small documents of our own, beside distribution's tree: never needed to serve.

use std::sync::Arc;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Error;
use crate::store::disk::DiskPath;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::writer::Inner;
use crate::store::writer::manifest::stage_tag;

/// The largest document: 64 jobs that name a thousand repositories each.
const DOCUMENT_LIMIT: u64 = 16 * 1024 * 1024;

impl Inner {
    pub(super) async fn put_document(
        self: &Arc<Self>,
        name: &'static str,
        content: Bytes,
    ) -> Result<(), Error> {
        let publisher = self.publisher.clone();
        let staged = blocking(move || publisher.stage(&content)).await?;
        let steps = [
            vec![Change::Sync(vec![staged.file], Vec::new())],
            vec![Change::Document(staged.path.clone(), name)],
        ];
        self.publisher.publish(steps, vec![staged.path]).await.map(drop)
    }

    pub(super) async fn document(self: &Arc<Self>, name: &'static str) -> Result<Option<Bytes>, Error> {
        let tree = Arc::clone(&self.tree);
        blocking(move || tree.read_within(&DiskPath::own(name), DOCUMENT_LIMIT))
            .await
            .map(|it| it.map(Bytes::from))
    }

    pub(super) async fn put_tag(
        self: &Arc<Self>,
        name: RepositoryName,
        tag: Tag,
        digest: Digest,
    ) -> Result<(), Error> {
        let _adding = self.removal.read().await;
        let publisher = self.publisher.clone();
        let (path, files, dirs) = blocking(move || {
            let (mut files, mut dirs) = (Vec::new(), Vec::new());
            let path = stage_tag(&publisher, &digest, &mut files, &mut dirs)?;
            Ok((path, files, dirs))
        })
        .await?;
        let steps = [vec![Change::Sync(files, dirs)], vec![Change::Tag(path.clone(), name, tag, digest)]];
        self.publisher.publish(steps, vec![path]).await.map(drop)
    }
}
