//! `Source`: somewhere a tree can be read from.
//!
//! Knows what is asked of a directory or an image of one. Does not know what
//! the files mean, how several sources are one store, or how bytes are sent.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use storage_layout::RelativePath;

use crate::store::Error;
use crate::store::Extents;
use crate::store::Medium;
use crate::store::Version;

/// A tree that can be read: a directory, or an image of one.
///
/// A question is first asked with [`Wait::Never`], on a thread that serves connections; where that gives
/// [`Poll::Pending`] it is asked again with [`Wait::Allowed`] on one of the medium's threads.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Where it is, as configured; for messages.
    fn origin(&self) -> &Path;

    /// What its files are read from.
    fn medium(&self) -> &Arc<Medium>;

    /// Opens a regular file; `None` where there is none. [`Poll::Pending`] only with [`Wait::Never`].
    ///
    /// # Errors
    /// The medium cannot be read, or what lies at `path` is neither a file nor nothing. A symbolic link is never
    /// followed: it is [`Error::Corrupt`].
    fn open(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Found>, Error>>;

    /// Which version of a file or directory lies at `path`; `None` where there is none. [`Poll::Pending`]
    /// only with [`Wait::Never`].
    ///
    /// # Errors
    /// The medium cannot be read, or a symbolic link is in the way.
    fn version(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Version>, Error>>;

    /// What a directory holds, in no particular order; `None` where there is no directory. Names that are not
    /// UTF-8 cannot be ours and are left out. May wait.
    ///
    /// # Errors
    /// The medium cannot be read.
    fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error>;

    /// Whether it can be read at all. May wait.
    ///
    /// # Errors
    /// It cannot.
    fn check(&self) -> Result<(), Error>;
}

/// Whether an answer may wait for a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only what is in memory is looked at.
    Never,
    /// The thread may sleep.
    Allowed,
}

/// A file that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where its bytes are.
    pub extents: Extents,
    /// Which version of it was opened.
    pub version: Version,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The name.
    pub name: Box<str>,
    /// What it names.
    pub kind: ItemKind,
}

/// What a name in a directory names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link, a device, a socket: a stranger.
    Other,
}
