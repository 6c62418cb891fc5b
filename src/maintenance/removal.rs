//! Removing a release, online: its names go first, then what nothing else needs.
//!
//! Knows the order: the bundle's tag, the release's, those of components, signatures; then manifests and
//! links, then blobs. So no client sees a release whose parts are gone, and a removal that is cut short
//! leaves garbage, never a link to nothing; and a note of what is left to do, with which the next process
//! goes on. Does not know who asked, and takes no lock that a request could wait for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use storage_layout::Digest;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::maintenance::background;
use crate::maintenance::gc::Collected;
use crate::maintenance::gc::Policy;
use crate::maintenance::gc::carry_out;
use crate::maintenance::releases::ReleaseStatus;
use crate::reachability::Stored;
use crate::store::Error;
use crate::store::Store;
use crate::store::Writer;

mod note;
mod part;
mod plan;

pub use note::Work;
pub use plan::plan;

/// How many tags are removed at once: the store makes a group of them durable with one set of syncs.
const TAGS_AT_ONCE: usize = 64;

/// A release that is to go, and what goes with it.
#[derive(Clone, Debug)]
pub struct Removal {
    /// The release, once for each tag of its image.
    pub releases: Vec<ReleaseStatus>,
    /// Its tags, those first that must go first.
    pub tags: Vec<(RepositoryName, Tag)>,
    /// Links that only it needs, those to manifests first.
    pub links: Vec<Stored>,
    /// Blobs that only it needs.
    pub blobs: Vec<Stored>,
    /// When the last of it was published: what was used until then was used to publish it.
    pub published: SystemTime,
    /// Repositories in which something cannot be read, with what that is: nothing that they link goes.
    pub kept_whole: Vec<(RepositoryName, String)>,
}

/// Why a release cannot be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// There is none.
    #[error("there is no release {name} here, only {known}")]
    NoRelease {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There are several.
    #[error("several releases are called {name}: {}", .digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// Their digests.
        digests: BTreeSet<Digest>,
    },
    /// The cluster runs it.
    #[error("release {name} is in use")]
    InUse {
        /// Which.
        name: String,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] Error),
}

/// What a removal did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Tags that went.
    pub tags: u64,
    /// Links and blobs.
    pub collected: Collected,
}

/// Plans on a thread of its own; `None` where no root is written.
///
/// # Errors
/// There is no such release, or more than one, or the store cannot be read.
pub async fn survey(store: &Store, name: &str) -> Result<Option<Removal>, RemovalError> {
    let sources = store.sources();
    // What cannot be written is looked at all the same, so that a dry run tells.
    let written = store.written().or_else(|| sources.iter().find(|it| it.origin().is_dir()).cloned());
    let Some(written) = written else { return Ok(None) };
    let name = name.to_owned();
    background::waited_for(move || plan(&sources, &*written, &name)).await?.map(Some)
}

/// Carries out a removal. What was used after the release was published, or somebody counts on, stays.
///
/// # Errors
/// The disk cannot be written, or a root that is only read holds the release too. What went until then is gone.
pub async fn remove(writer: &Writer, removal: Removal, now: SystemTime) -> Result<Removed, Error> {
    let work = Work::of(&removal, now);
    drop(removal);
    work.keep(writer).await?;
    carry_on(writer, work).await
}

/// Goes on with a removal that the last process did not finish. What was pushed again since stays. Clients
/// that the last process told that something is there are not known any more: their pushes broke off with it.
///
/// # Errors
/// As of [`remove`].
pub async fn resume(store: &Store, work: Work) -> Result<Removed, Error> {
    let (Some(writer), Some(written)) = (store.writer(), store.written()) else {
        return Ok(Removed::default());
    };
    let work = background::run(move || work.without_new_tags(&*written)).await?;
    carry_on(writer, work).await
}

async fn carry_on(writer: &Writer, work: Work) -> Result<Removed, Error> {
    let Work { tags, links, blobs, before, .. } = work;
    let mut removed = Removed::default();
    for step in steps(tags) {
        let deletions =
            step.into_iter().map(|(name, tag)| async move { writer.delete_tag(&name, &tag).await });
        let gone: Vec<bool> = stream::iter(deletions).buffer_unordered(TAGS_AT_ONCE).try_collect().await?;
        removed.tags += gone.into_iter().filter(|it| *it).count() as u64;
    }
    for batch in [links, blobs] {
        let remove = |stored: Stored| async move {
            writer.remove_published(&stored.entry, before).await.map(|removed| (stored, removed))
        };
        carry_out(batch, remove, &mut removed.collected).await?;
    }
    Work::forget(writer).await?;
    Ok(removed)
}

impl Removal {
    /// Since when nothing of it may have been used: its publication, or the grace period of all garbage where
    /// that is longer ago.
    pub fn before(&self, now: SystemTime) -> SystemTime {
        let grace = now.checked_sub(Policy::GRACE).unwrap_or(SystemTime::UNIX_EPOCH);
        self.published.max(grace) + Duration::from_nanos(1)
    }

    /// Whether it is called so.
    pub fn is_called(&self, name: &str) -> bool {
        self.releases.iter().any(|it| it.is_called(name))
    }

    /// What a person calls it.
    pub fn name(&self) -> String {
        self.releases.first().map(ReleaseStatus::name).unwrap_or_default()
    }

    /// Whether a link or a blob would go at once.
    pub fn goes(&self, stored: &Stored, writer: Option<&Writer>, now: SystemTime) -> bool {
        let before = self.before(now);
        let counted_on = plan::linked(&stored.entry)
            .is_some_and(|digest| writer.is_some_and(|it| it.is_leased_since(digest, before)));
        stored.modified < before && !counted_on
    }
}

/// Runs of tags of the same repository: those of each are gone before those of the next go.
fn steps(tags: Vec<(RepositoryName, Tag)>) -> Vec<Vec<(RepositoryName, Tag)>> {
    let mut steps: Vec<Vec<_>> = Vec::new();
    for tag in tags {
        match steps.last_mut() {
            Some(step) if step.last().is_some_and(|(name, _)| *name == tag.0) => step.push(tag),
            _ => steps.push(vec![tag]),
        }
    }
    steps
}

/// The roots of a store.
type Sources = [Arc<dyn crate::store::Source>];

#[cfg(test)]
mod tests;
