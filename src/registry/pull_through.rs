//! `PullThrough`: where to turn when the store has no answer.
//!
//! Knows the question. Does not know peers: they stand above and plug
//! themselves in.

use std::fmt;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use bytes::Bytes;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use tokio::sync::mpsc;

use crate::oci::Reference;

/// Brings what is missing into the store.
pub trait PullThrough: fmt::Debug + Send + Sync + 'static {
    /// Tries to obtain what was asked for. Bounds the time that it takes to find out who has it, and asks
    /// once for many who wait for the same thing.
    fn fetch<'a>(&'a self, missing: Missing<'a>) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>>;

    /// The bytes of a blob from `begin` on, where it is on its way into this repository: for a peer. Asks
    /// nobody.
    fn read_along(&self, name: &RepositoryName, digest: &Digest, begin: u64) -> Option<Arriving>;
}

/// What the store does not have.
#[derive(Clone, Copy, Debug)]
pub enum Missing<'a> {
    /// A blob of a repository.
    Blob(&'a RepositoryName, &'a Digest, Wish),
    /// A manifest of a repository, or a tag.
    Manifest(&'a RepositoryName, &'a Reference),
}

/// In which form a missing blob is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Whole, in the store: ranges of it are to be sent.
    Stored,
    /// From its first byte on, while it is being stored.
    AsItComes,
}

/// How far a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To this store only: a peer asks, and would be asked in turn.
    Here,
    /// To the peers too.
    Peers,
}

/// How the attempt ended.
#[derive(Debug)]
pub enum Fetched {
    /// The store has it now, verified and linked into the repository.
    Stored,
    /// A blob is on its way, and will be stored whether or not anybody reads along.
    Arriving(Arriving),
    /// The tag names this manifest, which the store has now. The tag itself is not stored.
    Manifest(Digest),
    /// It could not be had.
    Absent,
}

/// A blob on its way: its bytes as they come. A client gets the last of them only when all are verified; a
/// peer that [reads along](PullThrough::read_along) verifies them itself.
#[derive(Debug)]
pub struct Arriving {
    begin: u64,
    size: u64,
    chunks: mpsc::Receiver<Bytes>,
}

impl Arriving {
    /// The bytes from `begin` on of a blob of `size` bytes, which come through `chunks`.
    pub fn new(begin: u64, size: u64, chunks: mpsc::Receiver<Bytes>) -> Self {
        Self { begin: begin.min(size), size, chunks }
    }

    /// Where in the blob they begin.
    pub fn begin(&self) -> u64 {
        self.begin
    }

    /// The length of the whole blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes come.
    pub fn len(&self) -> u64 {
        self.size - self.begin
    }

    /// Whether no bytes come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes. An end before [`Arriving::len`] bytes means that it could not be had, or is damaged.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.chunks.poll_recv(context)
    }
}
