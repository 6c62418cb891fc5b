//! `Tree`: the roots of a store as they are, without what the server remembers of them.
//!
//! Knows how to ask each root in turn. Does not know what is wrong with what it finds. Everything here waits
//! for the medium, and belongs on a thread of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::oci::Manifest;
use crate::release::Tagged;
use crate::store::Blob;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Wait;
use crate::store::Walk;

/// The longest link: a sha512 digest with room for white space.
pub(super) const LONGEST_LINK: u64 = 256;

/// The roots of a store, in the order in which they are asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a>(pub(super) &'a [Arc<dyn Source>]);

impl<'a> Tree<'a> {
    /// The roots.
    pub(super) fn sources(self) -> impl Iterator<Item = &'a dyn Source> {
        self.0.iter().map(|it| &**it)
    }

    /// All repositories, and whatever else lies where they do.
    pub(super) fn repositories(self) -> (BTreeSet<RepositoryName>, Vec<(&'a dyn Source, Sight)>) {
        let mut names = BTreeSet::new();
        let mut others = Vec::new();
        for source in self.sources() {
            for sight in Walk::repositories(source) {
                match sight {
                    Sight::Repository(name) => drop(names.insert(name)),
                    other => others.push((source, other)),
                }
            }
        }
        (names, others)
    }

    /// Whether any root has a file at `entry`.
    pub(super) fn has(self, entry: &Entry) -> Result<bool, Error> {
        let path = entry.path();
        for source in self.sources() {
            if let Poll::Ready(found) = source.version(&path, Wait::Allowed)
                && found?.is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first copy of a blob.
    pub(super) fn blob(self, digest: &Digest) -> Result<Option<Blob>, Error> {
        for source in self.sources() {
            if let Some(blob) = source.blob(digest)? {
                return Ok(Some(blob));
            }
        }
        Ok(None)
    }

    /// The bytes of a manifest, from the first root that has them whole.
    ///
    /// # Errors
    /// No root has them whole, and one could not be read or has something too large to be a manifest.
    pub(super) fn manifest(self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let mut failed = None;
        for source in self.sources() {
            match source.whole(digest, Manifest::MAX_LEN as u64) {
                Ok(Some(content)) => return Ok(Some(content)),
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// A repository's tags with what they point at. Those that point nowhere are left out.
    pub(super) fn tags(self, name: &RepositoryName) -> Result<Vec<Tagged>, Error> {
        let mut tags = BTreeSet::new();
        for source in self.sources() {
            let items = source.list(&Dir::Tags(name.clone()).path())?.unwrap_or_default();
            tags.extend(items.iter().filter_map(|it| Tag::parse(&it.name).ok()));
        }
        let mut tagged = Vec::new();
        for tag in tags {
            tagged.extend(self.tag(name, &tag)?.map(|digest| Tagged { tag, digest }));
        }
        Ok(tagged)
    }

    /// What a tag points at; `None` where it is not there, or points nowhere.
    pub(super) fn tag(self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>, Error> {
        let entry = Entry::TagCurrent(name.clone(), tag.clone());
        for source in self.sources() {
            if let Some(content) = source.read(&entry, LONGEST_LINK)? {
                return Ok(parse_link(&content).ok());
            }
        }
        Ok(None)
    }
}
