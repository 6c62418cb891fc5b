//! Signing in: what is presented with a request, and the answer to a challenge.
//!
//! Knows that what this node presents may be newer or older than what the other registry knows by now. Does
//! not know where credentials come from.

use std::sync::PoisonError;

use bytes::Bytes;
use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::body::Incoming;

use crate::peer::Error;
use crate::peer::challenge::Bearer;
use crate::peer::challenge::Token;
use crate::peer::challenge::parse_bearer;
use crate::peer::client::Client;

/// The largest answer of a token service.
const TOKEN_LIMIT: u64 = 64 * 1024;

/// What this node knows when it answers a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowing {
    /// What its files said when they were last read.
    WhatWasRead,
    /// What they say now.
    WhatIsThere,
}

impl Client {
    /// Sends a request; answers one challenge.
    pub(super) async fn send_scoped(
        &self,
        scope: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Option<Response<Incoming>>, Error> {
        let header = self.authorization(scope);
        let first = self.dial(with(&request, header.as_ref())).await?;
        if first.status() != StatusCode::UNAUTHORIZED {
            return self.accept(first, &request).await;
        }
        let challenge = first.headers().get_all(header::WWW_AUTHENTICATE).iter().find_map(parse_bearer);
        let second = self.answer(challenge.as_ref(), scope, &request, header).await?;
        self.accept(second, &request).await
    }

    /// Presents what counts, and what did until a moment ago, since the other registry may learn of a change
    /// later; then what the files say by now, since it may have learnt of it earlier.
    async fn answer(
        &self,
        challenge: Option<&Bearer>,
        scope: &str,
        request: &Request<Full<Bytes>>,
        sent: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, Error> {
        let mut tried = if challenge.is_none() { vec![sent] } else { Vec::new() };
        for knowing in [Knowing::WhatWasRead, Knowing::WhatIsThere] {
            if knowing == Knowing::WhatIsThere {
                self.inner.keys.read_again().await;
            }
            for credential in self.presentable(challenge, scope) {
                if tried.contains(&credential) {
                    continue;
                }
                if let Some(response) = self.present(credential.as_ref(), challenge, scope, request).await? {
                    *self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner) = credential;
                    return Ok(response);
                }
                tried.push(credential);
            }
        }
        Err(self.unauthorized(request))
    }

    /// What may answer a challenge, the newest first. Credentials go to the registry's own host only: a
    /// hostile realm must not collect the pull secret.
    fn presentable(&self, challenge: Option<&Bearer>, scope: &str) -> Vec<Option<HeaderValue>> {
        let endpoint = &self.inner.endpoint;
        let is_own = challenge.and_then(|it| it.token_uri(scope).ok()).is_none_or(|uri| {
            uri.authority().is_some_and(|authority| authority.as_str() == endpoint.authority())
        });
        let credentials = if is_own { self.inner.keys.credentials(endpoint) } else { Vec::new() };
        if credentials.is_empty() { vec![None] } else { credentials.into_iter().map(Some).collect() }
    }

    /// The answer to a request with this credential, or with the token that it gives; `None` where it is not
    /// taken.
    async fn present(
        &self,
        credential: Option<&HeaderValue>,
        challenge: Option<&Bearer>,
        scope: &str,
        request: &Request<Full<Bytes>>,
    ) -> Result<Option<Response<Incoming>>, Error> {
        let response = match challenge {
            None => self.dial(with(request, credential)).await?,
            Some(challenge) => {
                let Some(token) = self.token(challenge, scope, credential).await? else { return Ok(None) };
                let response = self.dial(with(request, Some(token.header()))).await?;
                *self.inner.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
                response
            }
        };
        Ok(Some(response).filter(|it| it.status() != StatusCode::UNAUTHORIZED))
    }

    /// What is presented before anybody asked: a token for this, or the credential that was taken last if it
    /// still counts, or the newest.
    fn authorization(&self, scope: &str) -> Option<HeaderValue> {
        let token = self.inner.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = token.as_ref().filter(|it| it.is_for(scope)) {
            return Some(token.header().clone());
        }
        drop(token);
        let credentials = self.inner.keys.credentials(&self.inner.endpoint);
        let taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        taken.filter(|it| credentials.contains(it)).or_else(|| credentials.into_iter().next())
    }

    /// A token of the service that a challenge names; `None` where it gives none for this credential.
    async fn token(
        &self,
        challenge: &Bearer,
        scope: &str,
        credential: Option<&HeaderValue>,
    ) -> Result<Option<Token>, Error> {
        let uri = challenge.token_uri(scope).map_err(|why| self.protocol(why))?;
        let mut request = Request::new(Full::default());
        *request.uri_mut() = uri;
        let what = request.uri().path().to_owned();
        let response = self.dial(with(&request, credential)).await?;
        if response.status() != StatusCode::OK {
            return Ok(None);
        }
        let body = self.collect(response, &what, TOKEN_LIMIT).await?;
        let token = Token::parse(&body, scope);
        token.map(Some).ok_or_else(|| self.protocol("its token service gives no token"))
    }

    fn unauthorized(&self, request: &Request<Full<Bytes>>) -> Error {
        let request = format!("{} {}", request.method(), request.uri().path());
        Error::Unauthorized { endpoint: self.inner.endpoint.clone(), request }
    }
}

/// A request with this `Authorization`.
fn with(request: &Request<Full<Bytes>>, authorization: Option<&HeaderValue>) -> Request<Full<Bytes>> {
    let mut request = request.clone();
    if let Some(value) = authorization {
        request.headers_mut().insert(header::AUTHORIZATION, value.clone());
    }
    request
}
