//! Pulling, mounting and deleting blobs (end-2, end-10, end-11).

use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::registry::Arriving;
use crate::registry::Error;
use crate::registry::Fetched;
use crate::registry::Missing;
use crate::registry::Reach;
use crate::registry::Registry;
use crate::registry::Wish;
use crate::registry::error::is_damage;
use crate::store;
use crate::store::Blob;

/// Where a blob is to be mounted from.
#[derive(Clone, Copy, Debug)]
pub enum Mount<'a> {
    /// The named repository, if it holds the blob.
    From(&'a RepositoryName),
    /// Anywhere ("automatic content discovery").
    Anywhere,
}

/// How many more roots are asked for a blob that the first one cannot give: as many as a node has media.
const WHOLE_BLOB_TRIES: usize = 3;

/// Where a blob is.
#[derive(Debug)]
pub enum Found {
    /// In the store.
    Stored(Blob),
    /// On its way from a peer.
    Arriving(Arriving),
}

impl Registry {
    /// A blob of a repository. One that is stored in another repository only is unknown here.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], [`Error::BlobDamaged`], or the store's.
    pub async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        reach: Reach,
        wish: Wish,
    ) -> Result<Found, Error> {
        let fault = match self.whole_blob(name, digest).await {
            Ok(Some(blob)) => return Ok(Found::Stored(blob)),
            Ok(None) => None,
            Err(fault) => {
                let error: &dyn std::error::Error = &fault;
                tracing::error!(repository = %name, %digest, error, "a stored blob cannot be served");
                Some(fault)
            }
        };
        // On the heap, so that what is here does not pay for the size of what follows.
        Box::pin(self.fetched_blob(name, digest, reach, wish, fault)).await
    }

    async fn fetched_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        reach: Reach,
        wish: Wish,
        fault: Option<Error>,
    ) -> Result<Found, Error> {
        // What no medium here can give may be had from a peer.
        match self.fetch(Missing::Blob(name, digest, wish), reach).await {
            Fetched::Arriving(arriving) => return Ok(Found::Arriving(arriving)),
            Fetched::Stored => {
                if let Some(blob) = self.stored_blob(name, digest).await? {
                    return Ok(Found::Stored(blob));
                }
            }
            Fetched::Manifest(_) | Fetched::Absent => {}
        }
        Err(fault.unwrap_or(Error::BlobUnknown(*digest)))
    }

    /// The bytes of a blob from `begin` on, where it is on its way into this repository: for a peer that
    /// verifies them.
    pub fn read_along(&self, name: &RepositoryName, digest: &Digest, begin: u64) -> Option<Arriving> {
        self.inner.pull_through.as_ref()?.read_along(name, digest, begin)
    }

    /// Removes a blob from a repository.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`], or that nothing can be deleted.
    pub async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        if self.deleter()?.delete_layer(name, digest).await? {
            Ok(())
        } else {
            Err(Error::BlobUnknown(*digest))
        }
    }

    /// Makes a blob that is stored already a blob of this repository too; `false` where it cannot be found,
    /// and is to be uploaded.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] or the store's.
    pub async fn mount(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        source: Mount<'_>,
    ) -> Result<bool, Error> {
        let writer = self.writer()?;
        let found = match source {
            Mount::From(from) => {
                self.store().tell(digest);
                self.store().has_layer(from, digest).await?
            }
            Mount::Anywhere => writer.is_stored(digest).await?,
        };
        Ok(found && writer.link_layer(name, digest).await?)
    }

    /// Whether a repository holds a blob that can be served.
    pub(super) async fn holds_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        self.store().tell(digest);
        match self.stored_blob(name, digest).await {
            Ok(blob) => Ok(blob.is_some()),
            Err(Error::BlobDamaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A blob whose bytes are right, from the first root that gives them: a medium that fails is not asked
    /// again for a while, so that the second try finds the next.
    async fn whole_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, Error> {
        let mut tries = 0..WHOLE_BLOB_TRIES;
        loop {
            let Some(blob) = self.stored_blob(name, digest).await? else { return Ok(None) };
            let fault = match self.store().vouch(blob).await {
                Ok(blob) => return Ok(Some(blob)),
                Err(fault) => fault,
            };
            if tries.next().is_none() || !matches!(fault, store::Error::Medium { .. }) {
                return Err(damaged(digest, fault));
            }
            let error: &dyn std::error::Error = &fault;
            tracing::error!(repository = %name, %digest, error, "a stored blob is looked for elsewhere");
        }
    }

    async fn stored_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, Error> {
        self.store().layer(name, digest).await.map_err(|source| damaged(digest, source))
    }
}

/// A fault of the store, as one of a blob where it is.
fn damaged(digest: &Digest, source: store::Error) -> Error {
    match is_damage(&source) {
        true => Error::BlobDamaged { digest: *digest, source },
        false => source.into(),
    }
}
