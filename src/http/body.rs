//! `Body`: what a response carries, said rather than done.
//!
//! Knows the bytes or where they lie. Does not know the transport: over a
//! socket that can, a file's windows leave by sendfile; over any other they
//! are read and copied. Right either way.

use bytes::Bytes;

use crate::store;
use crate::store::FileRange;

mod chunk;
pub(crate) mod lane;
pub(crate) mod reading;
mod sending;
mod windows;

pub use chunk::Chunk;
pub use sending::Sending;

/// The body of a response. [`Sending`] is the `http_body::Body` that it becomes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in files. On the heap: a body is moved often, and most have no file.
    File(Box<FileRange>),
    /// Bytes and files in turn: `multipart/byteranges`.
    Parts(Vec<Part>),
    /// What an axum handler of the administration API answers.
    Admin(axum::body::Body),
}

/// A piece of a [`Body::Parts`].
#[derive(Debug)]
pub enum Part {
    /// A part's boundary and head.
    Bytes(Bytes),
    /// A part's content.
    File(Box<FileRange>),
}

/// Why a body ended before its end. The connection ends with it, so that the client does not take what it got
/// for the whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The medium failed, or the file is shorter than it was when the response began.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The administration API failed.
    #[error("the administration API failed")]
    Admin(#[from] axum::Error),
    /// Reading came to an end with the runtime.
    #[error("reading was given up")]
    Abandoned,
}

impl Body {
    /// How many bytes it has; `None` where only the administration API knows.
    pub fn content_length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(range) => Some(range.len()),
            Self::Parts(parts) => Some(parts.iter().map(Part::len).sum()),
            Self::Admin(body) => http_body::Body::size_hint(body).exact(),
        }
    }
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.len(),
        }
    }
}
