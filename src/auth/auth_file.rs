//! `AuthFile`: what this node presents to other registries.
//!
//! The same format as a pull secret (containers-auth.json(5)), read as a client reads it.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::PullSecretError;
use crate::auth::pull_secret::File;
use crate::auth::pull_secret::not_pull_secret;

/// Credentials by the registry that they are for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthFile {
    /// `Basic ...` by host and port.
    by_host: HashMap<String, String>,
}

impl AuthFile {
    /// Reads the text of a file. Entries of any registry are taken; one that holds no usable credential is
    /// refused, since somebody meant it to be used.
    ///
    /// # Errors
    /// The text is not of that format, or an entry is unusable.
    pub fn parse(text: &[u8]) -> Result<Self, PullSecretError> {
        let file: File = serde_json::from_slice(text).map_err(|error| not_pull_secret(&error))?;
        let mut by_host = HashMap::new();
        for (host, entry) in &file.auths {
            let credential =
                entry.credential().ok_or_else(|| PullSecretError::BadEntry { host: host.clone() })?;
            let mut pair = credential.user.as_bytes().to_vec();
            pair.push(b':');
            pair.extend_from_slice(credential.password.as_bytes());
            by_host.insert(authority(host), format!("Basic {}", STANDARD.encode(pair)));
        }
        Ok(Self { by_host })
    }

    /// The value of `Authorization` for each host and port that has one.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_host.iter().map(|(host, header)| (host.as_str(), header.as_str()))
    }
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthFile({} registries)", self.by_host.len())
    }
}

/// The host and port of a key: older tools write a URL, newer ones may add a namespace.
fn authority(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_presented_to_whom() {
        let text = br#"{"auths": {
            "node-1:22625": {"auth": "b3BlbnNoaWZ0OnNlY3JldA=="},
            "https://Quay.io/v1/": {"username": "a", "password": "b"}
        }}"#;
        let file = AuthFile::parse(text).unwrap();
        let mut headers: Vec<_> = file.headers().collect();
        headers.sort_unstable();
        assert_eq!(headers, [("node-1:22625", "Basic b3BlbnNoaWZ0OnNlY3JldA=="), ("quay.io", "Basic YTpi")]);
        assert_eq!(format!("{file:?}"), "AuthFile(2 registries)");
    }

    #[test]
    fn what_cannot_be_read() {
        for text in [&b"{}"[..], b"[]", br#"{"auths": {"a": {}}}"#, br#"{"auths": {"a": {"auth": "!"}}}"#] {
            assert!(AuthFile::parse(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
    }
}
