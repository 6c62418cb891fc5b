//! `RequestBody`: a request's body as the API reads it.
//!
//! Knows when a client has stopped sending, and gives back what the API did not want. Does not know what is
//! in it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body::Frame;
use http_body::SizeHint;
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio::time::Sleep;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::metrics::Tally;
use crate::server::progress::STALL_LIMIT;
use crate::server::transport::linger;

/// The longest unwanted body that is read to its end, so that the connection can be used again. A manifest is
/// smaller, a layer is not.
const SWALLOW_LIMIT: u64 = 64 << 10;

/// How long an answer waits for such a body. It has usually come with the head.
const SWALLOW_TIME: Duration = Duration::from_millis(100);

/// A request's body.
pub struct RequestBody {
    /// Taken out only by `drop`.
    incoming: Option<Incoming>,
    /// Where it goes when it is dropped unread; `None` for a request without a body.
    rest: Option<Rest>,
    /// What counts its bytes; `None` for a request without a body.
    received: Option<Tally>,
    stall: Stall,
}

/// What is left of a body that was dropped before its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest {
    incoming: Arc<Mutex<Option<Incoming>>>,
}

/// What a client does while it has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// It sends the body.
    Sends,
    /// It waits to be told that the body is wanted (`Expect: 100-continue`).
    Waits,
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection failed, or the client broke the rules.
    #[error("the request's body broke off")]
    Broken(#[source] hyper::Error),
    /// The client sent nothing for a long time.
    #[error("the client sent nothing for {} s", STALL_LIMIT.as_secs())]
    Stalled,
}

/// How long the client has sent nothing while it was wanted.
#[derive(Default)]
struct Stall {
    since: Option<Pin<Box<Sleep>>>,
    has_moved: bool,
}

impl RequestBody {
    /// A body, and what becomes of it if it is not read. Bytes are counted in `received`.
    pub(super) fn new(incoming: Incoming, received: &Tally) -> (Self, Option<Rest>) {
        let rest = (!incoming.is_end_stream()).then(Rest::default);
        let received = rest.is_some().then(|| received.clone());
        let body = Self { incoming: Some(incoming), rest: rest.clone(), received, stall: Stall::default() };
        (body, rest)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ReceiveError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReceiveError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.stall.has_moved = true;
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                if let (Some(data), Some(received)) = (data, &this.received) {
                    received.inc_by(data.len() as u64);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(ReceiveError::Broken)))
            }
            Poll::Pending => this.stall.poll(cx).map(|()| Some(Err(ReceiveError::Stalled))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let (Some(rest), Some(incoming)) = (&self.rest, self.incoming.take())
            && !incoming.is_end_stream()
        {
            *rest.lock() = Some(incoming);
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("left", &self.size_hint()).finish_non_exhaustive()
    }
}

impl Rest {
    /// Whether the connection can be used again, after what is left has been read if it is little and on its
    /// way. To be asked when the answer is known.
    pub(super) async fn settle(&self, client: Client) -> bool {
        let Some(mut incoming) = self.lock().take() else { return true };
        let is_small = incoming.size_hint().exact().is_some_and(|len| len <= SWALLOW_LIMIT);
        client == Client::Sends
            && is_small
            && timeout(SWALLOW_TIME, read_to_end(&mut incoming)).await.unwrap_or(false)
    }

    /// What is left, to be read while the answer is on its way; `None` where that is nothing.
    pub(super) fn unread(&self) -> Option<Unread> {
        let incoming = self.lock().take()?;
        let until = Box::pin(sleep(linger::TIME_LIMIT));
        Some(Unread { incoming, left: linger::BYTE_LIMIT, until })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rest of a request over HTTP/2 that was answered before its end. A stream that is reset while its
/// client sends loses the answer with some clients (curl 7.88): so it is read on before the answer ends, as
/// much and as long as a connection that is being closed.
#[derive(Debug)]
pub(super) struct Unread {
    incoming: Incoming,
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Unread {
    /// Ready when nothing is left, or enough was read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.left > 0 && self.until.as_mut().poll(cx).is_pending() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let len = frame.data_ref().map_or(0, Bytes::len);
                    self.left = self.left.saturating_sub(len.max(1));
                }
                Some(Err(_)) | None => self.left = 0,
            }
        }
        Poll::Ready(())
    }
}

/// Reads a body and forgets it; whether that went well.
async fn read_to_end(incoming: &mut Incoming) -> bool {
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
            None => return true,
        }
    }
}

impl Stall {
    /// Ready when nothing has come for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(STALL_LIMIT)));
        if self.has_moved {
            self.has_moved = false;
            since.as_mut().reset(Instant::now() + STALL_LIMIT);
        }
        since.as_mut().poll(cx)
    }
}
