//! How much is measured: sizes, counts and times, in full or just enough to see that all of it works.

use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The amounts of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scale {
    /// How often each contender has its turn.
    pub(crate) pairs: usize,
    pub(crate) warm_up: Duration,
    /// How long is counted after the warm-up.
    pub(crate) window: Duration,
    /// Sizes of the pulled blobs, the largest first.
    pub(crate) blobs: [u64; 3],
    pub(crate) connections: [usize; 3],
    /// How many ranges one request asks for.
    pub(crate) ranges: u64,
    pub(crate) pushed_blob: u64,
    pub(crate) pushed_images: usize,
    /// Connections that pull or push while memory is watched, and what each pushes.
    pub(crate) memory_connections: usize,
    pub(crate) memory_push: u64,
    /// How many images are stored before the start is timed.
    pub(crate) stored_images: [usize; 3],
    /// How long the slow medium takes for each read.
    pub(crate) slow_read: Duration,
    pub(crate) crowd: usize,
    pub(crate) crowd_blob: u64,
}

impl Scale {
    /// What the figures are from.
    pub(crate) fn full(pairs: usize) -> Self {
        Self {
            pairs,
            warm_up: Duration::from_millis(300),
            window: Duration::from_secs(2),
            blobs: [GIB, 16 * MIB, 64 * KIB],
            connections: [1, 8, 64],
            ranges: 1024,
            pushed_blob: GIB,
            pushed_images: 400,
            memory_connections: 64,
            memory_push: 256 * MIB,
            stored_images: [0, 200, 20_000],
            slow_read: Duration::from_secs(2),
            crowd: 1000,
            crowd_blob: 16 * MIB,
        }
    }

    /// Enough to see that everything works; its figures mean nothing.
    pub(crate) fn quick(pairs: usize) -> Self {
        Self {
            pairs,
            warm_up: Duration::from_millis(20),
            window: Duration::from_millis(100),
            blobs: [16 * MIB, MIB, 64 * KIB],
            connections: [1, 4, 8],
            ranges: 64,
            pushed_blob: 16 * MIB,
            pushed_images: 16,
            memory_connections: 8,
            memory_push: 4 * MIB,
            stored_images: [0, 10, 50],
            slow_read: Duration::from_millis(300),
            crowd: 50,
            crowd_blob: MIB,
        }
    }
}

/// A size in words: `64 KiB`, `16 MiB`, `1 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, name) in [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}

/// Bytes in GiB.
pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}
