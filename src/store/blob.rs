//! `Blob` and `FileRange`: bytes that already lie in a file, or in several.
//!
//! Knows where bytes lie and whether they are in memory. Does not know how
//! they travel: who owns the socket decides that.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;
use storage_layout::Digest;

use crate::store::Error;
use crate::store::Medium;

/// A stored blob.
#[derive(Clone, Debug)]
pub struct Blob {
    whole: FileRange,
}

impl Blob {
    pub(in crate::store) fn new(digest: Digest, extents: Extents, medium: Arc<Medium>) -> Self {
        let end = extents.len();
        Self { whole: FileRange { digest, extents, position: 0, end, medium } }
    }

    /// Its digest.
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

    /// Its bytes, all or some. A range past the end is cut to it.
    pub fn range(&self, range: Range<u64>) -> FileRange {
        let end = range.end.min(self.len());
        FileRange { position: range.start.min(end), end, ..self.whole.clone() }
    }
}

/// Where the bytes of a file lie: pieces of other files, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Extents(Arc<[Extent]>);

/// A contiguous piece of a file.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The file.
    pub file: Arc<File>,
    /// Where the piece begins.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u64,
}

impl Extents {
    /// These pieces, one after the other.
    pub fn new(pieces: impl IntoIterator<Item = Extent>) -> Self {
        Self(pieces.into_iter().filter(|piece| piece.len > 0).collect())
    }

    /// How many bytes they are together.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What lies at `position`: the rest of one piece.
    fn at(&self, position: u64) -> Option<Extent> {
        let mut before = 0;
        for piece in &*self.0 {
            if position < before + piece.len {
                let skip = position - before;
                let Extent { file, offset, len } = piece;
                return Some(Extent { file: Arc::clone(file), offset: offset + skip, len: len - skip });
            }
            before += piece.len;
        }
        None
    }
}

/// Bytes that lie in files: a short list of pieces, since a blob of an image can have several extents and a split
/// image several files.
#[derive(Clone, Debug)]
pub struct FileRange {
    digest: Digest,
    extents: Extents,
    position: u64,
    end: u64,
    medium: Arc<Medium>,
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

    /// Takes the next window off the front, at most `limit` bytes and within one file; `None` when nothing is left.
    pub fn next_window(&mut self, limit: u64) -> Option<Window> {
        let Extent { file, offset, len } = self.extents.at(self.position)?;
        let len = len.min(limit).min(self.len());
        if len == 0 {
            return None;
        }
        self.position += len;
        Some(Window { file, offset, len, medium: Arc::clone(&self.medium), digest: self.digest })
    }
}

/// A contiguous piece of one file.
///
/// To send one without ever sleeping on a disk: if it [is resident](Window::is_resident), send it; if not,
/// [make it so](Window::make_resident) and ask again; if it still is not - a file system that cannot tell, or memory
/// that is short - [read](Window::read) it and send the copy.
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
    /// How far apart the pages lie that [`Window::is_resident`] looks at. The kernel reads ahead and evicts in runs of
    /// pages of about this size, and a look costs a fifth of a microsecond.
    const STRIDE: u64 = 64 * 1024;
    /// How much is read at a time to bring a window into memory.
    const STEP: usize = 128 * 1024;

    /// Whether it is in memory, so that sending it does not wait for a disk. Never waits itself. A file system that
    /// cannot tell (FUSE has no `RWF_NOWAIT`) counts as cold.
    pub fn is_resident(&self) -> bool {
        let Some(last) = self.len.checked_sub(1) else { return true };
        let mut byte = [0];
        let mut looks = (0..last).step_by(Self::STRIDE as usize).chain([last]);
        looks.all(|at| matches!(self.try_read(at, &mut byte), Ok(1)))
    }

    /// Reads what is in memory from `at` on, counted from the window's beginning, and gives how much that was; fewer
    /// bytes than asked for say that the next is not in memory. Never waits.
    ///
    /// # Errors
    /// The first byte is not in memory ([`io::ErrorKind::WouldBlock`]), the file system cannot tell, or the file is
    /// shorter than it was.
    pub fn try_read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX);
        let (buffer, _) = buffer.split_at_mut(left.min(buffer.len()));
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let mut buffers = [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.file, &mut buffers, self.offset + at, ReadWriteFlags::NOWAIT) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads it into memory on one of the medium's threads. A fault of the medium is retried once, counted and named.
    ///
    /// # Errors
    /// [`Error::Medium`] where it cannot be read, [`Error::Corrupt`] where the file has become shorter.
    pub async fn make_resident(&self) -> Result<(), Error> {
        let window = self.clone();
        let medium = Arc::clone(&self.medium);
        medium.run(move || window.read_through(|_| {})).await
    }

    /// Reads it on one of the medium's threads.
    ///
    /// # Errors
    /// As [`Window::make_resident`].
    pub async fn read(&self) -> Result<Bytes, Error> {
        let window = self.clone();
        let medium = Arc::clone(&self.medium);
        medium.run(move || window.read_blocking()).await
    }

    /// Reads it on this thread, which may sleep.
    pub(in crate::store) fn read_blocking(&self) -> Result<Bytes, Error> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.len).unwrap_or(0));
        self.read_through(|piece| bytes.extend_from_slice(piece))?;
        Ok(bytes.into())
    }

    /// Reads it piece by piece on this thread, which may sleep.
    pub(in crate::store) fn read_through(&self, mut each: impl FnMut(&[u8])) -> Result<(), Error> {
        // A hint: where it fails the reads below do all the work.
        let _ =
            rustix::fs::fadvise(&self.file, self.offset, std::num::NonZero::new(self.len), Advice::WillNeed);
        let mut buffer = vec![0; Self::STEP.min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        let mut at = 0;
        while at < self.len {
            let step = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(buffer.len());
            let (piece, _) = buffer.split_at_mut(step);
            let read = self.read_at(at, piece)?;
            each(piece.split_at(read).0);
            at += read as u64;
        }
        Ok(())
    }

    /// Reads at least one byte.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let offset = self.offset + at;
        let read = self
            .medium
            .read_twice(|| rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *buffer, offset)));
        match read {
            Ok(0) => Err(Error::Corrupt {
                path: self.file_name(),
                why: format!("it ends at byte {offset}, and {} does not", self.digest),
            }),
            Ok(read) => Ok(read),
            Err(source) => Err(Error::Medium {
                medium: self.medium.name().to_owned(),
                path: self.file_name(),
                offset,
                digest: self.digest,
                source,
            }),
        }
    }

    /// The kernel knows what the file is called, also after it was renamed.
    fn file_name(&self) -> String {
        use std::os::fd::AsRawFd;
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match std::fs::read_link(&link) {
            Ok(name) => name.display().to_string(),
            Err(_) => self.medium.name().to_owned(),
        }
    }
}
