//! The on-disk layout of [distribution/distribution]'s filesystem storage
//! driver, as values.
//!
//! An [`Entry`] is a file that may lie in a store, and [`Entry::path`] and
//! [`Entry::parse`] are inverse functions between entries and paths. A path that
//! escapes the store cannot be written down: a [`RelativePath`] is only made
//! from parsed names, and no parsed name can hold a `..`, a NUL or a slash out
//! of place.
//!
//! ```
//! use storage_layout::{Digest, Entry};
//!
//! let digest = Digest::parse("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")?;
//! let path = Entry::Blob(digest).path();
//! assert_eq!(
//!     path.as_str(),
//!     "docker/registry/v2/blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/data",
//! );
//! assert_eq!(Entry::parse(path.as_str()), Some(Entry::Blob(digest)));
//! # Ok::<(), storage_layout::DigestError>(())
//! ```
//!
//! This crate knows names and where they lie. It deliberately does not know
//! what is in a blob, how files are opened, or that there is a disk at all.
//!
//! [distribution/distribution]: https://github.com/distribution/distribution/blob/main/registry/storage/paths.go
#![no_std]

extern crate alloc;

mod digest;
mod dir;
mod entry;
mod link;
mod name;
mod path;
mod tag;
mod upload_id;

pub use digest::{Algorithm, Digest, DigestError};
pub use dir::Dir;
pub use entry::Entry;
pub use link::parse_link;
pub use name::{NameError, RepositoryName};
pub use path::RelativePath;
pub use tag::{Tag, TagError};
pub use upload_id::{UploadId, UploadIdError};
