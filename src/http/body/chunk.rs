//! `Chunk`: a piece of a body as hyper holds it.
//!
//! Knows how to be bytes to whoever copies and a place on a [`Lane`] to whoever hands slices on. Does not
//! know which of the two its connection does.

use std::io::IoSlice;
use std::sync::OnceLock;

use bytes::Buf;
use bytes::Bytes;

use crate::http::body::lane::Lane;
use crate::http::body::lane::Place;
use crate::http::body::windows::try_read;
use crate::store::Window;

/// How much of a window a copying reader is given at a time: enough for the few bytes that an HTTP writer
/// likes to keep beside its own, which is all that is ever copied from a lane.
const COPY: u64 = 512;

/// A piece of a body.
#[derive(Debug)]
pub enum Chunk {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A window of a file. On the heap: hyper moves chunks often, and most are few bytes.
    File(Box<FileChunk>),
}

/// A window of a file on a lane.
#[derive(Debug)]
pub struct FileChunk {
    window: Window,
    place: Place,
    /// How many bytes of the window are done with.
    position: usize,
    /// The bytes at `position`, once somebody has asked for them.
    copied: OnceLock<Bytes>,
}

impl FileChunk {
    /// Puts a window that is in the page cache on `lane`; `None` where the lane is full.
    pub(super) fn enter(lane: &Lane, window: Window) -> Option<Self> {
        let place = lane.enter(window.clone())?;
        Some(Self { window, place, position: 0, copied: OnceLock::new() })
    }

    fn end(&self) -> usize {
        // A window is at most WINDOW_LIMIT long, which fits.
        self.window.len as usize
    }

    /// The next bytes, really. Where they cannot be read without waiting the lane is marked, so that its
    /// transport refuses to send what stands here in their place.
    fn copy(&self) -> Bytes {
        let len = COPY.min((self.end() - self.position) as u64);
        let wanted = self.window.piece(self.position as u64, len);
        try_read(&wanted).unwrap_or_else(|| {
            self.place.lane().set_broken();
            Bytes::from_static(&[0; COPY as usize]).slice(..len as usize)
        })
    }
}

impl Buf for FileChunk {
    fn remaining(&self) -> usize {
        self.end() - self.position
    }

    fn chunk(&self) -> &[u8] {
        match self.has_remaining() {
            true => self.copied.get_or_init(|| self.copy()),
            false => &[],
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        match dst.first_mut() {
            Some(first) if self.has_remaining() => {
                *first = IoSlice::new(self.place.slice(self.position, self.end()));
                1
            }
            _ => 0,
        }
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "cannot advance past the end of a window");
        self.position += count;
        self.copied.take();
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::File(file) => file.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::File(file) => file.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, dst: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.chunks_vectored(dst),
            Self::File(file) => file.chunks_vectored(dst),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(file) => file.advance(count),
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
