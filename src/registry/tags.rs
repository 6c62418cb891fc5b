//! Listing tags and repositories (end-8), in byte order.

use std::ops::Range;
use std::sync::Arc;

use storage_layout::RepositoryName;
use storage_layout::Tag;

use crate::registry::Error;
use crate::registry::Registry;

/// Some of a repository's tags.
#[derive(Clone, Debug)]
pub struct TagPage {
    all: Arc<[Tag]>,
    range: Range<usize>,
}

impl TagPage {
    /// The tags after `last`, at most `limit`. `last` need not be a tag itself.
    fn new(all: Arc<[Tag]>, last: Option<&str>, limit: Option<usize>) -> Self {
        let start = last.map_or(0, |last| all.partition_point(|tag| tag.as_str() <= last));
        let end = limit.map_or(all.len(), |limit| start.saturating_add(limit).min(all.len()));
        Self { all, range: start..end }
    }

    /// The tags.
    pub fn tags(&self) -> &[Tag] {
        self.all.get(self.range.clone()).unwrap_or_default()
    }

    /// The last tag, where more follow.
    pub fn next(&self) -> Option<&Tag> {
        if self.range.end < self.all.len() { self.tags().last() } else { None }
    }
}

impl Registry {
    /// A repository's tags after `last`, at most `limit`.
    ///
    /// # Errors
    /// [`Error::NameUnknown`] or the store's.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        limit: Option<usize>,
    ) -> Result<TagPage, Error> {
        let all = self.store().tags(name).await?.ok_or_else(|| Error::NameUnknown(name.clone()))?;
        Ok(TagPage::new(all, last, limit))
    }

    /// Up to `limit` repositories after `last`.
    ///
    /// # Errors
    /// The store's.
    pub async fn repositories(&self, last: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>, Error> {
        Ok(self.store().repositories(last, limit).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn pages() {
        let all: Arc<[Tag]> = ["1", "2", "A", "a", "b"].map(|it| Tag::parse(it).unwrap()).into();
        for (last, limit, expected, next) in [
            (None, None, "1 2 A a b", None),
            (None, Some(0), "", None),
            (None, Some(2), "1 2", Some("2")),
            (Some("2"), Some(2), "A a", Some("a")),
            (Some("a"), Some(2), "b", None),
            (Some("3"), None, "A a b", None),
            (Some(""), Some(5), "1 2 A a b", None),
            (Some("not/a:tag"), None, "", None),
            (Some("b"), Some(1), "", None),
            (Some("A"), Some(usize::MAX), "a b", None),
        ] {
            let page = TagPage::new(Arc::clone(&all), last, limit);
            let tags: Vec<&str> = page.tags().iter().map(Tag::as_str).collect();
            assert_eq!(tags.join(" "), expected, "{last:?} {limit:?}");
            assert_eq!(page.next().map(Tag::as_str), next, "{last:?} {limit:?}");
        }
    }
}
