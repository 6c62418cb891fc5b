//! Request bodies, as they come in.
//!
//! There is no limit on how long a body may take: a layer over a slow line is
//! no fault. A client that falls silent is ended by whoever owns the connection.

use std::pin::Pin;

use bytes::Bytes;
use bytes::BytesMut;
use http_body_util::BodyExt as _;

use crate::http::error::Error;
use crate::http::error::chain;
use crate::registry::Chunk;

/// The body of a request.
pub(super) struct Incoming<'a, B>(pub(super) Pin<&'a mut B>);

impl<B> Incoming<'_, B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_end_stream()
    }

    /// The next piece; `None` at the end. Trailers are passed over.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.0.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Error::BodyBroken(chain(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Reads all into a chunk of an upload. What arrived before an error stays: the client may go on from
    /// there.
    pub(super) async fn into_chunk(mut self, mut chunk: Chunk) -> Result<u64, Error> {
        while !chunk.is_too_long() {
            match self.next().await {
                Ok(Some(data)) => chunk.write(data).await?,
                Ok(None) => break,
                Err(error) => {
                    chunk.keep().await;
                    return Err(error);
                }
            }
        }
        Ok(chunk.close().await?)
    }

    /// Reads all into memory, unless that is more than `limit` bytes.
    pub(super) async fn into_bytes(mut self, limit: usize, too_large: Error) -> Result<Bytes, Error> {
        if self.0.size_hint().lower() > limit as u64 {
            return Err(too_large);
        }
        let mut whole = Whole::Nothing;
        while let Some(data) = self.next().await? {
            whole = whole.and(data);
            if whole.len() > limit {
                return Err(too_large);
            }
        }
        Ok(whole.into_bytes())
    }
}

/// Pieces put together; one alone is not copied.
enum Whole {
    Nothing,
    One(Bytes),
    Many(BytesMut),
}

impl Whole {
    fn and(self, data: Bytes) -> Self {
        match self {
            Self::Nothing => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::from(first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(data) => data.len(),
            Self::Many(data) => data.len(),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(data) => data,
            Self::Many(data) => data.freeze(),
        }
    }
}
