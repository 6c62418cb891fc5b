//! `Sending`: a [`Body`] on its way, as hyper polls it.
//!
//! Knows the order of the pieces and which of them are worth a lane. Does not know the transport.

use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::vec;

use bytes::Buf;
use http_body::Frame;
use http_body::SizeHint;

use crate::http::body::Body;
use crate::http::body::Chunk;
use crate::http::body::Error;
use crate::http::body::Part;
use crate::http::body::lane::Lane;
use crate::http::body::windows::Windows;

/// The longest body that is read, and leaves in one write with its head, even where there is a lane: below
/// this a second system call costs more than copying does.
const INLINE_LIMIT: u64 = 16 << 10;

/// A body on its way.
#[derive(Debug)]
pub struct Sending {
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
    pieces: Pieces,
    windows: Option<Box<Windows>>,
    /// Where windows go as they are; without one they are read.
    lane: Option<Lane>,
}

/// What is still to be begun.
#[derive(Debug)]
enum Pieces {
    One(Option<Part>),
    Many(vec::IntoIter<Part>),
    Admin(axum::body::Body),
}

impl Sending {
    /// Sends `body` as bytes, whatever it is made of.
    pub fn copying(body: Body) -> Self {
        Self::new(body, None)
    }

    /// Sends `body` over a transport that looks windows up on `lane`.
    pub fn over(lane: &Lane, body: Body) -> Self {
        let is_worth_it = body.content_length().is_some_and(|len| len > INLINE_LIMIT);
        Self::new(body, is_worth_it.then(|| lane.clone()))
    }

    fn new(body: Body, lane: Option<Lane>) -> Self {
        let left = body.content_length();
        let pieces = match body {
            Body::Empty => Pieces::One(None),
            Body::Bytes(bytes) => Pieces::One(Some(Part::Bytes(bytes))),
            Body::File(range) => Pieces::One(Some(Part::File(range))),
            Body::Parts(parts) => Pieces::Many(parts.into_iter()),
            Body::Admin(body) => Pieces::Admin(body),
        };
        Self { left, pieces, windows: None, lane }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
        loop {
            if let Some(windows) = &mut self.windows {
                if let Some(chunk) = ready!(windows.poll_next(self.lane.as_ref(), cx)) {
                    return Poll::Ready(Some(chunk));
                }
                self.windows = None;
            }
            let part = match &mut self.pieces {
                Pieces::One(part) => part.take(),
                Pieces::Many(parts) => parts.next(),
                Pieces::Admin(body) => return poll_admin(body, cx),
            };
            match part {
                Some(Part::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Part::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes.into()))),
                Some(Part::File(range)) => self.windows = Some(Box::new(Windows::new(*range))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl http_body::Body for Sending {
    type Data = Chunk;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Error>>> {
        let this = self.get_mut();
        let chunk = match ready!(this.poll_chunk(cx)) {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(None),
        };
        if let Some(left) = &mut this.left {
            *left = left.saturating_sub(chunk.remaining() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.pieces {
            Pieces::Admin(body) => body.is_end_stream(),
            Pieces::One(_) | Pieces::Many(_) => self.left == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.pieces {
            Pieces::Admin(body) => body.size_hint(),
            Pieces::One(_) | Pieces::Many(_) => self.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

/// The next bytes of an axum body; its trailers, which none has, are passed over.
fn poll_admin(body: &mut axum::body::Body, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, Error>>> {
    loop {
        let Some(frame) = ready!(http_body::Body::poll_frame(Pin::new(body), cx)) else {
            return Poll::Ready(None);
        };
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => return Poll::Ready(Some(Ok(bytes.into()))),
            Ok(Err(_trailers)) => {}
            Err(error) => return Poll::Ready(Some(Err(error.into()))),
        }
    }
}
