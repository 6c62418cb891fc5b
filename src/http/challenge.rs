//! `WWW-Authenticate` (RFC 7235, RFC 7617, RFC 6750): how a client is asked to
//! sign in.
//!
//! Clients take the scheme from the answer to `GET /v2/` once and for all.
//! Basic is what every client does best; but docker and `oc` cannot be
//! anonymous where Basic is asked for, so where nobody in particular may pull
//! and somebody may push, it is Bearer, with a token service of our own.
//! One challenge, never both: docker's client answers all it is given.

use http::HeaderMap;
use http::HeaderValue;
use http::Uri;
use http::header::HOST;

use crate::auth::Scope;
use crate::http::Scheme;
use crate::http::answer;

/// Where the token service lies.
pub(super) const TOKEN_PATH: &str = "/v2/_larder/token";

/// What was wrong with a token that was presented (RFC 6750, section 3.1). docker takes the second for a
/// refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFault {
    /// It was not issued here, or is too old.
    Invalid,
    /// It does not give what the request needs.
    Insufficient,
}

/// Asks for a name and a password.
pub(super) fn basic(realm: &str) -> HeaderValue {
    answer::value(format!("Basic realm=\"{}\"", quoted(realm)))
}

/// Asks for a token that gives `scope`, from the service below `url`.
pub(super) fn bearer(url: &str, scope: Option<&Scope>, fault: Option<TokenFault>) -> HeaderValue {
    let service = url.split_once("://").map_or(url, |(_, authority)| authority);
    let mut text = format!("Bearer realm=\"{}{TOKEN_PATH}\",service=\"{}\"", quoted(url), quoted(service));
    if let Some(scope) = scope {
        text.push_str(&format!(",scope=\"{scope}\""));
    }
    match fault {
        Some(TokenFault::Invalid) => text.push_str(",error=\"invalid_token\""),
        Some(TokenFault::Insufficient) => text.push_str(",error=\"insufficient_scope\""),
        None => {}
    }
    answer::value(text)
}

/// The URL that the client reached this registry by, as far as that can be told: a proxy in front says more
/// than the connection. `None` where no request of HTTP/1.1 or later has it so.
pub(super) fn site(headers: &HeaderMap, uri: &Uri, scheme: Scheme) -> Option<String> {
    let forwarded = |name| {
        let value = headers.get(name)?.to_str().ok()?;
        value.split(',').next().map(str::trim).filter(|it| !it.is_empty())
    };
    let host = headers.get(HOST).and_then(|it| it.to_str().ok());
    let authority =
        forwarded("x-forwarded-host").or(host).or_else(|| uri.authority().map(|it| it.as_str()))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return None;
    }
    let scheme = match (forwarded("x-forwarded-proto"), scheme) {
        (Some("https"), _) | (_, Scheme::Https) => "https",
        (_, Scheme::Http) => "http",
    };
    Some(format!("{scheme}://{authority}"))
}

/// The inside of a quoted string (RFC 9110, section 5.6.4), of visible ASCII.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.chars().filter(|it| *it == ' ' || it.is_ascii_graphic()) {
        if matches!(byte, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(byte);
    }
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn challenges() {
        assert_eq!(basic("iri-registry"), "Basic realm=\"iri-registry\"");
        assert_eq!(basic("a\"b\\c\nü"), "Basic realm=\"a\\\"b\\\\c\"");
        for (scope, fault, expected) in [
            (None, None, ""),
            (Some("repository:a/b:pull"), None, ",scope=\"repository:a/b:pull\""),
            (
                Some("repository:a:pull,push"),
                Some(TokenFault::Insufficient),
                ",scope=\"repository:a:pull,push\",error=\"insufficient_scope\"",
            ),
            (None, Some(TokenFault::Invalid), ",error=\"invalid_token\""),
        ] {
            let scope = scope.map(|it| Scope::parse(it).unwrap());
            let start = "Bearer realm=\"https://host:22625/v2/_larder/token\",service=\"host:22625\"";
            assert_eq!(bearer("https://host:22625", scope.as_ref(), fault), format!("{start}{expected}"));
        }
    }

    #[test]
    fn sites() {
        for (headers, uri, scheme, expected) in [
            (&[("host", "a:5000")][..], "/v2/", Scheme::Http, Some("http://a:5000")),
            (&[("host", "[::1]:5000")], "/v2/", Scheme::Https, Some("https://[::1]:5000")),
            (&[], "https://b:1/v2/", Scheme::Https, Some("https://b:1")),
            (&[("host", "a"), ("x-forwarded-proto", "https")], "/", Scheme::Http, Some("https://a")),
            (
                &[("host", "a"), ("x-forwarded-host", "c.d, e"), ("x-forwarded-proto", "https,http")],
                "/",
                Scheme::Http,
                Some("https://c.d"),
            ),
            (&[("host", "a\"b")], "/", Scheme::Http, None),
            (&[("host", "")], "/", Scheme::Http, None),
            (&[], "/", Scheme::Http, None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(site(&map, &uri.parse().unwrap(), scheme).as_deref(), expected, "{headers:?}");
        }
    }
}
