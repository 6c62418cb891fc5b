//! `Report`: what a verification found.
//!
//! Knows each kind of problem and how it reads to a person. Does not know how it was found.

use std::fmt;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How much was looked at.
    pub checked: Checked,
    /// What is wrong, in the order of the tree.
    pub problems: Vec<Problem>,
    /// Paths of files and directories that are not distribution's, by root. Harmless, but someone put them
    /// there.
    pub strangers: Vec<String>,
    /// Manifests that an index lists and the store does not have, as a mirror of some platforms leaves them
    /// out.
    pub sparse: u64,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs that were hashed.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Links, those of tags included, that were read.
    pub links: u64,
    /// Repositories.
    pub repositories: u64,
    /// Manifests whose children were looked for.
    pub manifests: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A blob's bytes are not its own.
    Blob {
        /// Which blob.
        digest: Digest,
        /// Where it lies.
        path: String,
        /// What is wrong with it.
        fault: BlobFault,
        /// The repositories that link it.
        repositories: Vec<RepositoryName>,
    },
    /// A manifest or a part of one is not stored.
    Missing {
        /// What is not stored.
        digest: Digest,
        /// Who needs it.
        needs: Vec<Need>,
    },
    /// Part of a manifest is stored, but the repository does not link it, so that no client may have it.
    Unlinked {
        /// What is not linked.
        digest: Digest,
        /// Who needs it.
        need: Need,
    },
    /// A link does not hold what its path says.
    Link {
        /// Which link.
        entry: Entry,
        /// Where it lies.
        path: String,
        /// What is wrong with it.
        fault: LinkFault,
    },
    /// A tag points at a manifest that the repository does not list.
    Dangling {
        /// The repository.
        repository: RepositoryName,
        /// The tag.
        tag: Tag,
        /// What it points at.
        digest: Digest,
    },
    /// What a repository lists as a manifest is none.
    NotAManifest {
        /// The repository.
        repository: RepositoryName,
        /// What it lists.
        digest: Digest,
        /// Why it is no manifest.
        why: String,
    },
    /// A directory cannot be listed.
    Unlisted {
        /// What the system said.
        why: String,
    },
    /// There is no release of that name.
    NoRelease {
        /// What was asked for.
        name: String,
    },
    /// A release lacks some of its parts.
    Incomplete {
        /// Its version, or its tag where that is not known.
        release: String,
        /// What it lacks.
        missing: Vec<String>,
    },
}

/// A manifest that needs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The repository.
    pub repository: RepositoryName,
    /// The manifest; what is missing, where it is missing itself.
    pub manifest: Digest,
}

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobFault {
    /// It has no bytes, as an unsynced write leaves it when the power goes.
    Empty,
    /// Its bytes have another digest.
    Content {
        /// Which they have.
        computed: Digest,
        /// How many they are.
        len: u64,
    },
    /// It cannot be read.
    Unreadable {
        /// What the system said.
        why: String,
    },
}

/// What is wrong with a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// It has no bytes, as an unsynced write leaves it when the power goes.
    Empty,
    /// Its bytes are no digest.
    NotADigest {
        /// Why not.
        why: String,
    },
    /// It leads to another manifest than the one in its path.
    Elsewhere {
        /// Where it leads.
        to: Digest,
    },
    /// It cannot be read.
    Unreadable {
        /// What the system said.
        why: String,
    },
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether a blob was found to be damaged.
    pub fn damages(&self, blob: &Digest) -> bool {
        self.problems.iter().any(|it| matches!(it, Problem::Blob { digest, .. } if digest == blob))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob { digest, fault, repositories, .. } => {
                write!(f, "blob {digest} {fault}")?;
                list(f, " (in ", repositories, ")")
            }
            Self::Missing { digest, needs } => {
                write!(f, "blob {digest} is not stored")?;
                list(f, " (needed by ", needs, ")")
            }
            Self::Unlinked { digest, need } => {
                write!(f, "blob {digest} of {need} is stored but not linked there")
            }
            Self::Link { entry, fault, .. } => {
                LinkName(entry).fmt(f)?;
                write!(f, " {fault}")
            }
            Self::Dangling { repository, tag, digest } => {
                write!(f, "tag {repository}:{tag} points at {digest}, which is not in the repository")
            }
            Self::NotAManifest { repository, digest, why } => {
                write!(f, "{repository}@{digest} is no manifest: {why}")
            }
            Self::Unlisted { why } => f.write_str(why),
            Self::NoRelease { name } => write!(f, "no release is called {name}"),
            Self::Incomplete { release, missing } => {
                write!(f, "release {release} is incomplete")?;
                list(f, ": ", missing, "")
            }
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.manifest)
    }
}

impl fmt::Display for BlobFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Content { computed, len } => write!(f, "has {len} bytes whose digest is {computed}"),
            Self::Unreadable { why } => write!(f, "cannot be read: {why}"),
        }
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::NotADigest { why } => write!(f, "holds no digest: {why}"),
            Self::Elsewhere { to } => write!(f, "leads to {to}"),
            Self::Unreadable { why } => write!(f, "cannot be read: {why}"),
        }
    }
}

/// A link as a person knows it.
struct LinkName<'a>(&'a Entry);

impl fmt::Display for LinkName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Entry::TagCurrent(name, tag) => write!(f, "tag {name}:{tag}"),
            Entry::TagIndex(name, tag, digest) => write!(f, "history of tag {name}:{tag} at {digest}"),
            Entry::RevisionLink(name, digest) => write!(f, "manifest link {name}@{digest}"),
            Entry::LayerLink(name, digest) => write!(f, "blob link {name}@{digest}"),
            entry @ (Entry::Blob(_)
            | Entry::UploadData(..)
            | Entry::UploadStartedAt(..)
            | Entry::UploadHashState(..)) => write!(f, "{}", entry.path()),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, before: &str, items: &[impl fmt::Display], after: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at == 0 { before } else { ", " })?;
    }
    f.write_str(if items.is_empty() { "" } else { after })
}
