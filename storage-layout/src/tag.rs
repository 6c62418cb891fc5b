//! `Tag`: the distribution specification's grammar for a tag.
//!
//! Knows which tags are allowed. Does not know what one points at.

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

/// A tag, such as `v4.18.0` or `sha256-<hex>.sig`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Box<str>);

impl Tag {
    /// The longest tag, in characters (distribution-spec, "Pulling manifests").
    pub const MAX_LEN: usize = 128;

    /// Parses `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    ///
    /// # Errors
    /// The text is empty, too long, or holds another character.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        let (first, rest) = text.as_bytes().split_first().ok_or(TagError)?;
        let allowed = text.len() <= Self::MAX_LEN
            && is_word(*first)
            && rest.iter().all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'));
        if allowed { Ok(Self(text.into())) } else { Err(TagError) }
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A text is not a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagError;

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a tag has at most {} letters, digits and . _ -, and begins with neither . nor -",
            Tag::MAX_LEN
        )
    }
}

impl core::error::Error for TagError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_of_tags() {
        let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
        for (text, expected) in [
            ("latest", Ok(())),
            ("v4.18.0", Ok(())),
            ("_layers", Ok(())),
            ("__", Ok(())),
            ("A-.-", Ok(())),
            ("1..2", Ok(())),
            (&longest, Ok(())),
            (&too_long, Err(TagError)),
            ("", Err(TagError)),
            (".", Err(TagError)),
            ("..", Err(TagError)),
            (".hidden", Err(TagError)),
            ("-a", Err(TagError)),
            ("a/b", Err(TagError)),
            ("a:b", Err(TagError)),
            ("a+b", Err(TagError)),
            ("a b", Err(TagError)),
            ("a\0", Err(TagError)),
            ("a\n", Err(TagError)),
            ("é", Err(TagError)),
        ] {
            assert_eq!(Tag::parse(text).map(|_| ()), expected, "{text:?}");
        }
    }
}
