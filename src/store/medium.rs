//! `Medium`: a device that bytes are read from.
//!
//! Knows that a device may be slow or dying, and bounds what that can cost: a
//! few threads wait for it and no other device feels it. Does not know what
//! the bytes are.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::FileType;
use rustix::fs::fstat;
use storage_layout::Digest;
use tokio::sync::Semaphore;

use crate::metrics::StoreMetrics;
use crate::store::Error;
use crate::store::descriptors::Descriptors;
use crate::store::extent::Fault;
use crate::store::version::Place;

/// A device, with a name for messages, a bounded number of threads that wait for it, and a memory of its
/// faults.
#[derive(Debug)]
pub struct Medium {
    name: String,
    threads: Arc<Semaphore>,
    faults: AtomicU64,
    bad: Mutex<Bad>,
    metrics: StoreMetrics,
}

/// What of a device could not be read of late.
#[derive(Debug, Default)]
struct Bad {
    files: HashMap<Place, (Instant, BadRead)>,
    last: Option<String>,
}

/// A read that failed twice.
#[derive(Clone, Debug)]
pub(in crate::store) struct BadRead {
    path: String,
    offset: u64,
    digest: Digest,
    kind: io::ErrorKind,
    raw: Option<i32>,
}

impl BadRead {
    /// The error that it was, once more.
    pub(in crate::store) fn error(&self, medium: &Medium) -> Error {
        Error::Medium {
            medium: medium.name.clone(),
            path: self.path.clone(),
            offset: self.offset,
            digest: self.digest,
            source: self.raw.map_or_else(|| self.kind.into(), io::Error::from_raw_os_error),
        }
    }
}

/// What a device did to those who read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The root that the device was first seen under.
    pub medium: String,
    /// How many reads it failed.
    pub count: u64,
    /// Where the last of them was that failed twice, and why.
    pub last: Option<String>,
}

impl Medium {
    /// How many threads may wait for one device. Enough to keep a solid-state disk busy with windows of 1
    /// MiB; a drive behind a management controller serves one read at a time whatever is asked of it.
    pub const THREADS: usize = 8;

    /// For how long a file that could not be read is not tried again: a drive that fails takes seconds to say
    /// so, and one that was only jolted should not be given up on.
    const GIVEN_UP_FOR: Duration = Duration::from_secs(60);
    /// How many such files are remembered. With more than these the device is beyond help.
    const BAD: usize = 4096;

    fn new(name: String, metrics: StoreMetrics) -> Self {
        let threads = Arc::new(Semaphore::new(Self::THREADS));
        Self { name, threads, faults: AtomicU64::new(0), bad: Mutex::default(), metrics }
    }

    /// The root that it was first seen under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many reads it failed.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// What it did to those who read it.
    pub(in crate::store) fn report(&self) -> Faults {
        let last = self.bad().last.clone();
        Faults { medium: self.name.clone(), count: self.faults(), last }
    }

    /// What to say of a blob that could not be read; that is remembered. What ends early in a directory was
    /// damaged there; in an image, the medium lost it.
    pub(in crate::store) fn failed(&self, fault: Fault, digest: &Digest, place: Place) -> Error {
        let Fault { path, offset, source } = fault;
        let Some(source) = self.blame(source, place) else {
            return Error::Corrupt { path, why: format!("it ends at byte {offset}, and {digest} does not") };
        };
        let (kind, raw) = (source.kind(), source.raw_os_error());
        self.note(&path, offset, &source);
        let read = BadRead { path, offset, digest: *digest, kind, raw };
        let error = read.error(self);
        self.mark_bad(place, read);
        error
    }

    /// What to say of a link that could not be read, likewise.
    pub(in crate::store) fn lost(&self, fault: Fault, wanted: &str, place: Place) -> Error {
        let Fault { path, offset, source } = fault;
        let Some(source) = self.blame(source, place) else {
            return Error::Corrupt { path, why: format!("it ends at byte {offset}") };
        };
        self.note(&path, offset, &source);
        Error::Lookup { medium: self.name.clone(), path, offset, wanted: wanted.to_owned(), source }
    }

    /// What the medium is to blame for; `None` where a file in a directory ended early, which is damage.
    fn blame(&self, source: Option<io::Error>, place: Place) -> Option<io::Error> {
        match source.filter(|it| it.kind() != io::ErrorKind::UnexpectedEof) {
            Some(source) => Some(source),
            None if place.is_of_image() => {
                self.count_fault();
                Some(io::ErrorKind::UnexpectedEof.into())
            }
            None => None,
        }
    }

    /// Remembers where a read failed twice.
    pub(in crate::store) fn note(&self, path: impl fmt::Display, offset: u64, source: &io::Error) {
        self.bad().last = Some(format!("byte {offset} of {path}: {source}"));
    }

    fn mark_bad(&self, place: Place, read: BadRead) {
        let mut bad = self.bad();
        if bad.files.len() >= Self::BAD {
            bad.files.clear();
        }
        bad.files.insert(place, (Instant::now(), read));
    }

    /// Why a file is not to be read now, if so.
    pub(in crate::store) fn given_up(&self, place: Place) -> Option<BadRead> {
        if self.faults() == 0 {
            return None;
        }
        let mut bad = self.bad();
        let (since, read) = bad.files.get(&place)?;
        if since.elapsed() < Self::GIVEN_UP_FOR {
            return Some(read.clone());
        }
        bad.files.remove(&place);
        None
    }

    fn bad(&self) -> MutexGuard<'_, Bad> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that may wait for the device, on one of its threads. When the caller is dropped the
    /// work is still done, and its thread counts until then.
    ///
    /// # Errors
    /// What `work` gives; [`Error::Closed`] while the runtime shuts down.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let Ok(thread) = Arc::clone(&self.threads).acquire_owned().await else { return Err(Error::Closed) };
        blocking(move || {
            let _thread = thread;
            work()
        })
        .await
    }

    /// Does a read, and once more where the medium failed it: a scratched disc or a shaky line often gives at
    /// the second time what it refused at the first.
    pub(in crate::store) fn read_twice<T>(
        &self,
        mut read: impl FnMut() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        match read() {
            Ok(done) => Ok(done),
            Err(_) => {
                self.count_fault();
                read().map_err(|error| {
                    self.count_fault();
                    io::Error::from(error)
                })
            }
        }
    }

    /// Counts a read that failed.
    pub(in crate::store) fn count_fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.metrics.fault(&self.name);
    }
}

/// Runs what may sleep on a thread that may.
pub(in crate::store) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Closed),
        },
    }
}

/// A directory's device and inode.
type RootId = (u64, u64);

/// The devices in use, each once, whatever roots lie on it, and the open files of each root. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Media {
    known: Arc<Mutex<HashMap<u64, Weak<Medium>>>>,
    descriptors: Arc<Mutex<HashMap<RootId, Weak<Descriptors>>>>,
    metrics: StoreMetrics,
}

impl Media {
    /// None yet; what they fail is counted in `metrics`.
    pub fn new(metrics: StoreMetrics) -> Self {
        Self { known: Arc::default(), descriptors: Arc::default(), metrics }
    }

    /// The open files of the directory `root`, which its writer and its readers share.
    ///
    /// # Errors
    /// The system does not say which directory it is.
    pub(in crate::store) fn descriptors(&self, root: &File) -> io::Result<Arc<Descriptors>> {
        let stat = fstat(root)?;
        let mut known = self.descriptors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(descriptors) = known.get(&(stat.st_dev, stat.st_ino)).and_then(Weak::upgrade) {
            return Ok(descriptors);
        }
        known.retain(|_, descriptors| descriptors.strong_count() > 0);
        let descriptors = Arc::new(Descriptors::new());
        known.insert((stat.st_dev, stat.st_ino), Arc::downgrade(&descriptors));
        Ok(descriptors)
    }

    /// The device that `file` is read from: itself if it is one, or the one that its file system is on.
    /// `root` names it if it is new.
    ///
    /// # Errors
    /// The system does not say.
    pub fn of(&self, file: &File, root: &Path) -> io::Result<Arc<Medium>> {
        let stat = fstat(file)?;
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
        let device = if is_device { stat.st_rdev } else { stat.st_dev };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(medium) = known.get(&device).and_then(Weak::upgrade) {
            return Ok(medium);
        }
        known.retain(|_, medium| medium.strong_count() > 0);
        let medium = Arc::new(Medium::new(root.display().to_string(), self.metrics.clone()));
        known.insert(device, Arc::downgrade(&medium));
        Ok(medium)
    }
}

#[cfg(test)]
mod tests;
