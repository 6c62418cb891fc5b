//! `Reading`: a window being read into memory while somebody waits for it, or sends the one before.

use std::fmt;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::task::JoinSet;

use crate::http::body::Error;
use crate::store;
use crate::store::Window;

/// A window being read into memory. It goes on while nobody looks, and ends with whoever wanted it.
pub(crate) struct Reading {
    task: JoinSet<Result<(), store::Error>>,
}

impl Reading {
    pub(crate) fn start(window: Window) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move { window.make_resident().await });
        Self { task }
    }

    /// Ready once the window is in memory, or cannot be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match ready!(self.task.poll_join_next(cx)) {
            Some(read) => Poll::Ready(read.map_err(Error::from).and_then(|read| read.map_err(Error::from))),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
