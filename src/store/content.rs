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
use storage_layout::RelativePath;

use crate::metrics::StoreMetrics;
use crate::store::Blob;
use crate::store::Error;
use crate::store::Found;
use crate::store::Source;
use crate::store::Store;
use crate::store::Version;
use crate::store::Wait;
use crate::store::findings::Findings;
use crate::store::hash::Hasher;
use crate::store::hash::digest_of;
use crate::store::link::in_source;
use crate::store::link::read_small;
use crate::store::near::Near;
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
    near: Near,
    findings: Arc<Findings>,
    proofs: Cache<Version, Arc<Proof>>,
}

/// Whether a digest is that of no bytes.
pub(super) fn is_of_nothing(digest: &Digest) -> bool {
    digest_of(digest.algorithm(), &[]) == *digest
}

/// What a blob that is kept takes.
#[derive(Clone, Debug)]
pub(super) struct ByLength;

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
    /// The largest blob that is not a manifest and is kept: most configurations of images. Whoever serves a
    /// larger one has better ways than to copy it.
    pub(super) const LARGEST_BLOB_KEPT: usize = 16 * 1024;
    /// The largest blob that is hashed without leaving the thread: 30 microseconds.
    const HASHED_AT_ONCE: u64 = 64 * 1024;
    /// How many large blobs are remembered that were read in part, at about 400 bytes each: more than a node
    /// pulls at once. One that is forgotten is hashed from its beginning on.
    const PROOFS: usize = 64;

    pub(super) fn new(metrics: StoreMetrics) -> Self {
        let expected = 1024;
        let inner = Inner {
            verified: Cache::with_weighter(expected, Self::KEPT, ByLength),
            near: Near::new(),
            findings: Arc::new(Findings::new(metrics)),
            proofs: Cache::new(Self::PROOFS),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Remembers that this file does not hold what it should.
    pub(super) fn mark_damaged(&self, version: Version) {
        self.inner.findings.mark_damaged(version);
    }

    /// Whether this file was found not to hold what it should.
    pub(super) fn is_damaged(&self, version: &Version) -> bool {
        self.inner.findings.is_damaged(version)
    }

    /// Remembers that this file holds what it should.
    pub(super) fn mark_sound(&self, version: Version) {
        self.inner.findings.mark_sound(version);
    }

    /// Whether this file was found to hold what it should.
    pub(super) fn is_sound(&self, version: &Version) -> bool {
        self.inner.findings.is_sound(version)
    }

    /// Something, where the file of a blob lies at `path`, of this length, and is not known to be damaged.
    ///
    /// # Errors
    /// The medium's.
    pub(super) fn sight(
        &self,
        source: &dyn Source,
        path: &RelativePath,
        len: usize,
        wait: Wait,
    ) -> Poll<Result<Option<()>, Error>> {
        let found = ready!(source.open(path, wait))?;
        let is_it = |found: &Found| found.version.len() == len as u64 && !self.is_damaged(&found.version);
        Poll::Ready(Ok(found.filter(is_it).map(drop)))
    }

    /// Whether a blob was hashed before, and need not be again to have its bytes kept.
    pub(super) fn is_vouched_for(&self, blob: &Blob) -> bool {
        let is_kept =
            || blob.len() > Self::LARGEST_BLOB_KEPT as u64 || self.remembered(blob.digest()).is_some();
        self.is_sound(blob.version()) && is_kept()
    }

    /// Hashes a blob, and keeps its bytes where they are few. May wait.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its bytes have another digest, or the medium's.
    pub(super) fn vouch(&self, blob: Blob) -> Result<Blob, Error> {
        let mut hasher = Hasher::new(blob.digest().algorithm());
        let mut kept = (blob.len() <= Self::LARGEST_BLOB_KEPT as u64).then(Vec::new);
        let mut rest = blob.range(0..u64::MAX);
        while let Some(window) = rest.next_window(u64::MAX) {
            window.read_through(|piece| {
                hasher.update(piece);
                kept.iter_mut().for_each(|kept| kept.extend_from_slice(piece));
            })?;
        }
        let computed = hasher.finish();
        if computed != *blob.digest() {
            self.mark_damaged(*blob.version());
            let path = Entry::Blob(*blob.digest()).path().to_string();
            return Err(Error::Corrupt { path, why: format!("its bytes have the digest {computed}") });
        }
        self.mark_sound(*blob.version());
        if let Some(content) = kept {
            self.remember(blob.digest(), &content.into());
        }
        Ok(blob)
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
                false => blob.with_proof(self.proof(digest, version)),
            })));
        };
        Poll::Ready(Err(Error::Corrupt { path: in_source(source, &path), why: why.to_owned() }))
    }

    /// The proof of a blob that all who read it now have in common.
    fn proof(&self, digest: &Digest, version: Version) -> Arc<Proof> {
        let proofs = &self.inner.proofs;
        if let Some(proof) = proofs.get(&version) {
            return proof;
        }
        // Of two that begin one at the same time, one goes on alone.
        let proof = Arc::new(Proof::begin(*digest, version, Arc::clone(&self.inner.findings)));
        proofs.insert(version, Arc::clone(&proof));
        proof
    }

    /// The verified bytes of a blob that is remembered.
    pub(super) fn remembered(&self, digest: &Digest) -> Option<Bytes> {
        self.inner.near.get(digest, || self.inner.verified.get(digest))
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
        self.inner.near.forget();
    }

    /// Keeps bytes that have this digest.
    pub(super) fn remember(&self, digest: &Digest, content: &Bytes) {
        if content.len() <= Self::LARGEST_KEPT {
            self.inner.verified.insert(*digest, content.clone());
        }
    }
}
