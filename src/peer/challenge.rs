//! Challenges of other registries and the tokens that answer them.
//!
//! Knows RFC 6750's `Bearer` challenge as registries write it and the token service's answer (distribution
//! "Token Authentication Specification"). Does not know the network.

use http::HeaderValue;
use http::Uri;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;

/// Where a token is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    realm: String,
    service: Option<String>,
}

impl Bearer {
    /// The URL that gives a token for `scope`.
    pub(crate) fn token_uri(&self, scope: &str) -> Result<Uri, http::uri::InvalidUri> {
        let separator = if self.realm.contains('?') { '&' } else { '?' };
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let service =
            self.service.as_deref().map(|it| format!("service={}&", encode(it))).unwrap_or_default();
        format!("{}{separator}{service}scope={}", self.realm, encode(scope)).parse()
    }
}

/// The parameters of a `Bearer` challenge; `None` for any other.
pub(crate) fn parse_bearer(header: &HeaderValue) -> Option<Bearer> {
    let text = header.to_str().ok()?;
    let (scheme, parameters) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(())?;
    let (mut realm, mut service) = (None, None);
    for (key, value) in quoted_parameters(parameters) {
        match key {
            "realm" => realm = Some(value.to_owned()),
            "service" => service = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(Bearer { realm: realm?, service })
}

/// `key="value"` pairs; what is not of that form ends them.
fn quoted_parameters(mut text: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (key, rest) = text.split_once("=\"")?;
        let (value, rest) = rest.split_once('"')?;
        text = rest;
        Some((key.trim_matches([',', ' ']), value))
    })
}

/// A token and what it is for.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    header: HeaderValue,
    scope: String,
}

impl Token {
    /// The token in a service's answer: `token`, or `access_token` as OAuth calls it.
    pub(crate) fn parse(body: &[u8], scope: &str) -> Option<Self> {
        let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
        let token = answer.get("token").or_else(|| answer.get("access_token"))?.as_str()?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        header.set_sensitive(true);
        Some(Self { header, scope: scope.to_owned() })
    }

    /// Whether it was given for this scope. That it has expired is found out by the next challenge.
    pub(crate) fn is_for(&self, scope: &str) -> bool {
        self.scope == scope
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_registries_write_them() {
        let check = |text: &'static str, want: Option<(&str, Option<&str>)>| {
            let want =
                want.map(|(realm, service)| Bearer { realm: realm.into(), service: service.map(Into::into) });
            assert_eq!(parse_bearer(&HeaderValue::from_static(text)), want, "{text}");
        };
        check(r#"Bearer realm="https://a/token",service="a""#, Some(("https://a/token", Some("a"))));
        check(r#"bearer service="a, b", realm="https://a/token""#, Some(("https://a/token", Some("a, b"))));
        check(r#"Bearer realm="https://a/token""#, Some(("https://a/token", None)));
        check(r#"Basic realm="a""#, None);
        check("Bearer", None);
        check("Bearer realm=unquoted", None);
    }

    #[test]
    fn a_scope_is_encoded() {
        let bearer = Bearer { realm: "https://a/token".into(), service: Some("s v".into()) };
        let uri = bearer.token_uri("repository:a/b:pull").unwrap();
        assert_eq!(uri.to_string(), "https://a/token?service=s%20v&scope=repository%3Aa%2Fb%3Apull");
    }
}
