//! `Dialer`: clients of other registries, with this node's trust and credentials.
//!
//! Knows which certificate authorities and credentials are in force, and follows them when they change. Does not
//! know where the files are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use http::HeaderValue;
use rustls::ClientConfig;

use crate::peer::Endpoint;
use crate::peer::client::Client;
use crate::peer::client::Options;
use crate::reload::Watched;

/// How many registries are remembered: more than any cluster has nodes. Beyond, the pool begins anew.
const CLIENTS_LIMIT: usize = 256;

/// What this node trusts and presents when it dials.
#[derive(Clone)]
pub struct Trust {
    /// Which certificates are trusted.
    pub tls: Arc<ClientConfig>,
    /// The value of `Authorization` by host and port, as in a pull secret.
    pub credentials: HashMap<String, HeaderValue>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("hosts", &self.credentials.len()).finish_non_exhaustive()
    }
}

/// Gives clients; those of the same registry share connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialer {
    trust: Watched<Trust>,
    known: Arc<Mutex<Known>>,
}

/// Clients that were given, and under which trust.
#[derive(Debug)]
struct Known {
    trust: Arc<Trust>,
    clients: HashMap<Endpoint, Client>,
}

impl Dialer {
    /// Dials with the trust that is in force: every client that is asked for after a change has the new one, and
    /// what is under way goes on with the old one.
    pub fn new(trust: Watched<Trust>) -> Self {
        let known = Known { trust: trust.current(), clients: HashMap::new() };
        Self { trust, known: Arc::new(Mutex::new(known)) }
    }

    /// The client of a registry.
    pub fn client(&self, endpoint: &Endpoint) -> Client {
        let trust = self.trust.current();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known.trust, &trust) || known.clients.len() >= CLIENTS_LIMIT {
            known.clients.clear();
            known.trust = Arc::clone(&trust);
        }
        let new = || {
            let basic = trust.credentials.get(endpoint.authority()).cloned();
            Client::new(endpoint.clone(), Options { tls: Arc::clone(&trust.tls), basic })
        };
        known.clients.entry(endpoint.clone()).or_insert_with(new).clone()
    }
}
