//! What can go wrong with a store, in the store's words.

use std::io;
use std::path::PathBuf;

use storage_layout::Digest;

/// A fault of a store. Absence is never one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused a file operation.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was being done, in the infinitive.
        doing: &'static str,
        /// With which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A medium failed a read, twice.
    #[error("cannot read {digest} from {medium}, at byte {offset} of {path}")]
    Medium {
        /// Which one.
        medium: String,
        /// Which file of it.
        path: String,
        /// Where in the file.
        offset: u64,
        /// Whose bytes they are.
        digest: Digest,
        /// Why not.
        source: io::Error,
    },
    /// A medium failed a read on the way to a file, twice.
    #[error("cannot look up {wanted} on {medium}, at byte {offset} of {path}")]
    Lookup {
        /// Which one.
        medium: String,
        /// Which file or device of it.
        path: String,
        /// Where in the file or device.
        offset: u64,
        /// Which file or directory of the tree was looked for.
        wanted: String,
        /// Why not.
        source: io::Error,
    },
    /// An image cannot be read: it is none, or not one that a registry can be served from.
    #[error("cannot use the image {path}: {why}")]
    Image {
        /// The image's file or device.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The tree holds something that is not what its path says.
    #[error("{path} is damaged: {why}")]
    Corrupt {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that is to be read whole is larger than its limit.
    #[error("{digest} has {len} bytes, which is more than {limit}")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// How large it is.
        len: u64,
        /// How large it may be.
        limit: u64,
    },
    /// The disk is full.
    #[error("no space left: {free} bytes free at {}", path.display())]
    NoSpace {
        /// What is left, in bytes.
        free: u64,
        /// Where.
        path: PathBuf,
    },
    /// The file system has no room for another file.
    #[error("no inodes left at {}", path.display())]
    NoInodes {
        /// Where.
        path: PathBuf,
    },
    /// The root turned read-only under a writer.
    #[error("{} has become read-only", path.display())]
    BecameReadOnly {
        /// Which root.
        path: PathBuf,
    },
    /// What is to be removed lies in a root that is only read.
    #[error("it lies in {}, which is only read", path.display())]
    ReadOnlyRoot {
        /// Which root.
        path: PathBuf,
    },
    /// Another process holds the writer's lock.
    #[error("{} is being written by another process{}", path.display(), holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Locked {
        /// Which root.
        path: PathBuf,
        /// Who holds it, where that is known.
        holder: Option<u32>,
    },
    /// Another request appends to the upload.
    #[error("the upload is being written by another request")]
    UploadBusy {
        /// How many bytes have arrived.
        holds: u64,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}
