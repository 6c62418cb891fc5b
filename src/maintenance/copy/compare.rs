//! What of a plan the destination has already.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Poll;

use storage_layout::Digest;
use storage_layout::Entry;

use crate::maintenance::Pace;
use crate::maintenance::copy::Held;
use crate::maintenance::copy::Link;
use crate::maintenance::copy::Plan;
use crate::maintenance::copy::Progress;
use crate::maintenance::copy::Wanted;
use crate::store::Error;
use crate::store::Import;
use crate::store::Wait;

/// What the destination has, and what it has not.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) held: Vec<Wanted>,
    pub(super) missing: Vec<Wanted>,
    /// Links that are there.
    pub(super) linked: Vec<Link>,
    /// How many links and tags may have to be written.
    pub(super) pointers: usize,
}

/// Waits for the disk; `None` where `pace` was stopped.
pub(super) fn compare(
    plan: &Plan,
    into: &Import,
    held: Held,
    pace: &Pace,
    progress: &Progress,
) -> Result<Option<Compared>, Error> {
    let mut compared = Compared::default();
    for blob in &plan.blobs {
        let has_it = len_at(into, &Entry::Blob(blob.digest))? == Some(blob.len);
        if has_it { &mut compared.held } else { &mut compared.missing }.push(*blob);
    }
    if held == Held::Hashed && hash_held(&mut compared, into, pace)?.is_break() {
        return Ok(None);
    }
    compared.held.iter().for_each(|it| progress.skipped(it.len));
    for link in &plan.links {
        if len_at(into, &link.from)? == Some(link.to.to_string().len() as u64) {
            compared.linked.push(link.clone());
        }
    }
    compared.pointers = plan.links.len() - compared.linked.len() + plan.tags.len();
    Ok(Some(compared))
}

/// The length of a file of the destination.
fn len_at(into: &Import, entry: &Entry) -> Result<Option<u64>, Error> {
    match into.tree().version(&entry.path(), Wait::Allowed) {
        Poll::Ready(version) => Ok(version?.map(|it| it.len())),
        Poll::Pending => Ok(None),
    }
}

/// Hashes what is there on all processors; what has another digest counts as missing.
fn hash_held(compared: &mut Compared, into: &Import, pace: &Pace) -> Result<ControlFlow<()>, Error> {
    let held = std::mem::take(&mut compared.held);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, is_stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let hash = || {
        let mut found = Vec::new();
        while let Some(blob) = held.get(next.fetch_add(1, Ordering::Relaxed)) {
            match is_right(into, &blob.digest, pace)? {
                Some(is_right) => found.push((*blob, is_right)),
                None => {
                    is_stopped.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        Ok::<_, Error>(found)
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(hash)).collect();
        threads
            .into_iter()
            .map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    for found in found {
        for (blob, is_right) in found? {
            if is_right { &mut compared.held } else { &mut compared.missing }.push(blob);
        }
    }
    compared.missing.sort_unstable_by_key(|it| (it.position, it.digest));
    Ok(if is_stopped.into_inner() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
}

/// Whether a blob of the destination has its digest; `None` where `pace` was stopped. One that cannot be read
/// is as bad as one that is wrong.
fn is_right(into: &Import, digest: &Digest, pace: &Pace) -> Result<Option<bool>, Error> {
    match into.tree().hash(digest, |bytes| pace.take(bytes)) {
        Ok(Some(hashed)) if hashed.computed == *digest => Ok(Some(true)),
        Ok(Some(hashed)) => {
            into.distrust(&hashed);
            Ok(Some(false))
        }
        Ok(None) if pace.take(0).is_break() => Ok(None),
        Ok(None) => Ok(Some(false)),
        Err(error) => Err(error),
    }
}
