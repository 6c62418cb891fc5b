//! The operations of the distribution specification on repositories.
//!
//! Knows what a pull, a push and a listing mean. Does not know HTTP, paths, or
//! who may do what.

use std::sync::Arc;

use crate::store::Store;
use crate::store::Writer;

mod blobs;
mod error;
mod manifests;
mod pull_through;
mod referrers;
mod tags;
mod uploads;

pub use blobs::Found;
pub use blobs::Mount;
pub use error::Error;
pub use manifests::LinkedReference;
pub use manifests::Pushed;
pub use manifests::StoredManifest;
pub use pull_through::Arriving;
pub use pull_through::Fetched;
pub use pull_through::Missing;
pub use pull_through::PullThrough;
pub use pull_through::Reach;
pub use pull_through::Wish;
pub use referrers::Referrers;
pub use referrers::ReferrersPage;
pub use tags::TagPage;
pub use uploads::Chunk;
pub use uploads::ChunkRange;

/// A registry over a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    rules: Rules,
    pull_through: Option<Arc<dyn PullThrough>>,
    media_types: manifests::MediaTypes,
    subjects: referrers::Subjects,
}

/// What an operator decides about pushing and deleting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether anything may be deleted.
    pub deletion: Deletion,
    /// Whether a manifest may be pushed before what it is made of.
    pub sparse: Sparse,
}

/// Whether manifests, tags and blobs may be deleted (distribution's `storage.delete.enabled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    /// They may.
    #[default]
    Enabled,
    /// They may not.
    Disabled,
}

/// Whether a manifest may be pushed whose blobs or manifests the repository does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sparse {
    /// It may: `oc` and skopeo mirror a multi-architecture index with some of its images ("sparse manifest
    /// lists"), and the conformance suite pushes images without a layer. The pusher is told by a warning.
    #[default]
    Accept,
    /// It may not: what was pushed can be pulled whole. As distribution does.
    Refuse,
}

impl Registry {
    /// A registry over `store` that knows nothing but it.
    pub fn new(store: Store, rules: Rules) -> Self {
        Self::with_pull_through(store, rules, None)
    }

    /// A registry over `store` that asks `pull_through` for what is not there.
    pub fn with_pull_through(store: Store, rules: Rules, pull_through: Option<Arc<dyn PullThrough>>) -> Self {
        let media_types = manifests::MediaTypes::default();
        let subjects = referrers::Subjects::default();
        Self { inner: Arc::new(Inner { store, rules, pull_through, media_types, subjects }) }
    }

    /// What it is a registry over.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Whether anything can be pushed: to be asked before a body is read.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn accepts_writes(&self) -> Result<(), Error> {
        self.writer().map(drop)
    }

    fn writer(&self) -> Result<&Writer, Error> {
        self.store().writer().ok_or(Error::ReadOnly)
    }

    fn deleter(&self) -> Result<&Writer, Error> {
        match self.inner.rules.deletion {
            Deletion::Enabled => self.writer(),
            Deletion::Disabled => Err(Error::DeletionDisabled),
        }
    }

    /// Asks the peers, if there are any, for what the store does not have.
    async fn fetch(&self, missing: Missing<'_>, reach: Reach) -> Fetched {
        match (&self.inner.pull_through, reach) {
            (Some(pull_through), Reach::Peers) => pull_through.fetch(missing).await,
            (None, _) | (_, Reach::Here) => Fetched::Absent,
        }
    }
}
