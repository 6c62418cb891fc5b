//! The writer's lock: one process writes a root at a time.
//!
//! Knows `flock(2)` on `larder/lock`, which the system gives up when the
//! process ends, however it ends, and whether the last one to hold it came to
//! its end. Does not know who else reads.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::store::Error;

/// Holds the right to write a root until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    last: LastEnd,
}

/// How the process ended that wrote a root before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastEnd {
    /// It finished what it had begun, or nothing was ever written.
    Finished,
    /// It was cut off: what it had named last may not be durable, or may not be there any more.
    CutOff,
}

impl Lock {
    /// Takes the lock of `root`, in which `larder` is made if it is missing; `None` where nothing can be
    /// written.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process holds it.
    pub(super) fn take(root: &Path) -> Result<Option<Self>, Error> {
        let path = root.join("larder").join("lock");
        let mut file = match open(root, &path) {
            Ok(file) => file,
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) => return Ok(None),
            Err(source) => return Err(failed("open", &path, source.into())),
        };
        let mut holder = String::new();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => drop(file.read_to_string(&mut holder)),
            Err(Errno::WOULDBLOCK) => {
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim().parse().ok();
                return Err(Error::Locked { path: root.to_owned(), holder });
            }
            Err(source) => return Err(failed("lock", &path, source.into())),
        }
        let last = if holder.is_empty() { LastEnd::Finished } else { LastEnd::CutOff };
        let pid = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
        // Who holds it is for messages; on a full disk the lock is a lock all the same.
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), error = &error as &dyn std::error::Error, "cannot note who writes");
        }
        Ok(Some(Self { file, last }))
    }

    /// How the process ended that held it before.
    pub(super) fn last_end(&self) -> LastEnd {
        self.last
    }

    /// Notes that everything that was begun is finished. Whoever is cut off does not come to say so.
    pub(super) fn finish(&self) {
        // Where it cannot be noted, the next holder looks after what needs none.
        let _ = self.file.set_len(0);
    }
}

fn open(root: &Path, path: &Path) -> rustix::io::Result<File> {
    match rustix::fs::mkdir(root.join("larder"), Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)).map(File::from)
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { doing, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_writer_is_told_who_the_first_is() {
        let root = tempfile::tempdir().unwrap();
        let first = Lock::take(root.path()).unwrap();
        assert!(first.is_some());
        let refused = Lock::take(root.path()).unwrap_err();
        let expected = format!(
            "{} is being written by another process (pid {})",
            root.path().display(),
            std::process::id()
        );
        assert_eq!(refused.to_string(), expected);
        drop(first);
        assert!(Lock::take(root.path()).unwrap().is_some(), "the lock goes with its holder");
    }

    #[test]
    fn who_does_not_finish_was_cut_off() {
        let root = tempfile::tempdir().unwrap();
        for expected in [LastEnd::Finished, LastEnd::CutOff, LastEnd::CutOff] {
            assert_eq!(Lock::take(root.path()).unwrap().unwrap().last_end(), expected);
        }
        Lock::take(root.path()).unwrap().unwrap().finish();
        assert_eq!(Lock::take(root.path()).unwrap().unwrap().last_end(), LastEnd::Finished);
    }
}
