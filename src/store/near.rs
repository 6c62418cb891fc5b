//! `Near`: the small blobs that each thread asked for of late.
//!
//! Each has a handle of its own to what all share.
//!
//! Knows how much a thread may have. Does not know what the bytes are, or whether they are still stored.

use std::fmt;

use bytes::Bytes;
use quick_cache::unsync::Cache;
use storage_layout::Digest;

use crate::store::content::ByLength;
use crate::store::own::Own;

/// Small blobs, near those who ask for them.
pub(super) struct Near(Own<Cache<Digest, Bytes, ByLength>>);

impl Near {
    /// How many bytes each thread has: some 200 manifests. They are those that all share, unless those who share
    /// them forgot them meanwhile; at most four threads serve.
    const KEPT: u64 = 1024 * 1024;
    /// The largest blob: with a longer one it is not the threads that cost.
    const LARGEST: usize = 16 * 1024;
    /// How many blobs the memory is laid out for.
    const EXPECTED: usize = 256;

    pub(super) fn new() -> Self {
        Self(Own::new(|| Cache::with_weighter(Self::EXPECTED, Self::KEPT, ByLength)))
    }

    /// The bytes of a blob: those that this thread has, or otherwise those that all have.
    pub(super) fn get(&self, digest: &Digest, all: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        self.0.with(|contents| {
            if let Some(content) = contents.get(digest) {
                return Some(content.clone());
            }
            let content = all()?;
            if content.len() > Self::LARGEST {
                return Some(content);
            }
            // It counts the references to itself, and is one of those that all count.
            let content = Bytes::from_owner(content);
            contents.insert(*digest, content.clone());
            Some(content)
        })
    }

    /// Has every thread forget what it has, when it next looks: one of them is being removed.
    pub(super) fn forget(&self) {
        self.0.revoke();
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Near").field(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::hash::digest_of;
    use storage_layout::Algorithm;

    #[test]
    fn each_thread_asks_once_until_something_is_forgotten() {
        let near = Near::new();
        let shared = Bytes::from_static(b"manifest");
        let digest = digest_of(Algorithm::Sha256, &shared);
        let ask = |near: &Near| {
            let mut is_asked = false;
            let found = near.get(&digest, || {
                is_asked = true;
                Some(shared.clone())
            });
            assert_eq!(found.unwrap(), shared);
            is_asked
        };
        let twice = |near: &Near| [ask(near), ask(near)];
        assert_eq!(twice(&near), [true, false]);
        std::thread::scope(|scope| assert_eq!(scope.spawn(|| twice(&near)).join().unwrap(), [true, false]));
        near.forget();
        assert_eq!(twice(&near), [true, false]);
        near.forget();
        assert!(near.get(&digest, || None).is_none(), "what nobody has any more");
    }

    #[test]
    fn what_is_large_or_much_is_not_kept() {
        let near = Near::new();
        let digest = |number: u64| digest_of(Algorithm::Sha256, &number.to_be_bytes());
        let large = || Some(Bytes::from(vec![0; Near::LARGEST + 1]));
        assert!(near.get(&digest(0), large).is_some());
        assert!(near.get(&digest(0), || None).is_none());
        for number in 0..1000 {
            let found = near.get(&digest(number), || Some(Bytes::from(vec![0; Near::LARGEST])));
            assert_eq!(found.unwrap().len(), Near::LARGEST);
        }
        near.0.with(|contents| assert!(contents.weight() <= Near::KEPT));
    }
}
