//! Copying from one store into another, verified while it is read.
//!
//! Knows the order in which things may appear: blobs, then links to them, then
//! tags, each durable before the next. So whatever ends a copy, the next one
//! goes on where it was, and nothing incomplete was ever under a tag. Does not
//! know what is printed, or who asked.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use storage_layout::Digest;
use storage_layout::Entry;
use tokio::task::JoinError;
use tokio::task::spawn_blocking;

use crate::maintenance::Pace;
use crate::store;
use crate::store::Import;
use crate::store::Pointer;

mod blobs;
mod compare;
mod plan;
mod pointers;
mod progress;
mod report;

pub use plan::Plan;
pub use plan::PlanError;
pub use plan::Selection;
pub use progress::Phase;
pub use progress::Progress;
pub use progress::Snapshot;
pub use report::Problem;
pub use report::Report;

use compare::Compared;
use plan::Wanted;

/// What is thought of a blob that the destination holds already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// It is right if it has the right length: it was verified before it became visible.
    #[default]
    Trusted,
    /// It is right if its bytes have its digest.
    Hashed,
}

/// Why a copy cannot go on. The next one begins where it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is too little room.
    #[error("needs {}, {} free at {}", gib(*needed), gib(*free), path.display())]
    Space {
        /// How many bytes are needed.
        needed: u64,
        /// How many are free for it.
        free: u64,
        /// Where.
        path: PathBuf,
    },
    /// The destination cannot be written, or no longer.
    #[error(transparent)]
    Destination(#[from] store::Error),
    /// A thread of the copy ended in the middle.
    #[error("the copy was broken off")]
    BrokenOff(#[from] JoinError),
}

/// In the unit that disks are bought in.
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Carries out a plan; `None` where `pace`, which is asked before every piece is read, was stopped meanwhile.
///
/// # Errors
/// Of the destination only: what of the source cannot be read, or is not what it is called, is in the report, and
/// whatever needs it is left out.
pub async fn copy(
    plan: Plan,
    into: Import,
    held: Held,
    pace: Arc<Pace>,
    progress: Arc<Progress>,
) -> Result<Option<Report>, Error> {
    let plan = Arc::new(plan);
    let mut report = Report { problems: plan.problems.clone(), ..Report::default() };
    progress.begin(Phase::Comparing, &plan);
    let Some(compared) = compare(&plan, &into, held, &pace, &progress).await? else { return Ok(None) };
    report.skipped_blobs = compared.held.len() as u64;
    report.skipped_bytes = compared.held.iter().map(|it| it.len).sum();
    check_space(&compared, &into).await?;
    let reservation = Arc::new(reserve(&compared, &into).await?);
    into.settle(compared.held.iter().map(|it| it.digest).collect(), compared.linked.clone()).await?;

    progress.begin(Phase::Blobs, &plan);
    let mut present: HashSet<Digest> = compared.held.iter().map(|it| it.digest).collect();
    let copied = blobs::copy(&plan, compared.missing, &into, reservation, &pace, &progress).await?;
    let Some(copied) = copied else { return Ok(None) };
    report.copied_blobs = copied.published.len() as u64;
    report.copied_bytes = copied.bytes;
    report.problems.extend(copied.problems);
    present.extend(copied.published);

    progress.begin(Phase::Links, &plan);
    pointers::publish(&plan, &into, present, compared.linked, &mut report).await?;
    progress.begin(Phase::Done, &plan);
    Ok(Some(report))
}

async fn compare(
    plan: &Arc<Plan>,
    into: &Import,
    held: Held,
    pace: &Arc<Pace>,
    progress: &Arc<Progress>,
) -> Result<Option<Compared>, Error> {
    let (plan, into, pace, progress) =
        (Arc::clone(plan), into.clone(), Arc::clone(pace), Arc::clone(progress));
    Ok(spawn_blocking(move || compare::compare(&plan, &into, held, &pace, &progress)).await??)
}

/// What a file, its directory and its place in the directory above take beside its bytes.
const OVERHEAD: u64 = 12 * 1024;

async fn check_space(compared: &Compared, into: &Import) -> Result<(), Error> {
    let blobs: u64 = compared.missing.iter().map(|it| it.len.next_multiple_of(4096) + OVERHEAD).sum();
    let needed = blobs + compared.pointers as u64 * OVERHEAD;
    if needed == 0 {
        return Ok(());
    }
    let asked = into.clone();
    let free = spawn_blocking(move || asked.free()).await??;
    if needed > free {
        return Err(Error::Space { needed, free, path: into.tree().origin().to_owned() });
    }
    Ok(())
}

async fn reserve(compared: &Compared, into: &Import) -> Result<store::Reservation, Error> {
    let (into, bytes) = (into.clone(), compared.missing.iter().map(|it| it.len).sum());
    Ok(spawn_blocking(move || into.reserve(bytes)).await??)
}

/// A link and what it points at.
type Link = Pointer<Entry>;

#[cfg(test)]
mod tests;
