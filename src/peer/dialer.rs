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
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    trust: Trust,
    clients: HashMap<Endpoint, Client>,
}

impl Dialer {
    /// Dials with this trust.
    pub fn new(trust: Trust) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { trust, clients: HashMap::new() })) }
    }

    /// Puts another trust in force: for every client that is asked for from now on. What is under way goes on with
    /// the old one.
    pub fn trust(&self, trust: Trust) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.trust = trust;
        inner.clients.clear();
    }

    /// The client of a registry.
    pub fn client(&self, endpoint: &Endpoint) -> Client {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = inner.clients.get(endpoint) {
            return client.clone();
        }
        if inner.clients.len() >= CLIENTS_LIMIT {
            inner.clients.clear();
        }
        let basic = inner.trust.credentials.get(endpoint.authority()).cloned();
        let client = Client::new(endpoint.clone(), Options { tls: inner.trust.tls.clone(), basic });
        inner.clients.insert(endpoint.clone(), client.clone());
        client
    }
}
