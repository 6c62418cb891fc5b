//! `Proof`: finding out whether the bytes of a blob that is too large to be hashed first have its digest, once, while
//! they are read to be sent.
//!
//! Knows what was read so far, in order, whoever read it: all who send a blob at the same time share one
//! proof, so that each byte is hashed once, by whoever comes to it first. Does not know who reads, or what
//! becomes of what turns out wrong: the last piece is refused, so whoever sends the blob never ends it as if
//! it were whole.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::store::Error;
use crate::store::Version;
use crate::store::findings::Findings;
use crate::store::hash::Hasher;

/// A blob that nobody read whole since this process began, being read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Proof {
    digest: Digest,
    version: Version,
    findings: Arc<Findings>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    hasher: Hasher,
    position: u64,
}

impl Proof {
    /// Nothing was read of the blob that is stored as `digest`.
    pub(in crate::store) fn begin(digest: Digest, version: Version, findings: Arc<Findings>) -> Self {
        let progress = Progress { hasher: Hasher::new(digest.algorithm()), position: 0 };
        Self { digest, version, findings, progress: Mutex::new(progress) }
    }

    /// Whether the bytes before `end` need not be read for its sake: it has been found out, or they were
    /// hashed and are not the last, which nobody gets before it has.
    pub(in crate::store) fn is_past(&self, end: u64) -> bool {
        self.is_done() || (end < self.version.len() && self.progress().position >= end)
    }

    /// Whether it has been found out, by this reader or another.
    pub(in crate::store) fn is_done(&self) -> bool {
        self.findings.is_sound(&self.version)
    }

    /// Takes in what was read from `at` on. What was read before is passed over. Whoever reads from the
    /// beginning on is never ahead of what was taken in.
    pub(in crate::store) fn update(&self, at: u64, piece: &[u8]) {
        let mut progress = self.progress();
        let known = progress.position.checked_sub(at).and_then(|known| usize::try_from(known).ok());
        if let Some((_, new)) = known.and_then(|known| piece.split_at_checked(known)) {
            progress.hasher.update(new);
            progress.position += new.len() as u64;
        }
    }

    /// Ends it, if everything was read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes have another digest; that is remembered.
    pub(in crate::store) fn conclude(&self) -> Result<(), Error> {
        let progress = self.progress();
        if progress.position != self.version.len() || self.is_done() {
            return Ok(());
        }
        let computed = progress.hasher.clone().finish();
        if computed == self.digest {
            self.findings.mark_sound(self.version);
            return Ok(());
        }
        self.findings.mark_damaged(self.version);
        let path = Entry::Blob(self.digest).path().as_str().to_owned();
        Err(Error::Corrupt { path, why: format!("its bytes have the digest {computed}") })
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::StoreMetrics;
    use crate::store::hash::digest_of;

    const CONTENT: &[u8] = b"what several clients pull at the same time";

    fn proof(of: &[u8]) -> Proof {
        let digest = digest_of(storage_layout::Algorithm::Sha256, of);
        let version = Version::fixed(1, 2, CONTENT.len() as u64);
        Proof::begin(digest, version, Arc::new(Findings::new(StoreMetrics::default())))
    }

    /// Reads from the beginning on, in pieces of `len` bytes, and stops at `end`.
    fn read(proof: &Proof, len: usize, end: usize) -> Result<(), Error> {
        let mut at = 0;
        for piece in CONTENT.chunks(len).take_while(|piece| {
            at += piece.len();
            at <= end
        }) {
            let begin = piece.as_ptr().addr() - CONTENT.as_ptr().addr();
            proof.update(begin as u64, piece);
            proof.conclude()?;
        }
        Ok(())
    }

    #[test]
    fn readers_share_what_was_hashed_wherever_their_pieces_end() {
        for (first, stopped, second) in
            [(7, 21, 7), (7, 21, 5), (5, 20, 13), (1, 3, 42), (42, 42, 1), (3, 0, 4)]
        {
            let proof = proof(CONTENT);
            read(&proof, first, stopped).unwrap();
            assert!(proof.is_past((stopped / first * first) as u64), "{first} {stopped}");
            assert_eq!(proof.is_done(), stopped == CONTENT.len());
            read(&proof, second, CONTENT.len()).unwrap();
            assert!(proof.is_done(), "{first} {stopped} {second}");
        }
    }

    #[test]
    fn the_last_bytes_wait_for_the_end_of_the_proof() {
        let proof = proof(CONTENT);
        proof.update(0, CONTENT);
        assert!(proof.is_past(CONTENT.len() as u64 - 1) && !proof.is_past(CONTENT.len() as u64));
        proof.conclude().unwrap();
        assert!(proof.is_past(CONTENT.len() as u64));
    }

    #[test]
    fn what_is_wrong_is_refused_to_every_reader() {
        let proof = proof(b"something else");
        for _ in 0..2 {
            assert!(matches!(read(&proof, 4, CONTENT.len()), Err(Error::Corrupt { .. })));
            assert!(!proof.is_past(CONTENT.len() as u64));
        }
    }
}
