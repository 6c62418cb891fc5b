//! `Entry`: every file that may lie in the tree.
//!
//! ```text
//! docker/registry/v2
//! ├── blobs/<algorithm>/<first two hex digits>/<hex>/data          Blob
//! └── repositories/<name>
//!     ├── _layers/<algorithm>/<hex>/link                           LayerLink
//!     ├── _manifests
//!     │   ├── revisions/<algorithm>/<hex>/link                     RevisionLink
//!     │   └── tags/<tag>
//!     │       ├── current/link                                     TagCurrent
//!     │       └── index/<algorithm>/<hex>/link                     TagIndex
//!     └── _uploads/<uuid>
//!         ├── data                                                 UploadData
//!         ├── startedat                                            UploadStartedAt
//!         └── hashstates/<algorithm>/<offset>                      UploadHashState
//! ```
//!
//! Source: distribution `registry/storage/paths.go`. Does not know what the
//! files hold.

use alloc::format;
use alloc::string::String;

use crate::digest::{Algorithm, Digest};
use crate::dir::{BLOBS, REPOSITORIES};
use crate::name::RepositoryName;
use crate::path::RelativePath;
use crate::tag::Tag;
use crate::upload_id::UploadId;

/// A file of the store. Everything that can exist has a variant; nothing else does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// The bytes of a blob, shared by all repositories.
    Blob(Digest),
    /// Says that a repository holds a blob.
    LayerLink(RepositoryName, Digest),
    /// Says that a repository holds a manifest.
    RevisionLink(RepositoryName, Digest),
    /// What a tag points at.
    TagCurrent(RepositoryName, Tag),
    /// What a tag points at, or once did.
    TagIndex(RepositoryName, Tag, Digest),
    /// The bytes that an upload has received.
    UploadData(RepositoryName, UploadId),
    /// When an upload began, RFC 3339.
    UploadStartedAt(RepositoryName, UploadId),
    /// The state of a hash after this many bytes of an upload.
    UploadHashState(RepositoryName, UploadId, Algorithm, u64),
}

impl Entry {
    /// Where this entry lies, relative to the store's root.
    pub fn path(&self) -> RelativePath {
        const R: &str = REPOSITORIES;
        RelativePath::new(match self {
            Self::Blob(digest) => {
                let hex = digest.hex();
                let hex = hex.as_ref();
                let directory = hex.get(..2).unwrap_or_default();
                text(&[BLOBS, digest.algorithm().as_str(), "/", directory, "/", hex, "/data"])
            }
            Self::LayerLink(name, digest) => linked(&[R, name.as_str(), "/_layers/"], digest),
            Self::RevisionLink(name, digest) => linked(&[R, name.as_str(), "/_manifests/revisions/"], digest),
            Self::TagCurrent(name, tag) => {
                text(&[R, name.as_str(), "/_manifests/tags/", tag.as_str(), "/current/link"])
            }
            Self::TagIndex(name, tag, digest) => {
                linked(&[R, name.as_str(), "/_manifests/tags/", tag.as_str(), "/index/"], digest)
            }
            Self::UploadData(name, id) => format!("{R}{name}/_uploads/{id}/data"),
            Self::UploadStartedAt(name, id) => format!("{R}{name}/_uploads/{id}/startedat"),
            Self::UploadHashState(name, id, algorithm, offset) => {
                format!("{R}{name}/_uploads/{id}/hashstates/{algorithm}/{offset}")
            }
        })
    }

    /// The entry that lies at `path`; `None` for a stranger.
    pub fn parse(path: &str) -> Option<Self> {
        if let Some(blob) = path.strip_prefix(BLOBS) {
            return parse_blob(blob);
        }
        let (name, rest) = path.strip_prefix(REPOSITORIES)?.split_once("/_")?;
        let name = RepositoryName::parse(name).ok()?;
        let (kind, rest) = rest.split_once('/')?;
        match kind {
            "layers" => Some(Self::LayerLink(name, parse_linked(rest)?)),
            "manifests" => parse_manifests(name, rest),
            "uploads" => parse_upload(name, rest),
            _ => None,
        }
    }

    /// The repository that this entry belongs to; a blob belongs to none.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Blob(_) => None,
            Self::LayerLink(name, _)
            | Self::RevisionLink(name, _)
            | Self::TagCurrent(name, _)
            | Self::TagIndex(name, ..)
            | Self::UploadData(name, _)
            | Self::UploadStartedAt(name, _)
            | Self::UploadHashState(name, ..) => Some(name),
        }
    }
}

/// `<before><algorithm>/<hex>/link`
fn linked(before: &[&str], digest: &Digest) -> String {
    let mut path = text(before);
    for part in [digest.algorithm().as_str(), "/", digest.hex().as_ref(), "/link"] {
        path.push_str(part);
    }
    path
}

/// The parts, one after the other, with room for more: a text that grows is moved again and again, and what
/// every request needs is not worth a formatter.
fn text(parts: &[&str]) -> String {
    let mut text = String::with_capacity(USUAL_LEN);
    parts.iter().for_each(|part| text.push_str(part));
    text
}

/// Longer than nearly every path: what stands around a name, a sha256 digest, and 100 bytes of a name.
const USUAL_LEN: usize = 256;

/// `<algorithm>/<first two hex digits>/<hex>/data`
fn parse_blob(path: &str) -> Option<Entry> {
    let (algorithm, rest) = path.split_once('/')?;
    let (prefix, rest) = rest.split_once('/')?;
    let hex = rest.strip_suffix("/data")?;
    let digest = Digest::from_hex(Algorithm::parse(algorithm)?, hex)?;
    hex.starts_with(prefix).then_some(())?;
    (prefix.len() == 2).then_some(Entry::Blob(digest))
}

/// `<algorithm>/<hex>/link`
fn parse_linked(path: &str) -> Option<Digest> {
    let (algorithm, rest) = path.split_once('/')?;
    Digest::from_hex(Algorithm::parse(algorithm)?, rest.strip_suffix("/link")?)
}

/// `revisions/...` or `tags/...`
fn parse_manifests(name: RepositoryName, path: &str) -> Option<Entry> {
    if let Some(revision) = path.strip_prefix("revisions/") {
        return Some(Entry::RevisionLink(name, parse_linked(revision)?));
    }
    let (tag, rest) = path.strip_prefix("tags/")?.split_once('/')?;
    let tag = Tag::parse(tag).ok()?;
    if rest == "current/link" {
        return Some(Entry::TagCurrent(name, tag));
    }
    Some(Entry::TagIndex(name, tag, parse_linked(rest.strip_prefix("index/")?)?))
}

/// `<uuid>/data`, `<uuid>/startedat` or `<uuid>/hashstates/<algorithm>/<offset>`
fn parse_upload(name: RepositoryName, path: &str) -> Option<Entry> {
    let (id, rest) = path.split_once('/')?;
    let id = UploadId::parse(id).ok()?;
    match rest {
        "data" => return Some(Entry::UploadData(name, id)),
        "startedat" => return Some(Entry::UploadStartedAt(name, id)),
        _ => {}
    }
    let (algorithm, offset) = rest.strip_prefix("hashstates/")?.split_once('/')?;
    Some(Entry::UploadHashState(name, id, Algorithm::parse(algorithm)?, parse_offset(offset)?))
}

/// A decimal number in its one spelling: no sign, no leading zero.
fn parse_offset(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
