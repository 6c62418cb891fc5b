//! Who asks, and whether they may: the rights of `auth`, applied to requests.
//!
//! Knows headers and answers. Does not decide: [`authorize`] does. Whether
//! somebody may is asked before anything else, so that who may not does not
//! learn what there is.

use std::time::SystemTime;

use http::HeaderMap;
use http::Uri;
use http::header::AUTHORIZATION;
use storage_layout::NameError;
use storage_layout::RepositoryName;

use crate::auth::Action;
use crate::auth::Decision;
use crate::auth::Identity;
use crate::auth::Origin;
use crate::auth::Right;
use crate::auth::Scheme as SignInScheme;
use crate::auth::Scope;
use crate::auth::authorize;
use crate::credentials::Credentials;
use crate::credentials::Rejected;
use crate::http::PeerInfo;
use crate::http::challenge;
use crate::http::challenge::TokenFault;
use crate::http::error::Error;

/// Who may do what, and how clients are told to sign in.
#[derive(Debug)]
pub(super) struct Access {
    /// Who may do what.
    pub(super) credentials: Credentials,
    /// The URL by which clients reach the registry, where requests do not tell.
    pub(super) external_url: Option<String>,
    /// What stands before `/v2/` in every path.
    pub(super) prefix: String,
}

/// A request, as far as signing in looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) uri: &'a Uri,
    pub(super) peer: PeerInfo,
}

impl Signature<'_> {
    fn origin(&self) -> Origin {
        self.peer.address.map_or(Origin::AdminSocket, |it| Origin::Address(it.ip()))
    }
}

/// Somebody who asks for something, and can be answered.
#[derive(Debug)]
pub(super) struct Caller<'a> {
    access: &'a Access,
    signature: Signature<'a>,
    identity: Identity,
}

impl Access {
    /// Who presents what a request has in its `Authorization` header.
    pub(super) async fn caller<'a>(&'a self, signature: Signature<'a>) -> Result<Caller<'a>, Error> {
        let header = signature.headers.get(AUTHORIZATION).map(|it| it.as_bytes());
        let identity = self.identify(signature, header).await?;
        Ok(Caller { access: self, signature, identity })
    }

    /// As [`Access::caller`], where it is known already who that is; `None` says nothing.
    pub(super) fn known_caller<'a>(&'a self, signature: Signature<'a>) -> Option<Caller<'a>> {
        let header = signature.headers.get(AUTHORIZATION).map(|it| it.as_bytes());
        let identity = self.credentials.known(header, signature.origin())?;
        Some(Caller { access: self, signature, identity })
    }

    async fn identify(&self, signature: Signature<'_>, header: Option<&[u8]>) -> Result<Identity, Error> {
        let identified = self.credentials.identify(header, signature.origin(), SystemTime::now()).await;
        identified.map_err(|rejected| match rejected {
            Rejected::WrongCredential => self.challenge(signature, &Action::Probe, None),
            Rejected::InvalidToken => self.challenge(signature, &Action::Probe, Some(TokenFault::Invalid)),
            Rejected::Busy => Error::Slowed,
        })
    }

    fn challenge(&self, signature: Signature<'_>, action: &Action<'_>, fault: Option<TokenFault>) -> Error {
        let Signature { headers, uri, peer } = signature;
        let site = || self.external_url.clone().or_else(|| challenge::site(headers, uri, peer.scheme));
        let challenge = match (self.credentials.policy().scheme(), site()) {
            (SignInScheme::Bearer, Some(site)) => {
                let service = format!("{site}{}", self.prefix);
                challenge::bearer(&service, Scope::needed_for(action).as_ref(), fault)
            }
            (SignInScheme::Basic, _) | (SignInScheme::Bearer, None) => {
                challenge::basic(self.credentials.realm())
            }
        };
        Error::Unauthorized { challenge }
    }
}

impl Caller<'_> {
    /// Who it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What signs the tokens that are asked for.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.access.credentials
    }

    /// Who presents this `Authorization` header, which came another way.
    pub(super) async fn presenting(self, header: &[u8]) -> Result<Self, Error> {
        let identity = self.access.identify(self.signature, Some(header)).await?;
        Ok(Self { identity, ..self })
    }

    /// Asks for a credential.
    pub(super) fn challenge(&self) -> Error {
        self.access.challenge(self.signature, &Action::Probe, None)
    }

    /// Whether the caller may do something.
    ///
    /// # Errors
    /// A challenge, or a refusal.
    pub(super) fn may(&self, action: &Action<'_>) -> Result<(), Error> {
        let challenge = |fault| Err(self.access.challenge(self.signature, action, fault));
        match authorize(&self.identity, action) {
            Decision::Allow => Ok(()),
            Decision::Challenge => challenge(None),
            Decision::WiderScope => challenge(Some(TokenFault::Insufficient)),
            Decision::Refuse(refusal) => Err(refusal.into()),
        }
    }

    /// Whether the caller may, for those to whom it does not matter why not.
    pub(super) fn is_allowed(&self, action: &Action<'_>) -> bool {
        authorize(&self.identity, action) == Decision::Allow
    }

    /// The repository of a path, if the caller may read it.
    ///
    /// # Errors
    /// There can be none of that name, which who may read nothing at all does not learn.
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
        invalid: impl FnOnce(NameError) -> Error,
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

    /// Whether the caller may read from any repository, and so have a blob mounted from wherever it is. A
    /// token names repositories, so its holder may do what anybody may.
    pub(super) fn reads_everywhere(&self) -> bool {
        let anybody = self.access.credentials.policy().anonymous_rights().contains(Right::Pull);
        anybody || self.is_allowed(&Action::Inspect)
    }
}
