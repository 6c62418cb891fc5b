//! `/v2/_larder/token`: the token service that a Bearer challenge names.
//!
//! Speaks distribution's token protocol (`docs/content/spec/auth/token.md`) and
//! the OAuth 2 form of it that containerd prefers (`oauth.md`). What was asked
//! for and may not be given is left out; the answer is a token all the same.

use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header::CACHE_CONTROL;
use serde_json::json;

use crate::auth::Action;
use crate::auth::Decision;
use crate::auth::Scope;
use crate::auth::authorize;
use crate::http::Body;
use crate::http::access::Caller;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::receive::Incoming;

/// How large the form of a request may be, in bytes: as many scopes as one token may have, of the longest
/// names.
const MAX_FORM: usize = 64 * 1024;

/// `GET`: the credential, if there is one, is in the `Authorization` header.
pub(super) fn get(caller: &Caller<'_>, asked: Query<'_>) -> Result<Response<Body>, Error> {
    let identity = caller.identity();
    // Nobody in particular gets a token where that is good for something; elsewhere it would only be in the
    // way.
    if identity.name().is_none() && authorize(identity, &Action::Inspect) != Decision::Allow {
        return Err(caller.challenge());
    }
    let asked: Vec<String> = asked.all("scope").map(Into::into).collect();
    // A space may be written `+` in a query (`url.Values.Encode`), and no scope has a plus.
    let asked = asked.iter().flat_map(|it| it.split([' ', '+'])).filter_map(Scope::parse);
    let scopes: Vec<Scope> = asked.take(Scope::MAX).collect();
    let (token, lifetime) = caller.credentials().issue_token(identity, &scopes, SystemTime::now());
    // No `issued_at`: clients compare it with their own clocks, and take it as now where it is missing.
    let document = json!({
        "token": token,
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    });
    let mut response = answer::document("application/json", document.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST`: the credential is in the form.
pub(super) async fn post<B>(caller: Caller<'_>, body: Incoming<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let form = body.into_bytes(MAX_FORM, Error::Form).await?;
    let form = std::str::from_utf8(&form).map_err(|_| Error::Form)?.replace('+', " ");
    let form = Query::new(Some(&form));
    // Refresh tokens are not handed out, so none can be right. Clients fall back to GET.
    if form.first("grant_type").as_deref() != Some("password") {
        return Err(caller.challenge());
    }
    let field = |name| form.first(name).unwrap_or_default();
    let pair = BASE64_STANDARD.encode(format!("{}:{}", field("username"), field("password")));
    get(&caller.presenting(format!("Basic {pair}").as_bytes()).await?, form)
}
