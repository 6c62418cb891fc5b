//! `Endpoint`: where another registry is reached.
//!
//! Knows how people write it. Does not know whether anybody answers there.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::Authority;
use http::uri::Scheme;

/// A registry's address: a scheme, a host and perhaps a port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
}

impl Endpoint {
    /// Parses `https://HOST[:PORT]`, `http://HOST[:PORT]` or `HOST[:PORT]`, which means https: the pull
    /// secret travels there.
    ///
    /// # Errors
    /// The text has another scheme, credentials, a path or a query, or no host.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let uri: Uri = whole.trim_end_matches('/').parse().map_err(|_| EndpointError::Url)?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or(EndpointError::Url)?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(EndpointError::Scheme);
        }
        let authority = parts.authority.ok_or(EndpointError::Url)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        match parts.path_and_query {
            Some(path) if path.as_str() != "/" => Err(EndpointError::Path),
            _ => Ok(Self { scheme, authority }),
        }
    }

    /// The host with its port, as a pull secret names it.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_plain(&self) -> bool {
        self.scheme == Scheme::HTTP
    }

    /// The URL of a path and query there.
    ///
    /// # Errors
    /// The path cannot stand in a URL.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not the address of a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It cannot be read as a URL.
    #[error("a registry is written https://HOST:PORT")]
    Url,
    /// Its scheme is neither of the two.
    #[error("a registry is reached by https or http")]
    Scheme,
    /// Credentials in a URL end up in logs.
    #[error("credentials belong in a file in the form of a pull secret, not in the URL")]
    Credentials,
    /// The API lies at `/v2/` of a host; prefixes are not part of the specification.
    #[error("a registry's URL has no path")]
    Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let check = |text: &str, want: Result<&str, EndpointError>| {
            assert_eq!(Endpoint::parse(text).map(|it| it.to_string()), want.map(str::to_owned), "{text}");
        };
        check("https://node-1:22625", Ok("https://node-1:22625"));
        check("https://node-1:22625/", Ok("https://node-1:22625"));
        check("http://[::1]:5000", Ok("http://[::1]:5000"));
        check("node-1:22625", Ok("https://node-1:22625"));
        check("ftp://node-1", Err(EndpointError::Scheme));
        check("https://me:secret@node-1", Err(EndpointError::Credentials));
        check("https://node-1/prefix", Err(EndpointError::Path));
        check("https://node-1/?q", Err(EndpointError::Path));
        check("", Err(EndpointError::Url));
        check("https://", Err(EndpointError::Url));
    }
}
