//! A medium that takes long for every read: a FUSE file system over a directory.
//!
//! Knows how to be slow: names and attributes come at once, as a mounted ISO's
//! cached directory does, but each read of content waits first, and reads wait side
//! by side. Needs `/dev/fuse` and the right to mount.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::Result;
use fuser::BackgroundSession;
use fuser::Errno;
use fuser::FileAttr;
use fuser::FileHandle;
use fuser::FileType;
use fuser::Filesystem;
use fuser::Generation;
use fuser::INodeNo;
use fuser::KernelConfig;
use fuser::LockOwner;
use fuser::MountOption;
use fuser::OpenFlags;
use fuser::ReplyAttr;
use fuser::ReplyData;
use fuser::ReplyDirectory;
use fuser::ReplyEntry;
use fuser::Request;
use tempfile::TempDir;

/// How long the kernel may keep names and attributes: longer than any question takes.
const KEEP: Duration = Duration::from_secs(3600);

/// How many reads ahead the kernel may leave waiting: as many as there are readers, not its usual 12.
const READS_AHEAD: u16 = 256;

/// A mounted medium. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SlowMedium {
    session: Option<BackgroundSession>,
    mount_point: TempDir,
}

impl SlowMedium {
    /// Shows the files of a directory, each read of which takes `delay`.
    pub(crate) fn mount(directory: &Path, delay: Duration) -> Result<Self> {
        let mount_point = tempfile::tempdir().context("making a mount point")?;
        let content = Slow { directory: directory.to_owned(), delay, paths: Mutex::default() };
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("slow-medium".to_owned())];
        let session =
            fuser::spawn_mount(content, mount_point.path(), &config).context("mounting a slow medium")?;
        Ok(Self { session: Some(session), mount_point })
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.mount_point.path()
    }
}

impl Drop for SlowMedium {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.session.take().map(BackgroundSession::umount_and_join) {
            eprintln!("! unmounting a slow medium: {error}");
        }
    }
}

/// What is mounted.
#[derive(Debug)]
struct Slow {
    directory: PathBuf,
    delay: Duration,
    /// By inode number, those that were looked up. Numbers are those of the files below, but for the root's.
    paths: Mutex<HashMap<u64, PathBuf>>,
}

impl Slow {
    fn path(&self, inode: INodeNo) -> io::Result<PathBuf> {
        if inode == INodeNo::ROOT {
            return Ok(self.directory.clone());
        }
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(&inode.0).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let path = self.path(parent)?.join(name);
        let attributes = attributes(&fs::symlink_metadata(&path)?);
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).insert(attributes.ino.0, path);
        Ok(attributes)
    }

    fn list(&self, inode: INodeNo, after: u64, reply: &mut ReplyDirectory) -> io::Result<()> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        for (position, entry) in fs::read_dir(self.path(inode)?)?.enumerate().skip(after) {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let next = position as u64 + 1;
            if reply.add(INodeNo(metadata.ino()), next, kind(&metadata), entry.file_name()) {
                break;
            }
        }
        Ok(())
    }
}

impl Filesystem for Slow {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        config.set_max_background(READS_AHEAD).map(drop).map_err(|_| io::ErrorKind::InvalidInput.into())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok(attributes) => reply.entry(&KEEP, &attributes, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(inode).and_then(fs::symlink_metadata) {
            Ok(metadata) => reply.attr(&KEEP, &FileAttr { ino: inode, ..attributes(&metadata) }),
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let delay = self.delay;
        match self.path(inode) {
            Ok(path) => {
                // A thread of its own for each: the one that waits must not keep others from waiting.
                thread::spawn(move || {
                    thread::sleep(delay);
                    match read(&path, offset, size) {
                        Ok(bytes) => reply.data(&bytes),
                        Err(error) => reply.error(error.into()),
                    }
                });
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        match self.list(inode, offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(Errno::from(error)),
        }
    }
}

/// Up to `size` bytes; fewer only at the end of the file.
fn read(path: &Path, offset: u64, size: u32) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left.min(u64::from(size))).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn kind(metadata: &Metadata) -> FileType {
    if metadata.is_dir() { FileType::Directory } else { FileType::RegularFile }
}

fn attributes(metadata: &Metadata) -> FileAttr {
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(metadata.ino()),
        size: metadata.size(),
        blocks: metadata.blocks(),
        atime: modified,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: kind(metadata),
        perm: if metadata.is_dir() { 0o555 } else { 0o444 },
        nlink: 1,
        uid: metadata.uid(),
        gid: metadata.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use super::*;

    #[test]
    fn reads_are_slow_side_by_side_and_right() {
        if File::options().read(true).write(true).open("/dev/fuse").is_err() {
            eprintln!("skipped: there is no /dev/fuse here");
            return;
        }
        let below = tempfile::tempdir().unwrap();
        fs::create_dir(below.path().join("d")).unwrap();
        for name in ["a", "b"] {
            fs::write(below.path().join("d").join(name), name.repeat(5000)).unwrap();
        }
        let delay = Duration::from_millis(300);
        let medium = SlowMedium::mount(below.path(), delay).unwrap();
        let names: Vec<_> =
            fs::read_dir(medium.path().join("d")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2);
        let start = Instant::now();
        thread::scope(|scope| {
            for name in ["a", "b"] {
                let path = medium.path().join("d").join(name);
                scope.spawn(move || assert_eq!(fs::read_to_string(path).unwrap(), name.repeat(5000)));
            }
        });
        assert!(start.elapsed() >= delay);
    }
}
