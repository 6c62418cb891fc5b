//! `Health`: can the root that is written take writes.
//!
//! Knows what the system's refusals mean: a full disk, a root that turned
//! read-only, a failing device. Does not know what was being written.

use std::io;
use std::io::IoSlice;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::io::Errno;

use crate::metrics::StoreMetrics;
use crate::store::Error;
use crate::store::disk::Disk;
use crate::store::disk::DiskPath;
use crate::store::disk::Space;

/// The state of the root that is written. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Health {
    root: Arc<Path>,
    disk: Arc<dyn Disk>,
    /// Why the last write was refused, if all may be: the next look writes a little to find out.
    fault: Arc<Mutex<Option<Errno>>>,
    metrics: StoreMetrics,
}

impl Health {
    /// How much stays free at most, so that what has been uploaded can be published and links, tags and
    /// deletions have room when blobs have none left.
    const RESERVE: u64 = 32 * 1024 * 1024;
    /// Of a small file system, this part of it.
    const RESERVED_PART: u64 = 64;

    pub(super) fn new(root: &Path, disk: Arc<dyn Disk>, metrics: StoreMetrics) -> Self {
        Self { root: root.into(), disk, fault: Arc::default(), metrics }
    }

    /// The root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A refusal of the system, in the store's words.
    pub(super) fn failed(&self, doing: &'static str, path: &DiskPath, source: io::Error) -> Error {
        let path = self.root.join(path.as_str());
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        if errno.is_some_and(is_of_all_writes) {
            *self.fault() = errno;
        }
        match errno {
            Some(Errno::NOSPC | Errno::DQUOT) => self.no_space(),
            Some(Errno::ROFS) => Error::BecameReadOnly { path: self.root.to_path_buf() },
            errno => {
                if let Some(Errno::IO | Errno::NXIO | Errno::NODEV | Errno::UCLEAN) = errno {
                    tracing::error!(doing, path = %path.display(), error = %source, "the disk fails");
                }
                Error::Io { doing, path: path.display().to_string(), source }
            }
        }
    }

    /// Whether a new upload may begin. May wait.
    ///
    /// # Errors
    /// [`Error::NoSpace`] when only the reserve is left.
    pub(super) fn check_space(&self) -> Result<(), Error> {
        let space = self.space()?;
        let reserve = (space.total / Self::RESERVED_PART).min(Self::RESERVE);
        if space.is_read_only {
            return Err(Error::BecameReadOnly { path: self.root.to_path_buf() });
        }
        if space.free < reserve {
            return Err(Error::NoSpace { free: space.free, path: self.root.to_path_buf() });
        }
        Ok(())
    }

    /// How many bytes are free beside the reserve. May wait.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn spare(&self) -> Result<u64, Error> {
        let space = self.space()?;
        let reserve = (space.total / Self::RESERVED_PART).min(Self::RESERVE);
        Ok(space.free.saturating_sub(reserve))
    }

    /// Whether writes can be taken. May wait.
    ///
    /// # Errors
    /// Why they cannot.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_space()?;
        let fault = *self.fault();
        if fault.is_some() {
            self.probe().map_err(|error| self.failed("write to", &DiskPath::root(), error))?;
            tracing::info!(root = %self.root.display(), "the disk takes writes again");
            *self.fault() = None;
        }
        Ok(())
    }

    /// Writes a little, durably.
    fn probe(&self) -> io::Result<()> {
        let path = DiskPath::own("probe");
        let _ = self.disk.remove_file(&path);
        let file = self.disk.create(&path)?;
        self.disk.write(&file, 0, &[IoSlice::new(b"larder")])?;
        self.disk.sync_file(&file)?;
        self.disk.remove_file(&path)
    }

    fn space(&self) -> Result<Space, Error> {
        let space = self.disk.space().map_err(|error| self.failed("look at", &DiskPath::root(), error))?;
        self.metrics.free_bytes.set(i64::try_from(space.free).unwrap_or(i64::MAX));
        Ok(space)
    }

    fn no_space(&self) -> Error {
        let path = PathBuf::from(&*self.root);
        let space = self.disk.space().ok();
        let free = space.map_or(0, |space| space.free);
        self.metrics.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        match space {
            Some(space) if space.is_out_of_inodes => Error::NoInodes { path },
            _ => Error::NoSpace { free, path },
        }
    }

    fn fault(&self) -> std::sync::MutexGuard<'_, Option<Errno>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refusal may well be one of all writes: of the disk or of the file system, or of a root whose
/// owner or mode was changed. A file system that the kernel stopped after an error still calls itself
/// writable (`emergency_ro`).
fn is_of_all_writes(errno: Errno) -> bool {
    const OF_THE_DISK: [Errno; 4] = [Errno::IO, Errno::NXIO, Errno::NODEV, Errno::UCLEAN];
    const OF_THE_ROOT: [Errno; 5] = [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM];
    OF_THE_DISK.contains(&errno) || OF_THE_ROOT.contains(&errno)
}
