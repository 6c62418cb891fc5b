//! The operations' errors, as statuses and codes.

use http::StatusCode;

use crate::oci::ErrorCode;
use crate::registry;
use crate::store;

/// The status of an operation that was not carried out.
pub(super) fn status(error: &registry::Error) -> StatusCode {
    use registry::Error as E;
    match error {
        // Damage is answered as absence, with words of its own: a client that pushes asks first whether a
        // blob is there, gives up on any other status (containers/image), and would never mend it.
        E::BlobUnknown(_)
        | E::BlobDamaged { .. }
        | E::ManifestUnknown(_)
        | E::ManifestDamaged { .. }
        | E::NameUnknown(_)
        | E::UploadUnknown(_) => StatusCode::NOT_FOUND,
        E::UploadBusy { .. } => StatusCode::CONFLICT,
        E::OutOfOrder { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
        E::SizeInvalid { .. }
        | E::DigestMismatch { .. }
        | E::ManifestInvalid(_)
        | E::ManifestBlobUnknown(_) => StatusCode::BAD_REQUEST,
        E::ReadOnly | E::DeletionDisabled => StatusCode::METHOD_NOT_ALLOWED,
        E::Store(error) => match error {
            store::Error::NoSpace { .. } | store::Error::NoInodes { .. } => StatusCode::INSUFFICIENT_STORAGE,
            store::Error::BecameReadOnly { .. } | store::Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
            store::Error::UploadBusy { .. } => StatusCode::CONFLICT,
            store::Error::ReadOnlyRoot { .. } => StatusCode::METHOD_NOT_ALLOWED,
            store::Error::Io { .. }
            | store::Error::Medium { .. }
            | store::Error::Lookup { .. }
            | store::Error::Image { .. }
            | store::Error::Corrupt { .. }
            | store::Error::TooLarge { .. }
            | store::Error::Locked { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// The specification's code of an operation that was not carried out.
pub(super) fn code(error: &registry::Error) -> ErrorCode {
    use registry::Error as E;
    match error {
        E::BlobUnknown(_) | E::BlobDamaged { .. } => ErrorCode::BlobUnknown,
        E::ManifestUnknown(_) | E::ManifestDamaged { .. } => ErrorCode::ManifestUnknown,
        E::NameUnknown(_) => ErrorCode::NameUnknown,
        E::UploadUnknown(_) => ErrorCode::BlobUploadUnknown,
        E::UploadBusy { .. } | E::OutOfOrder { .. } => ErrorCode::BlobUploadInvalid,
        E::SizeInvalid { .. } => ErrorCode::SizeInvalid,
        E::DigestMismatch { .. } => ErrorCode::DigestInvalid,
        E::ManifestInvalid(_) => ErrorCode::ManifestInvalid,
        E::ManifestBlobUnknown(_) => ErrorCode::ManifestBlobUnknown,
        E::ReadOnly | E::DeletionDisabled => ErrorCode::Unsupported,
        E::Store(error) => match error {
            store::Error::NoSpace { .. }
            | store::Error::NoInodes { .. }
            | store::Error::BecameReadOnly { .. }
            | store::Error::Closed => ErrorCode::Unavailable,
            store::Error::UploadBusy { .. } => ErrorCode::BlobUploadInvalid,
            store::Error::ReadOnlyRoot { .. } => ErrorCode::Unsupported,
            store::Error::Io { .. }
            | store::Error::Medium { .. }
            | store::Error::Lookup { .. }
            | store::Error::Image { .. }
            | store::Error::Corrupt { .. }
            | store::Error::TooLarge { .. }
            | store::Error::Locked { .. } => ErrorCode::Unknown,
        },
    }
}
