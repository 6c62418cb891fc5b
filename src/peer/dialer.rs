//! `Dialer`: clients of other registries, with this node's trust and credentials.
//!
//! Knows whom this node dials. Does not know what it presents there: that is `trust`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::peer::Endpoint;
use crate::peer::Trust;
use crate::peer::client::Client;
use crate::peer::trust::Keys;
use crate::reload::Force;
use crate::reload::Succession;
use crate::reload::Watched;

/// How many registries are remembered: more than any cluster has nodes. Beyond, the pool begins anew.
const CLIENTS_LIMIT: usize = 256;

/// Gives clients; those of the same registry share connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    keys: Keys,
    known: Arc<Mutex<HashMap<Endpoint, Client>>>,
}

impl Dialer {
    /// Dials with the trust that is in force: every request after a change is made with the new one, and what
    /// is under way goes on.
    pub fn new(trust: Watched<Succession<Trust>>) -> Self {
        Self { keys: Keys::new(trust), known: Arc::default() }
    }

    /// The same, for files that are followed: they are read at once when a registry refuses what they said.
    #[must_use]
    pub fn reread_by(self, files: Force) -> Self {
        Self { keys: self.keys.reread_by(files), known: Arc::default() }
    }

    /// The client of a registry.
    pub fn client(&self, endpoint: &Endpoint) -> Client {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CLIENTS_LIMIT {
            known.clear();
        }
        let new = || Client::new(endpoint.clone(), self.keys.clone());
        known.entry(endpoint.clone()).or_insert_with(new).clone()
    }
}
