//! `Scope`: what a token is asked for, and what it gives.
//!
//! The grammar is distribution's (`docs/content/spec/auth/scope.md`):
//! `type:name:action,action`, several in one parameter by spaces, in several
//! parameters too.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use storage_layout::RepositoryName;

/// What may be done with one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scope {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Which one.
    pub(super) name: String,
    /// What.
    pub(super) actions: Vec<Grant>,
}

/// Something that a token can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::http) enum Grant {
    /// Read.
    #[serde(rename = "pull")]
    Pull,
    /// Write.
    #[serde(rename = "push")]
    Push,
    /// Delete.
    #[serde(rename = "delete")]
    Delete,
    /// Whatever there is.
    #[serde(rename = "*")]
    All,
}

impl Grant {
    const EACH: [Self; 4] = [Self::Pull, Self::Push, Self::Delete, Self::All];

    fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
            Self::All => "*",
        }
    }
}

impl Scope {
    /// Reads one scope; actions that nobody knows are left out. `None` where it has not three parts.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let actions = Grant::EACH.into_iter().filter(|it| actions.split(',').any(|word| word == it.as_str()));
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions: actions.collect() })
    }

    /// The repository it is about.
    pub(super) fn repository(&self) -> Option<RepositoryName> {
        if self.kind == "repository" { RepositoryName::parse(&self.name).ok() } else { None }
    }

    /// Whether it is about the list of repositories.
    pub(super) fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.kind, self.name)?;
        for (index, action) in self.actions.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "," }, action.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn scopes() {
        for (text, expected) in [
            ("repository:a/b:pull", Some("repository:a/b:pull")),
            ("repository:a/b:push,pull", Some("repository:a/b:pull,push")),
            ("repository:a:*", Some("repository:a:*")),
            ("repository:host:5000/a:pull,x", Some("repository:host:5000/a:pull")),
            ("registry:catalog:*", Some("registry:catalog:*")),
            ("repository:a:", Some("repository:a:")),
            ("repository:a", None),
            ("", None),
        ] {
            assert_eq!(Scope::parse(text).map(|it| it.to_string()).as_deref(), expected, "{text}");
        }
        assert!(Scope::parse("repository:a/b:pull").unwrap().repository().is_some());
        assert!(Scope::parse("repository:A:pull").unwrap().repository().is_none());
        assert!(Scope::parse("registry:catalog:*").unwrap().is_catalog());
    }
}
