//! `Blob` and `FileRange`: bytes that already lie in a file, or in several.
//!
//! Knows where bytes lie and whether they are in memory. Does not know how
//! they travel: who owns the socket decides that.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use storage_layout::Digest;

use crate::store::Error;

/// What bytes are read from: a device with a name for messages, a bounded number of reading threads, and
/// counts of its faults.
#[derive(Debug)]
pub struct Medium {}

/// A stored blob.
#[derive(Clone, Debug)]
pub struct Blob {
    digest: Digest,
    whole: FileRange,
}

impl Blob {
    /// Its digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.whole.len()
    }

    /// Its bytes, all or some. A range past the end is cut to it.
    pub fn range(&self, range: Range<u64>) -> FileRange {
        let _ = range;
        todo!()
    }
}

/// Bytes that lie in files: a short list, since a blob of an ISO can have several extents and a split image
/// several files.
#[derive(Clone, Debug)]
pub struct FileRange {}

impl FileRange {
    /// How many bytes are left.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Takes the next window off the front, at most `limit` bytes and within one file; `None` when nothing is left.
    pub fn next_window(&mut self, limit: u64) -> Option<Window> {
        let _ = limit;
        todo!()
    }
}

/// A contiguous piece of one file.
#[derive(Clone, Debug)]
pub struct Window {
    /// The file.
    pub file: Arc<File>,
    /// Where the piece begins.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
    /// What it is read from.
    pub medium: Arc<Medium>,
    /// Whose bytes they are, for messages.
    pub digest: Digest,
}

impl Window {
    /// Whether every page is in memory, so that sending it does not wait for a disk. Never waits itself.
    pub fn is_resident(&self) -> bool {
        todo!()
    }

    /// Reads it into memory on one of the medium's threads. A fault of the medium is retried once, counted and named.
    pub async fn make_resident(&self) -> Result<(), Error> {
        todo!()
    }
}
