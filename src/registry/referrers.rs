//! Listing referrers (end-12), derived from the tree.
//!
//! A repository's referrers are its manifests that have a `subject`, and what
//! clients listed under a fallback tag before there was a referrers API. The
//! tree keeps no index of them, so every manifest is looked into once: what has
//! a digest never changes, and [`Subjects`] remembers it. Which of them a
//! repository has is read anew whenever [`Store::stamp`] says that it changed,
//! whoever changed it.
//!
//! [`Store::stamp`]: crate::store::Store::stamp

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use storage_layout::Digest;
use storage_layout::RepositoryName;

use crate::oci::Child;
use crate::oci::Descriptor;
use crate::oci::IndexWriter;
use crate::oci::Manifest;
use crate::oci::Reference;
use crate::oci::children;
use crate::oci::fallback_tag;
use crate::registry::Error;
use crate::registry::Registry;
use crate::registry::StoredManifest;
use crate::store::Stamp;

/// What is asked about referrers.
#[derive(Clone, Copy, Debug)]
pub struct Referrers<'a> {
    /// Of which manifest, whether it exists or not.
    pub subject: &'a Digest,
    /// Only those of one of these types; of any type where there is none.
    pub artifact_types: &'a [String],
    /// Only those after this one.
    pub last: Option<Digest>,
    /// At most so many.
    pub limit: usize,
}

/// Some referrers.
#[derive(Clone, Debug)]
pub struct ReferrersPage {
    /// An image index that lists them, in the order of their digests.
    pub index: Vec<u8>,
    /// The last of them, where more follow.
    pub next: Option<Digest>,
}

/// How large a response may become, in bytes: containerd and containers/image read no more than that of an
/// index.
const PAGE_LEN: usize = Manifest::MAX_LEN;

/// How many manifests are read at once when a repository is looked through, so that a slow medium is kept
/// busy and nobody else is kept from it.
const READS: usize = 8;

impl Registry {
    /// Lists referrers. A repository or a subject that does not exist has none.
    ///
    /// # Errors
    /// The store's: a list that may lack something is not given.
    pub async fn referrers(
        &self,
        name: &RepositoryName,
        query: Referrers<'_>,
    ) -> Result<ReferrersPage, Error> {
        let candidates = self.candidates(name, query.subject).await?;
        let mut index = IndexWriter::new(PAGE_LEN);
        let (mut count, mut last) = (0, None);
        for digest in candidates.into_iter().filter(|it| query.last.is_none_or(|last| *it > last)) {
            let Some(entry) = self.entry(name, &digest).await? else { continue };
            if !query.artifact_types.is_empty() && !query.artifact_types.contains(&entry.artifact_type) {
                continue;
            }
            if count == query.limit || !index.push(&entry) {
                return Ok(ReferrersPage { index: index.finish(), next: last });
            }
            (count, last) = (count + 1, Some(digest));
        }
        Ok(ReferrersPage { index: index.finish(), next: None })
    }

    /// The digests of a subject's referrers, sorted, each once.
    async fn candidates(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>, Error> {
        let by_subject = self.by_subject(name).await?;
        let mut digests = by_subject.get(subject).cloned().unwrap_or_default();
        digests.extend(self.listed_under_fallback_tag(name, subject).await?);
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }

    /// What the referrers response says of a manifest.
    async fn entry(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Descriptor>, Error> {
        let Some((stored, manifest)) = self.whole_manifest(name, digest).await? else { return Ok(None) };
        Ok(Some(Descriptor {
            media_type: manifest.media_type().as_str().to_owned(),
            digest: *digest,
            size: stored.content.len() as u64,
            urls: Vec::new(),
            annotations: manifest.annotations().clone(),
            artifact_type: manifest.artifact_type().to_owned(),
        }))
    }

    /// A manifest that can be read and understood; damage is somebody else's to report.
    async fn whole_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<(StoredManifest, Manifest)>, Error> {
        match self.stored_manifest(name, &Reference::Digest(*digest)).await {
            Ok(Some(stored)) => {
                Ok(Manifest::parse(&stored.content, None).ok().map(|manifest| (stored, manifest)))
            }
            Ok(None) => Ok(None),
            Err(error @ Error::ManifestDamaged { .. }) => {
                tracing::warn!(repository = %name, %digest, %error, "left out of the referrers");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The manifests that an index under the subject's fallback tag lists, if the repository has them and
    /// they do not refer to something else. A tag of that form that names the very image it points at is a
    /// mirror's.
    async fn listed_under_fallback_tag(
        &self,
        name: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Digest>, Error> {
        let Some(tag) = fallback_tag(subject) else { return Ok(Vec::new()) };
        let stored = match self.stored_manifest(name, &Reference::Tag(tag)).await {
            Ok(Some(stored)) if stored.digest != *subject => stored,
            Ok(_) | Err(Error::ManifestDamaged { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let Ok(index) = Manifest::parse(&stored.content, None) else { return Ok(Vec::new()) };
        if !index.media_type().is_index() {
            return Ok(Vec::new());
        }
        let mut digests = Vec::new();
        for Child { descriptor, .. } in children(&index) {
            let manifest = self.whole_manifest(name, &descriptor.digest).await?;
            let other = |manifest: &Manifest| manifest.subject().is_some_and(|it| it.digest != *subject);
            if manifest.is_some_and(|(_, manifest)| !other(&manifest)) {
                digests.push(descriptor.digest);
            }
        }
        Ok(digests)
    }

    /// The repository's manifests by what they refer to.
    async fn by_subject(&self, name: &RepositoryName) -> Result<Arc<BySubject>, Error> {
        let stamp = self.store().stamp(name).await?;
        if let Some(kept) = self.inner.subjects.repositories.get(name).filter(|it| it.stamp == stamp) {
            return Ok(kept.by_subject);
        }
        let revisions = self.store().revisions(name).await?;
        let found: Vec<(Digest, Subject)> = stream::iter(revisions)
            .map(async |digest| Ok::<_, Error>((digest, self.subject(name, &digest).await?)))
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        let is_whole = found.iter().all(|(_, subject)| *subject != Subject::Unreadable);
        let mut by_subject = BySubject::new();
        for (digest, subject) in found {
            if let Subject::Is(subject) = subject {
                by_subject.entry(subject).or_default().push(digest);
            }
        }
        let by_subject = Arc::new(by_subject);
        if is_whole {
            let kept = Kept { stamp, by_subject: Arc::clone(&by_subject) };
            self.inner.subjects.repositories.insert(name.clone(), kept);
        }
        Ok(by_subject)
    }

    /// What a manifest refers to.
    async fn subject(&self, name: &RepositoryName, digest: &Digest) -> Result<Subject, Error> {
        if let Some(known) = self.inner.subjects.manifests.get(digest) {
            return Ok(known);
        }
        let Some((_, manifest)) = self.whole_manifest(name, digest).await? else {
            return Ok(Subject::Unreadable);
        };
        let subject = manifest.subject().map_or(Subject::None, |it| Subject::Is(it.digest));
        self.inner.subjects.manifests.insert(*digest, subject);
        Ok(subject)
    }
}

/// What a manifest refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// This, whether it exists or not.
    Is(Digest),
    /// Nothing.
    None,
    /// That cannot be told as long as it is damaged, gone or in a format of old: to be asked again.
    Unreadable,
}

type BySubject = HashMap<Digest, Vec<Digest>>;

/// What was found out before. All of it can be found out again.
#[derive(Debug)]
pub(super) struct Subjects {
    /// What a manifest refers to: true for ever.
    manifests: Cache<Digest, Subject>,
    /// A repository's manifests by what they refer to: true while its stamp stays.
    repositories: Cache<RepositoryName, Kept, Weight>,
}

#[derive(Clone, Debug)]
struct Kept {
    stamp: Stamp,
    by_subject: Arc<BySubject>,
}

impl Subjects {
    /// How many manifests are remembered, at about 150 bytes each: the manifests of some hundred releases.
    const MANIFESTS: usize = 32 * 1024;
    /// How many referrers and repositories are remembered, at about 150 bytes each.
    const REFERRERS: u64 = 32 * 1024;
    /// How many repositories to expect; a hint for the size of tables.
    const REPOSITORIES: usize = 256;
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            manifests: Cache::new(Self::MANIFESTS),
            repositories: Cache::with_weighter(Self::REPOSITORIES, Self::REFERRERS, Weight),
        }
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<RepositoryName, Kept> for Weight {
    fn weight(&self, _: &RepositoryName, kept: &Kept) -> u64 {
        1 + kept.by_subject.values().map(|digests| 1 + digests.len() as u64).sum::<u64>()
    }
}
