//! `SignIn`: from a credential to who presents it.
//!
//! bcrypt is made to be slow, and a pull of a release presents its credential
//! thousands of times: what was found right is remembered for as long as the
//! files say the same. What is remembered is a keyed hash of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;
use hmac::Hmac;
use hmac::Mac as _;
use quick_cache::sync::Cache;
use sha2::Sha256;
use tokio::sync::Semaphore;

use crate::auth::Credential;
use crate::auth::Htpasswd;
use crate::auth::Identity;
use crate::auth::Policy;
use crate::auth::PullSecret;
use crate::http::secret::Key;
use crate::http::slowdown::Slowdown;
use crate::metrics::AuthFailure;
use crate::metrics::AuthMetrics;
use crate::reload::Watched;

/// The files that say who may sign in.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Users and their bcrypt hashes.
    pub htpasswd: Option<Watched<Htpasswd>>,
    /// What the cluster's pull secret holds for this registry.
    pub pull_secret: Option<Watched<PullSecret>>,
}

/// Finds out who presents a credential.
#[derive(Debug)]
pub(super) struct SignIn {
    credentials: Credentials,
    known: ArcSwap<Known>,
    mac: Hmac<Sha256>,
    slowdown: Slowdown,
    computing: Semaphore,
    metrics: AuthMetrics,
}

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is nobody's credential.
    Wrong,
    /// The client failed too often of late, and is to stay away so long.
    Slowed(Duration),
}

/// What was found right according to these files, which are told apart by where they are in memory.
#[derive(Debug)]
struct Known {
    files: Files,
    identities: Cache<[u8; 32], Arc<Identity>>,
}

#[derive(Clone, Debug)]
struct Files {
    htpasswd: Option<Arc<Htpasswd>>,
    pull_secret: Option<Arc<PullSecret>>,
}

/// How many credentials are remembered: more than a cluster has, at about 200 bytes each.
const KNOWN: usize = 1024;

/// How many bcrypt computations may run at once, so that guessing passwords does not take the node's processor.
const COMPUTATIONS: usize = 2;

impl SignIn {
    pub(super) fn new(credentials: Credentials, key: &Key, metrics: AuthMetrics) -> Self {
        let known = ArcSwap::from_pointee(Known::of(credentials.files()));
        let mac = key.for_purpose("credentials that were found right");
        let (slowdown, computing) = (Slowdown::default(), Semaphore::new(COMPUTATIONS));
        Self { credentials, known, mac, slowdown, computing, metrics }
    }

    /// Who presented this very `Authorization` header before and was right.
    pub(super) fn known(&self, header: &[u8]) -> Option<Arc<Identity>> {
        let identity = self.current().identities.get(&self.mark(header))?;
        self.metrics.cached.inc();
        Some(identity)
    }

    /// Who presents `credential`, which came as `header`.
    pub(super) async fn identify(
        &self,
        policy: &Policy,
        header: &[u8],
        credential: Credential,
        address: IpAddr,
    ) -> Result<Arc<Identity>, Failure> {
        let wait = self.slowdown.book(address, Instant::now()).map_err(|wait| {
            self.metrics.failed(AuthFailure::Slowed);
            Failure::Slowed(wait)
        })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let known = self.current();
        let Some(identity) = self.compute(&known.files, policy, credential).await else {
            self.slowdown.failed(address, Instant::now());
            self.metrics.failed(AuthFailure::Wrong);
            tracing::warn!(peer = %address, "a credential was refused");
            return Err(Failure::Wrong);
        };
        let identity = Arc::new(identity);
        known.identities.insert(self.mark(header), Arc::clone(&identity));
        Ok(identity)
    }

    async fn compute(&self, files: &Files, policy: &Policy, credential: Credential) -> Option<Identity> {
        let Some(htpasswd) = files.htpasswd.clone() else { return files.by_pull_secret(policy, &credential) };
        if !htpasswd.contains(&credential.user)
            && let Some(identity) = files.by_pull_secret(policy, &credential)
        {
            return Some(identity);
        }
        // The semaphore is never closed, and the computation does not panic: either would refuse the credential.
        let _permit = self.computing.acquire().await.ok()?;
        let computed = tokio::task::spawn_blocking(move || (htpasswd.verify(&credential), credential));
        match computed.await.ok()? {
            (true, credential) => {
                self.metrics.computed.inc();
                Some(policy.htpasswd_user(&credential.user))
            }
            (false, credential) => files.by_pull_secret(policy, &credential),
        }
    }

    /// What is known according to the files in force.
    fn current(&self) -> Arc<Known> {
        let known = self.known.load();
        let files = self.credentials.files();
        if known.files.are(&files) {
            return Arc::clone(&known);
        }
        let known = Arc::new(Known::of(files));
        self.known.store(Arc::clone(&known));
        known
    }

    fn mark(&self, header: &[u8]) -> [u8; 32] {
        self.mac.clone().chain_update(header).finalize().into_bytes().into()
    }
}

impl Credentials {
    fn files(&self) -> Files {
        Files {
            htpasswd: self.htpasswd.as_ref().map(Watched::current),
            pull_secret: self.pull_secret.as_ref().map(Watched::current),
        }
    }
}

impl Known {
    fn of(files: Files) -> Self {
        Self { files, identities: Cache::new(KNOWN) }
    }
}

impl Files {
    fn are(&self, other: &Self) -> bool {
        fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
        }
        same(self.htpasswd.as_ref(), other.htpasswd.as_ref())
            && same(self.pull_secret.as_ref(), other.pull_secret.as_ref())
    }

    fn by_pull_secret(&self, policy: &Policy, credential: &Credential) -> Option<Identity> {
        let secret = self.pull_secret.as_ref()?;
        secret.verify(credential).then(|| policy.pull_secret_user(&credential.user))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::auth::HostNames;
    use crate::auth::Password;
    use crate::auth::Rights;
    use crate::auth::UserRule;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn htpasswd(pairs: &[(&str, &str)]) -> Htpasswd {
        let lines: Vec<String> = pairs
            .iter()
            .map(|(user, password)| format!("{user}:{}", bcrypt::hash(password, 4).unwrap()))
            .collect();
        Htpasswd::parse(lines.join("\n").as_bytes()).unwrap()
    }

    fn pull_secret(user_and_password: &str) -> PullSecret {
        use base64::Engine as _;
        let auth = base64::prelude::BASE64_STANDARD.encode(user_and_password);
        let text = format!(r#"{{"auths":{{"localhost:22625":{{"auth":"{auth}"}}}}}}"#);
        PullSecret::parse(text.as_bytes(), &HostNames::new(22625, [])).unwrap()
    }

    async fn rights(sign_in: &SignIn, user: &str, password: &str) -> Option<Rights> {
        let policy = Policy::closed(UserRule::All, UserRule::Named(Default::default()));
        let credential = Credential { user: user.into(), password: Password::from(password) };
        let header = format!("{user}:{password}");
        let found = sign_in.identify(&policy, header.as_bytes(), credential, ADDRESS).await;
        found.ok().map(|identity| identity.rights())
    }

    fn sign_in(credentials: Credentials) -> SignIn {
        SignIn::new(credentials, &Key::random(), AuthMetrics::default())
    }

    #[tokio::test]
    async fn either_file_signs_in_and_each_gives_its_rights() {
        let sign_in = sign_in(Credentials {
            htpasswd: Some(Watched::fixed(htpasswd(&[("openshift", "both"), ("builder", "push")]))),
            pull_secret: Some(Watched::fixed(pull_secret("openshift:pull"))),
        });
        for (user, password, expected) in [
            ("builder", "push", Some(Rights::PULL_AND_PUSH)),
            ("openshift", "both", Some(Rights::PULL_AND_PUSH)),
            ("openshift", "pull", Some(Rights::PULL)),
            ("builder", "pull", None),
            ("nobody", "push", None),
        ] {
            assert_eq!(rights(&sign_in, user, password).await, expected, "{user}:{password}");
        }
    }

    #[tokio::test]
    async fn what_was_right_is_known_until_the_files_change() {
        let sign_in = sign_in(Credentials {
            htpasswd: Some(Watched::fixed(htpasswd(&[("a", "b")]))),
            ..Credentials::default()
        });
        assert!(sign_in.known(b"a:b").is_none());
        assert!(rights(&sign_in, "a", "b").await.is_some());
        assert_eq!(sign_in.known(b"a:b").unwrap().name(), Some("a"));
        assert!(sign_in.known(b"a:c").is_none());
        assert_eq!((sign_in.metrics.computed.get(), sign_in.metrics.cached.get()), (1, 1));
        let other = Files { htpasswd: Some(Arc::new(htpasswd(&[("a", "b")]))), pull_secret: None };
        sign_in.known.store(Arc::new(Known::of(other)));
        assert!(sign_in.known(b"a:b").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_becomes_slow() {
        let sign_in = sign_in(Credentials {
            htpasswd: Some(Watched::fixed(htpasswd(&[("a", "b")]))),
            ..Credentials::default()
        });
        for _ in 0..12 {
            assert_eq!(rights(&sign_in, "a", "x").await, None);
        }
        let policy = Policy::closed(UserRule::All, UserRule::All);
        let credential = || Credential { user: "a".into(), password: Password::from("x") };
        let attempt = || sign_in.identify(&policy, b"a:x", credential(), ADDRESS);
        let (one, two, three) = tokio::join!(attempt(), attempt(), attempt());
        assert!([one, two, three].iter().any(|it| matches!(it, Err(Failure::Slowed(_)))));
    }
}
