//! `PullSecret`: the credentials that a cluster's pull secret holds for this registry.
//!
//! A pull secret (`.dockerconfigjson`, containers-auth.json(5)) is written for clients: it maps the names of
//! registries to what to send them. Read by the registry itself, the entries for its own names are what it
//! has to accept. Only digests of those are kept, and the names of their users.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::Choice;
use subtle::ConstantTimeEq as _;

use crate::auth::Authorization;
use crate::auth::Credential;

/// The accepted credentials of a pull secret.
#[derive(Clone)]
pub struct PullSecret {
    accepted: Vec<Accepted>,
}

#[derive(Clone)]
struct Accepted {
    user: Box<str>,
    digest: [u8; 32],
}

/// A pull secret that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    /// Not the JSON of a pull secret. Where it goes wrong is told; what stands there may be a secret.
    #[error("is not a pull secret: {what} at line {line}")]
    NotPullSecret {
        /// In general terms.
        what: &'static str,
        /// Counted from one.
        line: usize,
    },
    /// An entry for this registry that holds no usable credential.
    #[error("the entry for `{host}` holds no `auth` of the form base64(user:password)")]
    BadEntry {
        /// Under which name.
        host: String,
    },
    /// No entry is for this registry.
    #[error("has no entry for this registry ({names})")]
    NoEntry {
        /// The names it goes by.
        names: String,
    },
}

/// The names by which clients know this registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNames {
    ports: Vec<u16>,
    names: Vec<String>,
}

/// The port under which a cluster's nodes carry their registry.
const CLUSTER_PORT: u16 = 22625;

impl PullSecret {
    /// Reads the text of a file and takes the entries for `hosts`.
    ///
    /// # Errors
    /// The text is no pull secret, an entry for this registry is unusable, or there is none.
    pub fn parse(text: &[u8], hosts: &HostNames) -> Result<Self, PullSecretError> {
        let file: File = serde_json::from_slice(text).map_err(|error| not_pull_secret(&error))?;
        let mut accepted = Vec::new();
        for (host, entry) in file.auths.iter().filter(|(host, _)| hosts.contain(host)) {
            let credential =
                entry.credential().ok_or_else(|| PullSecretError::BadEntry { host: host.clone() })?;
            accepted.push(Accepted { digest: digest(&credential), user: credential.user });
        }
        if accepted.is_empty() {
            return Err(PullSecretError::NoEntry { names: hosts.to_string() });
        }
        Ok(Self { accepted })
    }

    /// Whether the credential is among them. Takes the same time whichever it is or resembles.
    pub fn verify(&self, credential: &Credential) -> bool {
        let presented = digest(credential);
        let any = self.accepted.iter().fold(Choice::from(0), |any, one| any | one.digest.ct_eq(&presented));
        any.into()
    }

    /// Whether there is a credential of this user.
    pub fn contains(&self, user: &str) -> bool {
        self.accepted.iter().any(|it| &*it.user == user)
    }
}

impl fmt::Debug for PullSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PullSecret({} credentials)", self.accepted.len())
    }
}

impl HostNames {
    /// The names every node of a cluster goes by, `localhost`, the loopback addresses and `api-int.*`, and
    /// `more`; on `port` and on the cluster's own, since a listener may stand behind a forwarded port.
    pub fn new(port: u16, more: impl IntoIterator<Item = String>) -> Self {
        let mut ports = vec![CLUSTER_PORT];
        if port != CLUSTER_PORT {
            ports.push(port);
        }
        Self { ports, names: more.into_iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether a key of `auths` is one of them. Keys are `host[:port]`, older tools write a URL, and newer
    /// ones may add a namespace (`host:port/namespace`), which narrows what clients send, not what is true.
    fn contain(&self, key: &str) -> bool {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let authority = key.split('/').next().unwrap_or(key).to_ascii_lowercase();
        let (host, port) = split_port(&authority);
        let known_port = port.is_none_or(|port| self.ports.iter().any(|own| port == own.to_string()));
        known_port && self.is_own(host)
    }

    fn is_own(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let cluster = host.strip_prefix("api-int.").is_some_and(|domain| !domain.is_empty());
        host == "localhost" || loopback || cluster || self.names.iter().any(|own| own == bare)
    }
}

impl fmt::Display for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = ["localhost", "api-int.*"];
        let names = fixed.into_iter().chain(self.names.iter().map(String::as_str));
        for (index, name) in names.enumerate() {
            write!(
                f,
                "{}`{name}:{}`",
                if index == 0 { "" } else { ", " },
                self.ports.last().unwrap_or(&CLUSTER_PORT)
            )?;
        }
        Ok(())
    }
}

/// Splits `host:port`, where the host may be an IPv6 address in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) auths: std::collections::BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Entry {
    /// `auth` is what a client sends after `Basic `; docker also reads the two in plain when it is missing.
    pub(super) fn credential(&self) -> Option<Credential> {
        if self.auth.is_empty() {
            let named = !self.username.is_empty() && !self.password.is_empty();
            return named.then(|| Credential {
                user: self.username.as_str().into(),
                password: self.password.as_str().into(),
            });
        }
        match Authorization::parse(Some(format!("Basic {}", self.auth.trim()).as_bytes())) {
            Authorization::Basic(credential) => Some(credential),
            _ => None,
        }
    }
}

/// A name holds no colon, so joining the two with one is unambiguous.
fn digest(credential: &Credential) -> [u8; 32] {
    let hash = Sha256::new().chain_update(credential.user.as_bytes()).chain_update(b":");
    hash.chain_update(credential.password.as_bytes()).finalize().into()
}

pub(super) fn not_pull_secret(error: &serde_json::Error) -> PullSecretError {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Data => "a field is missing or has the wrong type",
        Category::Eof | Category::Io => "the JSON ends too early",
        Category::Syntax => "the JSON is malformed",
    };
    PullSecretError::NotPullSecret { what, line: error.line() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names() -> HostNames {
        HostNames::new(5000, ["Registry.Example".to_owned(), "2001:db8::1".to_owned()])
    }

    fn credential(user: &str, password: &str) -> Credential {
        Credential { user: user.into(), password: password.into() }
    }

    #[test]
    fn keys_that_are_this_registry() {
        for key in [
            "localhost:22625",
            "localhost:5000",
            "localhost",
            "127.0.0.1:22625",
            "[::1]:22625",
            "api-int.ocp.example.com:22625",
            "API-INT.ocp.example.com:22625",
            "registry.example:5000",
            "[2001:db8::1]:5000",
            "https://localhost:22625/v2/",
            "localhost:22625/openshift",
        ] {
            assert!(names().contain(key), "{key}");
        }
        for key in [
            "quay.io",
            "cloud.openshift.com",
            "localhost:5001",
            "api-int.:22625",
            "api.ocp.example.com:22625",
            "evil-api-int.example:22625",
            "localhost.example:22625",
            "localhost:22625x",
            "mirror.example:22625",
            "",
        ] {
            assert!(!names().contain(key), "{key}");
        }
    }

    #[test]
    fn the_entries_for_this_registry_are_accepted() {
        // base64 of `openshift:one`, `openshift:two`, `other:three`.
        let text = br#"{"auths":{"localhost:22625":{"auth":"b3BlbnNoaWZ0Om9uZQ==","email":"x"},
            "api-int.ocp.example:22625":{"auth":"b3BlbnNoaWZ0OnR3bw=="},
            "registry.example:5000":{"username":"plain","password":"four"},
            "quay.io":{"auth":"b3RoZXI6dGhyZWU="},"broken.example":{"auth":"***"}},"credHelpers":{}}"#;
        let secret = PullSecret::parse(text, &names()).unwrap();
        for (user, password, accepted) in [
            ("openshift", "one", true),
            ("openshift", "two", true),
            ("plain", "four", true),
            ("other", "three", false),
            ("openshift", "three", false),
            ("openshift", "", false),
            ("", "", false),
        ] {
            assert_eq!(secret.verify(&credential(user, password)), accepted, "{user}:{password}");
        }
        for (user, known) in [("openshift", true), ("plain", true), ("other", false), ("", false)] {
            assert_eq!(secret.contains(user), known, "{user}");
        }
        assert_eq!(format!("{secret:?}"), "PullSecret(3 credentials)");
    }

    #[test]
    fn files_that_cannot_be_used() {
        let bad = |host: &str| PullSecretError::BadEntry { host: host.to_owned() };
        let what = |what, line| PullSecretError::NotPullSecret { what, line };
        for (text, error) in [
            (r#"{"auths":{"localhost:22625":{}}}"#, bad("localhost:22625")),
            (r#"{"auths":{"localhost:22625":{"auth":"Og=="}}}"#, bad("localhost:22625")),
            (r#"{"auths":{"localhost:22625":{"auth":"***"}}}"#, bad("localhost:22625")),
            (r#"{"auths":[]}"#, what("a field is missing or has the wrong type", 1)),
            ("{}", what("a field is missing or has the wrong type", 1)),
            ("{\n\"auths\":", what("the JSON ends too early", 2)),
            ("secret", what("the JSON is malformed", 1)),
        ] {
            assert_eq!(PullSecret::parse(text.as_bytes(), &names()).map(|_| ()), Err(error), "{text}");
        }
        let none = PullSecret::parse(br#"{"auths":{"quay.io":{"auth":"YTpi"}}}"#, &names());
        let error = none.map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error,
            "has no entry for this registry (`localhost:5000`, `api-int.*:5000`, `registry.example:5000`, `2001:db8::1:5000`)"
        );
    }
}
