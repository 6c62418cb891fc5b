//! Who is asking: the credentials that operators' files hold, checked at the cost of bcrypt once.
//!
//! Knows the files in force and what they said until a moment ago, which credentials were found right or
//! wrong a while ago, and who has been guessing. Does not know what an identity may do (`auth`) or how a
//! refusal looks on the wire (`http`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::auth::Authorization;
use crate::auth::Credential;
use crate::auth::Htpasswd;
use crate::auth::Identity;
use crate::auth::Origin;
use crate::auth::Policy;
use crate::auth::PullSecret;
use crate::auth::Scope;
use crate::auth::TOKEN_LIFETIME;
use crate::auth::TokenKey;
use crate::metrics::AuthFailure;
use crate::metrics::AuthMetrics;
use crate::reload::Succession;
use crate::reload::Watched;

mod files;
mod guesses;
mod verdicts;

use files::Files;
use files::Readings;
use files::Verdict;
use guesses::Guesses;
use verdicts::Verdicts;

/// The credentials in force and who may do what with them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Credentials {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sources: Sources,
    token_key: TokenKey,
    verdicts: Verdicts,
    guesses: Guesses,
    queue: Semaphore,
    bcrypt: Semaphore,
    metrics: AuthMetrics,
}

/// Where credentials come from, and the rules for those who have one and those who have none.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The rules.
    pub policy: Policy,
    /// What a client is asked to sign in to.
    pub realm: String,
    /// Users and their hashes.
    pub htpasswd: Option<Watched<Succession<Htpasswd>>>,
    /// The entries for this registry.
    pub pull_secret: Option<Watched<Succession<PullSecret>>>,
}

/// Nobody could be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The name or the password is wrong, or the header is no credential.
    #[error("the user name or password is wrong")]
    WrongCredential,
    /// The token is not ours or too old; a new one may do.
    #[error("the token is not valid here, or no longer")]
    InvalidToken,
    /// Too many different credentials are waiting to be checked.
    #[error("too many credentials to check at once")]
    Busy,
}

/// How many credentials may wait for bcrypt. One check is about 60 ms at cost 10, so the last of them waits
/// for some seconds, which is as long as a client does.
const MAX_WAITING: usize = 64;

impl Credentials {
    /// Checks credentials against `sources`. `secret` signs tokens and keys the cache.
    pub fn new(sources: Sources, secret: &[u8], metrics: AuthMetrics) -> Self {
        let inner = Inner {
            sources,
            token_key: TokenKey::new(secret),
            verdicts: Verdicts::new(secret),
            guesses: Guesses::default(),
            queue: Semaphore::new(MAX_WAITING),
            // The processor belongs to others on this node: one bcrypt at a time, whoever asks.
            bcrypt: Semaphore::new(1),
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The rules.
    pub fn policy(&self) -> &Policy {
        &self.inner.sources.policy
    }

    /// What a client is asked to sign in to.
    pub fn realm(&self) -> &str {
        &self.inner.sources.realm
    }

    /// The same as [`Credentials::identify`], where nothing has to be computed; `None` says nothing.
    pub fn known(&self, header: Option<&[u8]>, origin: Origin) -> Option<Identity> {
        let policy = self.policy();
        if !policy.wants_credentials() || origin == Origin::AdminSocket {
            return Some(policy.anonymous(origin));
        }
        match header {
            None => Some(policy.anonymous(origin)),
            Some(header) => self.inner.verdicts.recognize(header, Readings::current(&self.inner.sources)),
        }
    }

    /// Who sent a request with this `Authorization` header. Where no credentials are configured the header is
    /// ignored: a client that has one for this host must not be turned away for it.
    ///
    /// # Errors
    /// What was presented does not count.
    pub async fn identify(
        &self,
        header: Option<&[u8]>,
        origin: Origin,
        now: SystemTime,
    ) -> Result<Identity, Rejected> {
        if let Some(identity) = self.known(header, origin) {
            return Ok(identity);
        }
        let files = Files::current(&self.inner.sources);
        // On the heap, so that who is known does not pay for its size.
        Box::pin(self.examine(header, files, origin, now)).await
    }

    /// Who sent a header that was not seen of late.
    async fn examine(
        &self,
        header: Option<&[u8]>,
        files: Files,
        origin: Origin,
        now: SystemTime,
    ) -> Result<Identity, Rejected> {
        match Authorization::parse(header) {
            Authorization::Anonymous => Ok(self.policy().anonymous(origin)),
            Authorization::Basic(credential) => {
                let identity = self.sign_in(credential, files.clone(), origin).await?;
                header.inspect(|header| self.inner.verdicts.remember(header, &files, &identity));
                Ok(identity)
            }
            Authorization::Bearer(token) => self.holder(&token, now),
            Authorization::Malformed => {
                self.inner.metrics.failed(AuthFailure::Malformed);
                Err(Rejected::WrongCredential)
            }
        }
    }

    /// A token for those of `scopes` that `identity` has rights to, and how long it counts: no longer than
    /// what proved the identity.
    pub fn issue_token(&self, identity: &Identity, scopes: &[Scope], now: SystemTime) -> (String, Duration) {
        let left = |until| Instant::from_std(until).saturating_duration_since(Instant::now());
        let lifetime = identity.until().map_or(TOKEN_LIFETIME, |until| left(until).min(TOKEN_LIFETIME));
        (self.inner.token_key.issue(&identity.token_for(scopes), now, lifetime), lifetime)
    }

    fn holder(&self, token: &str, now: SystemTime) -> Result<Identity, Rejected> {
        let token = self.inner.token_key.read(token, now).map_err(|error| {
            tracing::debug!(%error, "token refused");
            self.inner.metrics.failed(AuthFailure::Token);
            Rejected::InvalidToken
        })?;
        Ok(self.policy().token_holder(token))
    }

    async fn sign_in(
        &self,
        credential: Credential,
        files: Files,
        origin: Origin,
    ) -> Result<Identity, Rejected> {
        let inner = &self.inner;
        let check = self.check(credential.clone(), files.clone(), origin);
        let (user, policy) = (&credential.user, self.policy());
        match inner.verdicts.find_or(&credential, &files, check).await? {
            Verdict::Htpasswd(standing) => Ok(standing.limit(policy.htpasswd_user(user))),
            Verdict::PullSecret(standing) => Ok(standing.limit(policy.pull_secret_user(user))),
            Verdict::Wrong => {
                inner.metrics.failed(AuthFailure::Wrong);
                Err(Rejected::WrongCredential)
            }
        }
    }

    /// Checks a credential that was not seen of late. The client's earlier wrong ones make it wait first, so
    /// that guessing is slow; what is known stays fast, also for others at the same address.
    async fn check(&self, credential: Credential, files: Files, origin: Origin) -> Result<Verdict, Rejected> {
        let inner = &self.inner;
        let address = address_of(origin);
        let busy = || {
            inner.metrics.failed(AuthFailure::Slowed);
            Rejected::Busy
        };
        let delay = inner.guesses.next_turn(address).ok_or_else(busy)?;
        tokio::time::sleep(delay).await;
        let _place = inner.queue.try_acquire().map_err(|_| busy())?;
        // Neither semaphore is ever closed.
        let _turn = inner.bcrypt.acquire().await.map_err(|_| busy())?;
        let verdict = spawn_blocking(move || (files.verify(&credential, Instant::now()), credential)).await;
        let (verdict, credential) = verdict.map_err(|error| {
            tracing::error!(%error, "checking a credential came to an end");
            Rejected::Busy
        })?;
        inner.metrics.computed.inc();
        if verdict == Verdict::Wrong {
            tracing::warn!(user = %credential.user.escape_debug(), peer = %address, "wrong credential");
        } else {
            inner.guesses.forgive(address);
        }
        Ok(verdict)
    }
}

/// The address that guesses are counted for. An IPv6 client has a whole /64 to itself.
fn address_of(origin: Origin) -> IpAddr {
    match origin {
        Origin::AdminSocket => IpAddr::from([127, 0, 0, 1]),
        Origin::Address(address) => match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(prefix.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        },
    }
}

#[cfg(test)]
mod tests;
