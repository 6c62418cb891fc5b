//! What `peer` asks of the store and of its writer, to be filled in by the store's owner and moved to its place.

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::UploadId;

use crate::store::Append;
use crate::store::Error;
use crate::store::Store;
use crate::store::Writer;

impl Store {
    /// How many bytes can still be written to the file system of the writable root.
    pub fn free_space(&self) -> Result<u64, Error> {
        todo!()
    }

    /// A small document of Larder's own (`ROOT/larder/NAME`), such as the jobs under way; `None` where there is none,
    /// or no writable root.
    pub async fn document(&self, name: &'static str) -> Result<Option<Bytes>, Error> {
        let _ = name;
        todo!()
    }
}

impl Writer {
    /// Opens the upload of this name to append to it, and begins it where it does not exist: whoever names uploads
    /// by what they bring finds them again after a restart.
    ///
    /// # Errors
    /// [`Error::UploadBusy`] while somebody appends to it.
    pub async fn resume_upload(
        &self,
        name: &RepositoryName,
        id: UploadId,
        algorithm: Algorithm,
    ) -> Result<Append, Error> {
        let _ = (name, id, algorithm);
        todo!()
    }

    /// Points a tag at a manifest that the repository holds.
    pub async fn put_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), Error> {
        let _ = (name, tag, digest);
        todo!()
    }

    /// Replaces a small document of Larder's own, durably.
    pub async fn put_document(&self, name: &'static str, content: Bytes) -> Result<(), Error> {
        let _ = (name, content);
        todo!()
    }
}
