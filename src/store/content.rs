//! Reading blobs: where their bytes are, or the bytes themselves where they
//! are few.
//!
//! Knows when a blob is not what its name says. Does not know which repository
//! holds it, or what it means.

use std::sync::Arc;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage_layout::Digest;
use storage_layout::Entry;

use crate::metrics::StoreMetrics;
use crate::store::Blob;
use crate::store::Error;
use crate::store::Source;
use crate::store::Store;
use crate::store::Version;
use crate::store::Wait;
use crate::store::hash::Hasher;
use crate::store::hash::digest_of;
use crate::store::link::in_source;
use crate::store::link::read_small;
use crate::store::proof::Proof;

/// Blobs of a store: what is known to be damaged, and the small ones that were read and verified. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    verified: Cache<Digest, Bytes, ByLength>,
    damaged: Cache<Version, ()>,
    sound: Cache<Version, ()>,
    metrics: StoreMetrics,
}

/// Whether a digest is that of no bytes.
pub(super) fn is_of_nothing(digest: &Digest) -> bool {
    digest_of(digest.algorithm(), &[]) == *digest
}

#[derive(Clone, Debug)]
struct ByLength;

impl Weighter<Digest, Bytes> for ByLength {
    fn weight(&self, _: &Digest, content: &Bytes) -> u64 {
        content.len() as u64 + 128
    }
}

impl Contents {
    /// How many bytes of verified blobs are kept: the manifests of four releases of 200 images. The whole
    /// server is to stay within 12 MiB when idle.
    const KEPT: u64 = 4 * 1024 * 1024;
    /// The largest blob that is kept. Manifests of images have a few KiB; an index of many platforms has 20.
    const LARGEST_KEPT: usize = 256 * 1024;
    /// The largest blob that is hashed without leaving the thread: 30 microseconds.
    const HASHED_AT_ONCE: u64 = 64 * 1024;
    /// How many damaged blobs are remembered. With more than these a store is beyond help.
    const DAMAGED: usize = 4096;
    /// How many files are remembered that were found to hold what they should: some releases of 200 images.
    /// One that is forgotten is hashed once more.
    const SOUND: usize = 8192;

    pub(super) fn new(metrics: StoreMetrics) -> Self {
        let expected = 1024;
        let inner = Inner {
            metrics,
            verified: Cache::with_weighter(expected, Self::KEPT, ByLength),
            damaged: Cache::new(Self::DAMAGED),
            sound: Cache::new(Self::SOUND),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Remembers that this file does not hold what it should.
    pub(super) fn mark_damaged(&self, version: Version) {
        self.inner.metrics.corrupt.inc();
        self.inner.damaged.insert(version, ());
    }

    /// Whether this file was found not to hold what it should.
    pub(super) fn is_damaged(&self, version: &Version) -> bool {
        self.inner.damaged.get(version).is_some()
    }

    /// Remembers that this file holds what it should.
    pub(super) fn mark_sound(&self, version: Version) {
        self.inner.sound.insert(version, ());
    }

    /// Whether this file was found to hold what it should.
    pub(super) fn is_sound(&self, version: &Version) -> bool {
        self.inner.sound.get(version).is_some()
    }

    /// Hashes a blob, unless that was done before. May wait.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its bytes have another digest, or the medium's.
    pub(super) fn vouch(&self, blob: &Blob) -> Result<(), Error> {
        if self.is_sound(blob.version()) {
            return Ok(());
        }
        let mut hasher = Hasher::new(blob.digest().algorithm());
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(u64::MAX) {
            window.read_through(|piece| hasher.update(piece))?;
        }
        let computed = hasher.finish();
        if computed != *blob.digest() {
            self.mark_damaged(*blob.version());
            let path = Entry::Blob(*blob.digest()).path().to_string();
            return Err(Error::Corrupt { path, why: format!("its bytes have the digest {computed}") });
        }
        self.mark_sound(*blob.version());
        Ok(())
    }

    /// Where the bytes of a blob are.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the file is empty and should not be, or is known to be damaged; [`Error::Medium`] where
    /// it could not be read a moment ago.
    pub(super) fn blob(
        &self,
        source: &dyn Source,
        digest: &Digest,
        wait: Wait,
    ) -> Poll<Result<Option<Blob>, Error>> {
        let path = Entry::Blob(*digest).path();
        let Some(found) = ready!(source.open(&path, wait))? else { return Poll::Ready(Ok(None)) };
        if let Some(read) = source.medium().given_up(found.version.place()) {
            return Poll::Ready(Err(read.error(source.medium())));
        }
        let why = if found.version.is_empty() && !is_of_nothing(digest) {
            "it is empty"
        } else if self.is_damaged(&found.version) {
            "its bytes have another digest"
        } else {
            let version = found.version;
            let blob = Blob::new(*digest, found, Arc::clone(source.medium()));
            let is_vouched_for = blob.len() <= Store::VOUCHED_UP_TO || self.is_sound(&version);
            return Poll::Ready(Ok(Some(match is_vouched_for {
                true => blob,
                false => blob.with_proof(Proof::begin(*digest, version, self.clone())),
            })));
        };
        Poll::Ready(Err(Error::Corrupt { path: in_source(source, &path), why: why.to_owned() }))
    }

    /// The verified bytes of a blob that is remembered.
    pub(super) fn remembered(&self, digest: &Digest) -> Option<Bytes> {
        self.inner.verified.get(digest)
    }

    /// The verified bytes of a blob.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above `limit`; [`Error::Corrupt`] where the bytes do not have the digest.
    pub(super) fn read(
        &self,
        source: &dyn Source,
        digest: &Digest,
        limit: u64,
        wait: Wait,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        let path = Entry::Blob(*digest).path();
        let Some(found) = ready!(source.open(&path, wait))? else { return Poll::Ready(Ok(None)) };
        let len = found.version.len();
        if len > limit {
            return Poll::Ready(Err(Error::TooLarge { digest: *digest, len, limit }));
        }
        if wait == Wait::Never && len > Self::HASHED_AT_ONCE {
            return Poll::Pending;
        }
        let medium = source.medium();
        if let Some(read) = medium.given_up(found.version.place()) {
            return Poll::Ready(Err(read.error(medium)));
        }
        let failed = |fault| medium.failed(fault, digest, found.version.place());
        let content: Bytes = ready!(read_small(&found, medium, wait)).map_err(failed)?.into();
        let computed = digest_of(digest.algorithm(), &content);
        if computed != *digest {
            self.mark_damaged(found.version);
            let why = match content.len() {
                0 => "it is empty".to_owned(),
                _ => format!("its bytes have the digest {computed}"),
            };
            return Poll::Ready(Err(Error::Corrupt { path: in_source(source, &path), why }));
        }
        self.remember(digest, &content);
        Poll::Ready(Ok(Some(content)))
    }

    /// Forgets a blob that is being removed.
    pub(super) fn forget(&self, digest: &Digest) {
        self.inner.verified.remove(digest);
    }

    /// Keeps bytes that have this digest.
    pub(super) fn remember(&self, digest: &Digest, content: &Bytes) {
        if content.len() <= Self::LARGEST_KEPT {
            self.inner.verified.insert(*digest, content.clone());
        }
    }
}
