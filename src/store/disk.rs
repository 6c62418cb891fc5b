//! `Disk`: the one seam that every write goes through.
//!
//! Knows the file operations that change a tree, and nothing of what they are
//! for. Each is as durable as the system makes it, which is not at all until
//! it is synced; the tests record the operations and replay every state that a
//! power cut could leave.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::SystemTime;

use storage_layout::RelativePath;

mod direct;
mod local;
#[cfg(test)]
pub(super) mod model;
#[cfg(test)]
pub(super) mod recorder;

pub(super) use local::LocalDisk;
pub(super) use local::NOTE;

/// What must divide addresses, offsets and lengths for a write past the page cache: the largest logical block
/// that a disk has. Most ask for 512 (`open(2)`, `O_DIRECT`).
pub(super) const ALIGNMENT: u64 = 4096;

/// Operations that change what lies below a root. All of them may wait.
pub(super) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a file that must not be there yet.
    fn create(&self, path: &DiskPath) -> io::Result<DiskFile>;

    /// Opens a file for reading and writing; `None` where there is none.
    fn open(&self, path: &DiskPath) -> io::Result<Option<DiskFile>>;

    /// Writes all of `pieces`, one after the other, from `offset` on.
    fn write(&self, file: &DiskFile, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()>;

    /// As [`Disk::write`], for much that nobody reads soon: past the page cache where the file system can, as
    /// far as the pieces begin and end on boundaries of [`ALIGNMENT`], in memory as in the file. That saves a
    /// copy and the memory for it; durable it is no more than any other write, until it is synced. Only one
    /// at a time writes to a file.
    fn write_past_cache(&self, file: &DiskFile, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;

    /// Has a file that is empty share what another one holds (`FICLONE`), so that nothing is written; `false`
    /// where the file system cannot, or they do not lie on the same one.
    fn share(&self, file: &DiskFile, with: &File) -> bool;

    /// Cuts a file, or fills it up with zeros.
    fn truncate(&self, file: &DiskFile, len: u64) -> io::Result<()>;

    /// Sets space aside for a file, whose length stays as it is. Where the file system cannot, nothing is
    /// done.
    fn allocate(&self, file: &DiskFile, bytes: u64) -> io::Result<()>;

    /// Has the system begin to write what is dirty, so that a later sync has less to do. A hint.
    fn start_writing_back(&self, file: &DiskFile, offset: u64, len: u64);

    /// Makes the content of a file durable; not its name.
    fn sync_file(&self, file: &DiskFile) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &DiskPath) -> io::Result<()>;

    /// Makes everything durable at once; `None` where that cannot be relied on or would wait for others'
    /// data.
    fn sync_all(&self) -> Option<io::Result<()>>;

    /// Makes a directory whose parent must be there.
    fn make_dir(&self, path: &DiskPath) -> io::Result<Made>;

    /// Moves a file, replacing one that is there, or a directory, replacing an empty one.
    fn rename(&self, from: &DiskPath, to: &DiskPath) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &DiskPath) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &DiskPath) -> io::Result<()>;

    /// Sets when a file was last used.
    fn touch(&self, path: &DiskPath, now: SystemTime) -> io::Result<()>;

    /// Attaches a note to a file that its content does not show.
    fn set_note(&self, file: &DiskFile, note: &[u8]) -> io::Result<()>;

    /// How much space there is.
    fn space(&self) -> io::Result<Space>;
}

/// Whether a directory is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It was not there.
    New,
    /// It was.
    Existed,
}

/// The space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes free for us.
    pub(super) free: u64,
    /// Bytes in all.
    pub(super) total: u64,
    /// Whether it is mounted read-only.
    pub(super) is_read_only: bool,
    /// Whether no file can be made, however much space there is.
    pub(super) is_out_of_inodes: bool,
}

/// A file that is open. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct DiskFile {
    pub(super) file: Arc<File>,
}

/// A path below a root. Made from parsed names only: it cannot lead out.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DiskPath(String);

impl DiskPath {
    /// A directory or file of our own, beside distribution's: `larder/<name>`.
    pub(super) fn own(name: &str) -> Self {
        Self(format!("larder/{name}"))
    }

    /// The root itself.
    pub(super) fn root() -> Self {
        Self(String::new())
    }

    /// What `name`, which is no path, is in this directory.
    pub(super) fn join(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// The directory that holds it; `None` at the root.
    pub(super) fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())))
    }

    /// The last component.
    pub(super) fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<RelativePath> for DiskPath {
    fn from(path: RelativePath) -> Self {
        Self(path.as_str().to_owned())
    }
}

impl fmt::Debug for DiskPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
