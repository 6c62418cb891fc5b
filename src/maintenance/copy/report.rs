//! What came of a copy.

use std::fmt;

use storage_layout::Digest;
use storage_layout::Entry;

/// What came of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many blobs were copied.
    pub copied_blobs: u64,
    /// How many bytes they have.
    pub copied_bytes: u64,
    /// How many blobs were there already.
    pub skipped_blobs: u64,
    /// How many bytes they have.
    pub skipped_bytes: u64,
    /// How many links were written.
    pub links: u64,
    /// How many tags were written.
    pub tags: u64,
    /// What is wrong with the source, and was left out for it.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether everything that was asked for is there now.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Something of the source that could not be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A blob cannot be read or has other bytes.
    Blob {
        /// Which one.
        digest: Digest,
        /// Why not.
        why: String,
    },
    /// A link or a tag does not say what it points at.
    Link {
        /// Which one.
        entry: Entry,
        /// Why not.
        why: String,
    },
    /// A directory cannot be listed.
    Unlisted {
        /// Why not.
        why: String,
    },
    /// A release lacks something in the source itself.
    Incomplete {
        /// Which release.
        release: String,
        /// What it lacks.
        lacks: String,
    },
    /// A tag was left out since not all that it needs is there.
    Withheld {
        /// Which one.
        entry: Entry,
        /// What is not there.
        lacks: Digest,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { digest, why } => write!(f, "{digest} cannot be copied: {why}"),
            Self::Link { entry, why } => write!(f, "{} cannot be copied: {why}", name(entry)),
            Self::Unlisted { why } => write!(f, "not everything can be seen: {why}"),
            Self::Incomplete { release, lacks } => write!(f, "release {release} is not complete: {lacks}"),
            Self::Withheld { entry, lacks } => {
                write!(f, "{} is left out, since it needs {lacks}", name(entry))
            }
        }
    }
}

/// What a person calls it.
fn name(entry: &Entry) -> String {
    match entry {
        Entry::TagCurrent(name, tag) => format!("{name}:{tag}"),
        Entry::RevisionLink(name, digest) => format!("{name}@{digest}"),
        other => other.path().to_string(),
    }
}
