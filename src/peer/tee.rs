//! `Tee`: hands a blob's bytes on to whoever waits for them while they are stored.
//!
//! Knows that the last bytes must not be handed on before all are verified: a client that has everything
//! believes it. Does not know where the bytes come from.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How many chunks may wait for a slow client: a few, since the store must not wait for it either.
const WAITING: usize = 8;
/// How long a client may take nothing before it is let go: what it asked for is stored without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where bytes are handed on to, as long as somebody takes them.
#[derive(Debug)]
pub(crate) struct Tee {
    to: Option<mpsc::Sender<Bytes>>,
    begun: Option<oneshot::Sender<mpsc::Receiver<Bytes>>>,
    from: Option<mpsc::Receiver<Bytes>>,
    position: u64,
    held: Option<Bytes>,
}

/// The other end of a [`Tee`].
#[derive(Debug)]
pub(crate) struct Teed(oneshot::Receiver<mpsc::Receiver<Bytes>>);

impl Teed {
    /// Waits until the first bytes come; `None` where they will not come this way: the blob was partly here
    /// before, or cannot be had.
    pub(crate) async fn begin(self) -> Option<mpsc::Receiver<Bytes>> {
        self.0.await.ok()
    }
}

impl Tee {
    pub(crate) fn new() -> (Self, Teed) {
        let (to, from) = mpsc::channel(WAITING);
        let (begun, begins) = oneshot::channel();
        (Self { to: Some(to), begun: Some(begun), from: Some(from), position: 0, held: None }, Teed(begins))
    }

    /// Hands nothing on.
    pub(crate) fn nobody() -> Self {
        Self { to: None, begun: None, from: None, position: 0, held: None }
    }

    /// An attempt begins at `offset`. Where that is not what was handed on so far, the rest would not fit.
    pub(crate) fn attempt(&mut self, offset: u64) {
        if offset != self.position {
            *self = Self::nobody();
        }
    }

    /// Hands bytes on, but for the last.
    pub(crate) async fn data(&mut self, data: Bytes) {
        if self.to.is_none() {
            return;
        }
        if let (Some(begun), Some(from)) = (self.begun.take(), self.from.take()) {
            // Whoever waited has gone: nobody is left to hand bytes to.
            if begun.send(from).is_err() {
                *self = Self::nobody();
                return;
            }
        }
        self.position += data.len() as u64;
        if let Some(before) = self.held.replace(data) {
            self.send(before).await;
        }
    }

    /// Everything is verified and stored: the last bytes may go.
    pub(crate) async fn verified(&mut self) {
        if let Some(last) = self.held.take() {
            self.send(last).await;
        }
    }

    async fn send(&mut self, data: Bytes) {
        let Some(to) = &self.to else { return };
        if !matches!(timeout(PATIENCE, to.send(data)).await, Ok(Ok(()))) {
            *self = Self::nobody();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_bytes_wait_for_the_verdict() {
        let (mut tee, teed) = Tee::new();
        tee.attempt(0);
        tee.data(Bytes::from_static(b"ab")).await;
        tee.data(Bytes::from_static(b"cd")).await;
        let mut chunks = teed.begin().await.unwrap();
        assert_eq!(chunks.recv().await.as_deref(), Some(&b"ab"[..]));
        assert!(chunks.try_recv().is_err());
        tee.verified().await;
        assert_eq!(chunks.recv().await.as_deref(), Some(&b"cd"[..]));
        drop(tee);
        assert_eq!(chunks.recv().await, None);
    }

    #[tokio::test]
    async fn a_second_attempt_goes_on_or_lets_go() {
        let (mut tee, teed) = Tee::new();
        tee.attempt(0);
        tee.data(Bytes::from_static(b"ab")).await;
        let mut chunks = teed.begin().await.unwrap();
        tee.attempt(2);
        tee.data(Bytes::from_static(b"cd")).await;
        assert_eq!(chunks.recv().await.as_deref(), Some(&b"ab"[..]));
        tee.attempt(0);
        tee.data(Bytes::from_static(b"xx")).await;
        tee.verified().await;
        assert_eq!(chunks.recv().await, None, "bytes that do not follow are not sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (mut tee, teed) = Tee::new();
        for _ in 0..WAITING + 2 {
            tee.data(Bytes::from_static(b"a")).await;
        }
        assert!(tee.to.is_none());
        drop(teed);
    }
}
