//! `Extent`: a piece of a file, and how it is read.
//!
//! Knows which bytes are in memory and how to bring the others there. Does not
//! know whose bytes they are.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::num::NonZero;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::Errno;
use rustix::io::ReadWriteFlags;

use crate::store::Error;
use crate::store::Medium;

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

/// Where the bytes of a file lie: pieces of other files, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Extents(Arc<[Extent]>);

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

    /// The pieces.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.0.iter()
    }

    /// What lies at `position`: the rest of one piece.
    pub(super) fn at(&self, position: u64) -> Option<Extent> {
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

/// Where bytes go that are read.
pub(super) trait Sink {
    /// Where the next go. Never empty.
    fn room(&mut self) -> &mut [u8];

    /// This many are there now.
    fn filled(&mut self, len: usize);
}

/// Bytes that are looked at and forgotten.
struct Shown<E> {
    buffer: Vec<u8>,
    each: E,
}

impl<E: FnMut(&[u8])> Sink for Shown<E> {
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn filled(&mut self, len: usize) {
        (self.each)(self.buffer.split_at(len).0);
    }
}

/// Why an extent cannot be read.
#[derive(Debug)]
pub(super) struct Fault {
    /// Which file it is.
    pub(super) path: String,
    /// Where in the file.
    pub(super) offset: u64,
    /// What the system said; `None` where the file ends there.
    pub(super) source: Option<io::Error>,
}

impl From<Fault> for Error {
    fn from(Fault { path, offset, source }: Fault) -> Self {
        match source {
            Some(source) => Self::Io { doing: "read", path, source },
            None => Self::Corrupt { path, why: format!("it ends at byte {offset}") },
        }
    }
}

impl Extent {
    /// How far apart the pages lie that [`Extent::is_resident`] looks at. The kernel reads ahead and evicts
    /// in runs of pages of about this size, and a look costs a fifth of a microsecond.
    const STRIDE: usize = 64 * 1024;
    /// How much is read at a time.
    const STEP: usize = 128 * 1024;

    /// Whether it is in memory. Never waits.
    pub(super) fn is_resident(&self) -> bool {
        self.has_resident((0..self.len).step_by(Self::STRIDE))
    }

    /// Whether it is in memory at its ends and in its middle. Never waits.
    pub(super) fn seems_resident(&self) -> bool {
        self.has_resident([0, self.len / 2].into_iter())
    }

    /// Whether the pages of these bytes and that of the last one are in memory.
    fn has_resident(&self, looks: impl Iterator<Item = u64>) -> bool {
        let Some(last) = self.len.checked_sub(1) else { return true };
        let mut byte = [0];
        looks.chain([last]).all(|at| matches!(self.try_read(at, &mut byte), Ok(1)))
    }

    /// Reads what is in memory from `at` on. Never waits.
    pub(super) fn try_read(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
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

    /// Reads it whole, piece by piece, on this thread, which may sleep.
    pub(super) fn read_through(&self, medium: &Medium, each: impl FnMut(&[u8])) -> Result<(), Fault> {
        let buffer = vec![0; Self::STEP.min(usize::try_from(self.len).unwrap_or(usize::MAX))];
        self.read_into(medium, &mut Shown { buffer, each })
    }

    /// The same, to where it is wanted.
    pub(super) fn read_into(&self, medium: &Medium, sink: &mut impl Sink) -> Result<(), Fault> {
        // A hint: where it fails the reads below do all the work.
        let _ = rustix::fs::fadvise(&self.file, self.offset, NonZero::new(self.len), Advice::WillNeed);
        let mut at = 0;
        while at < self.len {
            let room = sink.room();
            let step = usize::try_from(self.len - at).unwrap_or(usize::MAX).min(room.len());
            let read = self.read_at(at, room.split_at_mut(step).0, medium)?;
            sink.filled(read);
            at += read as u64;
        }
        Ok(())
    }

    /// Reads at least one byte.
    fn read_at(&self, at: u64, buffer: &mut [u8], medium: &Medium) -> Result<usize, Fault> {
        let offset = self.offset + at;
        let mut read = || rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *buffer, offset));
        match medium.read_twice(&mut read) {
            Ok(0) => Err(Fault { path: self.path(), offset, source: None }),
            Ok(read) => Ok(read),
            Err(source) => Err(Fault { path: self.path(), offset, source: Some(source) }),
        }
    }

    /// The kernel knows what the file is called, also after it was renamed.
    fn path(&self) -> String {
        let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        std::fs::read_link(link).map_or_else(|_| "an open file".to_owned(), |path| path.display().to_string())
    }
}
