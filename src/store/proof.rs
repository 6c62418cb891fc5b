//! `Proof`: finding out whether the bytes of a blob that is too large to be hashed first have its digest, once, while
//! they are read to be sent.
//!
//! Knows what was read so far, in order. Does not know who reads, or what becomes of what turns out wrong:
//! the last piece is refused, so whoever sends the blob never ends it as if it were whole.

use std::sync::Mutex;
use std::sync::PoisonError;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::store::Error;
use crate::store::Version;
use crate::store::content::Contents;
use crate::store::hash::Hasher;

/// A blob that nobody read whole since this process began, being read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Proof {
    digest: Digest,
    version: Version,
    contents: Contents,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    hasher: Hasher,
    position: u64,
}

impl Proof {
    /// Nothing was read of the blob that is stored as `digest`.
    pub(in crate::store) fn begin(digest: Digest, version: Version, contents: Contents) -> Self {
        let progress = Progress { hasher: Hasher::new(digest.algorithm()), position: 0 };
        Self { digest, version, contents, progress: Mutex::new(progress) }
    }

    /// Whether it has been found out, by this reader or another.
    pub(in crate::store) fn is_done(&self) -> bool {
        self.contents.is_sound(&self.version)
    }

    /// Takes in what was read from `at` on. What is not next, since it was read before, is passed over.
    pub(in crate::store) fn update(&self, at: u64, piece: &[u8]) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.position == at {
            progress.hasher.update(piece);
            progress.position += piece.len() as u64;
        }
    }

    /// Ends it, if everything was read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes have another digest; that is remembered.
    pub(in crate::store) fn conclude(&self) -> Result<(), Error> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.position != self.version.len() || self.is_done() {
            return Ok(());
        }
        let computed = progress.hasher.clone().finish();
        if computed == self.digest {
            self.contents.mark_sound(self.version);
            return Ok(());
        }
        self.contents.mark_damaged(self.version);
        let path = Entry::Blob(self.digest).path().as_str().to_owned();
        Err(Error::Corrupt { path, why: format!("its bytes have the digest {computed}") })
    }
}
