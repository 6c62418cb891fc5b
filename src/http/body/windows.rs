//! `Windows`: a [`FileRange`] cut into pieces that can be sent without waiting for a disk, the next stretch being read
//! while the last is being sent.
//!
//! Knows when to read, and when to read ahead. Does not know how reading is done or bounded: that is the
//! medium's.

use std::fmt;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Instant;

use bytes::Buf;
use bytes::Bytes;

use crate::http::body::Chunk;
use crate::http::body::Error;
use crate::http::body::chunk::FileChunk;
use crate::http::body::lane::Lane;
use crate::http::body::lane::TRUSTED_FOR;
use crate::http::body::lane::WINDOW_LIMIT;
use crate::http::body::reading::Reading;
use crate::store::FileRange;
use crate::store::Window;

/// How much is copied at a time. It is what a stalled HTTP/2 stream holds in memory.
const COPY_LIMIT: u64 = 64 << 10;

/// The pieces of a range, in order.
pub(super) struct Windows {
    rest: FileRange,
    current: Option<Stretch>,
    ahead: Option<Stretch>,
    look: Look,
}

/// How closely it is looked whether the next stretch is in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// At many of its pages.
    Closely,
    /// At three of them, since the stretch before it was there. With 64 connections the close look was an
    /// eighth of what a pulled byte cost.
    Briefly,
}

/// What is read at once: at most [`WINDOW_LIMIT`] bytes of one file.
struct Stretch {
    window: Window,
    state: State,
}

enum State {
    /// Nobody looked.
    Unknown,
    /// It was in the page cache then.
    Seen(Instant),
    /// It is being read into the page cache.
    Warming(Reading<()>),
    /// It was read into the page cache.
    Warmed,
    /// It was, and is not there: the file system cannot tell, or memory is short.
    Cold,
    /// Its first bytes are being read.
    Copying(Reading<Bytes>),
}

impl Windows {
    pub(super) fn new(range: FileRange) -> Self {
        Self { rest: range, current: None, ahead: None, look: Look::Closely }
    }

    /// The next piece, on `lane` if there is one; `None` when nothing is left.
    pub(super) fn poll_next(
        &mut self,
        lane: Option<&Lane>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Chunk, Error>>> {
        if self.current.is_none() {
            self.current = self.ahead.take().or_else(|| self.take_stretch());
        }
        let Some(stretch) = &mut self.current else { return Poll::Ready(None) };
        let piece = ready!(stretch.poll_piece(lane, cx));
        if stretch.window.len == 0 {
            self.current = None;
        }
        if self.ahead.is_none() {
            self.ahead = self.take_stretch().map(|stretch| stretch.read_ahead(self.look));
            self.look = self.ahead.as_ref().map_or(Look::Closely, Stretch::look_at_next);
        }
        Poll::Ready(Some(piece))
    }

    fn take_stretch(&mut self) -> Option<Stretch> {
        let window = self.rest.next_window(WINDOW_LIMIT)?;
        let state = match window.is_to_be_proven() {
            true => State::Warming(Reading::warm(window.clone())),
            false => State::Unknown,
        };
        Some(Stretch { window, state })
    }
}

impl Stretch {
    /// Begins to read it where it is not in the page cache.
    fn read_ahead(self, look: Look) -> Self {
        let is_resident = match look {
            Look::Closely => self.window.is_resident(),
            Look::Briefly => self.window.seems_resident(),
        };
        let state = match (self.state, is_resident) {
            (State::Unknown, true) => State::Seen(Instant::now()),
            (State::Unknown, false) => State::Warming(Reading::warm(self.window.clone())),
            (state, _) => state,
        };
        Self { state, ..self }
    }

    /// How to look at the stretch that follows.
    fn look_at_next(&self) -> Look {
        match self.state {
            State::Seen(_) => Look::Briefly,
            _ => Look::Closely,
        }
    }

    /// Takes the next piece off the front.
    fn poll_piece(&mut self, lane: Option<&Lane>, cx: &mut Context<'_>) -> Poll<Result<Chunk, Error>> {
        loop {
            self.state = match &mut self.state {
                State::Warming(reading) => {
                    ready!(reading.poll(cx))?;
                    State::Warmed
                }
                State::Copying(reading) => {
                    let bytes = ready!(reading.poll(cx))?;
                    self.state = State::Cold;
                    self.cut(bytes.len() as u64);
                    return Poll::Ready(Ok(bytes.into()));
                }
                State::Cold => State::Copying(Reading::copy(self.first(COPY_LIMIT))),
                State::Unknown | State::Seen(_) | State::Warmed => match (self.take(lane), &self.state) {
                    (Some(piece), _) => return Poll::Ready(Ok(piece)),
                    (None, State::Warmed) => State::Cold,
                    (None, _) => State::Warming(Reading::warm(self.window.clone())),
                },
            }
        }
    }

    /// The next piece, if it is in the page cache: a window where there is a lane with room, bytes otherwise.
    fn take(&mut self, lane: Option<&Lane>) -> Option<Chunk> {
        let chunk = match lane.and_then(|lane| self.enter(lane)) {
            Some(file) => Chunk::File(file.into()),
            None => Chunk::Bytes(try_read(&self.first(COPY_LIMIT))?),
        };
        self.cut(chunk.remaining() as u64);
        Some(chunk)
    }

    fn enter(&self, lane: &Lane) -> Option<FileChunk> {
        let is_fresh = matches!(self.state, State::Seen(at) if at.elapsed() < TRUSTED_FOR);
        match is_fresh || self.window.is_resident() {
            true => FileChunk::enter(lane, self.window.clone()),
            false => None,
        }
    }

    fn first(&self, limit: u64) -> Window {
        self.window.piece(0, limit.min(self.window.len))
    }

    fn cut(&mut self, len: u64) {
        self.window.skip(len);
    }
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").field("rest", &self.rest).finish_non_exhaustive()
    }
}

/// All bytes of a window, if they are in the page cache.
pub(super) fn try_read(window: &Window) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(window.len).ok()?];
    let read = window.try_read(0, &mut bytes).ok()?;
    (read == bytes.len()).then(|| bytes.into())
}
