//! The store: the only owner of registry files.
//!
//! Knows distribution's tree, how it is read from a directory or an image of
//! one, and how it is written so that what was acknowledged survives a power
//! cut. Does not know HTTP, what a manifest means, or who may do what.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::UploadId;

use crate::metrics::StoreMetrics;

mod blob;
mod error;
mod image;
mod medium;
mod source;
mod version;
mod walk;

pub use blob::Blob;
pub use blob::Extent;
pub use blob::Extents;
pub use blob::FileRange;
pub use blob::Window;
pub use error::Error;
pub use medium::Media;
pub use medium::Medium;
pub use source::Found;
pub use source::Item;
pub use source::ItemKind;
pub use source::Source;
pub use source::Wait;
pub use version::Version;
pub use walk::Sight;
pub use walk::Walk;

/// Where a store lies and whether it may be written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The roots, in the order in which reads look in them.
    pub roots: Vec<PathBuf>,
    /// Whether writes are wanted.
    pub access: Access,
    /// What is counted.
    pub metrics: StoreMetrics,
}

/// Whether a store may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Not one write is made, not even a lock file.
    #[default]
    ReadOnly,
    /// Writes go to the first root that is a writable directory.
    ReadWrite,
}

/// A union of roots that hold distribution's tree. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Option<Writer>,
}

/// Reading. Absence is `None`; an error is always of the medium or of the tree.
impl Store {
    /// Opens a store; takes the writer's lock when it is to be written.
    ///
    /// # Errors
    /// A root cannot be opened, or another process already writes there.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let _ = options;
        todo!()
    }

    /// The bytes of a blob as a repository holds it: `None` where nothing in the repository links it. What
    /// `GET /v2/<name>/blobs/<digest>` answers. Follows the link: distribution stores a blob that was pushed by
    /// its sha512 under its sha256, and links both (`linkedBlobStore.linkBlob`, aliases).
    pub async fn layer(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Blob>, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// The bytes of a blob, wherever it is linked. Sizes and emptiness are those of
    /// the file: a blob of zero length whose digest is not that of nothing is
    /// [`Error::Corrupt`].
    pub async fn blob(&self, digest: &Digest) -> Result<Option<Blob>, Error> {
        let _ = digest;
        todo!()
    }

    /// A blob read whole, for manifests and configs; verified against its digest.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit`, [`Error::Corrupt`] where the bytes do not have the digest.
    pub async fn content(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>, Error> {
        let _ = (digest, limit);
        todo!()
    }

    /// Whether a repository holds a blob (`_layers` link; a manifest's own link counts too, as in distribution).
    pub async fn has_layer(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// Whether a repository holds a manifest.
    pub async fn has_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        let _ = (name, digest);
        todo!()
    }

    /// What a tag points at. An empty or unreadable link is [`Error::Corrupt`].
    pub async fn tag(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let _ = (name, tag);
        todo!()
    }

    /// A repository's tags in byte order; `None` where the repository does not exist.
    pub async fn tags(&self, name: &RepositoryName) -> Result<Option<Arc<[Tag]>>, Error> {
        let _ = name;
        todo!()
    }

    /// A repository's manifests, in no particular order.
    pub async fn revisions(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let _ = name;
        todo!()
    }

    /// The blobs that a repository links, in no particular order.
    pub async fn layers(&self, name: &RepositoryName) -> Result<Vec<Digest>, Error> {
        let _ = name;
        todo!()
    }

    /// Up to `limit` stored blobs after `last`, in order of algorithm and value: the way to walk all of them.
    pub async fn blobs(&self, last: Option<&Digest>, limit: usize) -> Result<Vec<StoredBlob>, Error> {
        let _ = (last, limit);
        todo!()
    }

    /// Remembers that the bytes of a blob were found not to have its digest: until it is pushed again, it is
    /// [`Error::Corrupt`].
    pub fn report_damage(&self, digest: &Digest) {
        let _ = digest;
        todo!()
    }

    /// Changes whenever a manifest or a tag of the repository was added or removed, also by another process.
    /// What is derived from the tree may be kept for as long as this stays the same.
    pub async fn stamp(&self, name: &RepositoryName) -> Result<Stamp, Error> {
        let _ = name;
        todo!()
    }

    /// Up to `limit` repositories after `last`, in byte order. Costs what is asked for, not what is stored.
    pub async fn repositories(&self, last: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        let _ = (last, limit);
        todo!()
    }

    /// Adds a root that reads look in after the others: a directory, an image or a device.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn attach(&self, root: PathBuf) -> Result<(), Error> {
        let _ = root;
        todo!()
    }

    /// Stops looking in a root; `false` where it is not attached, or is the one that is written. What is being sent
    /// from it is sent to the end.
    pub fn detach(&self, root: &Path) -> bool {
        let _ = root;
        todo!()
    }

    /// The roots, in the order in which reads look in them.
    pub fn roots(&self) -> Vec<PathBuf> {
        todo!()
    }

    /// Waits until what is being written is written. Call it once, after the last request.
    pub async fn close(&self) {
        todo!()
    }

    /// The way to change the store; `None` where it is read-only.
    pub fn writer(&self) -> Option<&Writer> {
        self.inner.writer.as_ref()
    }

    /// Can it serve: every root answers. Cheap; asked by `/readyz`.
    pub async fn check_readable(&self) -> Result<(), Error> {
        todo!()
    }
}

/// A blob as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its name.
    pub digest: Digest,
    /// How many bytes its file has.
    pub len: u64,
    /// When it was stored, last pushed again or last linked.
    pub used: SystemTime,
}

/// A state of a repository's manifests and tags. Two equal stamps mean that nothing changed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(u128);

/// The one writer of a store. Everything becomes visible through `publish`, in the order blob, links, tag,
/// and is durable when the call returns.
#[derive(Debug)]
pub struct Writer {}

impl Writer {
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
