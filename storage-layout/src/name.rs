//! `RepositoryName`: the distribution specification's grammar for `<name>`.
//!
//! Knows which names are allowed. Does not know which exist. That no component
//! can begin with an underscore is what makes paths invertible: the first `/_`
//! of a path ends the name.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

/// The name of a repository, such as `openshift/release-images`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Box<str>);

impl RepositoryName {
    /// The longest name, in bytes. The specification asks for at least 255 with
    /// the host name; distribution stops there too (`reference.NameTotalLengthMax`).
    pub const MAX_LEN: usize = 255;

    /// Parses `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`.
    ///
    /// # Errors
    /// Says whether the name is too long or which rule a component breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong);
        }
        if text.split('/').all(is_component) { Ok(Self(text.into())) } else { Err(NameError::Grammar) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` may stand between two slashes of a name.
    pub fn is_component(text: &str) -> bool {
        is_component(text)
    }
}

/// One component: runs of `[a-z0-9]` with a separator between each two.
fn is_component(component: &str) -> bool {
    let mut rest = component;
    loop {
        let run = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (alphanumeric, tail) = rest.split_at(run);
        if alphanumeric.is_empty() {
            return false;
        }
        if tail.is_empty() {
            return true;
        }
        let Some(next) = after_separator(tail) else { return false };
        rest = next;
    }
}

/// What follows one separator: `.`, `_`, `__` or any number of `-`.
fn after_separator(text: &str) -> Option<&str> {
    if text.starts_with('-') {
        return Some(text.trim_start_matches('-'));
    }
    text.strip_prefix("__").or_else(|| text.strip_prefix('_')).or_else(|| text.strip_prefix('.'))
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<RepositoryName> for alloc::string::String {
    fn from(name: RepositoryName) -> Self {
        (*name.0).to_owned()
    }
}

/// Why a text is not the name of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// The name has more than [`RepositoryName::MAX_LEN`] bytes.
    TooLong,
    /// A component breaks the grammar, or the name is empty.
    Grammar,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a repository name has at most {} characters", RepositoryName::MAX_LEN),
            Self::Grammar => f.write_str(
                "a repository name is lower-case letters and digits, separated by one of . _ __ - and by slashes",
            ),
        }
    }
}

impl core::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_of_names() {
        let (longest, too_long) = ("a".repeat(255), "a".repeat(256));
        for (text, expected) in [
            ("a", Ok(())),
            ("0", Ok(())),
            ("library/busybox", Ok(())),
            ("openshift/release-images", Ok(())),
            ("a/b/c/d/e/f", Ok(())),
            ("a.b_c__d-e---f/0", Ok(())),
            ("layers/manifests/tags/uploads/blobs", Ok(())),
            (&longest, Ok(())),
            (&too_long, Err(NameError::TooLong)),
            ("", Err(NameError::Grammar)),
            ("/", Err(NameError::Grammar)),
            ("/a", Err(NameError::Grammar)),
            ("a/", Err(NameError::Grammar)),
            ("a//b", Err(NameError::Grammar)),
            (".", Err(NameError::Grammar)),
            ("..", Err(NameError::Grammar)),
            ("a/../b", Err(NameError::Grammar)),
            ("a..b", Err(NameError::Grammar)),
            ("a___b", Err(NameError::Grammar)),
            ("a._b", Err(NameError::Grammar)),
            ("a-_b", Err(NameError::Grammar)),
            ("_a", Err(NameError::Grammar)),
            ("a_", Err(NameError::Grammar)),
            ("a/_layers", Err(NameError::Grammar)),
            ("-a", Err(NameError::Grammar)),
            ("a-", Err(NameError::Grammar)),
            ("A", Err(NameError::Grammar)),
            ("a b", Err(NameError::Grammar)),
            ("a%2fb", Err(NameError::Grammar)),
            ("a\\b", Err(NameError::Grammar)),
            ("a\0", Err(NameError::Grammar)),
            ("a\n", Err(NameError::Grammar)),
            ("a:b", Err(NameError::Grammar)),
            ("a@b", Err(NameError::Grammar)),
            ("é", Err(NameError::Grammar)),
            ("lost+found", Err(NameError::Grammar)),
            ("stray.txt/", Err(NameError::Grammar)),
        ] {
            assert_eq!(RepositoryName::parse(text).map(|_| ()), expected, "{text:?}");
        }
    }
}
