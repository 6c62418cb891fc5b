//! Lists: which repositories, tags, manifests and blobs there are.
//!
//! Knows what makes a name in a directory one of ours, and passes over
//! strangers. Does not know what any of it holds. Everything here may wait.

use std::collections::BTreeSet;
use std::task::Poll;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RelativePath;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Error;
use crate::store::Item;
use crate::store::ItemKind;
use crate::store::Source;
use crate::store::StoredBlob;
use crate::store::Version;
use crate::store::Wait;

/// Up to `limit` repositories after `last`, in the byte order of whole names.
pub(super) fn repositories(
    source: &dyn Source,
    last: Option<&str>,
    limit: usize,
) -> Result<Vec<RepositoryName>, Error> {
    let mut walk = RepositoryWalk { source, last: last.unwrap_or_default(), limit, found: Vec::new() };
    walk.below(&Dir::Repositories.path(), "")?;
    Ok(walk.found)
}

struct RepositoryWalk<'a> {
    source: &'a dyn Source,
    last: &'a str,
    limit: usize,
    found: Vec<RepositoryName>,
}

impl RepositoryWalk<'_> {
    /// Visits the repositories whose names begin with `prefix`, which is empty or ends with a slash. Byte
    /// order is not that of a plain walk: `a-b` comes after `a` and before `a/b`. So each directory is two
    /// things to visit, itself and what is below it, and these are put in order.
    fn below(&mut self, directory: &RelativePath, prefix: &str) -> Result<(), Error> {
        let items = self.source.list(directory)?.unwrap_or_default();
        let components = items.iter().filter(|item| is_component(item)).map(|item| &*item.name);
        let mut visits: Vec<String> = components
            .flat_map(|component| [format!("{prefix}{component}"), format!("{prefix}{component}/")])
            .filter(|visit| self.is_ahead(visit))
            .collect();
        visits.sort_unstable();
        for visit in visits {
            if self.found.len() == self.limit {
                return Ok(());
            }
            let Ok(name) = RepositoryName::parse(visit.trim_end_matches('/')) else { continue };
            if visit.ends_with('/') {
                self.below(&Dir::Repository(name).path(), &visit)?;
            } else if exists(self.source, &Dir::Manifests(name.clone()).path())? {
                self.found.push(name);
            }
        }
        Ok(())
    }

    /// Whether a name, or any that begins with a prefix, comes after the last one that is known.
    fn is_ahead(&self, visit: &str) -> bool {
        visit > self.last || (visit.ends_with('/') && self.last.starts_with(visit))
    }
}

fn is_component(item: &Item) -> bool {
    item.kind == ItemKind::Directory && RepositoryName::is_component(&item.name)
}

/// What there is of tags: those that point somewhere, and whether others are being made.
pub(super) struct Tags {
    pub(super) tags: Vec<Tag>,
    /// No directory of a tag was seen that does not point anywhere (yet).
    pub(super) is_complete: bool,
}

/// A repository's tags in byte order; `None` where there is no directory of tags.
pub(super) fn tags(source: &dyn Source, name: &RepositoryName) -> Result<Option<Tags>, Error> {
    let Some(items) = source.list(&Dir::Tags(name.clone()).path())? else { return Ok(None) };
    let mut tags = Vec::with_capacity(items.len());
    let mut is_complete = true;
    for item in items.iter().filter(|item| item.kind == ItemKind::Directory) {
        let Ok(tag) = Tag::parse(&item.name) else { continue };
        if exists(source, &Entry::TagCurrent(name.clone(), tag.clone()).path())? {
            tags.push(tag);
        } else {
            is_complete = false;
        }
    }
    tags.sort_unstable();
    Ok(Some(Tags { tags, is_complete }))
}

/// A repository's manifests.
pub(super) fn revisions(source: &dyn Source, name: &RepositoryName) -> Result<BTreeSet<Digest>, Error> {
    linked(
        source,
        |algorithm| Dir::Revisions(name.clone(), algorithm),
        |digest| Entry::RevisionLink(name.clone(), digest),
    )
}

/// The blobs that a repository links.
pub(super) fn layers(source: &dyn Source, name: &RepositoryName) -> Result<BTreeSet<Digest>, Error> {
    linked(
        source,
        |algorithm| Dir::Layers(name.clone(), algorithm),
        |digest| Entry::LayerLink(name.clone(), digest),
    )
}

/// distribution removes a link and leaves its directory, so it is the link that counts.
fn linked(
    source: &dyn Source,
    directory: impl Fn(Algorithm) -> Dir,
    link: impl Fn(Digest) -> Entry,
) -> Result<BTreeSet<Digest>, Error> {
    let mut found = BTreeSet::new();
    for algorithm in Algorithm::ALL {
        for digest in digests(source, &directory(algorithm), algorithm)? {
            if exists(source, &link(digest).path())? {
                found.insert(digest);
            }
        }
    }
    Ok(found)
}

/// Up to `limit` blobs after `last`.
pub(super) fn blobs(
    source: &dyn Source,
    last: Option<&Digest>,
    limit: usize,
) -> Result<Vec<StoredBlob>, Error> {
    let mut found = Vec::new();
    let first = last.map(|last| (last.algorithm(), last.first_byte()));
    for algorithm in Algorithm::ALL {
        for byte in 0..=u8::MAX {
            if first.is_some_and(|first| (algorithm, byte) < first) {
                continue;
            }
            for digest in digests(source, &Dir::BlobPrefix(algorithm, byte), algorithm)? {
                if found.len() == limit {
                    return Ok(found);
                }
                if last.is_some_and(|last| digest <= *last) || digest.first_byte() != byte {
                    continue;
                }
                if let Some(version) = version(source, &Entry::Blob(digest).path())? {
                    found.push(StoredBlob { digest, len: version.len(), used: version.modified() });
                }
            }
        }
    }
    Ok(found)
}

/// The digests that a directory's directories are named after, in order.
fn digests(source: &dyn Source, directory: &Dir, algorithm: Algorithm) -> Result<BTreeSet<Digest>, Error> {
    let items = source.list(&directory.path())?.unwrap_or_default();
    let directories = items.iter().filter(|item| item.kind == ItemKind::Directory);
    Ok(directories.filter_map(|item| Digest::from_hex(algorithm, &item.name)).collect())
}

fn exists(source: &dyn Source, path: &RelativePath) -> Result<bool, Error> {
    version(source, path).map(|version| version.is_some())
}

fn version(source: &dyn Source, path: &RelativePath) -> Result<Option<Version>, Error> {
    match source.version(path, Wait::Allowed) {
        // A symbolic link is a stranger here; whoever asks for what lies behind it is told so.
        Poll::Ready(Err(Error::Corrupt { .. })) => Ok(None),
        Poll::Ready(version) => version,
        // It may wait, so it has an answer: the contract of `Source`.
        Poll::Pending => Ok(None),
    }
}
