//! `Identity`, `Action` and `authorize`: the one place that decides.

use std::sync::Arc;
use std::time::Instant;

use storage_layout::RepositoryName;

use crate::auth::Right;
use crate::auth::Rights;
use crate::auth::Scope;
use crate::auth::Token;

/// Who asks, and what that gives. Made by a [`Policy`](crate::auth::Policy), which knows the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
    grant: Grant,
    sign_in: SignIn,
    /// When it is no longer that of whoever presented the credential; `None` while the credential is in
    /// force.
    until: Option<Instant>,
}

/// What was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    /// Rights to everything.
    Rights(Rights),
    /// What a token is for, and no more.
    Scopes(Vec<Scope>),
}

/// Whether presenting a credential could give more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignIn {
    /// Somebody's credential could.
    Helps,
    /// No credential is known here, or one was already presented.
    CannotHelp,
}

impl Identity {
    pub(super) fn anonymous(rights: Rights, sign_in: SignIn) -> Self {
        Self { user: None, grant: Grant::Rights(rights), sign_in, until: None }
    }

    pub(super) fn user(name: &str, rights: Rights) -> Self {
        let (user, grant) = (Some(name.into()), Grant::Rights(rights));
        Self { user, grant, sign_in: SignIn::CannotHelp, until: None }
    }

    /// Whoever holds a token, for what it is for.
    pub(super) fn holder(token: Token) -> Self {
        let Token { user, scopes } = token;
        Self { user, grant: Grant::Scopes(scopes), sign_in: SignIn::CannotHelp, until: None }
    }

    /// The same, proved by a credential that was replaced and counts no longer than this.
    #[must_use]
    pub fn no_longer_than(self, until: Instant) -> Self {
        Self { until: Some(until), ..self }
    }

    /// The same, in memory of its own: what counts references to it waits for nobody who counts those to this.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { user: self.user.as_deref().map(Arc::from), ..self.clone() }
    }

    /// When the credential that proved it ceases to count; `None` while it is in force.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The name a credential proved; `None` for anybody.
    pub fn name(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// As [`Identity::name`], to be kept beyond the identity.
    pub fn shared_name(&self) -> Option<Arc<str>> {
        self.user.clone()
    }

    /// A token for those of `scopes` that this identity has rights to, and with no more than those rights.
    pub fn token_for(&self, scopes: &[Scope]) -> Token {
        let granted = match &self.grant {
            Grant::Rights(rights) => scopes.iter().filter_map(|scope| scope.within(*rights)).collect(),
            // Nobody gets a token for a token.
            Grant::Scopes(_) => Vec::new(),
        };
        Token { user: self.user.clone(), scopes: granted }
    }

    #[cfg(test)]
    pub(crate) fn rights(&self) -> Rights {
        match self.grant {
            Grant::Rights(rights) => rights,
            Grant::Scopes(_) => Rights::NONE,
        }
    }
}

/// What is to be done, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// `GET /v2/`: is this a registry, and do you want my credential? Clients choose here, once, whether and
    /// how to sign in, so the answer is a challenge whenever a credential could be of use for anything.
    Probe,
    /// List repositories.
    Catalog,
    /// Read from a repository.
    Pull(&'a RepositoryName),
    /// Write to a repository; cancelling an upload is part of pushing.
    Push(&'a RepositoryName),
    /// Delete from a repository.
    Delete(&'a RepositoryName),
    /// See what the node holds and does: inventory, jobs, releases.
    Inspect,
    /// Change what the node does: start and cancel jobs, add and remove releases, collect garbage.
    Administer,
}

impl Action<'_> {
    /// The right it needs; `None` for [`Action::Probe`], which needs none of its own.
    pub fn right(&self) -> Option<Right> {
        match self {
            Self::Probe => None,
            Self::Catalog | Self::Pull(_) | Self::Inspect => Some(Right::Pull),
            Self::Push(_) | Self::Delete(_) => Some(Right::Push),
            Self::Administer => Some(Right::Administer),
        }
    }

    /// The repository it is about.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Pull(name) | Self::Push(name) | Self::Delete(name) => Some(name),
            Self::Probe | Self::Catalog | Self::Inspect | Self::Administer => None,
        }
    }
}

/// Whether an action may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Allow,
    /// Not without a credential: 401 and a challenge.
    Challenge,
    /// Not with this token, perhaps with another one: 401 and a challenge that says `insufficient_scope`.
    WiderScope,
    /// Not by this identity, whatever it presents: 403.
    Refuse(Refusal),
}

/// Why an action is refused, in words a client can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A user without the right.
    #[error("this user has no right to {0}")]
    NotThisUser(Right),
    /// No credential is configured, and the right is granted only to this host.
    #[error("{0} is open only to clients on the registry's own host, since no credentials are configured")]
    NotFromThere(Right),
}

/// Decides whether `identity` may carry out `action`.
pub fn authorize(identity: &Identity, action: &Action<'_>) -> Decision {
    let Some(right) = action.right() else {
        return match identity.sign_in {
            SignIn::Helps => Decision::Challenge,
            SignIn::CannotHelp => Decision::Allow,
        };
    };
    let granted = match &identity.grant {
        Grant::Rights(rights) => rights.contains(right),
        Grant::Scopes(scopes) => scopes.iter().any(|scope| scope.covers(action)),
    };
    match (granted, &identity.grant, identity.sign_in) {
        (true, _, _) => Decision::Allow,
        (false, Grant::Scopes(_), _) => Decision::WiderScope,
        (false, Grant::Rights(_), SignIn::Helps) => Decision::Challenge,
        (false, Grant::Rights(_), SignIn::CannotHelp) => Decision::Refuse(match identity.name() {
            Some(_) => Refusal::NotThisUser(right),
            None => Refusal::NotFromThere(right),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_identity_may_do_what_it_was_granted() {
        let name = RepositoryName::parse("openshift/release").unwrap();
        let open = Identity::anonymous(Rights::ALL, SignIn::CannotHelp);
        let remote = Identity::anonymous(Rights::PULL, SignIn::CannotHelp);
        let stranger = Identity::anonymous(Rights::NONE, SignIn::Helps);
        let reader = Identity::anonymous(Rights::PULL, SignIn::Helps);
        let puller = Identity::user("openshift", Rights::PULL);
        let pusher = Identity::user("builder", Rights::PULL_AND_PUSH);

        let allow = Decision::Allow;
        let challenge = Decision::Challenge;
        let no_user = |right| Decision::Refuse(Refusal::NotThisUser(right));
        let elsewhere = |right| Decision::Refuse(Refusal::NotFromThere(right));
        let push = Right::Push;
        let administer = Right::Administer;
        for (who, probe, pulling, pushing, administering) in [
            (&open, allow, allow, allow, allow),
            (&remote, allow, allow, elsewhere(push), elsewhere(administer)),
            (&stranger, challenge, challenge, challenge, challenge),
            (&reader, challenge, allow, challenge, challenge),
            (&puller, allow, allow, no_user(push), no_user(administer)),
            (&pusher, allow, allow, allow, no_user(administer)),
        ] {
            assert_eq!(authorize(who, &Action::Probe), probe, "{who:?}");
            for action in [Action::Pull(&name), Action::Catalog, Action::Inspect] {
                assert_eq!(authorize(who, &action), pulling, "{who:?} {action:?}");
            }
            for action in [Action::Push(&name), Action::Delete(&name)] {
                assert_eq!(authorize(who, &action), pushing, "{who:?} {action:?}");
            }
            assert_eq!(authorize(who, &Action::Administer), administering, "{who:?}");
        }
    }

    #[test]
    fn a_token_gives_what_it_was_issued_for() {
        let [own, other] = ["a/b", "c"].map(|name| RepositoryName::parse(name).unwrap());
        let asked = ["repository:a/b:pull,push", "registry:catalog:*", "registry:larder:*"];
        let asked: Vec<_> = asked.iter().filter_map(|text| Scope::parse(text)).collect();
        let (allow, wider) = (Decision::Allow, Decision::WiderScope);
        for (issuer, pushing, administering) in [
            (Identity::user("puller", Rights::PULL), wider, wider),
            (Identity::user("pusher", Rights::PULL_AND_PUSH), allow, wider),
            (Identity::user("root", Rights::ALL), allow, allow),
            (Identity::anonymous(Rights::PULL, SignIn::Helps), wider, wider),
        ] {
            let holder = Identity::holder(issuer.token_for(&asked));
            assert_eq!(holder.name(), issuer.name());
            for action in [Action::Probe, Action::Pull(&own), Action::Catalog, Action::Inspect] {
                assert_eq!(authorize(&holder, &action), allow, "{issuer:?} {action:?}");
            }
            assert_eq!(authorize(&holder, &Action::Push(&own)), pushing, "{issuer:?}");
            assert_eq!(authorize(&holder, &Action::Pull(&other)), wider, "{issuer:?}");
            assert_eq!(authorize(&holder, &Action::Administer), administering, "{issuer:?}");
            assert_eq!(holder.token_for(&asked).scopes, []);
        }
    }
}
