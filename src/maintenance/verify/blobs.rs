//! Hashing every blob of every root, on as many threads as there are processors.
//!
//! Knows which copies are whole. Does not know which are needed.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::tree::Tree;
use crate::maintenance::verify::BlobFault;
use crate::store::Error;
use crate::store::Hashed;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Wait;
use crate::store::Walk;

/// How far a verification is, for whoever shows it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Blobs that there are.
    pub blobs: AtomicU64,
    /// How many bytes they have.
    pub bytes: AtomicU64,
    /// Blobs that were hashed.
    pub blobs_done: AtomicU64,
    /// Bytes that were hashed.
    pub bytes_done: AtomicU64,
    /// Damaged blobs found.
    pub damaged: AtomicU64,
}

/// What is known of all blobs.
#[derive(Debug, Default)]
pub(super) struct Blobs {
    /// Those of which some root has a whole copy, with their lengths.
    pub(super) whole: HashMap<Digest, u64>,
    /// Copies that are damaged: where, and how.
    pub(super) damaged: BTreeMap<Digest, Vec<(String, BlobFault)>>,
    /// What else lies among them, by root.
    pub(super) others: Vec<(String, Sight)>,
}

impl Blobs {
    /// Whether a digest is known, whole or not.
    pub(super) fn is_known(&self, digest: &Digest) -> bool {
        self.whole.contains_key(digest) || self.damaged.contains_key(digest)
    }

    fn add(&mut self, source: &dyn Source, digest: Digest, result: Result<Hashed, Error>) {
        let fault = match result {
            Ok(hashed) if hashed.computed == digest => {
                self.whole.insert(digest, hashed.len);
                return;
            }
            Ok(Hashed { len: 0, .. }) => BlobFault::Empty,
            Ok(Hashed { computed, len, .. }) => BlobFault::Content { computed, len },
            Err(error) => BlobFault::Unreadable { why: chain(&error) },
        };
        let path = source.origin().join(Entry::Blob(digest).path().as_str()).display().to_string();
        self.damaged.entry(digest).or_default().push((path, fault));
    }
}

/// Hashes every blob; `None` where `pace` was stopped meanwhile.
pub(super) fn hash_all(tree: Tree<'_>, threads: NonZero<usize>, pace: &Pace, tally: &Tally) -> Option<Blobs> {
    let mut blobs = Blobs::default();
    let listed = list(tree, &mut blobs, tally);
    let queue = Mutex::new(listed.into_iter());
    let done = Mutex::new(blobs);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        background::step_back();
        while let Some((source, digest)) = next() {
            let Some(result) = hash(source, &digest, pace, tally)? else { continue };
            if !matches!(&result, Ok(hashed) if hashed.computed == digest) {
                tally.damaged.fetch_add(1, Ordering::Relaxed);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).add(source, digest, result);
        }
        Some(())
    };
    let finished = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        let all = |it: std::thread::ScopedJoinHandle<'_, _>| {
            it.join().unwrap_or_else(|it| std::panic::resume_unwind(it))
        };
        workers.into_iter().map(all).filter(Option::is_none).count() == 0
    });
    finished.then(|| done.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Every blob of every root, counted.
fn list<'a>(tree: Tree<'a>, blobs: &mut Blobs, tally: &Tally) -> Vec<(&'a dyn Source, Digest)> {
    let mut listed = Vec::new();
    for source in tree.sources() {
        for sight in Walk::blobs(source) {
            let Sight::Entry(Entry::Blob(digest)) = sight else {
                blobs.others.push((source.origin().display().to_string(), sight));
                continue;
            };
            if let Poll::Ready(Ok(Some(version))) = source.version(&Entry::Blob(digest).path(), Wait::Allowed)
            {
                tally.blobs.fetch_add(1, Ordering::Relaxed);
                tally.bytes.fetch_add(version.len(), Ordering::Relaxed);
            }
            listed.push((source, digest));
        }
    }
    listed
}

/// Hashes one blob: `None` where stopped, an inner `None` where it went meanwhile.
fn hash(
    source: &dyn Source,
    digest: &Digest,
    pace: &Pace,
    tally: &Tally,
) -> Option<Option<Result<Hashed, Error>>> {
    let mut stopped = ControlFlow::Continue(());
    let hashed = source.hash(digest, |bytes| {
        stopped = pace.take(bytes);
        tally.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        stopped
    });
    if stopped.is_break() {
        return None;
    }
    tally.blobs_done.fetch_add(1, Ordering::Relaxed);
    Some(hashed.transpose())
}

/// An error and what caused it, in one line.
pub(in crate::maintenance) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
