//! Uploading blobs (end-4, end-5, end-6, end-13, end-14).
//!
//! An upload is known by its id alone: what it holds lies in the store, so any
//! URL that names it keeps working, also across a restart.

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::UploadId;

use crate::registry::Error;
use crate::registry::Registry;
use crate::store::Append;
use crate::store::Finish;

impl Registry {
    /// Begins an upload. `algorithm` is that of the digest the client announced, if it did.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] or the store's.
    pub async fn start_upload(
        &self,
        name: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId, Error> {
        Ok(self.writer()?.start_upload(name, algorithm).await?)
    }

    /// How many bytes an upload holds.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], also where nothing can be uploaded, or the store's.
    pub async fn upload_offset(&self, name: &RepositoryName, id: UploadId) -> Result<u64, Error> {
        let Some(writer) = self.store().writer() else { return Err(Error::UploadUnknown(id)) };
        writer.upload_offset(name, id).await?.ok_or(Error::UploadUnknown(id))
    }

    /// Opens an upload to append a chunk. A client that says where the chunk belongs is held to it.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], and the upload is as it was; [`Error::UploadBusy`]; [`Error::UploadUnknown`].
    pub async fn append(
        &self,
        name: &RepositoryName,
        id: UploadId,
        place: Option<ChunkRange>,
    ) -> Result<Chunk, Error> {
        let append = self.writer()?.append(name, id).await?.ok_or(Error::UploadUnknown(id))?;
        let holds = append.offset();
        match place {
            Some(ChunkRange { first, .. }) if first != holds => {
                Err(Error::OutOfOrder { begins: first, holds })
            }
            _ => Ok(Chunk { append, declared: place.map(ChunkRange::len), received: 0 }),
        }
    }

    /// Ends an upload: it becomes the blob `digest` of the repository.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`], and the upload is gone; [`Error::UploadUnknown`]; [`Error::UploadBusy`].
    pub async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: UploadId,
        digest: &Digest,
    ) -> Result<(), Error> {
        match self.writer()?.finish_upload(name, id, digest).await? {
            Finish::Stored => Ok(()),
            Finish::Mismatch { computed } => Err(Error::DigestMismatch { claimed: *digest, computed }),
            Finish::Unknown => Err(Error::UploadUnknown(id)),
        }
    }

    /// Forgets an upload.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`], or the store's.
    pub async fn cancel_upload(&self, name: &RepositoryName, id: UploadId) -> Result<(), Error> {
        if self.writer()?.cancel_upload(name, id).await? { Ok(()) } else { Err(Error::UploadUnknown(id)) }
    }
}

/// Where in the blob a chunk belongs: `Content-Range: first-last`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    first: u64,
    len: u64,
}

impl ChunkRange {
    /// From `first` to `last`; `None` where the chunk would end before it begins.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        Some(Self { first, len: last.checked_sub(first)?.checked_add(1)? })
    }

    /// How many bytes the chunk has.
    #[expect(clippy::len_without_is_empty, reason = "a chunk that is named has a byte")]
    pub fn len(self) -> u64 {
        self.len
    }
}

/// A chunk on its way into an upload. Dropping it keeps what arrived: a client whose connection broke asks
/// how much that is, and goes on from there.
#[derive(Debug)]
pub struct Chunk {
    append: Append,
    declared: Option<u64>,
    received: u64,
}

impl Chunk {
    /// Takes in more of the chunk.
    ///
    /// # Errors
    /// The store's. What is too much is noticed by [`Chunk::close`].
    pub async fn write(&mut self, data: Bytes) -> Result<(), Error> {
        self.received = self.received.saturating_add(data.len() as u64);
        if !self.is_too_long() {
            self.append.write(data).await?;
        }
        Ok(())
    }

    /// Whether more has arrived than was announced: there is no point in reading on.
    pub fn is_too_long(&self) -> bool {
        self.declared.is_some_and(|declared| self.received > declared)
    }

    /// Gives up the rest of the chunk, and waits until what arrived is kept: who is told of the error asks
    /// how much that is.
    pub async fn keep(self) {
        if let Err(error) = self.append.close().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot keep all of a chunk");
        }
    }

    /// Ends the chunk; gives how many bytes the upload now holds.
    ///
    /// # Errors
    /// [`Error::SizeInvalid`] where the chunk is not as long as was announced: nothing of it is kept.
    pub async fn close(self) -> Result<u64, Error> {
        match self.declared {
            Some(declared) if declared != self.received => {
                self.append.undo().await?;
                Err(Error::SizeInvalid { declared, received: self.received })
            }
            _ => Ok(self.append.close().await?),
        }
    }
}
