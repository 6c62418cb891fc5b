//! `Version`: which state of a file or directory was seen.
//!
//! Knows when two looks saw the same thing. Does not know how to look.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::fs::Statx;
use rustix::fs::StatxTimestamp;

/// A state of a file or directory, as far as the system tells it without reading it.
///
/// Two equal versions that were both [settled](Version::is_settled) are the same bytes, or the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    device: u64,
    inode: u64,
    len: u64,
    modified: Nanoseconds,
    changed: Nanoseconds,
    born: Option<Nanoseconds>,
}

/// Since 1970; to the year 2262.
type Nanoseconds = i64;

impl Version {
    /// How long a file must have been left alone before its times tell one change from the next. Kernels
    /// before 6.13 stamp with the timer's tick (at most 10 ms); git calls such a file "racily clean".
    const SETTLED_AFTER: Duration = Duration::from_millis(50);

    /// What `statx` said.
    pub(in crate::store) fn of(statx: &Statx) -> Self {
        let has_birth = statx.stx_mask & rustix::fs::StatxFlags::BTIME.bits() != 0;
        Self {
            device: u64::from(statx.stx_dev_major) << 32 | u64::from(statx.stx_dev_minor),
            inode: statx.stx_ino,
            len: statx.stx_size,
            modified: nanoseconds(statx.stx_mtime),
            changed: nanoseconds(statx.stx_ctime),
            born: has_birth.then(|| nanoseconds(statx.stx_btime)),
        }
    }

    /// Something that cannot change: `instance` tells one image from another, `position` one file in it from
    /// the next.
    pub(in crate::store) fn fixed(instance: u64, position: u64, len: u64) -> Self {
        Self { device: instance, inode: position, len, modified: 0, changed: 0, born: Some(0) }
    }

    /// Where the file lies, whatever it holds.
    pub(in crate::store) fn place(&self) -> Place {
        Place { device: self.device, inode: self.inode }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// When the content last changed.
    pub fn modified(&self) -> SystemTime {
        let nanoseconds = u64::try_from(self.modified).unwrap_or(0);
        UNIX_EPOCH + Duration::from_nanos(nanoseconds)
    }

    /// Whether another change would have given another version. What is remembered under a version that has
    /// not settled may be stale and not show it.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        self.has_rested(Self::SETTLED_AFTER, now)
    }

    /// Whether it was left alone for at least so long.
    pub(super) fn has_rested(&self, at_least: Duration, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, in_nanoseconds);
        let latest = self.modified.max(self.changed);
        latest.saturating_add(in_nanoseconds(at_least)) < now
    }

    /// Which file it is, whatever it holds by now; `None` where the file system does not tell a file from a
    /// later one in its place.
    pub(in crate::store) fn identity(&self) -> Option<Identity> {
        self.born.map(|born| Identity { device: self.device, inode: self.inode, born })
    }
}

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    /// Whether it is in an image, which nobody changes: what is missing there, the medium lost.
    pub(in crate::store) fn is_of_image(self) -> bool {
        // As `Iso` numbers its instances; no device has numbers so high.
        self.device >> 63 == 1
    }
}

/// Which file it is, whatever it holds: an inode's number is given again, but not with the same birth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) struct Identity {
    device: u64,
    inode: u64,
    born: Nanoseconds,
}

fn nanoseconds(time: StatxTimestamp) -> Nanoseconds {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.into())
}

fn in_nanoseconds(duration: Duration) -> Nanoseconds {
    Nanoseconds::try_from(duration.as_nanos()).unwrap_or(Nanoseconds::MAX)
}
