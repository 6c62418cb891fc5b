//! Bodies that are written as they are sent, so that no more of them is held than one piece.
//!
//! Knows how to send what a future says. Does not know what that is.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::http::Body;
use crate::peer::JobId;
use crate::peer::Jobs;
use crate::peer::State;

/// How many pieces may wait to be sent.
const WAITING: usize = 2;
/// How often progress is told while nothing else changes: often enough for a bar that moves.
const TICK: Duration = Duration::from_millis(500);

/// Where a writing future puts its pieces.
pub(super) type Pieces = mpsc::Sender<Bytes>;

/// A body whose pieces `write` sends. When it fails the body breaks off, so that nobody takes a part for the
/// whole.
pub(super) fn written<F>(write: impl FnOnce(Pieces) -> F) -> Body
where
    F: Future<Output = Result<(), io::Error>> + Send + 'static,
{
    let (to, from) = mpsc::channel(WAITING);
    // `axum::body::Body` wants `Sync`, which a future that is polled by one owner does not need to be: the lock is
    // never waited for.
    let writer = Mutex::new(Some(Box::pin(write(to)) as Writing));
    Body::Admin(axum::body::Body::new(Written { writer, from }))
}

type Writing = Pin<Box<dyn Future<Output = Result<(), io::Error>> + Send>>;

struct Written {
    writer: Mutex<Option<Writing>>,
    from: mpsc::Receiver<Bytes>,
}

impl http_body::Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let writer = this.writer.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(writing) = writer {
            match writing.as_mut().poll(context) {
                Poll::Ready(Ok(())) => *writer = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {}
            }
        }
        this.from.poll_recv(context).map(|piece| piece.map(|it| Ok(Frame::data(it))))
    }
}

/// A job's progress as server-sent events, until it ends.
pub(super) fn events(jobs: Jobs, id: JobId, mut state: watch::Receiver<State>) -> Body {
    written(move |pieces| async move {
        loop {
            let ended = state.borrow_and_update().is_final();
            let Some(status) = jobs.get(&id) else { return Ok(()) };
            let json = serde_json::to_string(&status).unwrap_or_default();
            if pieces.send(Bytes::from(format!("data: {json}\n\n"))).await.is_err() || ended {
                return Ok(());
            }
            tokio::select! {
                _ = state.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn collect(body: Body) -> Result<Bytes, String> {
        let Body::Admin(body) = body else { return Err("not a stream".into()) };
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_whole() {
        let body = written(|pieces| async move {
            for n in 0..100_u8 {
                pieces.send(Bytes::from(vec![n])).await.map_err(io::Error::other)?;
            }
            Ok(())
        });
        assert_eq!(collect(body).await.unwrap(), (0..100).collect::<Vec<u8>>());
    }

    #[tokio::test]
    async fn a_failure_breaks_off() {
        let body = written(|pieces| async move {
            pieces.send(Bytes::from_static(b"a")).await.map_err(io::Error::other)?;
            Err(io::Error::other("the medium is gone"))
        });
        assert_eq!(collect(body).await.unwrap_err(), "the medium is gone");
    }
}
