//! `Recorder`: a disk that notes every operation, and can be told to fail one.
//!
//! Does what it notes, in a directory, except for syncs of contents: there the
//! note is all that is wanted.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::SystemTime;

use rustix::io::Errno;

use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::disk::LocalDisk;
use crate::store::disk::Made;
use crate::store::disk::Space;
use crate::store::lock::Lock;

/// An operation, as the model replays it. Files go by their inode, which is given again once a file is
/// removed.
#[derive(Clone, Debug)]
pub(in crate::store) enum Operation {
    Create(DiskPath, u64),
    Write(u64, u64, Vec<u8>),
    Truncate(u64, u64),
    SyncFile(u64),
    SyncDir(DiskPath),
    SyncAll,
    MakeDir(DiskPath),
    Rename(DiskPath, DiskPath),
    RemoveFile(DiskPath),
    RemoveDir(DiskPath),
    /// A mark of the test's own.
    Mark(usize),
}

/// Whether one sync for everything is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum SyncAll {
    Yes,
    No,
}

/// Whether files can share content: on the file systems that tests meet, as a rule not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Sharing {
    Yes,
    No,
}

#[derive(Debug)]
pub(in crate::store) struct Recorder {
    disk: LocalDisk,
    sync_all: SyncAll,
    sharing: Sharing,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    operations: Vec<Operation>,
    /// How many more operations work, and how the next fails then.
    fault: Option<(usize, Errno)>,
}

impl Recorder {
    pub(in crate::store) fn open(root: &Path, sync_all: SyncAll) -> Self {
        let lock = Lock::take(root).unwrap().unwrap();
        let disk = LocalDisk::open(root, lock.into()).unwrap();
        Self { disk, sync_all, sharing: Sharing::No, state: Mutex::default() }
    }

    /// The same, of a file system on which files can share content.
    pub(in crate::store) fn sharing(self) -> Self {
        Self { sharing: Sharing::Yes, ..self }
    }

    pub(in crate::store) fn mark(&self, mark: usize) {
        self.state().operations.push(Operation::Mark(mark));
    }

    /// Lets `after` operations work and the next one fail.
    pub(in crate::store) fn fail(&self, after: usize, errno: Errno) {
        self.state().fault = Some((after, errno));
    }

    /// Lets everything work again; says whether something failed.
    pub(in crate::store) fn mend(&self) -> bool {
        self.state().fault.take().is_none()
    }

    pub(in crate::store) fn operations(&self) -> Vec<Operation> {
        self.state().operations.clone()
    }

    /// Does something while nothing else is done, and notes it if it worked.
    fn record<T>(&self, work: impl FnOnce() -> io::Result<(T, Option<Operation>)>) -> io::Result<T> {
        let mut state = self.state();
        match &mut state.fault {
            Some((0, errno)) => {
                let errno = *errno;
                state.fault = None;
                return Err(errno.into());
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        let (done, operation) = work()?;
        state.operations.extend(operation);
        Ok(done)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn inode(file: &DiskFile) -> u64 {
    file.file.metadata().unwrap().ino()
}

impl Disk for Recorder {
    fn create(&self, path: &DiskPath) -> io::Result<DiskFile> {
        self.record(|| {
            let file = self.disk.create(path)?;
            let operation = Operation::Create(path.clone(), inode(&file));
            Ok((file, Some(operation)))
        })
    }

    fn open(&self, path: &DiskPath) -> io::Result<Option<DiskFile>> {
        self.record(|| Ok((self.disk.open(path)?, None)))
    }

    fn write(&self, file: &DiskFile, offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.record(|| {
            self.disk.write(file, offset, pieces)?;
            let data = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
            Ok(((), Some(Operation::Write(inode(file), offset, data))))
        })
    }

    fn write_past_cache(&self, file: &DiskFile, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.record(|| {
            self.disk.write_past_cache(file, offset, pieces)?;
            Ok(((), Some(Operation::Write(inode(file), offset, pieces.concat()))))
        })
    }

    fn share(&self, file: &DiskFile, with: &File) -> bool {
        if self.sharing == Sharing::No {
            return false;
        }
        let content = std::fs::read(format!("/proc/self/fd/{}", with.as_raw_fd())).unwrap();
        self.write(file, 0, &[IoSlice::new(&content)]).is_ok()
    }

    fn truncate(&self, file: &DiskFile, len: u64) -> io::Result<()> {
        self.record(|| Ok((self.disk.truncate(file, len)?, Some(Operation::Truncate(inode(file), len)))))
    }

    fn allocate(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        self.record(|| Ok((self.disk.allocate(file, bytes)?, None)))
    }

    fn start_writing_back(&self, _: &DiskFile, _: u64, _: u64) {}

    fn sync_file(&self, file: &DiskFile) -> io::Result<()> {
        self.record(|| Ok(((), Some(Operation::SyncFile(inode(file))))))
    }

    fn sync_dir(&self, path: &DiskPath) -> io::Result<()> {
        self.record(|| Ok((self.disk.sync_dir(path)?, Some(Operation::SyncDir(path.clone())))))
    }

    fn sync_all(&self) -> Option<io::Result<()>> {
        (self.sync_all == SyncAll::Yes).then(|| self.record(|| Ok(((), Some(Operation::SyncAll)))))
    }

    fn make_dir(&self, path: &DiskPath) -> io::Result<Made> {
        self.record(|| {
            let made = self.disk.make_dir(path)?;
            Ok((made, (made == Made::New).then(|| Operation::MakeDir(path.clone()))))
        })
    }

    fn rename(&self, from: &DiskPath, to: &DiskPath) -> io::Result<()> {
        self.record(|| Ok((self.disk.rename(from, to)?, Some(Operation::Rename(from.clone(), to.clone())))))
    }

    fn remove_file(&self, path: &DiskPath) -> io::Result<()> {
        self.record(|| Ok((self.disk.remove_file(path)?, Some(Operation::RemoveFile(path.clone())))))
    }

    fn remove_dir(&self, path: &DiskPath) -> io::Result<()> {
        self.record(|| Ok((self.disk.remove_dir(path)?, Some(Operation::RemoveDir(path.clone())))))
    }

    fn touch(&self, path: &DiskPath, now: SystemTime) -> io::Result<()> {
        self.record(|| Ok((self.disk.touch(path, now)?, None)))
    }

    fn set_note(&self, file: &DiskFile, note: &[u8]) -> io::Result<()> {
        self.disk.set_note(file, note)
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}
