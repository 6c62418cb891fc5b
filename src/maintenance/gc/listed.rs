//! `Listed`: what one repository lists, read for a decision on what can go.
//!
//! Knows which links name what, and says so where something cannot be read. Does not know what is needed.

use std::collections::BTreeSet;
use std::collections::HashMap;

use storage_layout::Algorithm;
use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::parse_link;

use crate::maintenance::gc::stored;
use crate::maintenance::tree::LONGEST_LINK;
use crate::maintenance::tree::Tree;
use crate::oci::Manifest;
use crate::reachability::Edges;
use crate::reachability::Stored;
use crate::release::Tagged;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Walk;

/// What a repository lists.
#[derive(Default)]
pub(in crate::maintenance) struct Listed {
    pub(in crate::maintenance) revisions: Vec<Digest>,
    pub(in crate::maintenance) tagged: Vec<Tagged>,
    /// What links name and what they hold, where that is the same bytes by another algorithm.
    pub(in crate::maintenance) aliases: HashMap<Digest, Digest>,
    /// Everything that links name.
    pub(in crate::maintenance) named: BTreeSet<Digest>,
    /// Links of the root that is written.
    pub(in crate::maintenance) own: Vec<Stored>,
    /// Something that cannot be read.
    pub(in crate::maintenance) unread: Option<String>,
}

impl Listed {
    /// What `name` lists in all roots; `writable` is the one that is written.
    pub(in crate::maintenance) fn of(tree: Tree<'_>, writable: &dyn Source, name: &RepositoryName) -> Self {
        let mut listed = Self::default();
        for source in tree.sources() {
            let is_own = source.origin() == writable.origin();
            for sight in Walk::repository(source, name) {
                match sight {
                    Sight::Entry(entry) => listed.add(source, entry, is_own),
                    Sight::Unlisted(error) => listed.unread = Some(error.to_string()),
                    Sight::Repository(_) | Sight::Stranger(_) => {}
                }
            }
        }
        listed
    }

    fn add(&mut self, source: &dyn Source, entry: Entry, is_own: bool) {
        let named = match &entry {
            Entry::LayerLink(_, digest) | Entry::TagIndex(_, _, digest) => *digest,
            Entry::RevisionLink(_, digest) => {
                self.revisions.push(*digest);
                *digest
            }
            Entry::TagCurrent(_, tag) => {
                match held(source, &entry) {
                    Ok(digest) => {
                        self.tagged.extend(digest.map(|digest| Tagged { tag: tag.clone(), digest }));
                    }
                    Err(why) => self.unread = Some(why),
                }
                return;
            }
            Entry::Blob(_)
            | Entry::UploadData(..)
            | Entry::UploadStartedAt(..)
            | Entry::UploadHashState(..) => {
                return;
            }
        };
        self.named.insert(named);
        if named.algorithm() != Algorithm::Sha256 {
            match held(source, &entry) {
                Ok(digest) => self.aliases.extend(digest.map(|it| (named, it))),
                Err(why) => self.unread = Some(why),
            }
        }
        if is_own {
            self.own.extend(stored(source, entry));
        }
    }
}

/// What a manifest points at; `None` where it is not stored, or is no manifest.
pub(in crate::maintenance) fn edges(tree: Tree<'_>, manifest: &Digest) -> Result<Option<Edges>, String> {
    let content = match tree.manifest(manifest) {
        Ok(content) => content,
        Err(Error::TooLarge { .. }) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok(content.and_then(|it| Manifest::parse(&it, None).ok()).map(|it| Edges::of(&it)))
}

/// What a link holds; `None` where it went meanwhile.
fn held(source: &dyn Source, link: &Entry) -> Result<Option<Digest>, String> {
    let Some(content) = source.read(link, LONGEST_LINK).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    parse_link(&content).map(Some).map_err(|error| format!("{}: {error}", link.path()))
}
