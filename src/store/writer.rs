//! Stub.
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::UploadId;

use crate::store::Error;

/// The one writer of a store. Everything becomes visible through `publish`, in the order blob, links, tag,
/// and is durable when the call returns.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
    pub(super) fn root(&self) -> &Path {
        todo!()
    }

    pub(super) async fn close(&self) {
        todo!()
    }

    /// Begins an upload. `algorithm` is that of the digest the client announced, if it did.
    pub async fn start_upload(
        &self,
        name: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadId, Error> {
        let _ = (name, algorithm);
        todo!()
    }

    /// How many bytes of an upload are held; `None` for an upload that does not exist in this repository.
    pub async fn upload_offset(&self, name: &RepositoryName, id: UploadId) -> Result<Option<u64>, Error> {
        let _ = (name, id);
        todo!()
    }

    /// Opens an upload to append to it; `None` where it does not exist.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while another request appends to it.
    pub async fn append(&self, name: &RepositoryName, id: UploadId) -> Result<Option<Append>, Error> {
        let _ = (name, id);
        todo!()
    }

    /// Ends an upload: checks the digest against the one computed while the bytes came in, publishes the blob
    /// (replacing a stored one whose size differs or which is known to be damaged), links it, and forgets the upload.
    pub async fn finish_upload(
        &self,
        name: &RepositoryName,
        id: UploadId,
        digest: &Digest,
    ) -> Result<Finish, Error> {
        let _ = (name, id, digest);
        todo!()
    }

    /// Forgets an upload and its bytes; `false` where it does not exist.
    pub async fn cancel_upload(&self, name: &RepositoryName, id: UploadId) -> Result<bool, Error> {
        let _ = (name, id);
        todo!()
    }

    /// Links a stored blob into a repository; `false` where the blob is not stored whole.
    pub async fn link_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// Any repository that holds the blob, for a mount without `from`. Bounded in cost.
    pub async fn is_stored(&self, digest: &Digest) -> Result<bool, Error> {
        let _ = digest;
        todo!()
    }

    /// Stores a manifest under its digest (already verified by the caller), links it, then points `tags` at it.
    pub async fn put_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        content: Bytes,
        tags: &[Tag],
    ) -> Result<(), Error> {
        let _ = (name, digest, content, tags);
        todo!()
    }

    /// Removes a tag and leaves the manifest; `false` where it does not exist.
    pub async fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, Error> {
        let _ = (name, tag);
        todo!()
    }

    /// Removes a manifest from a repository with all tags that point at it; `false` where it does not exist.
    pub async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// Removes a blob from a repository; `false` where it is not linked. The bytes stay for garbage collection.
    pub async fn delete_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// Removes the bytes of a blob that nothing links, unless it was stored, pushed again or linked since `since`;
    /// says whether it did. The check and the removal are one: no push can come between them.
    pub async fn remove_blob(&self, digest: &Digest, since: SystemTime) -> Result<bool, Error> {
        let _ = (digest, since);
        todo!()
    }

    /// Forgets every upload that began before `before` and that nobody appends to, as distribution's
    /// `uploadpurging` does; gives how many.
    pub async fn purge_uploads(&self, before: SystemTime) -> Result<usize, Error> {
        let _ = before;
        todo!()
    }

    /// Can it take writes: space is left, the root is not remounted read-only, no I/O error stands.
    pub async fn check_writable(&self) -> Result<(), Error> {
        todo!()
    }
}

/// An upload that is open for appending. Dropping it keeps what was written and hashed.
#[derive(Debug)]
pub struct Append {}

impl Append {
    /// How many bytes the upload holds.
    pub fn offset(&self) -> u64 {
        todo!()
    }

    /// Appends; hashing and writing overlap, and the call waits only while both are behind by a bounded amount.
    pub async fn write(&mut self, data: Bytes) -> Result<(), Error> {
        let _ = data;
        todo!()
    }

    /// Waits until everything is written and hashed; gives the new offset.
    pub async fn close(self) -> Result<u64, Error> {
        todo!()
    }

    /// Takes back what was appended since opening: a chunk of the wrong length must not be kept.
    pub async fn undo(self) -> Result<(), Error> {
        todo!()
    }
}

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
