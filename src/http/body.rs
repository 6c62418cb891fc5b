//! `Body`: what a response carries, said rather than done.
//!
//! Knows the bytes or where they lie. Does not know the transport: over a
//! socket that can, a file's windows leave by sendfile; over any other they
//! are read and copied. Right either way.

use bytes::Bytes;

use crate::store::FileRange;

/// The body of a response.
#[derive(Debug)]
#[non_exhaustive]
pub enum Body {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in files.
    File(FileRange),
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
    File(FileRange),
}
