//! `Policy`: which rights whom a configuration gives.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::auth::Identity;
use crate::auth::Right;
use crate::auth::Rights;
use crate::auth::Token;
use crate::auth::identity::SignIn;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The administration socket; its file permissions say who reaches it.
    AdminSocket,
    /// An address.
    Address(IpAddr),
}

impl Origin {
    /// Whether it is this host. An IPv4 address that a dual-stack socket shows as IPv6 counts as what it is.
    pub fn is_local(&self) -> bool {
        match self {
            Self::AdminSocket => true,
            Self::Address(address) => address.to_canonical().is_loopback(),
        }
    }
}

/// Which rights whom a configuration gives.
///
/// | configuration | nobody in particular | a pull secret's user | a htpasswd user |
/// |---|---|---|---|
/// | no credential file | pull; from this host everything | - | - |
/// | with a credential file | nothing | pull | pull and push; administer if named |
/// | distribution's, no `auth` section | everything | - | - |
/// | distribution's, `auth.htpasswd` | nothing | - | everything |
///
/// The administration socket may do everything under each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    anywhere: Rights,
    here: Rights,
    sign_in: SignIn,
    push: UserRule,
    administer: UserRule,
}

/// Which users of a htpasswd file a right is given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRule {
    /// Every one.
    All,
    /// Those named.
    Named(BTreeSet<String>),
}

/// How clients are asked to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// With a name and a password (RFC 7617).
    Basic,
    /// With a token that a name and a password, or nothing, is exchanged for (distribution's token
    /// specification).
    Bearer,
}

impl UserRule {
    /// Whether `user` is among them.
    pub fn covers(&self, user: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(user),
        }
    }
}

impl Policy {
    /// Everything is open to everybody: distribution's rule without an `auth` section.
    pub fn open() -> Self {
        Self { anywhere: Rights::ALL, here: Rights::ALL, ..Self::closed(UserRule::All, UserRule::All) }
            .without_credentials()
    }

    /// No credential file: anybody may pull, this host may do everything.
    pub fn without_credential_files() -> Self {
        Self { anywhere: Rights::PULL, here: Rights::ALL, ..Self::closed(UserRule::All, UserRule::All) }
            .without_credentials()
    }

    /// Credential files: nobody may do anything without one.
    pub fn closed(push: UserRule, administer: UserRule) -> Self {
        Self { anywhere: Rights::NONE, here: Rights::NONE, sign_in: SignIn::Helps, push, administer }
    }

    /// Grants `rights` to everybody, from everywhere, as well.
    #[must_use]
    pub fn and_anonymous(self, rights: Rights) -> Self {
        Self { anywhere: self.anywhere.union(rights), here: self.here.union(rights), ..self }
    }

    /// Whether credentials count. Where they do not, what a client presents is ignored, never refused.
    pub fn wants_credentials(&self) -> bool {
        self.sign_in == SignIn::Helps
    }

    /// What somebody may do from anywhere without a credential.
    pub fn anonymous_rights(&self) -> Rights {
        self.anywhere
    }

    /// Somebody who presented no credential.
    pub fn anonymous(&self, origin: Origin) -> Identity {
        match origin {
            Origin::AdminSocket => Identity::anonymous(Rights::ALL, SignIn::CannotHelp),
            Origin::Address(_) if origin.is_local() => Identity::anonymous(self.here, self.sign_in),
            Origin::Address(_) => Identity::anonymous(self.anywhere, self.sign_in),
        }
    }

    /// How clients are asked to sign in. Those that find Basic at `/v2/` send a credential with every request
    /// or give up, so where some may do something without one they have to be offered tokens.
    pub fn scheme(&self) -> Scheme {
        if self.anywhere.is_empty() { Scheme::Basic } else { Scheme::Bearer }
    }

    /// Whoever holds a token of ours.
    pub fn token_holder(&self, token: Token) -> Identity {
        Identity::holder(token)
    }

    /// A user whose credential is right according to the htpasswd file.
    pub fn htpasswd_user(&self, name: &str) -> Identity {
        let mut rights = Rights::PULL.union(self.anywhere);
        if self.push.covers(name) {
            rights = rights.union(Right::Push.into());
        }
        if self.administer.covers(name) {
            rights = rights.union(Right::Administer.into());
        }
        Identity::user(name, rights)
    }

    /// A user whose credential is right according to the pull secret.
    pub fn pull_secret_user(&self, name: &str) -> Identity {
        Identity::user(name, Rights::PULL.union(self.anywhere))
    }

    fn without_credentials(self) -> Self {
        Self { sign_in: SignIn::CannotHelp, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LOOPBACK: &[&str] = &["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"];
    const ELSEWHERE: &[&str] = &["192.0.2.7", "0.0.0.0", "::", "fe80::1", "2001:db8::1", "::ffff:192.0.2.7"];

    #[test]
    fn nobody_in_particular() {
        let named = || UserRule::Named(BTreeSet::new());
        for (policy, here, elsewhere) in [
            (Policy::open(), Rights::ALL, Rights::ALL),
            (Policy::without_credential_files(), Rights::ALL, Rights::PULL),
            (
                Policy::without_credential_files().and_anonymous(Right::Push.into()),
                Rights::ALL,
                Rights::PULL_AND_PUSH,
            ),
            (Policy::closed(UserRule::All, named()), Rights::NONE, Rights::NONE),
            (Policy::closed(UserRule::All, named()).and_anonymous(Rights::PULL), Rights::PULL, Rights::PULL),
        ] {
            for (addresses, expected) in [(LOOPBACK, here), (ELSEWHERE, elsewhere)] {
                for address in addresses {
                    let identity = policy.anonymous(Origin::Address(address.parse().unwrap()));
                    assert_eq!(identity.rights(), expected, "{address} under {policy:?}");
                    assert_eq!(identity.name(), None);
                }
            }
            assert_eq!(policy.anonymous(Origin::AdminSocket).rights(), Rights::ALL);
        }
    }

    #[test]
    fn users_by_name_and_by_file() {
        let only = |name: &str| UserRule::Named(BTreeSet::from([name.to_owned()]));
        let policy = Policy::closed(only("builder"), only("root"));
        let administrator = Rights::PULL.union(Right::Administer.into());
        for (user, rights) in
            [("builder", Rights::PULL_AND_PUSH), ("root", administrator), ("eve", Rights::PULL)]
        {
            assert_eq!(policy.htpasswd_user(user).rights(), rights, "{user}");
            assert_eq!(policy.htpasswd_user(user).name(), Some(user));
        }
        assert_eq!(policy.pull_secret_user("builder").rights(), Rights::PULL);
        assert_eq!(Policy::closed(UserRule::All, UserRule::All).htpasswd_user("x").rights(), Rights::ALL);
    }
}
