//! `Findings`: which files were found to hold what they should, and which not to.
//!
//! Knows versions of files. Does not know who read them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use quick_cache::sync::Cache;

use crate::metrics::StoreMetrics;
use crate::store::Version;

/// What was found out about files since this process began.
#[derive(Debug)]
pub(in crate::store) struct Findings {
    damaged: Cache<Version, ()>,
    /// Whether there is anything in `damaged`: as long as there is not, nobody takes its lock.
    is_any_damaged: AtomicBool,
    sound: Cache<Version, ()>,
    metrics: StoreMetrics,
}

impl Findings {
    /// How many damaged blobs are remembered. With more than these a store is beyond help.
    const DAMAGED: usize = 4096;
    /// How many files are remembered that were found to hold what they should: some releases of 200 images.
    /// One that is forgotten is hashed once more.
    const SOUND: usize = 8192;

    pub(in crate::store) fn new(metrics: StoreMetrics) -> Self {
        let (damaged, sound) = (Cache::new(Self::DAMAGED), Cache::new(Self::SOUND));
        Self { damaged, is_any_damaged: AtomicBool::new(false), sound, metrics }
    }

    /// Remembers that this file does not hold what it should.
    pub(in crate::store) fn mark_damaged(&self, version: Version) {
        self.metrics.corrupt.inc();
        self.damaged.insert(version, ());
        self.is_any_damaged.store(true, Ordering::Release);
    }

    /// Whether this file was found not to hold what it should.
    pub(in crate::store) fn is_damaged(&self, version: &Version) -> bool {
        self.is_any_damaged.load(Ordering::Acquire) && self.damaged.get(version).is_some()
    }

    /// Remembers that this file holds what it should.
    pub(in crate::store) fn mark_sound(&self, version: Version) {
        self.sound.insert(version, ());
    }

    /// Whether this file was found to hold what it should.
    pub(in crate::store) fn is_sound(&self, version: &Version) -> bool {
        self.sound.get(version).is_some()
    }
}
