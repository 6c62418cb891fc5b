//! `Blob` and `FileRange`: bytes that already lie in a file, or in several.
//!
//! Knows where bytes lie and whether they are in memory. Does not know how
//! they travel: who owns the socket decides that.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use storage_layout::Digest;

use crate::store::Error;
use crate::store::Extent;
use crate::store::Extents;
use crate::store::Found;
use crate::store::Medium;
use crate::store::Version;
use crate::store::extent::Sink;
use crate::store::proof::Proof;
use crate::store::version::Place;

/// A stored blob.
#[derive(Clone, Debug)]
pub struct Blob {
    whole: FileRange,
}

impl Blob {
    pub(super) fn new(digest: Digest, found: Found, medium: Arc<Medium>) -> Self {
        let Found { extents, version } = found;
        let end = extents.len();
        let whole = FileRange { digest, version, extents, position: 0, end, medium, proof: None };
        Self { whole }
    }

    /// The same blob, whose bytes are compared with its digest while they are read.
    pub(super) fn with_proof(mut self, proof: Arc<Proof>) -> Self {
        self.whole.proof = Some(proof);
        self
    }

    /// Its digest, as it was asked for.
    pub fn digest(&self) -> &Digest {
        &self.whole.digest
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.whole.len()
    }

    /// Whether it is the blob of no bytes.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// When its file last changed.
    pub fn modified(&self) -> SystemTime {
        self.version().modified()
    }

    /// Where its bytes begin in the file that holds them. Who reads many blobs of an image in this order
    /// reads the medium from its beginning to its end.
    pub fn position(&self) -> u64 {
        self.whole.extents.at(0).map_or(0, |first| first.offset)
    }

    /// Its bytes, all or some. A range past the end is cut to it. Only where it is all of them can it be
    /// found out on the way whether they are what they should be: the last ones are then withheld if not.
    pub fn range(&self, range: Range<u64>) -> FileRange {
        let end = range.end.min(self.len());
        let position = range.start.min(end);
        let proof = self.whole.proof.clone().filter(|it| position == 0 && end == self.len() && !it.is_done());
        FileRange { position, end, proof, ..self.whole.clone() }
    }

    /// Whether all of it is in memory. Never waits.
    pub(super) fn is_resident(&self) -> bool {
        let mut rest = self.whole.clone();
        std::iter::from_fn(|| rest.next_window(u64::MAX)).all(|window| window.is_resident())
    }

    /// What it is read from.
    pub(super) fn medium(&self) -> &Arc<Medium> {
        &self.whole.medium
    }

    /// The same bytes by another name.
    pub(super) fn named(mut self, digest: Digest) -> Self {
        self.whole.digest = digest;
        self
    }

    /// Which version of the file it is.
    pub(super) fn version(&self) -> &Version {
        &self.whole.version
    }
}

/// Bytes that lie in files: a short list of pieces, since a blob of an image can have several extents and a
/// split image several files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FileRange {
    digest: Digest,
    version: Version,
    extents: Extents,
    position: u64,
    end: u64,
    medium: Arc<Medium>,
    proof: Option<Arc<Proof>>,
}

impl FileRange {
    /// How many bytes are left.
    pub fn len(&self) -> u64 {
        self.end - self.position
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.position == self.end
    }

    /// Takes the next window off the front, at most `limit` bytes and within one file; `None` when nothing is
    /// left.
    pub fn next_window(&mut self, limit: u64) -> Option<Window> {
        let Extent { file, offset, len } = self.extents.at(self.position)?;
        let len = len.min(limit).min(self.len());
        if len == 0 {
            return None;
        }
        let proof = self.proof.clone().map(|proof| (proof, self.position));
        self.position += len;
        let (digest, place) = (self.digest, self.version.place());
        Some(Window { file, offset, len, medium: Arc::clone(&self.medium), digest, place, proof })
    }
}

/// A contiguous piece of one file.
///
/// To send one without ever sleeping on a disk: if it [is resident](Window::is_resident), send it; if not,
/// [make it so](Window::make_resident) and ask again; if it still is not - a file system that cannot tell, or
/// memory that is short - [read](Window::read) it and send the copy.
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
    /// Where the file lies that they are.
    pub(crate) place: Place,
    /// What finds out whether they are what they should be, and where in the blob they begin.
    pub(crate) proof: Option<(Arc<Proof>, u64)>,
}

impl Window {
    /// Whether it is in memory, so that sending it does not wait for a disk. Never waits itself. A file
    /// system that cannot tell (FUSE has no `RWF_NOWAIT`) counts as cold.
    ///
    /// Looks at one page in every 64 KiB, since the kernel reads ahead and evicts in such runs:
    /// `cachestat(2)` would count every page, but also those that are still being read, and the kernels of
    /// RHEL 9 do not have it.
    pub fn is_resident(&self) -> bool {
        self.extent().is_resident()
    }

    /// As [`Window::is_resident`], by a look at its ends and its middle alone. Enough where what stands
    /// before it was in memory: what is evicted goes in the order in which it was read, in runs of many
    /// windows.
    pub fn seems_resident(&self) -> bool {
        self.extent().seems_resident()
    }

    /// Reads what is in memory from `at` on, counted from the window's beginning, and gives how much that
    /// was; fewer bytes than asked for say that the next is not in memory. Never waits.
    ///
    /// # Errors
    /// The first byte is not in memory ([`io::ErrorKind::WouldBlock`]), the file system cannot tell, or the file is
    /// shorter than it was.
    pub fn try_read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.extent().try_read(at, buffer)
    }

    /// Whether nobody knows yet that the bytes are what they should be. It is [read](Window::make_resident)
    /// before it is sent then, whether it is in memory or not, and windows are in their order.
    pub fn is_to_be_proven(&self) -> bool {
        self.proof.as_ref().is_some_and(|(proof, begin)| !proof.is_past(begin + self.len))
    }

    /// `len` of its bytes after the first `skip`.
    pub(crate) fn piece(&self, skip: u64, len: u64) -> Self {
        let mut piece = self.clone();
        piece.skip(skip);
        piece.len = len;
        piece
    }

    /// Takes its first `len` bytes off.
    pub(crate) fn skip(&mut self, len: u64) {
        self.offset += len;
        self.len -= len;
        if let Some((_, begin)) = &mut self.proof {
            *begin += len;
        }
    }

    /// Reads it into memory on one of the medium's threads. A fault of the medium is retried once, counted
    /// and named.
    ///
    /// # Errors
    /// [`Error::Medium`] where it cannot be read, [`Error::Corrupt`] where the file has become shorter or where this
    /// is the last of a blob whose bytes are not what they should be.
    pub async fn make_resident(&self) -> Result<(), Error> {
        let window = self.clone();
        let read = move || match &window.proof {
            None => window.read_through(|_| {}),
            // Others were faster.
            Some((proof, begin)) if proof.is_past(begin + window.len) && window.is_resident() => Ok(()),
            Some((proof, begin)) => {
                let mut at = *begin;
                window.read_through(|piece| {
                    proof.update(at, piece);
                    at += piece.len() as u64;
                })?;
                proof.conclude()
            }
        };
        self.medium.run(read).await
    }

    /// Reads it on one of the medium's threads.
    ///
    /// # Errors
    /// As [`Window::make_resident`].
    pub async fn read(&self) -> Result<Bytes, Error> {
        let window = self.clone();
        let read = move || {
            let mut bytes = Vec::with_capacity(usize::try_from(window.len).unwrap_or(0));
            window.read_through(|piece| bytes.extend_from_slice(piece))?;
            Ok(bytes.into())
        };
        self.medium.run(read).await
    }

    /// Reads it piece by piece on this thread, which may sleep.
    pub(super) fn read_through(&self, each: impl FnMut(&[u8])) -> Result<(), Error> {
        let failed = |fault| self.medium.failed(fault, &self.digest, self.place);
        self.extent().read_through(&self.medium, each).map_err(failed)
    }

    /// Reads it on this thread, which may sleep, to where it is wanted.
    pub(super) fn read_into(&self, sink: &mut impl Sink) -> Result<(), Error> {
        let failed = |fault| self.medium.failed(fault, &self.digest, self.place);
        self.extent().read_into(&self.medium, sink).map_err(failed)
    }

    fn extent(&self) -> Extent {
        Extent { file: Arc::clone(&self.file), offset: self.offset, len: self.len }
    }
}
