//! `/v2/_larder/token`: the token service that a Bearer challenge names.
//!
//! Speaks distribution's token protocol (`docs/content/spec/auth/token.md`) and
//! the OAuth 2 form of it that containerd prefers (`oauth.md`). What was asked
//! for and may not be given is left out; the answer is a token all the same.

use std::time::SystemTime;

use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header::CACHE_CONTROL;
use serde_json::json;

use crate::auth::Action;
use crate::auth::Credential;
use crate::auth::Decision;
use crate::auth::Identity;
use crate::auth::Password;
use crate::auth::authorize;
use crate::http::Body;
use crate::http::access::Caller;
use crate::http::answer;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::http::receive::Incoming;

mod scope;
mod signed;

use scope::Grant;
use scope::Scope;
use signed::Claims;
pub(super) use signed::Issuer;
use signed::LIFETIME;

/// How many things one token may be about: `oc` asks for one token for all repositories of a mirror, and clients put
/// the token into a header of every request.
const MAX_SCOPES: usize = 100;

/// How large the form of a request may be, in bytes: as many scopes as that, of the longest names.
const MAX_FORM: usize = 64 * 1024;

/// What a token gives.
#[derive(Clone, Debug)]
pub(super) struct Pass(Claims);

impl Pass {
    /// Who signed in for it.
    pub(super) fn user(&self) -> Option<&str> {
        self.0.user.as_deref()
    }

    /// Whether it is good for an action. Every token is good for being asked whether it is one.
    pub(super) fn gives(&self, action: &Action<'_>) -> bool {
        let Claims { access, .. } = &self.0;
        match action {
            Action::Probe => true,
            Action::Catalog => access.iter().any(|it| it.is_catalog() && it.actions.contains(&Grant::All)),
            Action::Pull(name) => self.has(name.as_str(), &[Grant::Pull]),
            Action::Push(name) => self.has(name.as_str(), &[Grant::Push]),
            // crane asks for `push` when it deletes.
            Action::Delete(name) => self.has(name.as_str(), &[Grant::Delete, Grant::Push]),
            Action::Inspect | Action::Administer => false,
        }
    }

    fn has(&self, name: &str, any: &[Grant]) -> bool {
        let about = self.0.access.iter().filter(|it| it.kind == "repository" && it.name == name);
        about.flat_map(|it| &it.actions).any(|it| any.contains(it))
    }
}

impl Issuer {
    /// What a token gives, if it is one.
    pub(super) fn pass(&self, token: &str, now: SystemTime) -> Option<Pass> {
        self.verify(token, now).map(Pass)
    }
}

/// `GET`: the credential, if there is one, is in the `Authorization` header.
pub(super) fn get(caller: &Caller<'_>, query: Query<'_>) -> Result<Response<Body>, Error> {
    let identity = caller.identity().ok_or_else(|| caller.challenged(&Action::Probe))?;
    answer(caller, identity, query)
}

/// `POST`: the credential is in the form.
pub(super) async fn post<B>(caller: &Caller<'_>, body: Incoming<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let form = body.into_bytes(MAX_FORM, Error::Form).await?;
    let form = String::from_utf8(form.to_vec()).map_err(|_| Error::Form)?.replace('+', " ");
    let form = Query::new(Some(&form));
    match form.first("grant_type").as_deref() {
        Some("password") => {}
        // Refresh tokens are not handed out, so none can be right. The client falls back to GET.
        _ => return Err(caller.challenged(&Action::Probe)),
    }
    let field = |name| form.first(name).unwrap_or_default().into_owned();
    let (user, password) = (field("username"), field("password"));
    if user.is_empty() && password.is_empty() {
        return get(caller, form);
    }
    let credential = Credential { user: user.into(), password: Password::from(password.as_str()) };
    let identity = caller.instead(credential).await?;
    answer(caller, &identity, form)
}

/// A token for what was asked for and may be given. Whoever signed in gets one, and nobody in particular where that is
/// somebody.
fn answer(caller: &Caller<'_>, identity: &Identity, asked: Query<'_>) -> Result<Response<Body>, Error> {
    if identity.name().is_none() && identity.rights().is_empty() {
        return Err(caller.challenged(&Action::Probe));
    }
    let scopes: Vec<String> = asked.all("scope").map(Into::into).collect();
    let scopes = scopes.iter().flat_map(|it| it.split(' ')).filter_map(Scope::parse);
    let access: Vec<Scope> = scopes.take(MAX_SCOPES).filter_map(|scope| granted(identity, scope)).collect();
    let scope = access.iter().map(Scope::to_string).collect::<Vec<_>>().join(" ");
    let expires = signed::seconds(SystemTime::now()).saturating_add(LIFETIME.as_secs());
    let token = caller.issuer().issue(&Claims { user: identity.name().map(Into::into), expires, access });
    // No `issued_at`: clients compare it with their own clocks, and take it as now where it is missing.
    let document = json!({
        "token": token,
        "access_token": token,
        "expires_in": LIFETIME.as_secs(),
        "token_type": "Bearer",
        "scope": scope,
    });
    let mut response = answer::document("application/json", document.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// As much of a scope as the identity may have; nothing where that is nothing.
fn granted(identity: &Identity, asked: Scope) -> Option<Scope> {
    let may = |action: Action<'_>| authorize(identity, &action) == Decision::Allow;
    if asked.is_catalog() {
        return (asked.actions.contains(&Grant::All) && may(Action::Catalog)).then_some(asked);
    }
    let name = asked.repository()?;
    let wants = |grant| asked.actions.contains(&grant) || asked.actions.contains(&Grant::All);
    let mut actions = Vec::new();
    for (grant, action) in [
        (Grant::Pull, Action::Pull(&name)),
        (Grant::Push, Action::Push(&name)),
        (Grant::Delete, Action::Delete(&name)),
    ] {
        if wants(grant) && may(action) {
            actions.push(grant);
        }
    }
    (!actions.is_empty()).then(|| Scope { actions, ..asked })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use storage_layout::RepositoryName;

    use super::*;
    use crate::auth::Origin;
    use crate::auth::Policy;
    use crate::auth::Rights;
    use crate::auth::UserRule;

    #[test]
    fn only_what_may_be_given_is_granted() {
        let policy = Policy::closed(UserRule::All, UserRule::All).and_anonymous(Rights::PULL);
        let anybody = policy.anonymous(Origin::Address("192.0.2.1".parse().unwrap()));
        let somebody = policy.htpasswd_user("a");
        for (asked, to_anybody, to_somebody) in [
            ("repository:a:pull", Some("repository:a:pull"), Some("repository:a:pull")),
            ("repository:a:pull,push", Some("repository:a:pull"), Some("repository:a:pull,push")),
            ("repository:a:*", Some("repository:a:pull"), Some("repository:a:pull,push,delete")),
            ("repository:a:push", None, Some("repository:a:push")),
            ("repository:A:pull", None, None),
            ("repository:a:", None, None),
            ("registry:catalog:*", Some("registry:catalog:*"), Some("registry:catalog:*")),
            ("registry:other:*", None, None),
            ("plugin:a:pull", None, None),
        ] {
            for (identity, expected) in [(&anybody, to_anybody), (&somebody, to_somebody)] {
                let granted = granted(identity, Scope::parse(asked).unwrap()).map(|it| it.to_string());
                assert_eq!(granted.as_deref(), expected, "{asked} for {identity:?}");
            }
        }
    }

    #[test]
    fn a_pass_is_good_for_what_it_names() {
        let access =
            ["repository:a:pull,push", "repository:b:pull", "registry:catalog:*", "repository:c:delete"];
        let access = access.map(|it| Scope::parse(it).unwrap()).into();
        let pass = Pass(Claims { user: None, expires: 0, access });
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|it| RepositoryName::parse(it).unwrap());
        for (action, expected) in [
            (Action::Probe, true),
            (Action::Catalog, true),
            (Action::Pull(&a), true),
            (Action::Push(&a), true),
            (Action::Delete(&a), true),
            (Action::Pull(&b), true),
            (Action::Push(&b), false),
            (Action::Delete(&b), false),
            (Action::Pull(&c), false),
            (Action::Delete(&c), true),
            (Action::Pull(&d), false),
            (Action::Inspect, false),
            (Action::Administer, false),
        ] {
            assert_eq!(pass.gives(&action), expected, "{action:?}");
        }
    }
}
