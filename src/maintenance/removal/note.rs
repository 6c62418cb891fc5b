//! `Work`: what a removal has set out to do, noted where a power cut leaves it.
//!
//! Knows the note's form. A removal whose first names are gone cannot be planned again: the release is not
//! there any more, and what only it needed would lie about for ever. So the plan is durable before the first
//! name goes, and whoever opens the store next goes on with it.

use std::time::Duration;
use std::time::SystemTime;

use serde::Deserialize;
use serde::Serialize;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::gc::stored;
use crate::maintenance::removal::Removal;
use crate::reachability::Stored;
use crate::store::Error;
use crate::store::Source;
use crate::store::Store;
use crate::store::Writer;

/// Under which name it is kept in the store's own directory.
const DOCUMENT: &str = "removal.json";
/// The longest note, in bytes: what a store reads of its documents. It holds the paths of a release of 20,000
/// images.
const LIMIT: usize = 16 * 1024 * 1024;

/// What goes, in its order.
#[derive(Clone, Debug)]
pub struct Work {
    /// What a person calls the release.
    pub release: String,
    /// The digest of its image.
    pub digest: String,
    /// Its bundle.
    pub bundle: Option<String>,
    pub(super) tags: Vec<(RepositoryName, Tag)>,
    pub(super) links: Vec<Stored>,
    pub(super) blobs: Vec<Stored>,
    pub(super) before: SystemTime,
}

/// The note as it is written.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Note {
    release: String,
    digest: String,
    bundle: Option<String>,
    /// Paths and sizes.
    tags: Vec<String>,
    links: Vec<(String, u64)>,
    blobs: Vec<(String, u64)>,
    /// In nanoseconds of Unix time.
    before: u64,
}

impl Work {
    pub(super) fn of(removal: &Removal, now: SystemTime) -> Self {
        let first = removal.releases.first();
        Self {
            release: removal.name(),
            digest: first.map(|it| it.image.digest.to_string()).unwrap_or_default(),
            bundle: first.and_then(|it| it.bundle.as_ref()).map(ToString::to_string),
            tags: removal.tags.clone(),
            links: removal.links.clone(),
            blobs: removal.blobs.clone(),
            before: removal.before(now),
        }
    }

    /// How many bytes it set out to free.
    pub fn bytes(&self) -> u64 {
        self.links.iter().chain(&self.blobs).map(|it| it.bytes).sum()
    }

    /// Leaves alone the tags that somebody set again since.
    pub(super) fn without_new_tags(mut self, written: &dyn Source) -> Self {
        let before = self.before;
        self.tags.retain(|(name, tag)| {
            let current = stored(written, Entry::TagCurrent(name.clone(), tag.clone()));
            current.is_some_and(|it| it.modified < before)
        });
        self
    }

    /// What the last process did not finish; `None` where it finished everything.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub async fn pending(store: &Store) -> Result<Option<Self>, Error> {
        if store.writer().is_none() {
            return Ok(None);
        }
        let note = store.document(DOCUMENT).await?.unwrap_or_default();
        // What another version wrote and this one does not understand is left to garbage collection.
        Ok(serde_json::from_slice::<Note>(&note).ok().map(Self::from))
    }

    /// Makes it last.
    pub(super) async fn keep(&self, writer: &Writer) -> Result<(), Error> {
        let note = serde_json::to_vec(&Note::from(self)).unwrap_or_default();
        if note.len() > LIMIT {
            tracing::warn!(
                release = self.release,
                "a power cut would end this removal: it is too long to be noted"
            );
            return Ok(());
        }
        writer.put_document(DOCUMENT, note.into()).await
    }

    /// Forgets it: it is done.
    pub(super) async fn forget(writer: &Writer) -> Result<(), Error> {
        writer.put_document(DOCUMENT, bytes::Bytes::new()).await
    }
}

impl From<&Work> for Note {
    fn from(work: &Work) -> Self {
        let listed = |all: &[Stored]| all.iter().map(|it| (it.entry.path().to_string(), it.bytes)).collect();
        let tag = |(name, tag): &(RepositoryName, Tag)| Entry::TagCurrent(name.clone(), tag.clone());
        let since = work.before.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            release: work.release.clone(),
            digest: work.digest.clone(),
            bundle: work.bundle.clone(),
            tags: work.tags.iter().map(|it| tag(it).path().to_string()).collect(),
            links: listed(&work.links),
            blobs: listed(&work.blobs),
            before: u64::try_from(since.as_nanos()).unwrap_or_default(),
        }
    }
}

impl From<Note> for Work {
    fn from(note: Note) -> Self {
        let before = SystemTime::UNIX_EPOCH + Duration::from_nanos(note.before);
        let entries = |all: Vec<(String, u64)>| -> Vec<Stored> {
            let parsed = all.into_iter().filter_map(|(path, bytes)| Some((Entry::parse(&path)?, bytes)));
            parsed.map(|(entry, bytes)| Stored { entry, bytes, modified: SystemTime::UNIX_EPOCH }).collect()
        };
        let tags = note.tags.iter().filter_map(|it| match Entry::parse(it)? {
            Entry::TagCurrent(name, tag) => Some((name, tag)),
            _ => None,
        });
        Self {
            tags: tags.collect(),
            links: entries(note.links),
            blobs: entries(note.blobs),
            release: note.release,
            digest: note.digest,
            bundle: note.bundle,
            before,
        }
    }
}
