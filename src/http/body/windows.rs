//! `Windows`: a [`FileRange`] cut into windows, each in memory when it is given out, the next stretch being read
//! while the last is being sent.
//!
//! Knows when to read ahead. Does not know how reading is done or bounded: that is the medium's.

use std::fmt;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Instant;

use crate::http::body::Error;
use crate::http::body::lane::TRUSTED_FOR;
use crate::http::body::lane::WINDOW_LIMIT;
use crate::http::body::reading::Reading;
use crate::store::FileRange;
use crate::store::Window;

/// The windows of a range, in order.
pub(super) struct Windows {
    rest: FileRange,
    current: Option<Stretch>,
    ahead: Option<Stretch>,
}

/// What is made resident at once: at most [`WINDOW_LIMIT`] bytes of one file.
struct Stretch {
    window: Window,
    state: State,
}

enum State {
    /// It was seen in memory then.
    Seen(Instant),
    /// It is being read into memory.
    Reading(Reading),
}

impl Windows {
    pub(super) fn new(range: FileRange) -> Self {
        Self { rest: range, current: None, ahead: None }
    }

    /// The next window of at most `limit` bytes, once it is in memory; `None` when nothing is left.
    pub(super) fn poll_next(
        &mut self,
        limit: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Window, Error>>> {
        if self.current.is_none() {
            self.current = self.ahead.take().or_else(|| self.begin());
        }
        let Some(stretch) = &mut self.current else { return Poll::Ready(None) };
        if let Err(error) = ready!(stretch.poll_resident(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let window = stretch.cut(limit);
        if stretch.window.len == 0 {
            self.current = None;
        }
        if self.ahead.is_none() {
            self.ahead = self.begin();
        }
        Poll::Ready(Some(Ok(window)))
    }

    /// Takes the next stretch off the range, and begins to read it where it is not in memory.
    fn begin(&mut self) -> Option<Stretch> {
        let window = self.rest.next_window(WINDOW_LIMIT)?;
        let state = State::of(&window);
        Some(Stretch { window, state })
    }
}

impl Stretch {
    fn poll_resident(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if matches!(self.state, State::Seen(at) if at.elapsed() > TRUSTED_FOR) {
            self.state = State::of(&self.window);
        }
        if let State::Reading(reading) = &mut self.state {
            ready!(reading.poll(cx))?;
            self.state = State::Seen(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    fn cut(&mut self, limit: u64) -> Window {
        let len = limit.min(self.window.len);
        let cut = Window { len, ..self.window.clone() };
        self.window.offset += len;
        self.window.len -= len;
        cut
    }
}

impl State {
    fn of(window: &Window) -> Self {
        match window.is_resident() {
            true => Self::Seen(Instant::now()),
            false => Self::Reading(Reading::start(window.clone())),
        }
    }
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").field("rest", &self.rest).finish_non_exhaustive()
    }
}
