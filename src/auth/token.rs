//! `Token` and `TokenKey`: who somebody is and for what, signed, so that nobody has to be asked again.
//!
//! Tokens are made and checked by the same registry, so their form is nobody else's business: a JSON object
//! and its HMAC-SHA256, each in base64, with a dot between them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use serde::Deserialize;
use serde::Serialize;
use sha2::Sha256;

use crate::auth::Scope;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whose; `None` is anybody's.
    pub user: Option<Arc<str>>,
    /// For what.
    pub scopes: Vec<Scope>,
}

/// What tokens are signed with.
#[derive(Clone)]
pub struct TokenKey(Hmac<Sha256>);

/// A token that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Somebody else's, or changed.
    #[error("the token was not issued here")]
    NotOurs,
    /// Too old.
    #[error("the token has expired")]
    Expired,
}

/// How long a token counts at most. A transfer that began with one is never cut off by it, so it need not be
/// long, and it is how long a user who was removed may still pull.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(300);

impl TokenKey {
    /// A key made of a secret. Registries with one secret take each other's tokens.
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes keys of every length (RFC 2104, section 3), so the fallback is never used.
        let keyed = |secret: &[u8]| {
            Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default()))
        };
        // Derived, so that the secret can serve elsewhere too.
        let derived = keyed(secret).chain_update(b"larder token").finalize().into_bytes();
        Self(keyed(&derived))
    }

    /// Signs a token that counts for `lifetime` from `now`.
    pub fn issue(&self, token: &Token, now: SystemTime, lifetime: Duration) -> String {
        let scopes = token.scopes.iter().map(ToString::to_string).collect();
        let claims =
            Claims { user: token.user.as_deref().map(Into::into), expires: seconds(now + lifetime), scopes };
        // Text, numbers and lists of text always have a JSON form.
        let claims = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let mac = self.0.clone().chain_update(claims.as_bytes()).finalize().into_bytes();
        format!("{claims}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// It was not signed with this key, or `now` is past its end.
    pub fn read(&self, text: &str, now: SystemTime) -> Result<Token, TokenError> {
        let (claims, mac) = text.split_once('.').ok_or(TokenError::NotOurs)?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).map_err(|_| TokenError::NotOurs)?;
        self.0.clone().chain_update(claims.as_bytes()).verify_slice(&mac).map_err(|_| TokenError::NotOurs)?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError::NotOurs)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError::NotOurs)?;
        if seconds(now) >= claims.expires {
            return Err(TokenError::Expired);
        }
        let scopes = claims.scopes.iter().filter_map(|scope| Scope::parse(scope)).collect();
        Ok(Token { user: claims.user.map(Arc::from), scopes })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

#[derive(Deserialize, Serialize)]
struct Claims {
    #[serde(rename = "sub", default, skip_serializing_if = "Option::is_none")]
    user: Option<Box<str>>,
    #[serde(rename = "exp")]
    expires: u64,
    #[serde(rename = "scope")]
    scopes: Vec<String>,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn token(user: Option<&str>) -> Token {
        let scopes =
            ["repository:a/b:pull,push", "registry:catalog:*"].map(|text| Scope::parse(text).unwrap());
        Token { user: user.map(Into::into), scopes: scopes.into() }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let key = TokenKey::new(b"secret");
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for user in [None, Some("openshift")] {
            let text = key.issue(&token(user), now, TOKEN_LIFETIME);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{text}");
            let last = now + TOKEN_LIFETIME - Duration::from_secs(1);
            assert_eq!(TokenKey::new(b"secret").read(&text, last), Ok(token(user)));
            assert_eq!(key.read(&text, now + TOKEN_LIFETIME), Err(TokenError::Expired));
            assert_eq!(TokenKey::new(b"other").read(&text, now), Err(TokenError::NotOurs));
        }
    }

    #[test]
    fn a_token_that_was_changed_does_not_count() {
        let key = TokenKey::new(b"secret");
        let text = key.issue(&token(Some("u")), UNIX_EPOCH, TOKEN_LIFETIME);
        let (claims, mac) = text.split_once('.').unwrap();
        let other = BASE64_URL_SAFE_NO_PAD.encode(br#"{"exp":99999999999,"scope":["repository:a:*"]}"#);
        for forged in [
            String::new(),
            ".".to_owned(),
            claims.to_owned(),
            format!("{claims}."),
            format!("{other}.{mac}"),
            format!("{claims}.{}", mac.replace(mac.chars().next().unwrap(), "*")),
            format!("{text}.{mac}"),
        ] {
            assert_eq!(key.read(&forged, UNIX_EPOCH), Err(TokenError::NotOurs), "{forged}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        assert_eq!(format!("{:?}", TokenKey::new(b"secret")), "TokenKey(..)");
    }
}
