//! `Reading`: a window being read while somebody waits for it, or sends the one before.

use std::fmt;
use std::future::Future;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::http::body::Error;
use crate::store;
use crate::store::Window;

/// A window being read. It goes on while nobody looks, and ends with whoever wanted it.
pub(crate) struct Reading<T> {
    task: JoinSet<Result<T, store::Error>>,
}

impl Reading<()> {
    /// Reads a window into the page cache.
    pub(crate) fn warm(window: Window) -> Self {
        Self::start(async move { window.make_resident().await })
    }
}

impl Reading<Bytes> {
    /// Reads a window into memory of our own, for a file system whose pages do not stay in the page cache or
    /// cannot be asked for.
    pub(crate) fn copy(window: Window) -> Self {
        Self::start(async move { window.read().await })
    }
}

impl<T: Send + 'static> Reading<T> {
    fn start(reading: impl Future<Output = Result<T, store::Error>> + Send + 'static) -> Self {
        let mut task = JoinSet::new();
        task.spawn(reading);
        Self { task }
    }

    /// Ready once the window has been read, or cannot be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        match ready!(self.task.poll_join_next(cx)) {
            Some(Ok(read)) => Poll::Ready(read.map_err(Error::from)),
            // There is no task any more after the first answer, and it is cancelled only with the runtime.
            Some(Err(_)) | None => Poll::Ready(Err(Error::Abandoned)),
        }
    }
}

impl<T> fmt::Debug for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}
