//! `Progress`: how far a copy is, for whoever watches it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::maintenance::copy::Plan;

/// How far a copy is. Written by the copy, read by whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU64,
    bytes: AtomicU64,
    total: AtomicU64,
    skipped: AtomicU64,
}

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Finds out what is to be copied.
    Planning,
    /// Looks at what the destination holds.
    Comparing,
    /// Copies blobs.
    Blobs,
    /// Writes links and tags.
    Links,
    /// Nothing any more.
    Done,
}

const PHASES: [Phase; 5] = [Phase::Planning, Phase::Comparing, Phase::Blobs, Phase::Links, Phase::Done];

/// A moment of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What it was doing.
    pub phase: Phase,
    /// How many bytes were copied, or were there already.
    pub bytes: u64,
    /// How many bytes there are to be in the end.
    pub total: u64,
    /// How many of the bytes were there already.
    pub skipped: u64,
}

impl Progress {
    /// How far it is.
    pub fn snapshot(&self) -> Snapshot {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let phase = usize::try_from(load(&self.phase)).ok().and_then(|at| PHASES.get(at));
        Snapshot {
            phase: phase.copied().unwrap_or(Phase::Planning),
            bytes: load(&self.bytes),
            total: load(&self.total),
            skipped: load(&self.skipped),
        }
    }

    pub(super) fn begin(&self, phase: Phase, plan: &Plan) {
        self.total.store(plan.bytes(), Ordering::Relaxed);
        self.phase.store(phase as u64, Ordering::Relaxed);
    }

    pub(super) fn copied(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn skipped(&self, bytes: u64) {
        self.skipped.fetch_add(bytes, Ordering::Relaxed);
        self.copied(bytes);
    }
}
