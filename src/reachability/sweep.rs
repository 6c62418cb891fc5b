//! `Collection`: from what is stored and what is reached to a list of what can go.
//!
//! Knows ages, leases and the order of removal. Does not know how an entry is removed, nor whether it still
//! may be by then: whoever removes it asks again.

use std::collections::HashSet;
use std::time::Duration;
use std::time::SystemTime;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::reachability::Reachable;

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub entry: Entry,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub modified: SystemTime,
}

/// What can go, in the order in which it should: links first, then blobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The entries.
    pub entries: Vec<Stored>,
    /// How much they take, in bytes.
    pub bytes: u64,
    /// How much nothing needs, but is too young or leased: next time, perhaps.
    pub spared: u64,
}

/// A collection being planned. Repositories first, then blobs.
#[derive(Debug)]
pub struct Collection<L> {
    now: SystemTime,
    grace: Duration,
    leased: L,
    reached: Reachable,
    held: HashSet<Digest>,
    plan: Plan,
}

impl<L: Fn(&Digest) -> bool> Collection<L> {
    /// Spares what is younger than `grace` at `now`, and what is `leased`: a push that is under way needs it
    /// soon.
    pub fn new(now: SystemTime, grace: Duration, leased: L) -> Self {
        Self { now, grace, leased, reached: Reachable::new(), held: HashSet::new(), plan: Plan::default() }
    }

    /// Plans a repository: `reached` is what its kept manifests reach, themselves included; `links` are its
    /// layer, revision and tag index links. Gives what the repository goes on needing.
    pub fn repository(&mut self, reached: Reachable, links: impl IntoIterator<Item = Stored>) {
        for link in links {
            match linked(&link.entry) {
                Some(digest) if !reached.contains(digest) => {
                    let digest = *digest;
                    if !self.remove(link, &digest) {
                        self.held.insert(digest);
                    }
                }
                _ => {}
            }
        }
        self.reached.extend(reached);
    }

    /// Keeps a repository whole, because nobody knows what it needs: `linked` is everything that its links
    /// name.
    pub fn keep_whole(&mut self, linked: impl IntoIterator<Item = Digest>) {
        self.reached.extend(linked);
    }

    /// Plans blobs, after all repositories.
    pub fn blobs(&mut self, blobs: impl IntoIterator<Item = Stored>) {
        for blob in blobs {
            let Entry::Blob(digest) = blob.entry else { continue };
            if !self.reached.contains(&digest) && !self.held.contains(&digest) {
                self.remove(blob, &digest);
            }
        }
    }

    /// What can go.
    pub fn finish(self) -> Plan {
        self.plan
    }

    /// Whether the entry can go. A time in the future is a clock that was set back: young, as far as anyone
    /// knows.
    fn remove(&mut self, stored: Stored, digest: &Digest) -> bool {
        let age = self.now.duration_since(stored.modified).unwrap_or_default();
        let goes = age >= self.grace && !(self.leased)(digest);
        if goes {
            self.plan.bytes += stored.bytes;
            self.plan.entries.push(stored);
        } else {
            self.plan.spared += stored.bytes;
        }
        goes
    }
}

/// What a link that can be collected leads to. A tag is a name someone gave, and is never garbage.
fn linked(entry: &Entry) -> Option<&Digest> {
    match entry {
        Entry::LayerLink(_, digest) | Entry::RevisionLink(_, digest) | Entry::TagIndex(_, _, digest) => {
            Some(digest)
        }
        Entry::Blob(_)
        | Entry::TagCurrent(..)
        | Entry::UploadData(..)
        | Entry::UploadStartedAt(..)
        | Entry::UploadHashState(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use storage_layout::Algorithm;
    use storage_layout::RepositoryName;
    use storage_layout::Tag;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1_000_000 * HOUR
    }

    fn d(byte: u8) -> Digest {
        Digest::from_bytes(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    fn name() -> RepositoryName {
        RepositoryName::parse("a/b").unwrap()
    }

    fn layer(byte: u8, hours: u32) -> Stored {
        stored(Entry::LayerLink(name(), d(byte)), 71, hours)
    }

    fn blob(byte: u8, hours: u32) -> Stored {
        stored(Entry::Blob(d(byte)), u64::from(byte) * 1000, hours)
    }

    fn stored(entry: Entry, bytes: u64, hours: u32) -> Stored {
        Stored { entry, bytes, modified: now() - HOUR * hours }
    }

    /// Collects with a grace of an hour, byte 9 leased.
    fn plan(reached: &[u8], links: &[Stored], blobs: &[Stored]) -> Plan {
        let mut collection = Collection::new(now(), HOUR, |it: &Digest| *it == d(9));
        collection.repository(reached.iter().map(|it| d(*it)).collect(), links.iter().cloned());
        collection.blobs(blobs.iter().cloned());
        collection.finish()
    }

    #[test]
    fn what_goes() {
        for (case, reached, links, blobs, expected, spared) in [
            ("all is reached", &[1, 2][..], vec![layer(2, 9)], vec![blob(1, 9), blob(2, 9)], vec![], 0),
            ("an orphan", &[1], vec![], vec![blob(1, 9), blob(2, 9)], vec![blob(2, 9)], 0),
            ("a young orphan", &[], vec![], vec![blob(2, 0)], vec![], 2000),
            ("an orphan as old as the grace", &[], vec![], vec![blob(2, 1)], vec![blob(2, 1)], 0),
            ("a leased orphan", &[], vec![], vec![blob(9, 9)], vec![], 9000),
            (
                "a link and its blob",
                &[],
                vec![layer(2, 9)],
                vec![blob(2, 9)],
                vec![layer(2, 9), blob(2, 9)],
                0,
            ),
            ("a young link holds its old blob", &[], vec![layer(2, 0)], vec![blob(2, 9)], vec![], 71),
            (
                "a young blob whose old link goes",
                &[],
                vec![layer(2, 9)],
                vec![blob(2, 0)],
                vec![layer(2, 9)],
                2000,
            ),
        ] {
            let plan = plan(reached, &links, &blobs);
            assert_eq!(plan.entries, expected, "{case}");
            assert_eq!(plan.spared, spared, "{case}");
            assert_eq!(plan.bytes, expected.iter().map(|it| it.bytes).sum::<u64>(), "{case}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_spares() {
        let future = Stored { modified: now() + HOUR, ..blob(2, 0) };
        assert_eq!(plan(&[], &[], &[future]).entries, []);
    }

    #[test]
    fn tags_and_uploads_are_not_collected() {
        let tag = Tag::parse("v1").unwrap();
        let links = [stored(Entry::TagCurrent(name(), tag.clone()), 71, 9)];
        assert_eq!(plan(&[], &links, &[]).entries, []);
        let index = stored(Entry::TagIndex(name(), tag, d(3)), 71, 9);
        assert_eq!(plan(&[], std::slice::from_ref(&index), &[]).entries, [index]);
    }

    #[test]
    fn a_repository_kept_whole_keeps_what_it_links() {
        let mut collection = Collection::new(now(), HOUR, |_: &Digest| false);
        collection.keep_whole([d(2)]);
        collection.blobs([blob(2, 9), blob(3, 9)]);
        assert_eq!(collection.finish().entries, [blob(3, 9)]);
    }
}
