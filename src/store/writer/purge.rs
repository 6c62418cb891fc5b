//! What becomes of uploads that nobody finishes.

use std::sync::Arc;
use std::time::SystemTime;

use storage_layout::Dir;
use storage_layout::RepositoryName;
use storage_layout::UploadId;

use crate::metrics::UploadEvent;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Walk;
use crate::store::medium::blocking;
use crate::store::writer::Inner;

impl Inner {
    pub(super) async fn purge_uploads(self: &Arc<Self>, before: SystemTime) -> Result<usize, Error> {
        let inner = Arc::clone(self);
        let abandoned = blocking(move || inner.uploads_before(before)).await?;
        let mut purged = 0;
        for (name, id) in abandoned {
            // One that somebody appends to is not abandoned.
            let held = match self.hold(&name, id).await {
                Err(Error::UploadBusy { .. }) => continue,
                held => held?,
            };
            let Some((session, _held)) = held else { continue };
            if self.forget(&session).await? {
                tracing::info!(repository = %name, upload = %id, "purged an abandoned upload");
                self.metrics.upload(UploadEvent::Purged);
                purged += 1;
            }
        }
        Ok(purged)
    }

    /// The uploads that began before a time. May wait.
    fn uploads_before(&self, before: SystemTime) -> Result<Vec<(RepositoryName, UploadId)>, Error> {
        let mut found = Vec::new();
        for sight in Walk::repositories(&*self.tree) {
            let Sight::Repository(name) = sight else { continue };
            let uploads = self.tree.list_at(&Dir::Uploads(name.clone()).path().into())?.unwrap_or_default();
            for id in uploads.iter().filter_map(|item| UploadId::parse(&item.name).ok()) {
                let started = self.pipeline.uploads.started_at(&name, id)?;
                found.extend(started.filter(|started| *started < before).map(|_| (name.clone(), id)));
            }
        }
        Ok(found)
    }
}
