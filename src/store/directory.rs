//! `Directory`: a tree in a directory.
//!
//! Knows how to look without waiting and without leaving the root: every path
//! is resolved by `openat2(2)` beneath it, and no symbolic link is followed.
//! Does not know what the files mean.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::task::ready;

use rustix::fs::AtFlags;
use rustix::fs::Dir;
use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::Statx;
use rustix::fs::StatxFlags;
use rustix::io::Errno;
use storage_layout::RelativePath;

use crate::store::Error;
use crate::store::Extent;
use crate::store::Extents;
use crate::store::Found;
use crate::store::Item;
use crate::store::ItemKind;
use crate::store::Media;
use crate::store::Medium;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;
use crate::store::descriptors::Descriptors;
use crate::store::disk::DiskPath;
use crate::store::disk::NOTE;

/// A tree in a directory.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
    origin: PathBuf,
    medium: Arc<Medium>,
    descriptors: Arc<Descriptors>,
}

impl Directory {
    /// No link, time or hash state is larger.
    const SMALL: u64 = 4096;

    /// The tree in the directory `origin`, which may itself be reached through symbolic links.
    ///
    /// # Errors
    /// It is not a directory or cannot be opened.
    pub fn open(origin: &Path, media: &Media) -> Result<Self, Error> {
        let failed =
            |source: io::Error| Error::Io { doing: "open", path: origin.display().to_string(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(origin, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let root = File::from(root);
        let medium = media.of(&root, origin).map_err(failed)?;
        let descriptors = media.descriptors(&root).map_err(failed)?;
        Ok(Self { root: root.into(), origin: origin.to_owned(), medium, descriptors })
    }

    /// A directory below the root was moved: names mean something else now.
    pub(super) fn forget_names(&self) {
        self.descriptors.forget_all();
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.origin
    }

    /// Which version of a file or directory lies at `path`, ours among them. May wait.
    pub(super) fn version_at(&self, path: &DiskPath) -> Result<Option<Version>, Error> {
        waited(self.stat_at(path.as_str(), Wait::Allowed))
    }

    /// A small file, whole; `None` where there is none. May wait.
    pub(super) fn read_at(&self, path: &DiskPath) -> Result<Option<Vec<u8>>, Error> {
        self.read_within(path, Self::SMALL)
    }

    /// A file of at most `limit` bytes, whole; `None` where there is none. May wait.
    pub(super) fn read_within(&self, path: &DiskPath, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let Some((file, _)) = waited(self.open_at(path.as_str(), Wait::Allowed))? else { return Ok(None) };
        if file.len > limit {
            let path = self.origin.join(path.as_str()).display().to_string();
            return Err(Error::Corrupt { path, why: format!("it has {} bytes", file.len) });
        }
        let mut content = Vec::new();
        file.read_through(&self.medium, |piece| content.extend_from_slice(piece))?;
        Ok(Some(content))
    }

    /// Reads a file from `offset` on, piece by piece. One that is not there has no bytes. May wait.
    pub(super) fn read_through_at(
        &self,
        path: &DiskPath,
        offset: u64,
        each: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let Some((file, _)) = waited(self.open_at(path.as_str(), Wait::Allowed))? else { return Ok(()) };
        let len = file.len.saturating_sub(offset);
        Ok(Extent { offset, len, ..file }.read_through(&self.medium, each)?)
    }

    /// What a directory holds, ours among them. May wait.
    pub(super) fn list_at(&self, path: &DiskPath) -> Result<Option<Vec<Item>>, Error> {
        self.list_path(path.as_str())
    }

    /// The bytes of a note that was attached to the file at `path`; `None` where there is none. May wait.
    pub(super) fn note_at(&self, path: &DiskPath) -> Result<Option<Vec<u8>>, Error> {
        let Some((file, _)) = waited(self.open_at(path.as_str(), Wait::Allowed))? else { return Ok(None) };
        let mut note = [0; 64];
        let read = rustix::fs::fgetxattr(&file.file, NOTE, &mut note);
        Ok(read.ok().and_then(|len| note.get(..len)).map(<[u8]>::to_vec))
    }

    /// Resolves a path beneath the root; `None` where nothing lies there.
    fn resolve(&self, path: &str, flags: OFlags, wait: Wait) -> Poll<Result<Option<OwnedFd>, Error>> {
        let cached = match wait {
            Wait::Never => ResolveFlags::CACHED,
            Wait::Allowed => ResolveFlags::empty(),
        };
        let how = BENEATH | cached;
        let open = || rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), how);
        Poll::Ready(match rustix::io::retry_on_intr(open) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            // A kernel before 5.12 does not know RESOLVE_CACHED.
            Err(Errno::AGAIN | Errno::INVAL) if wait == Wait::Never => return Poll::Pending,
            Err(Errno::LOOP) => Err(Error::Corrupt {
                path: self.origin.join(path).display().to_string(),
                why: "a symbolic link leads there, and none is followed".to_owned(),
            }),
            Err(error) => Err(self.failed("open", path, error)),
        })
    }

    fn failed(&self, doing: &'static str, path: &str, error: Errno) -> Error {
        if error == Errno::IO {
            self.medium.count_fault();
        }
        Error::Io { doing, path: self.origin.join(path).display().to_string(), source: error.into() }
    }

    fn stat(&self, fd: impl AsFd, path: &str, wait: Wait) -> Result<Statx, Error> {
        // Of a file system on a network or in another process, what the kernel already knows.
        let cached = match wait {
            Wait::Never => AtFlags::STATX_DONT_SYNC,
            Wait::Allowed => AtFlags::empty(),
        };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH | cached, wanted)
            .map_err(|error| self.failed("look at", path, error))
    }

    fn stat_at(&self, path: &str, wait: Wait) -> Poll<Result<Option<Version>, Error>> {
        let Some(fd) = ready!(self.resolve(path, OFlags::PATH, wait))? else { return Poll::Ready(Ok(None)) };
        Poll::Ready(self.stat(&fd, path, wait).map(|stat| Some(Version::of(&stat))))
    }

    fn open_at(&self, path: &str, wait: Wait) -> Poll<Result<Option<(Extent, Version)>, Error>> {
        // Without O_NONBLOCK a fifo that somebody put there would be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Some(fd) = ready!(self.resolve(path, flags, wait))? else { return Poll::Ready(Ok(None)) };
        let stat = self.stat(&fd, path, wait)?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
            let path = self.origin.join(path).display().to_string();
            return Poll::Ready(Err(Error::Corrupt { path, why: "it is not a file".to_owned() }));
        }
        let file = Extent { file: Arc::new(fd.into()), offset: 0, len: stat.stx_size };
        Poll::Ready(Ok(Some((file, Version::of(&stat)))))
    }

    /// What is open under a name, if it is still what lies there.
    pub(super) fn still_open(&self, path: &str) -> Result<Option<Found>, Error> {
        let Some(found) = self.descriptors.find(path) else { return Ok(None) };
        let Some(extent) = found.extents.iter().next() else { return Ok(None) };
        let stat = self.stat(&extent.file, path, Wait::Never)?;
        if stat.stx_nlink > 0 && Version::of(&stat) == found.version {
            return Ok(Some(found));
        }
        self.descriptors.forget(path);
        Ok(None)
    }

    fn list_path(&self, path: &str) -> Result<Option<Vec<Item>>, Error> {
        let Some(fd) = waited(self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Wait::Allowed))? else {
            return Ok(None);
        };
        let failed = |error| self.failed("list", path, error);
        let mut items = Vec::new();
        for entry in Dir::read_from(&fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !matches!(name, "." | "..") {
                items.push(Item { name: name.into(), kind: Self::kind(&fd, name, entry.file_type()) });
            }
        }
        Ok(Some(items))
    }

    /// What a name in a directory names, where the directory itself does not say (some file systems do not).
    fn kind(fd: &OwnedFd, name: &str, known: FileType) -> ItemKind {
        let kind = match known {
            FileType::Unknown => rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
            known => known,
        };
        match kind {
            FileType::Directory => ItemKind::Directory,
            FileType::RegularFile => ItemKind::File,
            _ => ItemKind::Other,
        }
    }
}

/// Nothing outside the root, nothing by way of a link, no `/proc` magic.
pub(super) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The answer to a question that was allowed to wait, which always has one.
fn waited<T>(answer: Poll<Result<Option<T>, Error>>) -> Result<Option<T>, Error> {
    match answer {
        Poll::Ready(answer) => answer,
        Poll::Pending => Ok(None),
    }
}

impl Source for Directory {
    fn origin(&self) -> &Path {
        &self.origin
    }

    fn medium(&self) -> &Arc<Medium> {
        &self.medium
    }

    fn open(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Found>, Error>> {
        let path = path.as_str();
        let is_hasty = wait == Wait::Never;
        if is_hasty && let Some(found) = self.still_open(path)? {
            return Poll::Ready(Ok(Some(found)));
        }
        let generation = self.descriptors.generation();
        let Some((file, version)) = ready!(self.open_at(path, wait))? else { return Poll::Ready(Ok(None)) };
        let found = Found { extents: Extents::new([file]), version };
        if is_hasty {
            self.descriptors.keep(path, &found, generation);
        }
        Poll::Ready(Ok(Some(found)))
    }

    fn version(&self, path: &RelativePath, wait: Wait) -> Poll<Result<Option<Version>, Error>> {
        self.stat_at(path.as_str(), wait)
    }

    fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error> {
        self.list_path(path.as_str())
    }

    fn check(&self) -> Result<(), Error> {
        let failed = |error| self.failed("list", "", error);
        let first = Dir::read_from(&self.root).map_err(failed)?.next();
        first.transpose().map_err(failed).map(|_| ())
    }
}
