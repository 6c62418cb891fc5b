//! `Key`: what this process proves its own words with.

use std::fmt;

use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use sha2::Sha256;
use uuid::Uuid;

/// A secret. Each use of it has a key of its own, so that no two uses can be played against each other.
#[derive(Clone)]
pub(super) struct Key(Box<[u8]>);

impl Key {
    /// A key that an operator configured, so that several nodes accept each other's tokens.
    pub(super) fn configured(secret: &[u8]) -> Self {
        Self(secret.into())
    }

    /// A key that ends with the process: 244 bits of the system's randomness.
    pub(super) fn random() -> Self {
        Self([Uuid::new_v4(), Uuid::new_v4()].iter().flat_map(|it| it.into_bytes()).collect())
    }

    /// A keyed hash for one purpose.
    pub(super) fn for_purpose(&self, purpose: &'static str) -> Hmac<Sha256> {
        keyed(&keyed(&self.0).chain_update(purpose).finalize().into_bytes())
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &Key, purpose: &'static str) -> Vec<u8> {
        key.for_purpose(purpose).chain_update(b"x").finalize().into_bytes().to_vec()
    }

    #[test]
    fn keys_and_purposes_differ() {
        let configured = Key::configured(b"secret");
        assert_eq!(said(&configured, "a"), said(&Key::configured(b"secret"), "a"));
        assert_ne!(said(&configured, "a"), said(&configured, "b"));
        assert_ne!(said(&configured, "a"), said(&Key::configured(b"other"), "a"));
        assert_ne!(said(&Key::random(), "a"), said(&Key::random(), "a"));
        assert_eq!(format!("{configured:?}"), "Key(..)");
    }
}
