//! `Right` and `Rights`: what can be granted.

use std::fmt;
use std::str::FromStr;

/// Something that can be granted, apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Read: manifests, blobs, tags, referrers, the catalog, the inventory.
    Pull,
    /// Write through the distribution API: uploads, manifests, tags, and their deletion.
    Push,
    /// Start and cancel jobs, add and remove releases, collect garbage.
    Administer,
}

impl Right {
    /// All of them, in the order in which people read them.
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Administer];

    /// The word for it, in flags and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Administer => "administer",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Right {
    type Err = UnknownRight;

    fn from_str(text: &str) -> Result<Self, UnknownRight> {
        Self::ALL.into_iter().find(|right| right.as_str() == text).ok_or(UnknownRight)
    }
}

/// A word that names no right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a right: `pull`, `push` and `administer` are")]
pub struct UnknownRight;

/// A set of rights.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Only [`Right::Pull`].
    pub const PULL: Self = Self(0b001);
    /// What a registry's ordinary user may do.
    pub const PULL_AND_PUSH: Self = Self(0b011);
    /// All of them.
    pub const ALL: Self = Self(0b111);

    /// Whether `right` is among them.
    pub fn contains(self, right: Right) -> bool {
        self.0 & Self::from(right).0 != 0
    }

    /// Those of either.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.contains(*right))
    }
}

impl From<Right> for Rights {
    fn from(right: Right) -> Self {
        match right {
            Right::Pull => Self(0b001),
            Right::Push => Self(0b010),
            Right::Administer => Self(0b100),
        }
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<I: IntoIterator<Item = Right>>(rights: I) -> Self {
        rights.into_iter().fold(Self::NONE, |all, right| all.union(right.into()))
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (index, right) in self.iter().enumerate() {
            write!(f, "{}{right}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rights({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        for (rights, shown) in [
            (Rights::NONE, "nothing"),
            (Rights::PULL, "pull"),
            (Rights::PULL_AND_PUSH, "pull,push"),
            (Rights::ALL, "pull,push,administer"),
            (Rights::from(Right::Push), "push"),
        ] {
            assert_eq!(rights.to_string(), shown);
            assert_eq!(rights.iter().collect::<Rights>(), rights);
        }
    }

    #[test]
    fn a_word_is_a_right_or_refused() {
        for right in Right::ALL {
            assert_eq!(right.as_str().parse(), Ok(right));
        }
        assert_eq!("Pull".parse::<Right>(), Err(UnknownRight));
        assert_eq!("".parse::<Right>(), Err(UnknownRight));
    }
}
