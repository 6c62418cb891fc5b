//! Copying the blobs: read, verified and written by a few threads, made durable by the dozen.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use storage_layout::Digest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::maintenance::Pace;
use crate::maintenance::copy::Error;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::Problem;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Wanted;
use crate::maintenance::verify::chain;
use crate::store;
use crate::store::Import;
use crate::store::Intake;
use crate::store::Reservation;
use crate::store::Taken;

/// How many blobs are read and written at once. While two hash, two wait for the disk; measured, three are
/// slower and six are no faster. A drive behind a management controller is not made faster by more.
const WORKERS: usize = 4;

/// How many blobs may wait to be made durable, and how many are made so together. While that is done for
/// some, the next come in, so that a fast disk has small batches and a slow one large ones.
const WAITING: usize = 64;

/// What became of the blobs.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) published: Vec<Digest>,
    pub(super) bytes: u64,
    pub(super) problems: Vec<Problem>,
}

/// Copies what is missing; `None` where `pace` was stopped.
pub(super) async fn copy(
    plan: &Arc<Plan>,
    missing: Vec<Wanted>,
    into: &Import,
    reservation: Arc<Reservation>,
    pace: &Arc<Pace>,
    progress: &Arc<Progress>,
) -> Result<Option<Copied>, Error> {
    let (done, mut ended) = mpsc::channel(WAITING);
    let worker = Worker {
        plan: Arc::clone(plan),
        queue: Arc::new((missing, AtomicUsize::new(0))),
        into: into.clone(),
        reservation,
        pace: Arc::clone(pace),
        progress: Arc::clone(progress),
        done,
    };
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let worker = worker.clone();
        workers.spawn_blocking(move || worker.work());
    }
    drop(worker);
    let mut copied = Copied::default();
    let mut batch = Vec::new();
    while ended.recv_many(&mut batch, WAITING).await > 0 {
        publish(std::mem::take(&mut batch), into, &mut copied).await?;
    }
    while let Some(worked) = workers.join_next().await {
        if worked??.is_break() {
            return Ok(None);
        }
    }
    Ok(Some(copied))
}

async fn publish(batch: Vec<Ended>, into: &Import, copied: &mut Copied) -> Result<(), Error> {
    let mut blobs = Vec::with_capacity(batch.len());
    let mut digests = Vec::with_capacity(batch.len());
    for ended in batch {
        match ended {
            Ended::Taken(digest, taken) => {
                copied.bytes += taken.len();
                digests.push(digest);
                blobs.push(taken);
            }
            Ended::Failed(problem) => copied.problems.push(problem),
        }
    }
    into.publish(blobs).await?;
    copied.published.extend(digests);
    Ok(())
}

/// How copying one blob ended.
#[derive(Debug)]
enum Ended {
    Taken(Digest, Taken),
    Failed(Problem),
}

#[derive(Clone, Debug)]
struct Worker {
    plan: Arc<Plan>,
    /// What is to be copied, and the first that nobody has begun with.
    queue: Arc<(Vec<Wanted>, AtomicUsize)>,
    into: Import,
    reservation: Arc<Reservation>,
    pace: Arc<Pace>,
    progress: Arc<Progress>,
    done: mpsc::Sender<Ended>,
}

impl Worker {
    fn work(&self) -> Result<ControlFlow<()>, store::Error> {
        let (blobs, next) = &*self.queue;
        while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(ended) = self.copy(&blob.digest)? else { return Ok(ControlFlow::Break(())) };
            // Nobody listens any more where publishing failed.
            if self.done.blocking_send(ended).is_err() {
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies a blob from the first root that has it whole; `None` where that was stopped.
    fn copy(&self, digest: &Digest) -> Result<Option<Ended>, store::Error> {
        let mut faults = Vec::new();
        for source in &*self.plan.sources {
            let blob = match source.blob(digest) {
                Ok(Some(blob)) => blob,
                Ok(None) => continue,
                Err(error) => {
                    faults.push(chain(&error));
                    continue;
                }
            };
            let each = |bytes| {
                let go_on = self.pace.take(bytes);
                self.progress.copied(bytes);
                go_on
            };
            match self.into.take(&blob, &self.reservation, each)? {
                Intake::Taken(taken) => return Ok(Some(Ended::Taken(*digest, taken))),
                Intake::Stopped => return Ok(None),
                Intake::Unreadable(error) => faults.push(chain(&error)),
                Intake::Mismatch { computed } => {
                    faults.push(format!(
                        "its bytes in {} have the digest {computed}",
                        source.origin().display()
                    ));
                }
            }
        }
        let why = if faults.is_empty() { "it is gone".to_owned() } else { faults.join("; ") };
        Ok(Some(Ended::Failed(Problem::Blob { digest: *digest, why })))
    }
}
