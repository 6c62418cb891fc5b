//! What an operation can answer instead of succeeding, in the specification's
//! words.

use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::UploadId;

use crate::oci::ManifestError;
use crate::oci::Reference;
use crate::store;

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository does not hold the blob.
    #[error("blob unknown to registry")]
    BlobUnknown(Digest),
    /// The repository holds the blob, and its bytes are not what they must be. Pushing it again mends it.
    #[error("blob {digest} is stored damaged")]
    BlobDamaged {
        /// Which blob.
        digest: Digest,
        /// What is wrong with it.
        source: store::Error,
    },
    /// The repository does not have the manifest or the tag.
    #[error("manifest unknown")]
    ManifestUnknown(Reference),
    /// The repository has the manifest or the tag, and what is stored cannot be used. Pushing it again mends
    /// it.
    #[error("manifest {reference} is stored damaged")]
    ManifestDamaged {
        /// Which manifest or tag.
        reference: Reference,
        /// What is wrong with it.
        source: store::Error,
    },
    /// There is no such repository.
    #[error("repository name not known to registry")]
    NameUnknown(RepositoryName),
    /// The repository has no such upload.
    #[error("blob upload unknown to registry")]
    UploadUnknown(UploadId),
    /// Another request appends to the upload.
    #[error("another request is writing to this upload")]
    UploadBusy {
        /// How many bytes have arrived.
        holds: u64,
    },
    /// A chunk does not begin where the upload ends.
    #[error("the chunk begins at {begins}, and the upload holds {holds} bytes")]
    OutOfOrder {
        /// The first byte of the chunk.
        begins: u64,
        /// How many bytes the upload holds.
        holds: u64,
    },
    /// A chunk is longer or shorter than was said.
    #[error("{declared} bytes were announced and {received} received")]
    SizeInvalid {
        /// What was said.
        declared: u64,
        /// What came, at least.
        received: u64,
    },
    /// Content has another digest than the one it was pushed under.
    #[error("the content has digest {computed}, not {claimed}")]
    DigestMismatch {
        /// What the client said.
        claimed: Digest,
        /// What the bytes have.
        computed: Digest,
    },
    /// A document is not a manifest to accept.
    #[error("manifest invalid: {0}")]
    ManifestInvalid(#[from] ManifestError),
    /// The repository does not hold what a manifest is made of.
    #[error("the repository does not hold {} of the blobs and manifests that this manifest references", .0.len())]
    ManifestBlobUnknown(Vec<Digest>),
    /// Nothing can be written.
    #[error("the registry is read-only")]
    ReadOnly,
    /// The operator does not allow it.
    #[error("deleting is disabled")]
    DeletionDisabled,
    /// The store or what it lies on is at fault.
    #[error(transparent)]
    Store(store::Error),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::UploadBusy { holds } => Self::UploadBusy { holds },
            error => Self::Store(error),
        }
    }
}

/// Whether an error says that what was asked for is there and damaged, rather than that the medium failed.
pub(super) fn is_damage(error: &store::Error) -> bool {
    matches!(error, store::Error::Corrupt { .. } | store::Error::TooLarge { .. })
}
