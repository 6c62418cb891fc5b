//! `Recall`: pieces of files that went out of the page cache before their turn came, brought back.
//!
//! That happens to a client that takes its time, where memory is short, and on file systems that cannot tell
//! what they have in memory. Sending such a piece as it is would make a runtime thread wait for a disk.

use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;

use crate::http::body;
use crate::http::body::lane::Lane;
use crate::http::body::lane::Passage;
use crate::http::body::lane::Residency;
use crate::http::body::reading::Reading;
use crate::store::Window;

/// How much is read at a time of what does not stay in the page cache.
pub(super) const COPY_LIMIT: u64 = 64 << 10;

/// How a piece of a file can be sent now.
#[derive(Debug)]
pub(super) enum Ready {
    /// It is in the page cache.
    Resident,
    /// Its first bytes were read.
    Copied(Bytes),
}

/// What is being brought back for one connection. It sends one piece after the other, so that is one at most.
#[derive(Debug, Default)]
pub(super) struct Recall {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    Warming(Window, Reading<()>),
    Copying(Window, Reading<Bytes>),
    /// Kept until something else is asked for: a socket may take it bit by bit.
    Copied(Window, Bytes),
}

impl Recall {
    /// Ready when `passage`, which `slice` stands for, can be sent without waiting for a disk.
    pub(super) fn poll(
        &mut self,
        lane: &Lane,
        Passage { window, residency }: &Passage,
        slice: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Ready>> {
        self.forget_others(window);
        loop {
            self.state = match &mut self.state {
                State::Nothing if *residency == Residency::Fresh => return Poll::Ready(Ok(Ready::Resident)),
                State::Nothing if window.is_resident() => {
                    lane.saw_resident(slice);
                    return Poll::Ready(Ok(Ready::Resident));
                }
                State::Nothing => State::Warming(window.clone(), Reading::warm(window.clone())),
                State::Warming(_, reading) => {
                    ready!(reading.poll(cx)).map_err(unsent)?;
                    match window.is_resident() {
                        true => State::Nothing,
                        false => State::copying(window),
                    }
                }
                State::Copying(..) | State::Copied(..) => {
                    return self.poll_copied(window, cx).map_ok(Ready::Copied);
                }
            }
        }
    }

    /// The first bytes of a window, once they are read.
    pub(super) fn poll_copied(&mut self, window: &Window, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.forget_others(window);
        loop {
            self.state = match &mut self.state {
                State::Nothing | State::Warming(..) => State::copying(window),
                State::Copying(_, reading) => {
                    let bytes = ready!(reading.poll(cx)).map_err(unsent)?;
                    State::Copied(window.clone(), bytes)
                }
                State::Copied(_, bytes) => {
                    let len = bytes.len().min(usize::try_from(window.len).unwrap_or(usize::MAX));
                    return Poll::Ready(Ok(bytes.slice(..len)));
                }
            }
        }
    }

    /// Forgets what was brought back for another piece. A piece is known by its place in its file, not by its
    /// place on the lane, which others have after it.
    fn forget_others(&mut self, window: &Window) {
        let is_other = match &self.state {
            State::Nothing => false,
            State::Warming(other, _) | State::Copying(other, _) | State::Copied(other, _) => {
                !Arc::ptr_eq(&other.file, &window.file) || other.offset != window.offset
            }
        };
        if is_other {
            self.state = State::Nothing;
        }
    }
}

/// A medium gave out under an answer that had begun, which ends its connection: nobody but the log can be
/// told why.
fn unsent(error: body::Error) -> io::Error {
    tracing::error!(error = &error as &dyn std::error::Error, "cannot send the rest of a blob");
    io::Error::other(error)
}

impl State {
    fn copying(window: &Window) -> Self {
        let first = window.piece(0, window.len.min(COPY_LIMIT));
        Self::Copying(first.clone(), Reading::copy(first))
    }
}
