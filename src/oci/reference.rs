//! `Reference`: a tag or a digest, and the tag that stands in for a subject.

use std::fmt;

use storage_layout::Digest;
use storage_layout::DigestError;
use storage_layout::Tag;
use storage_layout::TagError;

/// What names a manifest within a repository (`<tag-or-digest>`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that can be moved.
    Tag(Tag),
    /// The bytes themselves.
    Digest(Digest),
}

impl Reference {
    /// Reads what has a colon as a digest, which no tag can have, and the rest as a tag.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') {
            Digest::parse(text).map(Self::Digest).map_err(ReferenceError::Digest)
        } else {
            Tag::parse(text).map(Self::Tag).map_err(ReferenceError::Tag)
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Why a text is neither a tag nor a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// It has no colon and is no tag.
    #[error(transparent)]
    Tag(TagError),
    /// It has a colon and is no digest.
    #[error(transparent)]
    Digest(DigestError),
}

/// The tag under which clients list the referrers of `subject` where a registry has no referrers API
/// (distribution-spec, "Referrers Tag Schema"): the algorithm cut to 32 characters and the value to 64,
/// so that a sha512 digest fits too.
pub fn fallback_tag(subject: &Digest) -> Option<Tag> {
    Tag::parse(&format!("{:.32}-{:.64}", subject.algorithm().as_str(), subject.hex().to_string())).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_colon_makes_a_digest() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(matches!(Reference::parse("latest"), Ok(Reference::Tag(_))));
        assert!(matches!(Reference::parse(&format!("sha256-{hex}")), Ok(Reference::Tag(_))));
        assert!(matches!(Reference::parse(&format!("sha256:{hex}")), Ok(Reference::Digest(_))));
        for (text, expected) in [
            ("", ReferenceError::Tag(TagError)),
            (".INVALID_MANIFEST_NAME", ReferenceError::Tag(TagError)),
            (
                "sha256:totallywrong",
                ReferenceError::Digest(DigestError::Value(storage_layout::Algorithm::Sha256)),
            ),
            ("md5:00", ReferenceError::Digest(DigestError::UnsupportedAlgorithm)),
        ] {
            assert_eq!(Reference::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn fallback_tags_fit_any_algorithm() {
        let sha256 = Digest::parse(&format!("sha256:{}", "a1".repeat(32))).unwrap();
        assert_eq!(fallback_tag(&sha256).unwrap().as_str(), format!("sha256-{}", "a1".repeat(32)));
        let sha512 = Digest::parse(&format!("sha512:{}", "b2".repeat(64))).unwrap();
        assert_eq!(fallback_tag(&sha512).unwrap().as_str(), format!("sha512-{}", "b2".repeat(32)));
    }
}
