//! Garbage collection, online: what nothing reaches goes, while clients push and pull.
//!
//! Knows how to read the graph of a store for `reachability` to work on, and in which order its plan is
//! carried out. Does not know who asked, and holds no lock: a read never waits for it, and a push that needs
//! what is about to go keeps it, since the store asks again at the moment of removal.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::time::SystemTime;

use storage_layout::Digest;
use storage_layout::Entry;
use storage_layout::RepositoryName;

use crate::maintenance::Pace;
use crate::maintenance::background;
use crate::maintenance::pace::StopOnDrop;
use crate::maintenance::tree::Tree;
use crate::reachability::Collection;
use crate::reachability::Edges;
use crate::reachability::Graph;
use crate::reachability::Keep;
use crate::reachability::Plan;
use crate::reachability::Reachable;
use crate::reachability::Stored;
use crate::store::Error;
use crate::store::Sight;
use crate::store::Source;
use crate::store::Store;
use crate::store::Wait;
use crate::store::Walk;
use crate::store::Writer;

mod listed;
mod sweep;

pub use sweep::Collected;
pub use sweep::sweep;

pub(super) use sweep::carry_out;

pub(super) use listed::Listed;
pub(super) use listed::edges;

/// What is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which manifests are kept for their own sake.
    pub keep: Keep,
    /// How old something must be that nothing needs: a push that is under way needs it soon.
    pub grace: Duration,
}

impl Policy {
    /// An hour: a push of the largest image over a slow line, and what zot waits (`gcDelay`).
    pub const GRACE: Duration = Duration::from_secs(60 * 60);
}

/// What can go, and what was left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// What can go.
    pub plan: Plan,
    /// Repositories that were kept whole, because something in them cannot be read, with what that is.
    pub kept_whole: Vec<(RepositoryName, String)>,
}

/// Finds the garbage of a store on a thread of its own, and removes none.
///
/// # Errors
/// No thread can be had. What cannot be read is no error: its repository is kept whole.
pub async fn survey(store: &Store, policy: Policy, now: SystemTime) -> Result<Garbage, Error> {
    let sources = store.sources();
    // What cannot be written holds no garbage of ours.
    let written = store.written().or_else(|| sources.iter().find(|it| it.origin().is_dir()).cloned());
    let Some(written) = written else { return Ok(Garbage::default()) };
    let (writer, pace) = (store.writer().cloned(), Arc::new(Pace::new(None)));
    let _stop = StopOnDrop(Arc::clone(&pace));
    let found = background::run(move || {
        let leased = |digest: &Digest| writer.as_ref().is_some_and(|it| it.is_leased(digest));
        find(&sources, &*written, policy, now, leased, &pace)
    });
    found.await?.ok_or(Error::Closed)
}

/// Finds the garbage of a store, of which `writer` is the writer, and removes it.
///
/// # Errors
/// The disk cannot be written.
pub async fn collect(
    store: &Store,
    writer: &Writer,
    policy: Policy,
    now: SystemTime,
) -> Result<(Garbage, Collected), Error> {
    let garbage = survey(store, policy, now).await?;
    // What is exactly as old as the grace goes; what was used after that is rescued.
    let before = now.checked_sub(policy.grace).unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(1);
    let collected = sweep(writer, garbage.plan.clone(), before).await?;
    Ok((garbage, collected))
}

/// Finds what nothing in `sources`, which together are one store, reaches, and `writable`, one of them, holds.
/// `leased` things are needed whatever the graph says. Waits for the disk; `None` where `pace` was stopped meanwhile.
pub fn find(
    sources: &[Arc<dyn Source>],
    writable: &dyn Source,
    policy: Policy,
    now: SystemTime,
    leased: impl Fn(&Digest) -> bool,
    pace: &Pace,
) -> Option<Garbage> {
    let tree = Tree(sources);
    let mut finding = Finding { tree, writable, policy, pace, kept_whole: Vec::new() };
    let mut collection = Collection::new(now, policy.grace, leased);
    let (names, _) = tree.repositories();
    for name in names {
        finding.repository(&name, &mut collection)?;
    }
    for sight in Walk::blobs(writable) {
        if pace.take(0).is_break() {
            return None;
        }
        if let Sight::Entry(entry @ Entry::Blob(_)) = sight {
            collection.blobs(stored(writable, entry));
        }
    }
    Some(Garbage { plan: collection.finish(), kept_whole: finding.kept_whole })
}

struct Finding<'a> {
    tree: Tree<'a>,
    writable: &'a dyn Source,
    policy: Policy,
    pace: &'a Pace,
    kept_whole: Vec<(RepositoryName, String)>,
}

impl Finding<'_> {
    fn repository(
        &mut self,
        name: &RepositoryName,
        collection: &mut Collection<impl Fn(&Digest) -> bool>,
    ) -> Option<()> {
        let mut listed = Listed::of(self.tree, self.writable, name);
        let mut graph = Graph::new(listed.revisions.iter().copied());
        while let Some(manifest) = graph.wanted() {
            self.pace.take(0).is_continue().then_some(())?;
            match edges(self.tree, &manifest) {
                Ok(Some(edges)) => graph.insert(manifest, edges),
                // What an index lists and nobody stored, or is no manifest, has no children. What the
                // repository itself lists must have been one.
                Ok(None) if !listed.revisions.contains(&manifest) => graph.insert(manifest, Edges::default()),
                Ok(None) => {
                    graph.unreadable(manifest);
                    listed.unread = Some(format!("manifest {manifest} is not stored, or is none"));
                }
                Err(why) => {
                    graph.unreadable(manifest);
                    listed.unread = Some(format!("manifest {manifest}: {why}"));
                }
            }
        }
        if let Some(why) = listed.unread {
            self.kept_whole.push((name.clone(), why));
            let reached = graph.reach(listed.revisions.iter().copied());
            collection
                .keep_whole(listed.named.into_iter().chain(listed.aliases.into_values()).chain(reached));
            return Some(());
        }
        let tagged: Vec<_> = listed.tagged.iter().map(|it| it.digest).collect();
        let kept = graph.keep(self.policy.keep, &listed.revisions, &tagged);
        let mut reached = graph.reach(kept);
        let aliases: Reachable = listed
            .aliases
            .iter()
            .filter(|(named, _)| reached.contains(named))
            .map(|(_, held)| *held)
            .collect();
        reached.extend(aliases);
        collection.repository(reached, listed.own);
        Some(())
    }
}

/// An entry with its size and age; `None` where it went meanwhile, or cannot be looked at and so cannot go.
pub(super) fn stored(source: &dyn Source, entry: Entry) -> Option<Stored> {
    match source.version(&entry.path(), Wait::Allowed) {
        Poll::Ready(Ok(Some(version))) => {
            Some(Stored { entry, bytes: version.len(), modified: version.modified() })
        }
        Poll::Ready(_) | Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests;
