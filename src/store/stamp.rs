//! `Stamp`: a state of a repository, to be compared with a later one.
//!
//! Knows which directories change when a manifest or a tag comes or goes.
//! Does not know what came or went.

use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::task::ready;
use std::time::Duration;
use std::time::SystemTime;

use storage_layout::Algorithm;
use storage_layout::Dir;
use storage_layout::RepositoryName;

use crate::store::Error;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;

/// A state of a repository's manifests and tags. Two equal stamps mean that none came or went between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp(u128);

impl Stamp {
    /// The stamp as bytes, to be hashed with others.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// distribution makes a manifest's directory first and its link in it a moment later, so that a list that was
/// made in between lacks the manifest although the directory above does not change any more.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// A repository's directories as one source has them.
pub(super) type Versions = [Option<Version>; 3];

/// Which versions of its directories a repository has.
pub(super) fn versions(
    source: &dyn Source,
    name: &RepositoryName,
    wait: Wait,
) -> Poll<Result<Versions, Error>> {
    let mut versions = [None; 3];
    let directories = [
        Dir::Tags(name.clone()),
        Dir::Revisions(name.clone(), Algorithm::Sha256),
        Dir::Revisions(name.clone(), Algorithm::Sha512),
    ];
    for (version, directory) in versions.iter_mut().zip(directories) {
        *version = ready!(source.version(&directory.path(), wait))?;
    }
    Poll::Ready(Ok(versions))
}

impl Stamp {
    /// The stamp of a repository with these directories; one that has just changed equals no other.
    pub(super) fn of(versions: &[Versions], now: SystemTime) -> Self {
        static UNEQUAL: AtomicU64 = AtomicU64::new(0);
        let has_rested = |version: &Version| version.has_rested(WRITTEN_WITHIN, now);
        if !versions.iter().flatten().flatten().all(has_rested) {
            let unequal = UNEQUAL.fetch_add(1, Ordering::Relaxed);
            return Self(1 << 64 | u128::from(unequal));
        }
        let mut hasher = DefaultHasher::new();
        versions.hash(&mut hasher);
        Self(u128::from(hasher.finish()))
    }
}
