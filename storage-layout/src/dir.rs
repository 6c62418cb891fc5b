//! `Dir`: every directory that may lie in the tree.
//!
//! ```text
//! docker/registry/v2                          Root
//! ├── blobs                                   AllBlobs
//! │   └── <algorithm>                         Blobs
//! │       └── <first two hex digits>          BlobPrefix
//! │           └── <hex>                       Blob
//! └── repositories                            Repositories
//!     └── <name>                              Repository
//!         ├── _layers                         AllLayers
//!         │   └── <algorithm>                 Layers
//!         │       └── <hex>                   Layer
//!         ├── _manifests                      Manifests
//!         │   ├── revisions                   AllRevisions
//!         │   │   └── <algorithm>             Revisions
//!         │   │       └── <hex>               Revision
//!         │   └── tags                        Tags
//!         │       └── <tag>                   Tag
//!         │           ├── current             TagCurrent
//!         │           └── index               TagIndexes
//!         │               └── <algorithm>     TagIndex
//!         │                   └── <hex>       TagRevision
//!         └── _uploads                        Uploads
//!             └── <uuid>                      Upload
//!                 └── hashstates              AllHashStates
//!                     └── <algorithm>         HashStates
//! ```
//!
//! Source: distribution `registry/storage/paths.go`. Knows that a repository's
//! name can be the prefix of another's. Does not know which directories exist,
//! or that distribution leaves empty ones behind.

use alloc::format;
use alloc::vec::Vec;

use crate::digest::{Algorithm, Digest};
use crate::name::RepositoryName;
use crate::path::RelativePath;
use crate::tag::Tag;
use crate::upload_id::UploadId;

pub(crate) const ROOT: &str = "docker/registry/v2";
pub(crate) const BLOBS: &str = "docker/registry/v2/blobs/";
pub(crate) const REPOSITORIES: &str = "docker/registry/v2/repositories/";

/// A directory of the store. Every one that can hold an [`Entry`](crate::Entry),
/// at whatever depth, has a variant; nothing else does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dir {
    /// `docker/registry/v2`.
    Root,
    /// All blobs: one directory for each algorithm.
    AllBlobs,
    /// The directories of an algorithm's blobs, named by two hex digits.
    Blobs(Algorithm),
    /// The blobs of an algorithm that begin with a byte, named by their hex.
    BlobPrefix(Algorithm, u8),
    /// A blob's own directory, which holds `data`.
    Blob(Digest),
    /// All repositories, named by first components.
    Repositories,
    /// A repository, or a prefix of the names of others: components and `_` directories.
    Repository(RepositoryName),
    /// A repository's linked blobs: one directory for each algorithm.
    AllLayers(RepositoryName),
    /// A repository's linked blobs, named by their hex.
    Layers(RepositoryName, Algorithm),
    /// One linked blob's own directory, which holds `link`.
    Layer(RepositoryName, Digest),
    /// `_manifests`, whose presence makes a repository.
    Manifests(RepositoryName),
    /// A repository's manifests: one directory for each algorithm.
    AllRevisions(RepositoryName),
    /// A repository's manifests, named by their hex.
    Revisions(RepositoryName, Algorithm),
    /// One manifest's own directory, which holds `link`.
    Revision(RepositoryName, Digest),
    /// A repository's tags.
    Tags(RepositoryName),
    /// One tag, with all that it points at or once did.
    Tag(RepositoryName, Tag),
    /// What a tag points at: holds `link`.
    TagCurrent(RepositoryName, Tag),
    /// What a tag points at or once did: one directory for each algorithm.
    TagIndexes(RepositoryName, Tag),
    /// What a tag points at or once did, named by hex.
    TagIndex(RepositoryName, Tag, Algorithm),
    /// One manifest that a tag points at or once did: holds `link`.
    TagRevision(RepositoryName, Tag, Digest),
    /// A repository's uploads, named by UUID.
    Uploads(RepositoryName),
    /// One upload.
    Upload(RepositoryName, UploadId),
    /// An upload's hash states: one directory for each algorithm.
    AllHashStates(RepositoryName, UploadId),
    /// An upload's hash states of an algorithm, named by offset.
    HashStates(RepositoryName, UploadId, Algorithm),
}

impl Dir {
    /// Where this directory lies, relative to the store's root.
    pub fn path(&self) -> RelativePath {
        const R: &str = REPOSITORIES;
        RelativePath::new(match self {
            Self::Root => ROOT.into(),
            Self::AllBlobs => format!("{ROOT}/blobs"),
            Self::Blobs(algorithm) => format!("{BLOBS}{algorithm}"),
            Self::BlobPrefix(algorithm, byte) => format!("{BLOBS}{algorithm}/{byte:02x}"),
            Self::Blob(digest) => {
                format!("{BLOBS}{}/{:02x}/{}", digest.algorithm(), digest.first_byte(), digest.hex())
            }
            Self::Repositories => format!("{ROOT}/repositories"),
            Self::Repository(name) => format!("{R}{name}"),
            Self::AllLayers(name) => format!("{R}{name}/_layers"),
            Self::Layers(name, algorithm) => format!("{R}{name}/_layers/{algorithm}"),
            Self::Layer(name, digest) => {
                format!("{R}{name}/_layers/{}/{}", digest.algorithm(), digest.hex())
            }
            Self::Manifests(name) => format!("{R}{name}/_manifests"),
            Self::AllRevisions(name) => format!("{R}{name}/_manifests/revisions"),
            Self::Revisions(name, algorithm) => format!("{R}{name}/_manifests/revisions/{algorithm}"),
            Self::Revision(name, digest) => {
                format!("{R}{name}/_manifests/revisions/{}/{}", digest.algorithm(), digest.hex())
            }
            Self::Tags(name) => format!("{R}{name}/_manifests/tags"),
            Self::Tag(name, tag) => format!("{R}{name}/_manifests/tags/{tag}"),
            Self::TagCurrent(name, tag) => format!("{R}{name}/_manifests/tags/{tag}/current"),
            Self::TagIndexes(name, tag) => format!("{R}{name}/_manifests/tags/{tag}/index"),
            Self::TagIndex(name, tag, algorithm) => {
                format!("{R}{name}/_manifests/tags/{tag}/index/{algorithm}")
            }
            Self::TagRevision(name, tag, digest) => {
                format!("{R}{name}/_manifests/tags/{tag}/index/{}/{}", digest.algorithm(), digest.hex())
            }
            Self::Uploads(name) => format!("{R}{name}/_uploads"),
            Self::Upload(name, id) => format!("{R}{name}/_uploads/{id}"),
            Self::AllHashStates(name, id) => format!("{R}{name}/_uploads/{id}/hashstates"),
            Self::HashStates(name, id, algorithm) => {
                format!("{R}{name}/_uploads/{id}/hashstates/{algorithm}")
            }
        })
    }

    /// The directory that lies at `path`; `None` for a stranger. What is above
    /// [`Dir::Root`] is a stranger too: other things may share a store's root.
    pub fn parse(path: &str) -> Option<Self> {
        if path == ROOT {
            return Some(Self::Root);
        }
        if let Some(repositories) = path.strip_prefix(REPOSITORIES) {
            return parse_repository(repositories);
        }
        let components: Vec<&str> = path.strip_prefix(ROOT)?.split('/').collect();
        match components[..] {
            ["", "repositories"] => Some(Self::Repositories),
            ["", "blobs"] => Some(Self::AllBlobs),
            ["", "blobs", algorithm] => Some(Self::Blobs(Algorithm::parse(algorithm)?)),
            ["", "blobs", algorithm, prefix] => {
                Some(Self::BlobPrefix(Algorithm::parse(algorithm)?, parse_byte(prefix)?))
            }
            ["", "blobs", algorithm, prefix, hex] => {
                let digest = parse_digest(algorithm, hex)?;
                (parse_byte(prefix)? == digest.first_byte()).then_some(Self::Blob(digest))
            }
            _ => None,
        }
    }
}

/// `<name>`, or `<name>/_layers`, `<name>/_manifests`, `<name>/_uploads` and what is below them.
fn parse_repository(path: &str) -> Option<Dir> {
    let Some((name, rest)) = path.split_once("/_") else {
        return Some(Dir::Repository(RepositoryName::parse(path).ok()?));
    };
    let name = RepositoryName::parse(name).ok()?;
    let components: Vec<&str> = rest.split('/').collect();
    match components[..] {
        ["layers"] => Some(Dir::AllLayers(name)),
        ["layers", algorithm] => Some(Dir::Layers(name, Algorithm::parse(algorithm)?)),
        ["layers", algorithm, hex] => Some(Dir::Layer(name, parse_digest(algorithm, hex)?)),
        ["manifests"] => Some(Dir::Manifests(name)),
        ["manifests", "revisions"] => Some(Dir::AllRevisions(name)),
        ["manifests", "revisions", algorithm] => Some(Dir::Revisions(name, Algorithm::parse(algorithm)?)),
        ["manifests", "revisions", algorithm, hex] => {
            Some(Dir::Revision(name, parse_digest(algorithm, hex)?))
        }
        ["manifests", "tags"] => Some(Dir::Tags(name)),
        ["manifests", "tags", tag, ref rest @ ..] => parse_tag(name, Tag::parse(tag).ok()?, rest),
        ["uploads"] => Some(Dir::Uploads(name)),
        ["uploads", id, ref rest @ ..] => parse_upload(name, UploadId::parse(id).ok()?, rest),
        _ => None,
    }
}

/// What is at and below `tags/<tag>`.
fn parse_tag(name: RepositoryName, tag: Tag, components: &[&str]) -> Option<Dir> {
    match *components {
        [] => Some(Dir::Tag(name, tag)),
        ["current"] => Some(Dir::TagCurrent(name, tag)),
        ["index"] => Some(Dir::TagIndexes(name, tag)),
        ["index", algorithm] => Some(Dir::TagIndex(name, tag, Algorithm::parse(algorithm)?)),
        ["index", algorithm, hex] => Some(Dir::TagRevision(name, tag, parse_digest(algorithm, hex)?)),
        _ => None,
    }
}

/// What is at and below `_uploads/<uuid>`.
fn parse_upload(name: RepositoryName, id: UploadId, components: &[&str]) -> Option<Dir> {
    match *components {
        [] => Some(Dir::Upload(name, id)),
        ["hashstates"] => Some(Dir::AllHashStates(name, id)),
        ["hashstates", algorithm] => Some(Dir::HashStates(name, id, Algorithm::parse(algorithm)?)),
        _ => None,
    }
}

fn parse_digest(algorithm: &str, hex: &str) -> Option<Digest> {
    Digest::from_hex(Algorithm::parse(algorithm)?, hex)
}

/// Two lower-case hex digits, the one spelling of a byte.
fn parse_byte(text: &str) -> Option<u8> {
    let canonical = text.len() == 2 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u8::from_str_radix(text, 16).ok() } else { None }
}
