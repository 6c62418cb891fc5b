//! Requests that concern other nodes: whether they are asked, and bytes that come from them.
//!
//! Knows one header and one kind of body. Does not know who the peers are.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderMap;
use http::header::RANGE;
use http_body::Frame;
use http_body::SizeHint;

use crate::http::Body;
use crate::peer::client::NO_PULL_THROUGH;
use crate::registry::Arriving;
use crate::registry::Reach;

/// Whether what is missing here is looked for at the peers: not if a peer is asking, or two nodes that both
/// lack something would ask each other for ever.
pub(super) fn reach(headers: &HeaderMap) -> Reach {
    if headers.contains_key(NO_PULL_THROUGH) { Reach::Here } else { Reach::Peers }
}

/// Whether a peer asks, which verifies what it gets.
pub(super) fn is_peer(headers: &HeaderMap) -> bool {
    reach(headers) == Reach::Here
}

/// From which byte on a peer wants a blob that is on its way here; `None` where it wants another kind of
/// range.
pub(super) fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let Some(range) = headers.get(RANGE) else { return Some(0) };
    range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// A blob's bytes as they come.
pub(super) fn arriving(blob: Arriving) -> Body {
    let left = blob.len();
    Body::Admin(axum::body::Body::new(ArrivingBody { blob, left }))
}

/// An early end is an error, so that the connection breaks and the client does not take a part for the whole.
#[derive(Debug)]
struct ArrivingBody {
    blob: Arriving,
    left: u64,
}

impl http_body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.blob.poll_next(context).map(|data| match data {
            Some(data) => {
                self.left = self.left.saturating_sub(data.len() as u64);
                Some(Ok(Frame::data(data)))
            }
            None => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no peer gave the blob whole"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn an_early_end_is_an_error() {
        for (sent, whole) in [(&b"abcd"[..], true), (b"abc", false), (b"", false)] {
            let (to, from) = tokio::sync::mpsc::channel(1);
            if !sent.is_empty() {
                to.send(Bytes::from_static(sent)).await.unwrap();
            }
            drop(to);
            let body = ArrivingBody { blob: Arriving::new(0, 4, from), left: 4 };
            assert_eq!(body.collect().await.is_ok(), whole, "{sent:?}");
        }
    }
}
