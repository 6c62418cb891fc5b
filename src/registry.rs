//! The operations of the distribution specification on repositories.
//!
//! Knows what a pull, a push and a listing mean. Does not know HTTP, paths, or
//! who may do what.

use crate::store::Store;

/// A registry over a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
}

impl Registry {
    /// A registry over `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// What it is a registry over.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
