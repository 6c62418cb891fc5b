//! Looking at a medium before anybody relies on it: is it readable at its start, middle and end, and what is
//! on it?
//!
//! Knows which few blobs tell most. Does not read the rest: that is `verify`.

use std::ops::ControlFlow;
use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::maintenance::releases;
use crate::maintenance::releases::ReleaseStatus;
use crate::maintenance::tree::Tree;
use crate::maintenance::verify::chain;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Store;
use crate::store::Walk;

/// What a look at a medium found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Blobs that are there.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Repositories.
    pub repositories: usize,
    /// Releases.
    pub releases: Vec<ReleaseStatus>,
    /// Bytes of a blob at the start, one in the middle and one at the end that were read, and are right.
    pub read: u64,
    /// What could not be read, or is not right.
    pub faults: Vec<String>,
}

/// Looks at a medium. Waits for it.
///
/// # Errors
/// Its directories cannot be read.
pub fn look(sources: &[Arc<dyn Source>]) -> Result<Look, Error> {
    let tree = Tree(sources);
    let mut faults = Vec::new();
    let mut placed = Vec::new();
    for sight in tree.sources().flat_map(Walk::blobs) {
        match sight {
            Sight::Entry(Entry::Blob(digest)) => match tree.blob(&digest) {
                Ok(blob) => placed.extend(blob.map(|it| (it.position(), digest, it.len()))),
                Err(error) => faults.push(chain(&error)),
            },
            Sight::Unlisted(error) => faults.push(chain(&error)),
            Sight::Entry(_) | Sight::Stranger(_) | Sight::Repository(_) => {}
        }
    }
    placed.sort_unstable();
    let mut read = 0;
    for at in sample(placed.len()) {
        let Some((_, digest, _)) = placed.get(at) else { continue };
        match check(tree, digest) {
            Ok(bytes) => read += bytes,
            Err(why) => faults.push(why),
        }
    }
    let (repositories, _) = tree.repositories();
    Ok(Look {
        blobs: placed.len(),
        bytes: placed.iter().map(|(_, _, len)| len).sum(),
        repositories: repositories.len(),
        releases: releases::releases(sources)?,
        read,
        faults,
    })
}

/// The first of so many, the middle one and the last.
fn sample(count: usize) -> impl Iterator<Item = usize> {
    let mut all = vec![0, count / 2, count.saturating_sub(1)];
    all.dedup();
    all.into_iter().filter(move |at| *at < count)
}

/// Reads a blob, up to a length that does not keep anybody waiting; gives how much was read.
fn check(tree: Tree<'_>, digest: &Digest) -> Result<u64, String> {
    let mut read = 0;
    for source in tree.sources() {
        let each = |bytes| {
            read += bytes;
            if read > Store::VOUCHED_UP_TO { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match source.hash(digest, each) {
            Ok(Some(hashed)) if hashed.computed == *digest => return Ok(read),
            Ok(Some(hashed)) => {
                return Err(format!("{digest} has bytes with the digest {}", hashed.computed));
            }
            Ok(None) if read > Store::VOUCHED_UP_TO => return Ok(read),
            Ok(None) => {}
            Err(error) => return Err(chain(&error)),
        }
    }
    Err(format!("{digest} is gone"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::maintenance::fixture::Root;

    #[test]
    fn a_whole_medium_is_told_of() {
        let look = look(&Root::payload().sources()).unwrap();
        assert_eq!((look.blobs, look.repositories, look.releases.len(), look.faults.len()), (67, 10, 1, 0));
        assert!(look.read > 0 && look.bytes > look.read);
    }

    #[test]
    fn what_is_wrong_at_the_end_is_found() {
        let root = Root::payload();
        let sources = root.sources();
        let mut blobs: Vec<_> = Walk::blobs(&*sources[0])
            .filter_map(|it| match it {
                Sight::Entry(Entry::Blob(digest)) => Some(digest),
                _ => None,
            })
            .collect();
        // Of a directory every blob begins at nought, so that digests decide.
        blobs.sort_unstable();
        let path = root.at(&Entry::Blob(*blobs.last().unwrap()));
        fs::write(path, "other bytes").unwrap();
        let look = look(&sources).unwrap();
        assert_eq!(look.faults.len(), 1, "{look:?}");
        assert!(look.faults[0].contains("has bytes with the digest"), "{look:?}");
    }

    #[test]
    fn few_are_looked_at_once() {
        for (count, expected) in
            [(0, vec![]), (1, vec![0]), (2, vec![0, 1]), (3, vec![0, 1, 2]), (100, vec![0, 50, 99])]
        {
            assert_eq!(sample(count).collect::<Vec<_>>(), expected);
        }
    }
}
