//! `Scope`: what a token is for, in the words of distribution's token specification
//! (`docs/content/spec/auth/scope.md`): `repository:library/app:pull,push`.

use std::fmt;

use storage_layout::RepositoryName;

use crate::auth::Action;
use crate::auth::Right;
use crate::auth::Rights;

/// Rights to one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    resource: Resource,
    rights: Rights,
}

/// What a scope is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Resource {
    /// `repository:NAME`
    Repository(RepositoryName),
    /// `registry:catalog`
    Catalog,
    /// `registry:larder`: what the node holds and does.
    Node,
}

impl Scope {
    /// The most scopes of one token. `oc` asks for every repository of a release in one request; those are
    /// two.
    pub const MAX: usize = 64;

    /// Reads one scope; `None` for a kind or an action that is not known here, which is then simply not
    /// granted.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // A class may follow the kind in parentheses: `repository(plugin)`.
        let resource = match (kind.split('(').next()?, name) {
            ("repository", name) => Resource::Repository(RepositoryName::parse(name).ok()?),
            ("registry", "catalog") => Resource::Catalog,
            ("registry", "larder") => Resource::Node,
            _ => return None,
        };
        let rights = actions.split(',').map(rights_of).fold(Rights::NONE, Rights::union);
        (!rights.is_empty()).then_some(Self { resource, rights })
    }

    /// The scope that a challenge asks a client to get for `action`; `None` where any token will do.
    pub fn needed_for(action: &Action<'_>) -> Option<Self> {
        let right = action.right()?;
        let rights = if right == Right::Push { Rights::PULL_AND_PUSH } else { right.into() };
        let resource = match action {
            Action::Probe => return None,
            Action::Pull(name) | Action::Push(name) | Action::Delete(name) => {
                Resource::Repository((*name).clone())
            }
            Action::Catalog => Resource::Catalog,
            Action::Inspect | Action::Administer => Resource::Node,
        };
        Some(Self { resource, rights })
    }

    /// The same thing with no more rights than `rights`; `None` if none are left.
    pub fn within(&self, rights: Rights) -> Option<Self> {
        let rights = self.rights.intersection(rights);
        (!rights.is_empty()).then(|| Self { resource: self.resource.clone(), rights })
    }

    /// Whether it is enough for `action`.
    pub fn covers(&self, action: &Action<'_>) -> bool {
        let same = match (&self.resource, action) {
            (Resource::Repository(own), Action::Pull(name) | Action::Push(name) | Action::Delete(name)) => {
                own == *name
            }
            (Resource::Catalog, Action::Catalog) | (Resource::Node, Action::Inspect | Action::Administer) => {
                true
            }
            _ => false,
        };
        same && action.right().is_some_and(|right| self.rights.contains(right))
    }
}

/// Deleting is part of the right to push here. `*` is all, also for the catalog, where it is the only action.
fn rights_of(action: &str) -> Rights {
    match action {
        "pull" => Rights::PULL,
        "push" | "delete" => Right::Push.into(),
        "*" => Rights::ALL,
        _ => Rights::NONE,
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Resource::Repository(name) => write!(f, "repository:{}:", name.as_str())?,
            Resource::Catalog => return f.write_str("registry:catalog:*"),
            Resource::Node => f.write_str("registry:larder:")?,
        }
        if self.rights.contains(Right::Administer) {
            return f.write_str("*");
        }
        write!(f, "{}", self.rights)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn scopes_that_are_known() {
        for (text, shown) in [
            ("repository:a/b:pull", "repository:a/b:pull"),
            ("repository:a:push,pull", "repository:a:pull,push"),
            ("repository:a:pull,delete", "repository:a:pull,push"),
            ("repository:a:*", "repository:a:*"),
            ("repository(plugin):a:pull", "repository:a:pull"),
            ("repository:a:pull,frobnicate", "repository:a:pull"),
            ("registry:catalog:*", "registry:catalog:*"),
            ("registry:larder:pull", "registry:larder:pull"),
        ] {
            let scope = Scope::parse(text).unwrap();
            assert_eq!(scope.to_string(), shown, "{text}");
            assert_eq!(Scope::parse(shown).unwrap(), Scope { ..scope.clone() }, "{text}");
        }
        for text in [
            "",
            "repository",
            "repository:a",
            "repository:A:pull",
            "repository:a:",
            "registry:x:*",
            "x:a:pull",
        ] {
            assert_eq!(Scope::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_challenge_asks_for_is_enough() {
        let name = RepositoryName::parse("a/b").unwrap();
        let other = RepositoryName::parse("a").unwrap();
        for (action, shown) in [
            (Action::Pull(&name), "repository:a/b:pull"),
            (Action::Push(&name), "repository:a/b:pull,push"),
            (Action::Delete(&name), "repository:a/b:pull,push"),
            (Action::Catalog, "registry:catalog:*"),
            (Action::Inspect, "registry:larder:pull"),
            (Action::Administer, "registry:larder:*"),
        ] {
            let scope = Scope::needed_for(&action).unwrap();
            assert_eq!(scope.to_string(), shown);
            assert!(scope.covers(&action) && Scope::parse(shown).unwrap().covers(&action), "{shown}");
            assert!(!scope.covers(&Action::Pull(&other)), "{shown}");
        }
        assert_eq!(Scope::needed_for(&Action::Probe), None);
        assert!(!Scope::parse("repository:a/b:pull").unwrap().covers(&Action::Push(&name)));
    }

    #[test]
    fn no_more_than_one_has() {
        let scope = Scope::parse("repository:a:*").unwrap();
        assert_eq!(scope.within(Rights::PULL).unwrap().to_string(), "repository:a:pull");
        assert_eq!(Scope::parse("repository:a:push").unwrap().within(Rights::PULL), None);
    }
}
