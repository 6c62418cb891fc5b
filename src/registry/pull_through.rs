//! `PullThrough`: where to turn when the store has no answer.
//!
//! Knows the question. Does not know peers: they stand above and plug
//! themselves in.

use std::fmt;
use std::pin::Pin;

use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::oci::Reference;

/// Brings what is missing into the store.
pub trait PullThrough: fmt::Debug + Send + Sync + 'static {
    /// Tries to obtain what was asked for. Returns when it lies in the store, verified and linked into the
    /// repository, or when nobody has it; bounds its own time, and asks once for many who wait for the same thing.
    fn fetch<'a>(&'a self, missing: Missing<'a>) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;
}

/// What the store does not have.
#[derive(Clone, Copy, Debug)]
pub enum Missing<'a> {
    /// A blob of a repository.
    Blob(&'a RepositoryName, &'a Digest),
    /// A manifest of a repository, or a tag.
    Manifest(&'a RepositoryName, &'a Reference),
}

/// How the attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The store has it now.
    Stored,
    /// It could not be had.
    Absent,
}
