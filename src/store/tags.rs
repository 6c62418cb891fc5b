//! Lists of tags.
//!
//! Knows when a list that was made before is still right. Does not know what
//! the tags point at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::Poll;
use std::task::ready;
use std::time::SystemTime;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage_layout::Dir;
use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::store::Error;
use crate::store::Source;
use crate::store::Version;
use crate::store::Wait;
use crate::store::list;

/// Lists of tags by the version of the directory: a tag that comes or goes changes it. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct TagLists {
    known: Arc<Cache<Version, Arc<[Tag]>, ByTags>>,
}

#[derive(Clone, Debug)]
struct ByTags;

impl Weighter<Version, Arc<[Tag]>> for ByTags {
    /// About the bytes that they take.
    fn weight(&self, _: &Version, tags: &Arc<[Tag]>) -> u64 {
        tags.iter().map(|tag| tag.as_str().len() as u64 + 32).sum::<u64>() + 128
    }
}

impl TagLists {
    /// How many bytes of lists are kept: that of a repository with all components of 80 releases.
    const KEPT: u64 = 1024 * 1024;

    pub(super) fn new() -> Self {
        let expected = 256;
        Self { known: Arc::new(Cache::with_weighter(expected, Self::KEPT, ByTags)) }
    }

    /// A repository's tags in one source; `None` where it has no such repository.
    pub(super) fn read(
        &self,
        source: &dyn Source,
        name: &RepositoryName,
        wait: Wait,
    ) -> Poll<Result<Option<Arc<[Tag]>>, Error>> {
        let Some(version) = ready!(source.version(&Dir::Tags(name.clone()).path(), wait))? else {
            let manifests = ready!(source.version(&Dir::Manifests(name.clone()).path(), wait))?;
            return Poll::Ready(Ok(manifests.map(|_| Arc::default())));
        };
        if let Some(tags) = self.known.get(&version) {
            return Poll::Ready(Ok(Some(tags)));
        }
        if wait == Wait::Never {
            return Poll::Pending;
        }
        let Some(found) = list::tags(source, name)? else { return Poll::Ready(Ok(None)) };
        let tags: Arc<[Tag]> = found.tags.into();
        if found.is_complete && version.is_settled(SystemTime::now()) {
            self.known.insert(version, Arc::clone(&tags));
        }
        Poll::Ready(Ok(Some(tags)))
    }
}

/// The tags of several sources; `None` where none has the repository.
pub(super) fn merge(lists: impl IntoIterator<Item = Arc<[Tag]>>) -> Option<Arc<[Tag]>> {
    let mut lists = lists.into_iter();
    let first = lists.next()?;
    let Some(second) = lists.next() else { return Some(first) };
    let rest = lists.flat_map(|list| list.to_vec());
    let all: BTreeSet<Tag> = first.iter().chain(&*second).cloned().chain(rest).collect();
    Some(all.into_iter().collect())
}
