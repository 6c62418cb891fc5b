//! `Progress`: how far a job is, counted while it runs and told when somebody asks.
//!
//! Knows numbers and their names on the wire. Does not know what is done with them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tokio::time::Instant;

/// Over how long the rate is taken: long enough to be steady, short enough to show a stall.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Counts of a running job.
#[derive(Debug)]
pub(crate) struct Progress {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    objects_total: AtomicU64,
    objects_done: AtomicU64,
    sources: Mutex<BTreeMap<String, SourceCount>>,
    arriving: Mutex<Vec<Arrival>>,
    /// Times and byte counts of the last moments that somebody asked.
    samples: Mutex<Vec<(Instant, u64)>>,
}

/// A release that a job brings.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Arrival {
    /// The digest of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Its bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

/// What came from one source.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct SourceCount {
    /// Bytes of blobs.
    pub bytes: u64,
    /// Blobs and manifests that came whole.
    pub objects: u64,
    /// Attempts that failed.
    pub failures: u64,
}

/// A job's counts at one moment, as they are told.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Bytes that are to come in all, with those that have.
    pub bytes_total: u64,
    /// Bytes that have come.
    pub bytes_done: u64,
    /// Blobs and manifests that are to come in all, with those that have.
    pub objects_total: u64,
    /// Blobs and manifests that have come.
    pub objects_done: u64,
    /// Bytes a second, of late.
    pub bytes_per_second: u64,
    /// Seconds to go at that rate; absent where nothing moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// What came from whom.
    pub sources: BTreeMap<String, SourceCount>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            bytes_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            objects_total: AtomicU64::new(0),
            objects_done: AtomicU64::new(0),
            sources: Mutex::default(),
            arriving: Mutex::default(),
            samples: Mutex::default(),
        }
    }
}

impl Progress {
    /// Begins anew: this much is to come.
    pub(crate) fn begin(&self, bytes: u64, objects: u64) {
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.objects_total.store(objects, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.objects_done.store(0, Ordering::Relaxed);
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// These releases are to come.
    pub(crate) fn announce(&self, arriving: Vec<Arrival>) {
        *self.arriving.lock().unwrap_or_else(PoisonError::into_inner) = arriving;
    }

    /// The releases that are to come.
    pub(crate) fn arriving(&self) -> Vec<Arrival> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// These bytes came from a source.
    pub(crate) fn bytes(&self, source: &str, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.with(source, |it| it.bytes += bytes);
    }

    /// These bytes were here already, of an attempt before.
    pub(crate) fn resumed(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// These bytes must come again.
    pub(crate) fn lost(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes.min(self.bytes_done.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// An object is here, from a source.
    pub(crate) fn object(&self, source: &str) {
        self.objects_done.fetch_add(1, Ordering::Relaxed);
        self.with(source, |it| it.objects += 1);
    }

    /// An object is here; it came from nobody.
    pub(crate) fn object_here(&self) {
        self.objects_done.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt with a source failed.
    pub(crate) fn failure(&self, source: &str) {
        self.with(source, |it| it.failures += 1);
    }

    fn with(&self, source: &str, change: impl FnOnce(&mut SourceCount)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        match sources.get_mut(source) {
            Some(count) => change(count),
            None => change(sources.entry(source.to_owned()).or_default()),
        }
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> Counts {
        let bytes_done = self.bytes_done.load(Ordering::Relaxed);
        let bytes_total = self.bytes_total.load(Ordering::Relaxed).max(bytes_done);
        let bytes_per_second = self.rate(bytes_done);
        let left = bytes_total - bytes_done;
        Counts {
            bytes_total,
            bytes_done,
            objects_total: self.objects_total.load(Ordering::Relaxed),
            objects_done: self.objects_done.load(Ordering::Relaxed),
            bytes_per_second,
            seconds_left: (bytes_per_second > 0).then(|| left.div_ceil(bytes_per_second.max(1))),
            sources: self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn rate(&self, bytes_done: u64) -> u64 {
        let now = Instant::now();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push((now, bytes_done));
        let recent = samples.iter().rposition(|(at, _)| now.duration_since(*at) >= RATE_WINDOW).unwrap_or(0);
        samples.drain(..recent);
        let Some((at, bytes)) = samples.first() else { return 0 };
        let elapsed = now.duration_since(*at).as_secs_f64();
        if elapsed <= 0.0 { 0 } else { (bytes_done.saturating_sub(*bytes) as f64 / elapsed) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_and_time_left() {
        let progress = Progress::default();
        progress.begin(10_000, 2);
        assert_eq!(progress.counts().seconds_left, None);
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            progress.bytes("a:1", 1000);
        }
        let counts = progress.counts();
        assert_eq!((counts.bytes_done, counts.bytes_per_second, counts.seconds_left), (4000, 1000, Some(6)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        progress.counts();
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(progress.counts().seconds_left, None, "nothing moves");
    }
}
