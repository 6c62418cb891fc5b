//! `Credential` and `Password`: secrets that cannot be printed.

use std::fmt;

use subtle::ConstantTimeEq;

/// A name and the password that goes with it, as a client presents them or a file holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose. Never contains a colon (RFC 7617, section 2).
    pub user: Box<str>,
    /// What proves it.
    pub password: Password,
}

/// A password. `Debug` redacts it, there is no `Display`, and comparing takes the same time wherever two
/// passwords of one length differ.
#[derive(Clone)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Its bytes; usually UTF-8, but what a client typed is not ours to judge.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Password {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Password {}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_never_shows_its_password() {
        let credential = Credential { user: "openshift".into(), password: "hunter2".into() };
        let shown = format!("{credential:?} {credential:#?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("openshift"), "{shown}");
    }

    #[test]
    fn passwords_are_equal_byte_for_byte() {
        for (left, right, equal) in [("a", "a", true), ("a", "b", false), ("a", "aa", false), ("", "", true)]
        {
            assert_eq!(Password::from(left) == Password::from(right), equal, "{left:?} {right:?}");
        }
    }
}
