//! Who asks, and whether they may: the rights of `auth`, applied to requests.
//!
//! Knows headers and answers. Does not decide: [`authorize`] does. Whether
//! somebody may is asked before anything else, so that who may not does not
//! learn what there is.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;
use http::Uri;
use http::header::AUTHORIZATION;
use storage_layout::RepositoryName;

use crate::auth::Action;
use crate::auth::Authorization;
use crate::auth::Decision;
use crate::auth::Identity;
use crate::auth::Origin;
use crate::auth::Policy;
use crate::auth::Right;
use crate::auth::authorize;
use crate::http::Auth;
use crate::http::PeerInfo;
use crate::http::challenge;
use crate::http::challenge::Style;
use crate::http::challenge::TokenFault;
use crate::http::error::Error;
use crate::http::secret::Key;
use crate::http::sign_in::Failure;
use crate::http::sign_in::SignIn;
use crate::http::token::Issuer;
use crate::http::token::Pass;
use crate::metrics::AuthFailure;

/// Who may do what, and how that is found out.
#[derive(Debug)]
pub(super) struct Access {
    policy: Policy,
    realm: String,
    external_url: Option<String>,
    prefix: String,
    sign_in: SignIn,
    issuer: Issuer,
    metrics: crate::metrics::AuthMetrics,
}

/// A request, as far as signing in looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) uri: &'a Uri,
    pub(super) peer: PeerInfo,
}

/// Who asks.
#[derive(Debug)]
enum Who {
    /// Somebody whose rights are known.
    Identity(Arc<Identity>),
    /// Somebody with a token.
    Pass(Pass),
}

/// Somebody who asks for something, and can be answered.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    access: &'a Access,
    signature: Signature<'a>,
    who: Who,
}

impl Access {
    pub(super) fn new(auth: Auth, prefix: &str) -> Self {
        let Auth { policy, realm, credentials, secret, external_url, metrics } = auth;
        let key = secret.map_or_else(Key::random, |secret| Key::configured(&secret));
        Self {
            policy,
            realm,
            external_url: external_url.map(|it| it.trim_end_matches('/').to_owned()),
            prefix: prefix.to_owned(),
            sign_in: SignIn::new(credentials, &key, metrics.clone()),
            issuer: Issuer::new(&key),
            metrics,
        }
    }

    /// Who presents what a request has in its `Authorization` header. Where credentials do not count they are
    /// ignored: a client may have some for another registry under the same name.
    pub(super) async fn caller<'a>(&'a self, signature: Signature<'a>) -> Result<Caller<'a>, Error> {
        let caller = |who| Caller { access: self, signature, who };
        let origin = signature.origin();
        let Origin::Address(address) = origin else { return Ok(caller(self.anonymous(origin))) };
        let header = signature.headers.get(AUTHORIZATION).map(|it| it.as_bytes());
        let Some(header) = header.filter(|_| self.policy.wants_credentials()) else {
            return Ok(caller(self.anonymous(origin)));
        };
        if let Some(identity) = self.sign_in.known(header) {
            return Ok(caller(Who::Identity(identity)));
        }
        match Authorization::parse(Some(header)) {
            Authorization::Anonymous => Ok(caller(self.anonymous(origin))),
            Authorization::Basic(credential) => {
                match self.sign_in.identify(&self.policy, header, credential, address).await {
                    Ok(identity) => Ok(caller(Who::Identity(identity))),
                    Err(failure) => Err(self.refused(signature, failure)),
                }
            }
            Authorization::Bearer(token) => match self.issuer.pass(&token, SystemTime::now()) {
                Some(pass) => Ok(caller(Who::Pass(pass))),
                None => {
                    self.metrics.failed(AuthFailure::Token);
                    Err(self.challenge(signature, &Action::Probe, Some(TokenFault::Invalid)))
                }
            },
            Authorization::Malformed => {
                self.metrics.failed(AuthFailure::Malformed);
                Err(self.challenge(signature, &Action::Probe, None))
            }
        }
    }

    fn anonymous(&self, origin: Origin) -> Who {
        Who::Identity(Arc::new(self.policy.anonymous(origin)))
    }

    fn refused(&self, signature: Signature<'_>, failure: Failure) -> Error {
        match failure {
            Failure::Wrong => self.challenge(signature, &Action::Probe, None),
            Failure::Slowed(wait) => Error::Slowed { seconds: wait.as_secs().saturating_add(1) },
        }
    }

    fn challenge(&self, signature: Signature<'_>, action: &Action<'_>, fault: Option<TokenFault>) -> Error {
        let site = || {
            let Signature { headers, uri, peer } = signature;
            self.external_url.clone().or_else(|| challenge::site(headers, uri, peer.scheme))
        };
        let challenge = match (self.style(), site()) {
            (Style::Bearer, Some(site)) => challenge::bearer(&site, &self.prefix, action, fault),
            (Style::Basic, _) | (Style::Bearer, None) => challenge::basic(&self.realm),
        };
        Error::Unauthorized { challenge }
    }

    fn style(&self) -> Style {
        if self.policy.anonymous_rights().is_empty() { Style::Basic } else { Style::Bearer }
    }
}

impl Signature<'_> {
    fn origin(&self) -> Origin {
        self.peer.address.map_or(Origin::AdminSocket, |it| Origin::Address(it.ip()))
    }
}

impl Caller<'_> {
    /// Whose credential was presented.
    pub(super) fn user(&self) -> Option<&str> {
        match &self.who {
            Who::Identity(identity) => identity.name(),
            Who::Pass(pass) => pass.user(),
        }
    }

    /// Who asks, where that was said by a credential rather than by a token.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.who {
            Who::Identity(identity) => Some(identity),
            Who::Pass(_) => None,
        }
    }

    /// What signs the tokens that the caller asks for.
    pub(super) fn issuer(&self) -> &Issuer {
        &self.access.issuer
    }

    /// Signs in somebody else: who is named in a form.
    pub(super) async fn instead(&self, credential: crate::auth::Credential) -> Result<Arc<Identity>, Error> {
        let Origin::Address(address) = self.signature.origin() else {
            return Err(self.access.refused(self.signature, Failure::Wrong));
        };
        let header = [credential.user.as_bytes(), b":", credential.password.as_bytes()].concat();
        let found = self.access.sign_in.identify(&self.access.policy, &header, credential, address).await;
        found.map_err(|failure| self.access.refused(self.signature, failure))
    }

    /// Refuses to go on without a credential.
    pub(super) fn challenged(&self, action: &Action<'_>) -> Error {
        self.access.challenge(self.signature, action, None)
    }

    /// Whether the caller may do something.
    ///
    /// # Errors
    /// A challenge, or a refusal.
    pub(super) fn may(&self, action: &Action<'_>) -> Result<(), Error> {
        let decision = match &self.who {
            Who::Identity(identity) => authorize(identity, action),
            Who::Pass(pass) if pass.gives(action) || self.anybody_may(action) => Decision::Allow,
            Who::Pass(_) => {
                let fault = Some(TokenFault::Insufficient);
                return Err(self.access.challenge(self.signature, action, fault));
            }
        };
        match decision {
            Decision::Allow => Ok(()),
            Decision::Challenge => Err(self.challenged(action)),
            Decision::Refuse(refusal) => Err(refusal.into()),
        }
    }

    /// The repository of a path, if the caller may read it.
    ///
    /// # Errors
    /// There can be none of that name, which who may not read at all does not learn.
    pub(super) fn reads(&self, name: &str) -> Result<RepositoryName, Error> {
        self.named(name, |name| Action::Pull(name), Error::NameOfNothing)
    }

    /// The repository of a path, if the caller may push to it.
    ///
    /// # Errors
    /// As [`Caller::reads`].
    pub(super) fn writes(&self, name: &str) -> Result<RepositoryName, Error> {
        self.named(name, |name| Action::Push(name), Error::Name)
    }

    /// The repository of a path, if the caller may delete from it.
    ///
    /// # Errors
    /// As [`Caller::reads`].
    pub(super) fn deletes(&self, name: &str) -> Result<RepositoryName, Error> {
        self.named(name, |name| Action::Delete(name), Error::Name)
    }

    fn named(
        &self,
        name: &str,
        action: impl for<'n> FnOnce(&'n RepositoryName) -> Action<'n>,
        invalid: impl FnOnce(storage_layout::NameError) -> Error,
    ) -> Result<RepositoryName, Error> {
        match RepositoryName::parse(name) {
            Ok(name) => {
                self.may(&action(&name))?;
                Ok(name)
            }
            Err(error) => {
                self.may(&Action::Catalog)?;
                Err(invalid(error))
            }
        }
    }

    /// Whether the caller may read from any repository, and so have a blob mounted from wherever it is.
    pub(super) fn reads_everywhere(&self) -> bool {
        match &self.who {
            Who::Identity(identity) => identity.rights().contains(Right::Pull),
            Who::Pass(_) => self.anybody_may(&Action::Catalog),
        }
    }

    fn anybody_may(&self, action: &Action<'_>) -> bool {
        let rights = self.access.policy.anonymous_rights();
        action.right().is_some_and(|right| rights.contains(right))
    }
}
