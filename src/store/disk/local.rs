//! `LocalDisk`: the operations, done.
//!
//! Knows how to do each beneath a root without following a symbolic link.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::fs::Advice;
use rustix::fs::AtFlags;
use rustix::fs::FallocateFlags;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::StatVfsMountFlags;
use rustix::fs::Timespec;
use rustix::fs::Timestamps;
use rustix::fs::UTIME_OMIT;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::store::directory::BENEATH;
use crate::store::disk::Disk;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::disk::Made;
use crate::store::disk::Space;
use crate::store::disk::direct::Direct;
use crate::store::disk::direct::Split;
use crate::store::disk::direct::split_at;
use crate::store::lock::Lock;

/// Extended attribute that holds a note.
pub(in crate::store) const NOTE: &str = "user.larder.boot";

/// A directory that is written. Whoever can write holds the lock.
#[derive(Debug)]
pub(in crate::store) struct LocalDisk {
    root: OwnedFd,
    _lock: Arc<Lock>,
    can_sync_all: bool,
    direct: Direct,
}

impl LocalDisk {
    /// How much may be dirty in all for a sync of the whole file system to be cheaper than one of each file:
    /// what a slow disk writes in half a second.
    const DIRTY: u64 = 64 * 1024 * 1024;
    /// `IOV_MAX`.
    const PIECES: usize = 1024;

    pub(in crate::store) fn open(root: &Path, lock: Arc<Lock>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        let can_sync_all =
            u64::try_from(rustix::fs::fstatfs(&root)?.f_type).is_ok_and(|it| SYNCED_BY_SYNCFS.contains(&it));
        Ok(Self { root, _lock: lock, can_sync_all, direct: Direct::new() })
    }

    fn resolve(&self, path: &DiskPath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_str().is_empty() { "." } else { path.as_str() };
        // distribution's modes, which the process's umask narrows.
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let open = || rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, BENEATH);
        rustix::io::retry_on_intr(open)
    }

    /// The directory that holds `path`, in which its last component can be named.
    fn holder(&self, path: &DiskPath) -> rustix::io::Result<OwnedFd> {
        let parent = path.parent().ok_or(Errno::INVAL)?;
        self.resolve(&parent, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// How much is dirty or being written, everywhere. `None` where `/proc` does not say.
    fn dirty() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let kib = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok()
        };
        Some((kib("Dirty:")? + kib("Writeback:")?) * 1024)
    }
}

fn slices<'a>(pieces: &[&'a [u8]]) -> Vec<IoSlice<'a>> {
    pieces.iter().map(|piece| IoSlice::new(piece)).collect()
}

/// File systems of which one `syncfs(2)` makes names and contents durable as so many `fsync(2)` do, with one
/// commit of the journal: ext4, XFS, btrfs. FUSE and network file systems pass it on to nobody.
const SYNCED_BY_SYNCFS: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

impl Disk for LocalDisk {
    fn create(&self, path: &DiskPath) -> io::Result<DiskFile> {
        let fd = self.resolve(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        Ok(DiskFile { file: Arc::new(File::from(fd)) })
    }

    fn open(&self, path: &DiskPath) -> io::Result<Option<DiskFile>> {
        match self.resolve(path, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(fd) => Ok(Some(DiskFile { file: Arc::new(File::from(fd)) })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, file: &DiskFile, mut offset: u64, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let mut pieces = pieces.to_vec();
        let mut rest = &mut *pieces;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            let now = rest.get(..rest.len().min(Self::PIECES)).unwrap_or_default();
            let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(&file.file, now, offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn write_past_cache(&self, file: &DiskFile, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let split = || Split::of(offset, pieces);
        let Some(Split { head, middle, tail }) = self.direct.is_possible(&file.file).then(split).flatten()
        else {
            return self.write(file, offset, &slices(pieces));
        };
        let len = |pieces: &[&[u8]]| pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.write(file, offset, &slices(&head))?;
        let offset = offset + len(&head);
        let written = self.direct.write(&file.file, offset, &middle)?;
        let (_, left) = split_at(&middle, written);
        self.write(file, offset + written as u64, &slices(&left))?;
        self.write(file, offset + len(&middle), &slices(&tail))
    }

    fn share(&self, file: &DiskFile, with: &File) -> bool {
        // Whatever the reason, the bytes can be copied instead.
        rustix::io::retry_on_intr(|| rustix::fs::ioctl_ficlone(&file.file, with)).is_ok()
    }

    fn truncate(&self, file: &DiskFile, len: u64) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| rustix::fs::ftruncate(&file.file, len))?)
    }

    fn allocate(&self, file: &DiskFile, bytes: u64) -> io::Result<()> {
        let allocate = || rustix::fs::fallocate(&file.file, FallocateFlags::KEEP_SIZE, 0, bytes);
        match if bytes == 0 { Ok(()) } else { rustix::io::retry_on_intr(allocate) } {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            allocated => Ok(allocated?),
        }
    }

    fn start_writing_back(&self, file: &DiskFile, offset: u64, len: u64) {
        // Begins to write the dirty pages and drops those that are clean already; `sync_file_range(2)` would
        // drop none, but there is no safe way to call it.
        let _ = rustix::fs::fadvise(&file.file, offset, NonZero::new(len), Advice::DontNeed);
    }

    fn sync_file(&self, file: &DiskFile) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(&file.file))?)
    }

    fn sync_dir(&self, path: &DiskPath) -> io::Result<()> {
        let directory = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(&directory))?)
    }

    fn sync_all(&self) -> Option<io::Result<()>> {
        let is_cheap = || Self::dirty().is_some_and(|dirty| dirty <= Self::DIRTY);
        if !self.can_sync_all || !is_cheap() {
            return None;
        }
        Some(rustix::fs::syncfs(&self.root).map_err(io::Error::from))
    }

    fn make_dir(&self, path: &DiskPath) -> io::Result<Made> {
        match rustix::fs::mkdirat(self.holder(path)?, path.file_name(), Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(Made::New),
            Err(Errno::EXIST) => Ok(Made::Existed),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &DiskPath, to: &DiskPath) -> io::Result<()> {
        let (old, new) = (self.holder(from)?, self.holder(to)?);
        Ok(rustix::fs::renameat(old, from.file_name(), new, to.file_name())?)
    }

    fn remove_file(&self, path: &DiskPath) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.holder(path)?, path.file_name(), AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &DiskPath) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self.holder(path)?, path.file_name(), AtFlags::REMOVEDIR)?)
    }

    fn touch(&self, path: &DiskPath, now: SystemTime) -> io::Result<()> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let modified = Timespec {
            tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: since.subsec_nanos().into(),
        };
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: modified,
        };
        Ok(rustix::fs::utimensat(self.holder(path)?, path.file_name(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn set_note(&self, file: &DiskFile, note: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::fsetxattr(&file.file, NOTE, note, XattrFlags::empty())?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            is_read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            // File systems without a fixed number of them (btrfs) say that there are none.
            is_out_of_inodes: stat.f_files > 0 && stat.f_favail == 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::store::piece::Blocks;
    use crate::store::piece::Piece;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 % 251) as u8).collect()
    }

    /// Whatever goes past the page cache and whatever does not, the file holds the bytes in their order.
    #[test]
    fn past_the_cache_or_not_the_bytes_are_the_same() {
        let (pool, whole) = (Arc::new(Blocks::default()), content(3_000_001));
        let places = [Some(tempfile::tempdir().unwrap()), tempfile::tempdir_in("/dev/shm").ok()];
        for (number, place) in places.into_iter().flatten().enumerate() {
            let disk =
                LocalDisk::open(place.path(), Lock::take(place.path()).unwrap().unwrap().into()).unwrap();
            for (first, is_possible) in [(0, true), (1, true), (8192, true), (131_073, true), (0, false)] {
                if !is_possible {
                    disk.direct.give_up();
                }
                let path = DiskPath::root().join(&format!("{first}-{is_possible}"));
                let file = disk.create(&path).unwrap();
                disk.write(&file, 0, &[IoSlice::new(&whole[..first])]).unwrap();
                let (mut at, mut data) = (first as u64, Bytes::copy_from_slice(&whole[first..]));
                while !data.is_empty() {
                    let mut piece = Piece::new(&pool, at, 1 << 20);
                    piece.take_in(&mut data);
                    disk.write_past_cache(&file, at, &piece.parts()).unwrap();
                    at += piece.len();
                }
                let read = std::fs::read(place.path().join(path.as_str())).unwrap();
                assert!(read == whole, "in place {number} from {first} on");
            }
        }
    }
}
