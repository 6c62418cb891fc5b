//! `Issuer`: tokens of our own, JSON Web Tokens (RFC 7519) signed with HS256.
//!
//! Opaque to clients. One form, one algorithm, one key: what differs in a
//! single byte was not issued here.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::Mac as _;
use serde::Deserialize;
use serde::Serialize;
use sha2::Sha256;

use super::scope::Scope;
use crate::http::secret::Key;

/// How long a token is good for. Clients take anything below a minute for a minute; a request that began with a good
/// token is finished however long it takes.
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// How far the clocks of nodes that share a secret may differ.
const LEEWAY: Duration = Duration::from_secs(60);

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Who signed in; absent for anybody.
    #[serde(rename = "sub", default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    /// Until when it is good, in seconds since 1970.
    #[serde(rename = "exp")]
    pub(super) expires: u64,
    /// What it gives.
    pub(super) access: Vec<Scope>,
}

/// Signs tokens, and knows them again.
#[derive(Clone, Debug)]
pub(in crate::http) struct Issuer(Hmac<Sha256>);

impl Issuer {
    pub(in crate::http) fn new(key: &Key) -> Self {
        Self(key.for_purpose("tokens"))
    }

    /// A token that says `claims`.
    pub(super) fn issue(&self, claims: &Claims) -> String {
        // Text, numbers and lists: nothing that JSON cannot say.
        let claims = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{HEADER}.{}", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let mac = self.0.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    /// What a token says, if it was issued here and is still good.
    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Option<Claims> {
        let (signed, mac) = token.rsplit_once('.')?;
        let mac = BASE64_URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.0.clone().chain_update(signed).verify_slice(&mac).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.strip_prefix(HEADER)?.strip_prefix('.')?).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (seconds(now) <= claims.expires.saturating_add(LEEWAY.as_secs())).then_some(claims)
    }
}

/// Seconds since 1970; none for a clock that stands before it.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_known_again_until_it_expires() {
        let issuer = Issuer::new(&Key::configured(b"secret"));
        let access = vec![Scope::parse("repository:a:pull,push").unwrap()];
        let claims = Claims { user: Some("ü\"".into()), expires: 1000, access };
        let token = issuer.issue(&claims);
        assert_eq!(issuer.verify(&token, at(500)), Some(claims.clone()));
        assert_eq!(issuer.verify(&token, at(1000 + LEEWAY.as_secs())), Some(claims));
        assert_eq!(issuer.verify(&token, at(1001 + LEEWAY.as_secs())), None);
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
    }

    #[test]
    fn nothing_else_is() {
        let issuer = Issuer::new(&Key::configured(b"secret"));
        let token = issuer.issue(&Claims { user: None, expires: 1000, access: vec![] });
        for position in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(issuer.verify(&changed, at(0)), None, "{changed}");
        }
        let other = Issuer::new(&Key::configured(b"other"));
        assert_eq!(other.verify(&token, at(0)), None);
        for token in ["", ".", "..", "a.b.c", HEADER, "eyJhbGciOiJub25lIn0.e30."] {
            assert_eq!(issuer.verify(token, at(0)), None, "{token}");
        }
    }
}
