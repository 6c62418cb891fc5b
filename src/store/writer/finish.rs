//! How an upload ends: as a blob, or not at all.

use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::UploadId;

use crate::metrics::UploadEvent;
use crate::store::Error;
use crate::store::disk::DiskFile;
use crate::store::medium::blocking;
use crate::store::publish::Change;
use crate::store::publish::Outcome;
use crate::store::upload::Received;
use crate::store::upload::Session;
use crate::store::writer::Inner;
use crate::store::writer::was_there;

/// How an upload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The blob is stored, linked and durable.
    Stored,
    /// The bytes have another digest; the upload is gone.
    Mismatch {
        /// What the bytes have.
        computed: Digest,
    },
    /// There is no such upload.
    Unknown,
}

/// From this size on, data are synced by themselves before they are published, so that small publications do
/// not wait for them: what a slow disk writes in 50 ms.
const SYNCED_ALONE: u64 = 4 * 1024 * 1024;

impl Inner {
    pub(super) async fn finish(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Finish, Error> {
        let Some((session, mut held)) = self.hold(name, id).await? else { return Ok(Finish::Unknown) };
        let (inner, of, known, digest) = (Arc::clone(self), Arc::clone(&session), held.take(), *digest);
        let Some(ready) = blocking(move || inner.make_ready(&of, known, &digest)).await? else {
            return Ok(Finish::Unknown);
        };
        let Ready { data, received, computed } = ready;
        if computed != digest {
            self.forget(&session).await?;
            self.metrics.upload(UploadEvent::Mismatched);
            return Ok(Finish::Mismatch { computed });
        }
        let len = received.len;
        *held = Some(received);
        self.publish_blob(&session, data, digest, len).await?;
        self.pipeline.uploads.forget(&session);
        self.metrics.upload(UploadEvent::Finished);
        Ok(Finish::Stored)
    }

    pub(super) async fn cancel(&self, name: &RepositoryName, id: UploadId) -> Result<bool, Error> {
        let Some((session, _held)) = self.hold(name, id).await? else { return Ok(false) };
        let is_gone = self.forget(&session).await?;
        self.metrics.upload(UploadEvent::Cancelled);
        Ok(is_gone)
    }

    /// Forgets an upload with all its files; `false` where there are none.
    pub(super) async fn forget(&self, session: &Session) -> Result<bool, Error> {
        let forget = vec![Change::Forget(session.directory())];
        let outcome = self.publisher.publish([forget], Vec::new()).await?;
        self.pipeline.uploads.forget(session);
        Ok(was_there(outcome))
    }

    /// Looks at what was received, computing its digest where that was not done on the way. May wait.
    fn make_ready(
        &self,
        session: &Session,
        known: Option<Received>,
        digest: &Digest,
    ) -> Result<Option<Ready>, Error> {
        let uploads = &self.pipeline.uploads;
        let Some((data, received)) = uploads.open(session, known)? else { return Ok(None) };
        let computed = match received.digest(digest.algorithm()) {
            Some(computed) => computed,
            None => uploads.read_again(session, digest.algorithm())?,
        };
        if computed == *digest && received.len >= SYNCED_ALONE {
            let synced = self.pipeline.disk.sync_file(&data);
            synced.map_err(|error| self.health.failed("sync", &session.data(), error))?;
        }
        Ok(Some(Ready { data, received, computed }))
    }

    async fn publish_blob(
        self: &Arc<Self>,
        session: &Session,
        data: DiskFile,
        digest: Digest,
        len: u64,
    ) -> Result<(), Error> {
        let publisher = self.publisher.clone();
        let link = blocking(move || publisher.stage(digest.to_string().as_bytes())).await?;
        let layer = Entry::LayerLink(session.name.clone(), digest);
        let steps = [
            vec![Change::Sync(vec![data, link.file], Vec::new())],
            vec![Change::Blob(session.data(), digest, len)],
            vec![Change::Link(link.path.clone(), layer, digest), Change::Forget(session.directory())],
        ];
        // The last change ends the publication where the upload's directory has gone already.
        let _: Outcome = self.publisher.publish(steps, vec![link.path]).await?;
        Ok(())
    }
}

/// An upload that has been looked at.
struct Ready {
    data: DiskFile,
    received: Received,
    computed: Digest,
}
